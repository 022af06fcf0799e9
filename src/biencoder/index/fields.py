"""The fields of metadata that a store can filter on: their kinds, how they are found, and which filters fit them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Any

from biencoder.errors import ArgumentError
from biencoder.index.filter_tree import Among, Comparison, Filter, Scalar, as_instant, is_field, is_number, values_of, written

_LONGEST_KEYWORD = 256
"""Characters; longer text is prose, which nobody compares with ``=``, and an index of it would be as large as the text."""

_TRACKED = 1000
"""Fields that are counted while metadata streams by, so that hostile metadata does not fill the memory."""


class FieldKind(StrEnum):
    """What a field holds, and so which comparisons it takes: text and truth values ``=``, the others an order too."""

    KEYWORD = "keyword"
    INTEGER = "integer"
    FLOAT = "float"
    BOOL = "bool"
    DATETIME = "datetime"


Fields = Mapping[str, FieldKind]
"""Kinds by the field's dotted name."""

_HOLDS = {
    FieldKind.KEYWORD: "text",
    FieldKind.INTEGER: "whole numbers",
    FieldKind.FLOAT: "numbers",
    FieldKind.BOOL: "true or false",
    FieldKind.DATETIME: "dates such as '2024-05-01'",
}


def infer_fields(metadata: Iterable[Mapping[str, Any]], *, limit: int = 50) -> dict[str, FieldKind]:
    """Look at metadata and say what can be filtered on.

    A list counts by its elements and an object by its own fields, with a dot between the names. Whole and other numbers
    together are float; text that always reads as a date is datetime; text together with anything else is keyword. Left out are
    other mixtures, lists of objects, names that a filter cannot write, and fields with text of more than 256 characters.

    Args:
        metadata: one mapping a document; read once.
        limit: fields to keep at most; those that most documents have.

    Returns:
        Kinds by name, in the order in which the fields first came.

    Raises:
        ArgumentError: where the limit is below 1.

    >>> infer_fields([{"year": 2020, "tags": ["a", "b"]}, {"year": 2021.5, "by": {"born": "1950-07-01"}}])
    {'year': <FieldKind.FLOAT: 'float'>, 'tags': <FieldKind.KEYWORD: 'keyword'>, 'by.born': <FieldKind.DATETIME: 'datetime'>}
    """
    if limit < 1:
        raise ArgumentError(f"limit is {limit}; it must be at least 1")
    kinds: dict[str, set[FieldKind | None]] = {}
    counts: dict[str, int] = {}
    for one in metadata:
        for name, found in _flat(one):
            if name in kinds or len(kinds) < _TRACKED:
                kinds.setdefault(name, set()).update(found)
                counts[name] = counts.get(name, 0) + 1
    merged = {name: kind for name, found in kinds.items() if (kind := _merged(found)) is not None}
    kept = set(sorted(merged, key=lambda name: -counts[name])[:limit])
    return {name: kind for name, kind in merged.items() if name in kept}


def check_fields(fields: Fields) -> dict[str, FieldKind]:
    """The fields with names and kinds that can be.

    Raises:
        ArgumentError: where a name or kind cannot be.

    >>> check_fields({"year": "integer"})
    {'year': <FieldKind.INTEGER: 'integer'>}
    """
    checked: dict[str, FieldKind] = {}
    for name, kind in fields.items():
        if not is_field(name):
            raise ArgumentError(f"{name!r} cannot be a field: names hold letters, digits, _ and -, and dots between them")
        try:
            checked[name] = FieldKind(kind)
        except ValueError:
            raise ArgumentError(f"field {name!r} is {kind!r}; choose one of: {', '.join(FieldKind)}") from None
    return checked


