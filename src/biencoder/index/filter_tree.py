"""The tree of a filter on metadata, and what it means.

A comparison looks at the values of a field: at each element where the metadata holds a list, at none where the field is
missing or null; it matches where one of them does. ``!=`` and ``not in`` are the negations of ``=`` and ``in``, so that they
match where the field is missing. Truth values are no numbers, 2020 equals 2020.0, and text is compared as it is written.
``<``, ``<=``, ``>`` and ``>=`` order numbers, and text that reads as a date (ISO 8601; without an offset it is UTC). Dots lead
into nested objects, never into lists.

`Filter.matches` is the obvious, slow reading of these rules, and the oracle of the stores that filter.
"""

from __future__ import annotations

import math
import operator
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from biencoder.errors import ArgumentError

Scalar = bool | int | float | str
"""What a field is compared with."""

Operator = Literal["=", "<", "<=", ">", ">="]

_ORDER = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_FIELD = re.compile(r"[\w-]+(\.[\w-]+)*")
RESERVED = frozenset({"and", "or", "not", "in", "true", "false"})
"""Words of the language: no field is called so, in any case."""
_DATE = re.compile(
    r"(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"([T ](?P<minute>([01][0-9]|2[0-3]):[0-5][0-9])"
    r"(?P<second>:[0-5][0-9])?(?(second)(\.(?P<fraction>[0-9]{1,9}))?(?P<offset>[Zz]|[+-][0-9]{2}:[0-9]{2})?))?"
)


class Filter(ABC):
    """A condition on metadata. Two filters are equal where their trees are; ``str`` gives text that parses to the same tree."""

    @abstractmethod
    def matches(self, metadata: Mapping[str, Any]) -> bool:
        """Whether the condition holds.

        >>> other = Not(Comparison("lang", "=", "en"))
        >>> other.matches({"lang": ["en", "de"]}), other.matches({})
        (False, True)
        """

    @abstractmethod
    def comparisons(self) -> Iterator[Comparison | Among]:
        """The leaves of the tree, from left to right."""


@dataclass(frozen=True, slots=True)
class Comparison(Filter):
    r"""One field against one value.

    Raises:
        ArgumentError: for a field that cannot be written, a value that JSON cannot hold, or an order of what has none.

    >>> str(Comparison("author.name", "=", "O'Hara"))
    "author.name = 'O\\'Hara'"
    """

    field: str
    operator: Operator
    value: Scalar

    def __post_init__(self) -> None:
        check_field(self.field)
        _check_scalar(self.field, self.value)
        if self.operator not in get_args(Operator):
            raise ArgumentError(f"there is no operator {self.operator!r}; choose one of: {', '.join(get_args(Operator))}")
        if self.operator != "=" and not is_number(self.value) and as_instant(self.value) is None:
            raise ArgumentError(
                f"{self.field} {self.operator} {written(self.value)}: only numbers and dates (2024-05-01) have an order"
            )

    def matches(self, metadata: Mapping[str, Any]) -> bool:
        """Whether one of the field's values compares so."""
        return any(self._holds(found) for found in values_of(metadata, self.field))

    def comparisons(self) -> Iterator[Comparison | Among]:
        """Itself."""
        yield self

    def _holds(self, found: Any) -> bool:
        if self.operator == "=":
            return _same_sort(found, self.value) and found == self.value
        order = _ORDER[self.operator]
        if is_number(self.value):
            return is_number(found) and bool(order(found, self.value))
        instant, bound = as_instant(found), as_instant(self.value)
        return instant is not None and bound is not None and bool(order(instant, bound))

    def __str__(self) -> str:
        return f"{self.field} {self.operator} {written(self.value)}"


@dataclass(frozen=True, slots=True)
class Among(Filter):
    r"""One field against several values, of which one must be equal.

    Raises:
        ArgumentError: as a comparison does, and where there are no values.

    >>> Among("lang", ("en", "de")).matches({"lang": "de"})
    True
    """

    field: str
    values: tuple[Scalar, ...]

    def __post_init__(self) -> None:
        check_field(self.field)
        for value in self.values:
            _check_scalar(self.field, value)
        if not self.values:
            raise ArgumentError(f"{self.field} in (): at least one value is needed")

    def matches(self, metadata: Mapping[str, Any]) -> bool:
        """Whether one of the field's values is one of these."""
        return any(Comparison(self.field, "=", value).matches(metadata) for value in self.values)

    def comparisons(self) -> Iterator[Comparison | Among]:
        """Itself."""
        yield self

    def __str__(self) -> str:
        return f"{self.field} in ({', '.join(map(written, self.values))})"


@dataclass(frozen=True, slots=True)
class Not(Filter):
    """The opposite of a condition."""

    part: Filter

    def matches(self, metadata: Mapping[str, Any]) -> bool:
        """Whether the part does not match."""
        return not self.part.matches(metadata)

    def comparisons(self) -> Iterator[Comparison | Among]:
        """Those of the part."""
        return self.part.comparisons()

    def __str__(self) -> str:
        match self.part:
            case Comparison(field, "=", value):
                return f"{field} != {written(value)}"
            case Among(field):
                return f"{field} not in {str(self.part).partition(' in ')[2]}"
        return f"not {_grouped(self.part)}"


@dataclass(frozen=True, slots=True)
class _Joined(Filter):
    """Several conditions, at least two.

    Raises:
        ArgumentError: where there are fewer.
    """

    parts: tuple[Filter, ...]

    def __post_init__(self) -> None:
        if len(self.parts) < 2:
            raise ArgumentError(f"{type(self).__name__} joins at least two conditions; {len(self.parts)} given")

    def comparisons(self) -> Iterator[Comparison | Among]:
        """Those of all parts."""
        for part in self.parts:
            yield from part.comparisons()

    def __str__(self) -> str:
        return f" {type(self).__name__.lower()} ".join(map(_grouped, self.parts))


@dataclass(frozen=True, slots=True)
class And(_Joined):
    """All of several conditions.

    >>> str(And((Comparison("a", "=", 1), Or((Comparison("b", "<", 2.5), Not(Comparison("c", "=", True)))))))
    'a = 1 and (b < 2.5 or c != true)'
    """

    def matches(self, metadata: Mapping[str, Any]) -> bool:
        """Whether all parts match."""
        return all(part.matches(metadata) for part in self.parts)

    __str__ = _Joined.__str__


@dataclass(frozen=True, slots=True)
class Or(_Joined):
    """At least one of several conditions."""

    def matches(self, metadata: Mapping[str, Any]) -> bool:
        """Whether one part matches."""
        return any(part.matches(metadata) for part in self.parts)

    __str__ = _Joined.__str__


def values_of(metadata: Mapping[str, Any], field: str) -> Sequence[Any]:
    """What a field holds: the elements of a list, else the one value; nothing where it is missing.

    >>> values_of({"author": {"names": ["Ann", "Bo"]}}, "author.names"), values_of({}, "author")
    (['Ann', 'Bo'], [])
    """
    found: Any = metadata
    for name in field.split("."):
        if not isinstance(found, Mapping) or name not in found:
            return []
        found = found[name]
    return found if isinstance(found, list | tuple) else [found]


def is_number(value: object) -> bool:
    """Whether a value is a number, which a truth value is not.

    >>> is_number(1.5), is_number(True)
    (True, False)
    """
    return isinstance(value, int | float) and not isinstance(value, bool)


def as_instant(value: object) -> datetime | None:
    """The moment that a text names: ``YYYY-MM-DD``, then ``T`` or a space and ``hh:mm``, seconds, a fraction, an offset.

    An offset (``Z``, ``+02:00``) follows seconds only, and without one it is UTC; of a fraction, microseconds count.

    Returns:
        The moment in UTC; None where it is no such text.

    >>> as_instant("2024-05-01T02:00:00+02:00").isoformat(), as_instant("May 2024")
    ('2024-05-01T00:00:00+00:00', None)
    """
    found = _DATE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return None
    offset = (found["offset"] or "Z").upper().replace("Z", "+00:00")
    fraction = (found["fraction"] or "").ljust(6, "0")[:6]
    try:
        moment = f"{found['day']}T{found['minute'] or '00:00'}{found['second'] or ':00'}.{fraction}{offset}"
        return datetime.fromisoformat(moment).astimezone(UTC)
    except (ValueError, OverflowError):  # the 30th of February; the first day of year 1, east of Greenwich
        return None


def is_field(name: str) -> bool:
    """Whether a filter can name a field so.

    >>> is_field("author.first-name"), is_field("a b"), is_field("not")
    (True, False, False)
    """
    return _FIELD.fullmatch(name) is not None and name.lower() not in RESERVED


def check_field(name: str) -> None:
    """Make sure that a filter can name a field so.

    Raises:
        ArgumentError: where it cannot.
    """
    if not is_field(name):
        raise ArgumentError(
            f"{name!r} cannot be a field: names hold letters, digits, _ and -, dots between them, and are no word of "
            f"{', '.join(sorted(RESERVED))}"
        )


def written(value: Scalar) -> str:
    r"""A value as filters are written.

    >>> written(True), written(2.5), written("it's")
    ('true', '2.5', "'it\\'s'")
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return repr(value)


def _same_sort(one: object, other: object) -> bool:
    """Whether two values may be equal at all: numbers with numbers, text with text, truth values with truth values."""
    return (is_number(one) and is_number(other)) or (type(one) is type(other) and isinstance(one, bool | str))


def _check_scalar(field: str, value: Scalar) -> None:
    if isinstance(value, str):
        if not value.isascii() and value.encode(errors="replace").decode() != value:
            raise ArgumentError(f"{field}: the text {value!r} is not valid Unicode")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ArgumentError(f"{field}: {value} is not finite")
    elif not isinstance(value, int):
        raise ArgumentError(f"{field}: {value!r} is no number, text or truth value")
    elif not -(2**63) <= value < 2**63:
        raise ArgumentError(f"{field}: {value} does not fit into 64 bits")


def _grouped(part: Filter) -> str:
    return f"({part})" if isinstance(part, _Joined) else str(part)
