"""Filters in Qdrant's own form: the JSON of its REST interface, which the embedded engine's classes mirror."""

from __future__ import annotations

from datetime import datetime
from typing import Any, cast

from biencoder.index.fields import FieldKind, Fields, check_filter
from biencoder.index.filter_tree import Among, And, Comparison, Filter, Not, Or, as_instant, is_number

Json = dict[str, Any]

_RANGE = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}


def as_conditions(where: Filter, fields: Fields) -> Json:
    """A filter as Qdrant writes it.

    Args:
        where: the filter.
        fields: the declared ones; their kinds say which of Qdrant's conditions an index serves.

    Returns:
        An object with ``must``, ``should`` or ``must_not``, nested as the filter is.

    Raises:
        ArgumentError: where the filter does not fit the fields.

    >>> as_conditions(Not(Comparison("lang", "=", "en")), {"lang": FieldKind.KEYWORD})
    {'must_not': [{'key': 'lang', 'match': {'value': 'en'}}]}
    >>> as_conditions(Comparison("year", ">=", 2020), {"year": FieldKind.INTEGER})
    {'must': [{'key': 'year', 'range': {'gte': 2020}}]}
    """
    check_filter(where, fields)
    found = _condition(where, fields)
    return {"must": [found]} if "key" in found else found


def _condition(where: Filter, fields: Fields) -> Json:
    match where:
        case And(parts):
            return {"must": [_condition(part, fields) for part in parts]}
        case Or(parts):
            return {"should": [_condition(part, fields) for part in parts]}
        case Not(part):
            return {"must_not": [_condition(part, fields)]}
        case Among(field, values):
            kind = fields[field]
            if kind is FieldKind.KEYWORD or (kind is FieldKind.INTEGER and all(isinstance(one, int) for one in values)):
                return {"key": field, "match": {"any": list(values)}}
            return {"should": [_comparison(Comparison(field, "=", one), kind) for one in values]}
        case _:
            leaf = cast(Comparison, where)
            return _comparison(leaf, fields[leaf.field])


def _comparison(leaf: Comparison, kind: FieldKind) -> Json:
    key, value = leaf.field, leaf.value
    if leaf.operator != "=":
        return {"key": key, "range": {_RANGE[leaf.operator]: value if is_number(value) else _moment(value)}}
    match = {"key": key, "match": {"value": value}}
    if kind is FieldKind.DATETIME:
        # Text is equal as it is written, which no index of moments knows: the index finds the moment, the match the writing.
        moment = _moment(value)
        return {"must": [{"key": key, "range": {"gte": moment, "lte": moment}}, match]}
    if kind is FieldKind.FLOAT or isinstance(value, float):
        return {"key": key, "range": {"gte": value, "lte": value}}  # match takes no fractions
    return match


def _moment(value: object) -> str:
    return cast(datetime, as_instant(value)).isoformat()
