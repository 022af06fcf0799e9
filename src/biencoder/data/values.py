"""What a field of a file may hold, and how it becomes an id, a text or metadata."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

DEFAULT_SPLIT = "train"

_BREAK = re.compile(r"[\t\r\n]")
_SPLIT_NAME = re.compile(r"\w[\w.-]*")
_HALF_PAIR = re.compile("[\ud800-\udfff]")
_KINDS = {str: "a string", bool: "a boolean", int: "a number", float: "a number", list: "a list", dict: "an object"}


class ValueProblem(Exception):  # noqa: N818 - it never leaves this package: whoever knows the file makes a DataError of it
    """What is wrong with a value, before the place is known."""


def kind(value: object) -> str:
    """The JSON name of a value's type, for messages.

    >>> kind(None), kind(3.5), kind({})
    ('null', 'a number', 'an object')
    """
    return "null" if value is None else _KINDS.get(type(value), f"a {type(value).__name__}")


def as_id(value: object, *, field: str) -> str:
    """An id: a string, or a whole number, which is written out.

    Raises:
        ValueProblem: at another type, at nothing but space, and at tabs and line breaks, which a judgement file cannot hold.

    >>> as_id("d1", field="_id"), as_id(17, field="_id")
    ('d1', '17')
    """
    if type(value) is int:
        return str(value)
    if not isinstance(value, str):
        raise ValueProblem(f"the field {field!r} is {kind(value)}; an id is a string or a whole number")
    if not value or value.isspace():
        raise ValueProblem(f"the field {field!r} is empty; every row needs an id")
    if _BREAK.search(value):
        raise ValueProblem(f"the id {value!r} holds a tab or a line break; use ids without them")
    return value


def as_text(value: object, *, field: str) -> str:
    """A text: a string, or null, which counts as empty.

    Raises:
        ValueProblem: at another type.

    >>> as_text("one", field="text"), as_text(None, field="text")
    ('one', '')
    """
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    raise ValueProblem(f"the field {field!r} is {kind(value)}; expected a string")


def as_split(value: object) -> str:
    """The name of a split; empty means train.

    Raises:
        ValueProblem: where the name cannot be that of a file.

    >>> as_split("dev"), as_split(None)
    ('dev', 'train')
    """
    if value is None or value == "":
        return DEFAULT_SPLIT
    if isinstance(value, str) and _SPLIT_NAME.fullmatch(value):
        return value
    raise ValueProblem(f"the split is {value!r}; expected a name of letters, digits, '-', '_' and '.', such as train")


def as_metadata(value: object, *, field: str) -> Any:
    """The JSON value nearest to what Arrow, datasets or ir_datasets give.

    Dates and times become ISO 8601 strings, decimals strings, NaN (which pandas writes for what is missing) null.

    Raises:
        ValueProblem: where there is no such value, above all for bytes.

    >>> as_metadata({"on": date(2024, 5, 1), "price": float("nan")}, field="facts")
    {'on': '2024-05-01', 'price': None}
    """
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float) and not math.isinf(value):
        return None if math.isnan(value) else value
    if isinstance(value, (date, datetime, time)):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): as_metadata(part, field=field) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_metadata(part, field=field) for part in value]
    raise ValueProblem(f"the field {field!r} holds {kind(value)}, which metadata cannot keep; leave the field out")


def check_unicode(value: object) -> None:
    """Make sure that a JSON value can be written as UTF-8.

    Raises:
        ValueProblem: at half of a surrogate pair, which is no character and which no tokenizer or file takes.

    >>> check_unicode({"text": "naïve 🙂"})
    """
    half = _HALF_PAIR.search(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))
    if half:
        raise ValueProblem(f"\\u{ord(half[0]):04x} is half of a surrogate pair, not a character; remove it")


def metadata_of(fields: Mapping[str, Any], *, convert: bool = False) -> Mapping[str, Any]:
    """The fields left over, those of BEIR's ``metadata`` object merged in.

    Args:
        fields: what a row holds beside id, title and text.
        convert: bring the values to JSON first (:func:`as_metadata`).

    Raises:
        ValueProblem: where a name stands both beside and inside the object, with different values.

    >>> metadata_of({"url": "u", "metadata": {"year": 2020}})
    {'url': 'u', 'year': 2020}
    """
    if fields == {"metadata": {}}:
        return {}
    outer = {name: as_metadata(value, field=name) if convert else value for name, value in fields.items()}
    inner = outer.get("metadata", {})
    if inner is not None and not isinstance(inner, dict):
        return outer
    outer.pop("metadata", None)
    inner = inner or {}
    for name in outer.keys() & inner.keys():
        if outer[name] != inner[name]:
            raise ValueProblem(f"{name!r} stands both beside and inside 'metadata', with different values; keep one")
    return {**outer, **inner}
