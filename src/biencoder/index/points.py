"""The contract of a live store: points that come and go while it is searched, with metadata that filters look at."""

from __future__ import annotations

import math
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from biencoder.errors import ArgumentError
from biencoder.index.base import Metric, Parameters
from biencoder.index.conditions import Json, as_conditions
from biencoder.index.fields import FieldKind, Fields, check_fields, check_values, infer_fields
from biencoder.index.filter_tree import Filter
from biencoder.scoring import FloatArray

__all__ = ["FieldKind", "Fields", "Point", "PointId", "Points", "Scored", "StoreOptions", "infer_fields"]

PointId = int | str
"""A whole number from 0 to 2**64 - 1, or a UUID as text."""

OVERSAMPLING = 2.0
"""Candidates that int8 codes give to be rescored, as a multiple of what is wanted."""

_BATCH = 512
"""Points sent at once: 3 MiB of JSON at 384 dimensions, well below the 32 MiB that a server takes."""

_QUERIES = 64
"""Queries sent at once, so that their answers do not fill the memory."""

_DEEPEST = 20
"""Levels of nested metadata."""


@dataclass(frozen=True, slots=True, eq=False)
class Point:
    """A vector with an id and metadata.

    Args:
        id: a whole number or a UUID.
        vector: shape (d,), finite.
        payload: metadata that JSON can hold.
    """

    id: PointId
    vector: NDArray[Any]
    payload: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Scored:
    """A point that was found; a higher score, the inner product, is better."""

    id: PointId
    score: float
    payload: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """How a store's graph is built.

    Args:
        links: of each point on the graph's ground level, and half of them above.
        ef_construction: candidates looked at for each point while the graph is built.
        codes: what the graph's walk compares, ``float32`` or ``int8``; scores are of the whole vectors with both.
        scan_rows: where a filter leaves no more points than this, they are compared one by one instead of walking the graph,
            whose links lead to filtered points rarely. 10,000 x 384 numbers take about a millisecond.

    Raises:
        ArgumentError: for a value that cannot be.
    """

    links: int = 16
    ef_construction: int = 128
    codes: Literal["float32", "int8"] = "float32"
    scan_rows: int = 10_000

    def __post_init__(self) -> None:
        for name, least in (("links", 2), ("ef_construction", 4), ("scan_rows", 1)):
            if getattr(self, name) < least:
                raise ArgumentError(f"{name} is {getattr(self, name)}; it must be at least {least}")
        if self.codes not in {"float32", "int8"}:
            raise ArgumentError(f"codes is {self.codes!r}; choose one of: float32, int8")

    def rebuilt(self, built: int) -> int:
        """Candidates to build a graph anew with, which Qdrant does for another setting only: one more than usual is another.

        Args:
            built: with how many it was built.

        >>> StoreOptions().rebuilt(128), StoreOptions().rebuilt(129)
        (129, 128)
        """
        return self.ef_construction + (built == self.ef_construction)

    def scan_kib(self, dimension: int) -> int:
        """The size of the vectors that are compared one by one, in KiB, which is how Qdrant is told; it takes no less than 10.

        >>> StoreOptions().scan_kib(384)
        15000
        """
        return max(10, math.ceil(self.scan_rows * dimension * 4 / 1024))