def check_filter(where: Filter, fields: Fields) -> None:
    """Make sure that a store with these fields answers a filter rightly.

    Raises:
        ArgumentError: for a field that was not declared, or compared with what it does not hold.

    >>> check_filter(Comparison("year", "=", "2020"), {"year": FieldKind.INTEGER})
    Traceback (most recent call last):
    biencoder.errors.ArgumentError: year = '2020': the field holds whole numbers (integer), and '2020' is none; drop the quotes
    """
    for leaf in where.comparisons():
        if leaf.field not in fields:
            known = ", ".join(f"{name} ({kind})" for name, kind in sorted(fields.items())) or "none"
            raise ArgumentError(f"there is no filter on {leaf.field!r}; the fields that were declared are: {known}")
        _check_leaf(leaf, fields[leaf.field])


def check_values(payload: Mapping[str, Any], fields: Fields, *, of: object) -> None:
    """Make sure that metadata will be found by filters as `Filter.matches` finds it.

    Args:
        payload: the metadata.
        fields: those declared.
        of: the point's id, for the message.

    Raises:
        ArgumentError: for a fraction, or more than 64 bits, in an integer field, whose index would leave it out.
    """
    for name, kind in fields.items():
        if kind is FieldKind.INTEGER:
            for value in values_of(payload, name):
                if is_number(value) and (isinstance(value, float) or not -(2**63) <= value < 2**63):
                    raise ArgumentError(
                        f"point {of!r}: {name} is {value!r}, and the field was declared integer; declare it float"
                    )


def _flat(metadata: Mapping[str, Any], prefix: str = "", depth: int = 0) -> Iterator[tuple[str, set[FieldKind | None]]]:
    """Each field's dotted name and the kinds of its values."""
    for name, value in metadata.items():
        if not isinstance(name, str) or "." in name or not is_field(prefix + name):
            continue
        if isinstance(value, Mapping):
            if depth < 10:
                yield from _flat(value, f"{prefix}{name}.", depth + 1)
        elif kinds := {_kind(one) for one in (value if isinstance(value, list | tuple) else [value]) if one is not None}:
            yield prefix + name, kinds


def _kind(value: Any) -> FieldKind | None:
    """Of one value; None where it can have none."""
    if isinstance(value, bool):
        return FieldKind.BOOL
    if isinstance(value, int):
        return FieldKind.INTEGER if -(2**63) <= value < 2**63 else FieldKind.FLOAT
    if isinstance(value, float):
        return FieldKind.FLOAT
    if not isinstance(value, str) or len(value) > _LONGEST_KEYWORD:
        return None
    return FieldKind.KEYWORD if as_instant(value) is None else FieldKind.DATETIME


def _merged(kinds: set[FieldKind | None]) -> FieldKind | None:
    """What holds all of these kinds; None where nothing does."""
    if None in kinds:
        return None
    if len(kinds) == 1:
        return next(iter(kinds))
    if kinds == {FieldKind.INTEGER, FieldKind.FLOAT}:
        return FieldKind.FLOAT
    return FieldKind.KEYWORD if kinds & {FieldKind.KEYWORD, FieldKind.DATETIME} else None


def _check_leaf(leaf: Comparison | Among, kind: FieldKind) -> None:
    ordered = isinstance(leaf, Comparison) and leaf.operator != "="
    if ordered and kind in {FieldKind.KEYWORD, FieldKind.BOOL}:
        raise ArgumentError(f"{leaf}: the field holds {_HOLDS[kind]} ({kind}), which has no order")
    for value in leaf.values if isinstance(leaf, Among) else (leaf.value,):
        if not _fits(value, kind):
            hint = ""
            if kind is FieldKind.KEYWORD:
                hint = "; put it in quotes"
            elif isinstance(value, str) and kind is not FieldKind.DATETIME:
                hint = "; drop the quotes"
            raise ArgumentError(f"{leaf}: the field holds {_HOLDS[kind]} ({kind}), and {written(value)} is none{hint}")


def _fits(value: Scalar, kind: FieldKind) -> bool:
    if kind is FieldKind.KEYWORD:
        return isinstance(value, str)
    if kind is FieldKind.BOOL:
        return isinstance(value, bool)
    if kind is FieldKind.DATETIME:
        return as_instant(value) is not None
    return is_number(value)
