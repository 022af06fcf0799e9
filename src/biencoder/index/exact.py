"""Exact search: every inner product, in blocks. Always there, and the oracle of every other engine."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from biencoder.index.base import Capabilities, Metric, Parameters, RowProgress, VectorIndex
from biencoder.scoring import FloatArray, RowArray
from biencoder.storage.vectors import open_vectors, write_vectors

_SCORES = 2**22
"""Scores held at once (16 MiB of float32), whatever the number of queries and rows."""

_QUERIES = 256
"""Queries that share one pass over the matrix: enough for BLAS to be busy."""


class ExactIndex(VectorIndex):
    """The matrix itself, mapped from its file and multiplied block by block.

    >>> index = ExactIndex.build(np.eye(3, dtype=np.float32), metric="cosine")
    >>> scores, rows = index.search(np.array([[0.6, 0.8, 0.0]], dtype=np.float32), k=2)
    >>> rows.tolist()
    [[1, 0]]
    """

    engine: ClassVar[str] = "exact"
    capabilities: ClassVar[Capabilities] = Capabilities(exact=True)

    def __init__(self, vectors: FloatArray, *, metric: Metric) -> None:
        super().__init__(metric=metric, dimension=vectors.shape[1], parameters={})
        self._vectors = np.asarray(vectors)  # a plain view: NumPy's memmap class is slow to slice

    def __len__(self) -> int:
        return len(self._vectors)

    def stored_vectors(self) -> FloatArray:
        """The matrix itself."""
        return self._vectors

    def row_bytes(self) -> float:
        """Of a float32 vector."""
        return 4.0 * self.dimension

    def save(self, folder: Path) -> None:
        """Write ``vectors.npy``."""
        write_vectors(folder, self._vectors)

    @classmethod
    def load(cls, folder: Path, *, metric: Metric, parameters: Parameters) -> Self:  # noqa: ARG003 - it has none
        """Map ``vectors.npy``."""
        return cls(open_vectors(folder), metric=metric)

    @classmethod
    def _build(
        cls,
        vectors: FloatArray,
        *,
        metric: Metric,
        parameters: Parameters,  # noqa: ARG003 - it has none
        progress: RowProgress,
    ) -> Self:
        progress(len(vectors), len(vectors))
        return cls(vectors, metric=metric)

    def _search(
        self,
        queries: FloatArray,
        *,
        k: int,
        parameters: Parameters,  # noqa: ARG002 - it has none
    ) -> tuple[FloatArray, RowArray]:
        parts = [self._search_some(queries[at : at + _QUERIES], k) for at in range(0, len(queries), _QUERIES)]
        return np.concatenate([scores for scores, _ in parts]), np.concatenate([rows for _, rows in parts])

    def _search_some(self, queries: FloatArray, k: int) -> tuple[FloatArray, RowArray]:
        block = max(1, _SCORES // len(queries))
        scores = np.empty((len(queries), 0), np.float32)
        rows = np.empty((len(queries), 0), np.int64)
        for start in range(0, len(self), block):
            new_scores, new_rows = best_columns(_products(queries, self._vectors[start : start + block]), k=k)
            scores = np.concatenate([scores, new_scores], axis=1)
            rows = np.concatenate([rows, new_rows + start], axis=1)
            # Earlier rows stand first, so that a stable sort leaves the lower of two equal ones in front.
            order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
            scores, rows = np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)
        return scores, rows


def _products(queries: FloatArray, rows: FloatArray) -> FloatArray:
    """Inner products, shape (n, m).

    Of one query they are taken row by row: as fast as a matrix product, which waits for memory as they do, but without threads
    of its own, of which each of several searches at once would bring as many as there are cores.
    """
    return np.vecdot(rows, queries[0])[None] if len(queries) == 1 else queries @ rows.T


def best_columns(scores: FloatArray, *, k: int) -> tuple[FloatArray, RowArray]:
    """What `biencoder.scoring.top_k` gives, ties included, without sorting whole rows.

    Args:
        scores: shape (n, m), without NaN.
        k: how many; more than m gives m.

    Returns:
        Scores and columns, each of shape (n, min(k, m)).

    >>> best_columns(np.array([[1, 3, 2, 3, 3]], dtype=np.float32), k=2)[1].tolist()
    [[1, 3]]
    """
    width = scores.shape[1]
    if k < width:
        threshold = np.partition(scores, width - k, axis=1)[:, width - k]
        columns = np.stack([_above(row, value, k) for row, value in zip(scores, threshold, strict=True)])
    else:
        columns = np.broadcast_to(np.arange(width), scores.shape)
    found = np.take_along_axis(scores, columns, axis=1)
    order = np.argsort(-found, axis=1, kind="stable")
    return np.take_along_axis(found, order, axis=1), np.take_along_axis(columns, order, axis=1).astype(np.int64)


def _above(row: FloatArray, threshold: np.float32, k: int) -> RowArray:
    """The k lowest columns among those that reach the threshold, those above it first in line; ascending."""
    reaching = np.flatnonzero(row >= threshold)
    if len(reaching) == k:
        return reaching
    above = row[reaching] > threshold
    level = reaching[~above][: k - int(above.sum())]
    return np.sort(np.concatenate([reaching[above], level]))