class Points(ABC):
    """A live store. What is upserted or deleted is seen by the next search, and is durable once `flush` has returned.

    Filters look at the fields that were declared, and at no others: an undeclared field is an error, since without its index a
    filtered search would be slow or wrong. A store is used as a context that closes it.
    """

    search_defaults: ClassVar[Mapping[str, int]] = {"ef_search": 128}

    def __init__(self, *, dimension: int, metric: Metric, fields: Fields, options: StoreOptions) -> None:
        self.dimension = dimension
        self.metric: Metric = metric
        self.fields: dict[str, FieldKind] = dict(fields)
        self.options = options

    def upsert(self, points: Iterable[Point]) -> int:
        """Add points, in place of those that have the same ids.

        Args:
            points: read in batches, so that they may be many; of two with one id the later counts.

        Returns:
            How many points were read.

        Raises:
            ArgumentError: for an id, vector or payload that cannot be stored; the batches before it are in the store.
            StorageError: where the store refuses.
        """
        read, rest = 0, iter(points)
        while batch := list(islice(rest, _BATCH)):
            checked = [self._checked(point) for point in batch]
            self._upsert(list({point.id: point for point in checked}.values()))
            read += len(batch)
        return read

    def delete(self, ids: Iterable[PointId]) -> None:
        """Take points out; ids that the store does not hold change nothing.

        Raises:
            ArgumentError: for what cannot be an id.
            StorageError: where the store refuses.
        """
        rest = iter(ids)
        while batch := [checked_id(one) for one in islice(rest, _BATCH)]:
            self._delete(batch)

    def delete_where(self, where: Filter) -> None:
        """Take out all points that match.

        Raises:
            ArgumentError: where the filter does not fit the fields.
            StorageError: where the store refuses.
        """
        self._delete_where(as_conditions(where, self.fields))

    def search(
        self, queries: NDArray[Any], *, k: int, where: Filter | None = None, parameters: Parameters | None = None
    ) -> list[list[Scored]]:
        """The best points of each query, best first; of equal scores the lower id first.

        Args:
            queries: shape (n, d), finite.
            k: how many; fewer are given where no more match.
            where: what they must match.
            parameters: ``ef_search``, how many candidates the walk through the graph keeps.

        Raises:
            ArgumentError: where k is below 1, the queries or the filter do not fit, or a parameter is unknown.
            StorageError: where the store refuses.
        """
        if k < 1:
            raise ArgumentError(f"k is {k}; it must be at least 1")
        vectors = self._checked_queries(queries)
        effort = max(k, self._effort(parameters))
        conditions = self._conditions(where)
        found: list[list[Scored]] = []
        for start in range(0, len(vectors), _QUERIES):
            found += self._search(vectors[start : start + _QUERIES], k=k, conditions=conditions, effort=effort)
        return [sorted(hits, key=lambda hit: (-hit.score, id_order(hit.id))) for hits in found]

    def get(self, ids: Sequence[PointId]) -> list[Point]:
        """The points with these ids, in this order; those that the store does not hold are left out.

        Raises:
            ArgumentError: for what cannot be an id.
            StorageError: where the store refuses.
        """
        wanted = [checked_id(one) for one in ids]
        found: dict[PointId, Point] = {}
        for start in range(0, len(wanted), _BATCH):
            found.update({point.id: point for point in self._get(wanted[start : start + _BATCH])})
        return [found[one] for one in wanted if one in found]

    def scroll(self, where: Filter | None = None) -> Iterator[Point]:
        """Walk over all points that match, numbers before UUIDs, each ascending; a page of them is in memory at a time.

        Raises:
            ArgumentError: where the filter does not fit the fields.
            StorageError: where the store refuses.
        """
        conditions = self._conditions(where)
        points, start = self._page(None, conditions, _BATCH)
        yield from points
        while start is not None:
            points, start = self._page(start, conditions, _BATCH)
            yield from points

    def count(self, where: Filter | None = None) -> int:
        """How many points match, exactly.

        Raises:
            ArgumentError: where the filter does not fit the fields.
            StorageError: where the store refuses.
        """
        return self._count(self._conditions(where))

    def add_fields(self, fields: Fields) -> None:
        """Declare more fields, and build the graph again: its links follow the fields that it knew when it was built.

        Raises:
            ArgumentError: for a name or kind that cannot be, or another kind than the field has.
            StorageError: where the store refuses.
        """
        new = check_fields(fields)
        for name, kind in new.items():
            if self.fields.get(name, kind) is not kind:
                raise ArgumentError(f"field {name!r} is {self.fields[name]} already; it cannot become {kind}")
        new = {name: kind for name, kind in new.items() if name not in self.fields}
        if new:
            self._add_fields(new)
            self.fields |= new

    @abstractmethod
    def flush(self) -> None:
        """Make all that was upserted and deleted before durable.

        Raises:
            StorageError: where the store refuses.
        """

    @abstractmethod
    def optimize(self) -> None:
        """Build the graph over all points now; returns when it is there.

        Raises:
            StorageError: where the store refuses.
        """

    @abstractmethod
    def close(self) -> None:
        """Flush, and give back what the store holds; a closed store can be closed again."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def _upsert(self, points: list[Point]) -> None:
        """A checked batch without equal ids; vectors are float32."""

    @abstractmethod
    def _delete(self, ids: list[PointId]) -> None:
        """A checked batch."""

    @abstractmethod
    def _delete_where(self, conditions: Json) -> None:
        """All that match Qdrant's conditions."""

    @abstractmethod
    def _search(self, queries: FloatArray, *, k: int, conditions: Json | None, effort: int) -> list[list[Scored]]:
        """A list of at most k for each query."""

    @abstractmethod
    def _get(self, ids: list[PointId]) -> list[Point]:
        """Those that are there, in any order."""

    @abstractmethod
    def _page(self, start: PointId | None, conditions: Json | None, size: int) -> tuple[list[Point], PointId | None]:
        """Points from an id on, and the id of the next page; None where there is none."""

    @abstractmethod
    def _count(self, conditions: Json | None) -> int:
        """Exactly."""

    @abstractmethod
    def _add_fields(self, fields: Fields) -> None:
        """New ones only; the graph is built again."""

    def _conditions(self, where: Filter | None) -> Json | None:
        return None if where is None else as_conditions(where, self.fields)

    def _effort(self, parameters: Parameters | None) -> int:
        for name, value in (parameters or {}).items():
            if name not in self.search_defaults:
                raise ArgumentError(f"a store has no parameter {name!r} here; it has: {', '.join(self.search_defaults)}")
            if isinstance(value, str | bool) or value < 1:
                raise ArgumentError(f"{name} is {value!r}; a whole number of at least 1 was expected")
        return int({**self.search_defaults, **(parameters or {})}["ef_search"])

    def _checked_queries(self, queries: NDArray[Any]) -> FloatArray:
        found = np.asarray(queries)
        if found.ndim != 2 or found.shape[1] != self.dimension:
            raise ArgumentError(f"queries have shape {found.shape}; (n, {self.dimension}) was expected")
        return _finite(found, "a query vector")

    def _checked(self, point: Point) -> Point:
        number, vector = checked_id(point.id), np.asarray(point.vector)
        if vector.shape != (self.dimension,):
            raise ArgumentError(f"point {number!r}: the vector has shape {vector.shape}; ({self.dimension},) was expected")
        payload = _plain(point.payload, f"point {number!r}")
        check_values(payload, self.fields, of=number)
        return Point(number, _finite(vector, f"point {number!r}: the vector"), payload)


