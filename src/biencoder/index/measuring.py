"""What an index finds and how long it takes, against exact search of the whole vectors."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from biencoder.index.base import Parameters, Value, VectorIndex
from biencoder.index.exact import ExactIndex
from biencoder.scoring import FloatArray, RowArray

_EQUAL = 1e-6
"""Scores nearer than this are equal: another order of additions gives as much."""
_WARM = 20
"""Queries that warm caches before times count."""


@dataclass(frozen=True, slots=True)
class Truth:
    """Queries, and how high a row must score to be among the nearest of each.

    Attributes:
        vectors: that are searched, shape (n, d).
        queries: shape (m, d).
        k: how many count.
        least: score of the k-th nearest row of each query, shape (m,); rows with equal scores are as good.
    """

    vectors: FloatArray
    queries: FloatArray
    k: int
    least: FloatArray

    @classmethod
    def of(cls, vectors: FloatArray, queries: FloatArray, *, k: int) -> Truth:
        """By exact search.

        >>> Truth.of(np.eye(3, dtype=np.float32), np.array([[3, 2, 1]], dtype=np.float32), k=2).least.tolist()
        [2.0]
        """
        scores, _ = ExactIndex.build(vectors, metric="dot").search(queries, k=k)
        return cls(vectors, queries, min(k, len(vectors)), scores[:, -1])

    def recalls(self, index: VectorIndex, parameters: Parameters) -> FloatArray:
        """The share of each query's nearest rows that a search finds; ties count by score.

        >>> truth = Truth.of(np.eye(3, dtype=np.float32), np.array([[3, 2, 1]], dtype=np.float32), k=2)
        >>> truth.recalls(ExactIndex.build(truth.vectors, metric="dot"), {}).tolist()
        [1.0]
        """
        return self.shares(index.search(self.queries, k=self.k, parameters=parameters)[1])

    def shares(self, rows: RowArray) -> FloatArray:
        """The same of rows that were found, shape (m, k), -1 where there is none."""
        found = np.empty(len(rows), np.float32)
        for number, (own, query) in enumerate(zip(rows, self.queries, strict=True)):
            scores = self.vectors[np.sort(own[own >= 0])] @ query
            found[number] = np.count_nonzero(scores >= self.least[number] - _EQUAL) / self.k
        return found


@dataclass(frozen=True, slots=True)
class Point:
    """One setting of one index, measured.

    Attributes:
        engine: its name.
        parameters: of building and searching.
        rows: vectors in the index; fewer than all where a sample was indexed.
        recall: mean over the queries.
        recall_worst_decile: mean over the tenth of the queries that fared worst.
        p50_ms: median time of one query, one at a time on one thread, milliseconds.
        p99_ms: what 99 of 100 stay below.
        bytes_per_vector: all bytes of the engine's files, for each row.
        row_bytes: those of them that every row adds; the others are lists and tables.
        build_seconds: for these rows.
    """

    engine: str
    parameters: dict[str, Value]
    rows: int
    recall: float
    recall_worst_decile: float
    p50_ms: float
    p99_ms: float
    bytes_per_vector: float
    row_bytes: float
    build_seconds: float

    def bytes_at(self, rows: int) -> float:
        """All bytes of the same setting over so many rows: lists and tables grow by the square root, if at all."""
        return self.row_bytes * rows + (self.bytes_per_vector - self.row_bytes) * math.sqrt(self.rows * rows)

    def as_dict(self) -> dict[str, Any]:
        """A JSON object."""
        return {name: getattr(self, name) for name in self.__slots__}

    def __str__(self) -> str:
        told = ", ".join(f"{name} {value}" for name, value in self.parameters.items())
        return (
            f"{self.engine}{f' ({told})' if told else ''}: recall {self.recall:.4f}, p50 {self.p50_ms:.2f} ms, "
            f"{self.bytes_per_vector:,.0f} bytes a vector"
        )


@dataclass(slots=True)
class Trial:
    """An index that was built to be measured.

    Attributes:
        index: the index.
        truth: over the same rows.
        bytes_per_vector: of its files.
        build_seconds: how long it took.
    """

    index: VectorIndex
    truth: Truth
    bytes_per_vector: float
    build_seconds: float
    _recalls: dict[tuple[tuple[str, Value], ...], FloatArray] = field(default_factory=dict)

    def recalls(self, parameters: Parameters) -> FloatArray:
        """Of each query; searched once for each setting."""
        key = tuple(sorted(parameters.items()))
        if key not in self._recalls:
            self._recalls[key] = self.truth.recalls(self.index, parameters)
        return self._recalls[key]

    def recall(self, parameters: Parameters) -> float:
        """The mean."""
        return float(self.recalls(parameters).mean())

    def point(self, parameters: Parameters, *, timed: int) -> Point:
        """A setting with its times over so many of the queries."""
        recalls = np.sort(self.recalls(parameters))
        times = latencies(self.index, self.truth.queries[:timed], k=self.truth.k, parameters=parameters)
        return Point(
            engine=self.index.engine,
            parameters={**self.index.parameters, **parameters},
            rows=len(self.index),
            recall=round(float(recalls.mean()), 5),
            recall_worst_decile=round(float(recalls[: max(1, len(recalls) // 10)].mean()), 5),
            p50_ms=round(float(np.median(times)) * 1000, 4),
            p99_ms=round(float(np.percentile(times, 99)) * 1000, 4),
            bytes_per_vector=self.bytes_per_vector,
            row_bytes=round(self.index.row_bytes() or self.bytes_per_vector, 1),
            build_seconds=round(self.build_seconds, 2),
        )


def latencies(index: VectorIndex, queries: FloatArray, *, k: int, parameters: Parameters) -> FloatArray:
    """Seconds of each query, one at a time, after a few that do not count."""
    for query in queries[:_WARM]:
        index.search(query[None], k=k, parameters=parameters)
    found = np.empty(len(queries), np.float64)
    for number, query in enumerate(queries):
        began = time.perf_counter()
        index.search(query[None], k=k, parameters=parameters)
        found[number] = time.perf_counter() - began
    return found.astype(np.float32)
