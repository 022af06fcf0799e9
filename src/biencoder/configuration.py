"""Configuration: TOML files and ``key=value`` settings over typed defaults; an unknown key names the nearest valid one."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from biencoder.errors import ArgumentError

Options = TypeVar("Options", bound=BaseModel)


def configure(kind: type[Options], *, file: Path | None = None, settings: Sequence[str] = ()) -> Options:
    """Options from their defaults, then a TOML file, then settings, each over the one before.

    Args:
        kind: the typed object.
        file: TOML, with tables where the object has objects inside.
        settings: such as ``training.epochs=2``; values are read as TOML, and as plain text where they are none.

    Raises:
        ArgumentError: for a key that is unknown (naming the nearest valid one) or a value that cannot be used.
    """
    values: dict[str, Any] = {}
    if file is not None:
        try:
            values = tomllib.loads(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ArgumentError(f"{file} cannot be read as TOML ({error})") from error
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise ArgumentError(f"--set {setting}: key=value was expected, such as training.epochs=2")
        _put(values, key.strip().split("."), _value(text.strip()))
    try:
        return kind.model_validate(_without_nones(values, kind))
    except ValidationError as error:
        raise ArgumentError(_explain(error, kind, file)) from None


def nearest(name: str, valid: Iterable[str]) -> str:
    """A hint with the valid names, the nearest first.

    >>> nearest("trian", ["dev", "train"])
    "; did you mean 'train'? there are: dev, train"
    """
    names = list(valid)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean '{close[0]}'?" if close else ";"
    return f"{hint} there are: {', '.join(names)}" if names else ""


def first_difference(old: Any, new: Any) -> str:
    """Where two JSON values part, for a message; inside objects, the first key whose values differ.

    >>> first_difference({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}})
    'b: c: 2, now 3'
    """
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            if old.get(key) != new.get(key):
                return f"{key}: {first_difference(old.get(key), new.get(key))}"
    return f"{_brief(old)}, now {_brief(new)}"


def _brief(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _put(values: dict[str, Any], path: list[str], value: Any) -> None:
    for key in path[:-1]:
        values = values.setdefault(key, {})
        if not isinstance(values, dict):
            raise ArgumentError(f"--set {'.'.join(path)}: {key} is a single value, not a table")
    values[path[-1]] = value


def _explain(error: ValidationError, kind: type[BaseModel], file: Path | None) -> str:
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    key, where = ".".join(path), f"{file}: " if file else ""
    if first["type"] == "extra_forbidden":
        fields = _fields_at(kind, path[:-1])
        return f"{where}the key {key!r} is unknown" + nearest(path[-1], fields)
    what = f"{key} is {first['input']!r}: " if path else ""  # else it is said of the whole
    return f"{where}{what}{first['msg'][0].lower()}{first['msg'][1:]}"


def _without_nones(value: Any, kind: Any) -> Any:
    """The value with ``none`` taken for what it says, where the option may be without a value: TOML has no word for that."""
    if isinstance(value, list):
        return [_without_nones(one, kind) for one in value]
    models = [one for one in _kinds(kind) if issubclass(one, BaseModel)]
    if isinstance(value, dict) and models:
        fields = models[0].model_fields
        return {name: _without_nones(own, fields[name].annotation if name in fields else None) for name, own in value.items()}
    return None if value == "none" and type(None) in _kinds(kind) else value


def _fields_at(kind: type[BaseModel], path: list[str]) -> list[str]:
    for part in path:
        field = kind.model_fields.get(part)
        inner = [one for one in _kinds(field.annotation) if issubclass(one, BaseModel)] if field is not None else []
        kind = inner[0] if inner else kind  # a number is a place in a list, whose kind is known already
    return list(kind.model_fields)


def _kinds(annotation: Any) -> list[type]:
    """The classes in an annotation, those inside a list or a union too."""
    inside = [found for part in get_args(annotation) for found in _kinds(part)]
    return [annotation, *inside] if isinstance(annotation, type) and not get_args(annotation) else inside