def checked_id(given: object) -> PointId:
    """An id in the form in which stores give it back.

    Raises:
        ArgumentError: where it is neither a number nor a UUID.

    >>> checked_id(7), checked_id("C61C137BFC2746D7BB6F3E801261C190")
    (7, 'c61c137b-fc27-46d7-bb6f-3e801261c190')
    """
    if isinstance(given, int | np.integer) and not isinstance(given, bool) and 0 <= given < 2**64:
        return int(given)
    try:
        return str(uuid.UUID(given if isinstance(given, str) else ""))
    except ValueError:
        raise ArgumentError(
            f"{given!r} cannot be a point's id: neither a whole number from 0 to 2**64 - 1 nor a UUID"
        ) from None


def id_order(given: PointId) -> tuple[bool, PointId]:
    """A key to sort ids by: numbers, then UUIDs."""
    return isinstance(given, str), given


def _finite(vectors: NDArray[Any], what: str) -> FloatArray:
    if not np.issubdtype(vectors.dtype, np.floating):
        raise ArgumentError(f"{what} is {vectors.dtype}; floating-point numbers were expected")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinity, and is refused
        found = np.ascontiguousarray(vectors, dtype=np.float32)
    if not np.isfinite(found).all():
        raise ArgumentError(f"{what} is not finite: it holds NaN or infinity")
    return found


def _plain(value: Any, place: str, depth: int = 0) -> Any:
    """Metadata as plain JSON values: what a store would round, drop or choke on is refused."""
    if depth > _DEEPEST:
        raise ArgumentError(f"{place}: metadata is nested more than {_DEEPEST} levels deep")
    if isinstance(value, Mapping):
        return {_key(name, place): _plain(one, f"{place}, {name}", depth + 1) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one, place, depth + 1) for one in value]
    if isinstance(value, str):
        return _key(value, place)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and -(2**63) <= value < 2**64:
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    raise ArgumentError(f"{place}: {value!r} ({type(value).__name__}) cannot be metadata: JSON and 64 bits must hold it")


def _key(text: object, place: str) -> str:
    if not isinstance(text, str) or (not text.isascii() and text.encode(errors="replace").decode() != text):
        raise ArgumentError(f"{place}: {text!r} is not Unicode text")
    return str(text)
