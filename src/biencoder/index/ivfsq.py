"""Inverted lists with codes of bytes and half bytes: the least memory at which little is lost, scanned at memory's speed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from biencoder.errors import CorruptError
from biencoder.index.base import Capabilities, Metric, Parameters, RowProgress, VectorIndex
from biencoder.index.faiss_index import SAMPLE, asked_dimension, limit_threads, number
from biencoder.index.faiss_library import faiss
from biencoder.index.ivf import CLUSTERED_BY_GRAPH_FROM, GREATEST, ROWS_PER_LIST, default_lists
from biencoder.index.reduction import spread_sample
from biencoder.scoring import FloatArray, RowArray
from biencoder.storage.vectors import blocks

if TYPE_CHECKING:
    from biencoder.index.scan import Lists, Scan

_BLOCK = 8192
"""Rows coded at once."""
_ROUNDS = 10
"""Of k-means."""
_ROW_BYTES = 8
"""A code's factor, and the number of its row."""
_LINKS, _EFFORT = 32, 16
"""Of a graph of centres, where rows are assigned by one: among 16,384 it finds the nearest for 96 of 100 rows, in half the time
of comparing all; 64 would find it for 99, in nearly twice that time."""


class IvfSqIndex(VectorIndex):
    """Lists of codes, of a byte for the dimensions that differ most and of half a byte for the others.

    ``lists`` 0 takes a power of two near four times the root of the rows, ``dimension`` 0 all dimensions; ``nprobe`` trades
    time for recall, call by call. How codes are made is told in `biencoder.index.scalar_codes`.

    >>> import numpy as np
    >>> index = IvfSqIndex.build(np.eye(4, dtype=np.float32), metric="cosine")
    >>> index.search(np.array([[0.0, 0.6, 0.8, 0.0]], dtype=np.float32), k=2)[1].tolist()
    [[2, 1]]
    """

    engine: ClassVar[str] = "ivfsq"
    capabilities: ClassVar[Capabilities] = Capabilities(exact=False)
    build_defaults: ClassVar[Parameters] = {"lists": 0, "dimension": 0}
    search_defaults: ClassVar[Parameters] = {"nprobe": 64}
    may_be_zero = frozenset({"lists", "dimension"})
    greatest = GREATEST

    def __init__(self, lists: Lists, *, metric: Metric, parameters: Parameters) -> None:
        from biencoder.index.scalar_codes import shape_of
        from biencoder.index.scan import Scan

        super().__init__(metric=metric, dimension=lists.basis.shape[1], parameters=parameters)
        for name in lists._fields:  # as of mapped ones: kernels are compiled for one kind of array or the other
            getattr(lists, name).flags.writeable = False
        self._lists = lists
        self._scan: Scan = Scan(lists, shape_of(lists.basis.shape[0]))

    def __len__(self) -> int:
        return len(self._lists.rows)

    def prepare(self) -> None:
        """Load the scan, by a search."""
        self.search(np.zeros((1, self.dimension), np.float32), k=1)

    def row_bytes(self) -> float:
        """A code with its factor, and the number of its row."""
        return float(self._lists.codes.shape[1] + _ROW_BYTES)

    def save(self, folder: Path) -> None:
        """Write an ``.npy`` file for each array."""
        for name in self._lists._fields:
            np.save(folder / f"{name}.npy", getattr(self._lists, name), allow_pickle=False)

    @classmethod
    def load(cls, folder: Path, *, metric: Metric, parameters: Parameters) -> Self:
        """Map the files."""
        from biencoder.index.scan import Lists

        lists = Lists(*(_mapped(folder / f"{name}.npy") for name in Lists._fields))
        if not _belong_together(lists):
            raise CorruptError(f"{folder} is damaged: its files do not belong together; build the index again")
        return cls(lists, metric=metric, parameters=parameters)

    @classmethod
    def _build(cls, vectors: FloatArray, *, metric: Metric, parameters: Parameters, progress: RowProgress) -> Self:
        from biencoder.index.scalar_codes import basis, steps
        from biencoder.index.scan import Lists

        limit_threads()
        dimension = asked_dimension(parameters, vectors.shape[1])
        count = min(number(parameters, "lists") or default_lists(len(vectors)), len(vectors))
        sample = spread_sample(vectors, max(SAMPLE, ROWS_PER_LIST * count))
        some = spread_sample(sample, SAMPLE)
        turn = basis(some, dimension)
        centres, index = _clustered(sample @ turn.T, count)
        some = some @ turn.T
        widths = steps(some - centres[_nearest(index, some)])
        del sample, some  # of millions of rows they are gigabytes
        assigned = np.concatenate([_nearest(index, rows @ turn.T) for rows in _told(vectors, progress, 0)])
        order = np.argsort(assigned, kind="stable")
        starts = np.searchsorted(assigned[order], np.arange(count + 1)).astype(np.int64)
        codes, factors = _coded(_told(vectors, progress, 1), turn, centres, assigned, order, widths)
        lists = Lists(turn, centres, starts, codes, factors, order.astype(np.int32), widths)
        return cls(lists, metric=metric, parameters=parameters)

    def _search(self, queries: FloatArray, *, k: int, parameters: Parameters) -> tuple[FloatArray, RowArray]:
        scores, rows = self._scan.search(queries, probes=number(parameters, "nprobe"), k=k)
        if rows[:, -1].min() < 0:  # the lists that were probed held too few
            short = np.flatnonzero(rows[:, -1] < 0)
            scores[short], rows[short] = self._scan.search(queries[short], probes=len(self._lists.centres), k=k)
        return scores, rows


def _clustered(sample: FloatArray, count: int) -> tuple[FloatArray, Any]:
    """Centres by k-means, and FAISS's index of them, where rows find theirs: one by one, or by a graph where there are many."""
    dimension = sample.shape[1]
    clustering = faiss.Clustering(dimension, count)
    clustering.niter = _ROUNDS
    clustering.min_points_per_centroid = 1
    by_graph = count >= CLUSTERED_BY_GRAPH_FROM
    index = faiss.IndexHNSWFlat(dimension, _LINKS) if by_graph else faiss.IndexFlatL2(dimension)
    clustering.train(np.ascontiguousarray(sample), index)  # leaves the last centres in the index
    if by_graph:
        index.hnsw.efSearch = _EFFORT
    centres = np.asarray(faiss.vector_to_array(clustering.centroids), np.float32).reshape(count, dimension)
    return centres, index


def _nearest(index: Any, rows: FloatArray) -> NDArray[np.int32]:
    """The nearest centre of each row."""
    limit_threads()
    found: NDArray[np.int32] = index.search(np.ascontiguousarray(rows), 1)[1][:, 0].astype(np.int32)
    return found


def _coded(
    parts: Iterator[FloatArray],
    turn: FloatArray,
    centres: FloatArray,
    assigned: NDArray[np.int32],
    order: RowArray,
    widths: FloatArray,
) -> tuple[NDArray[np.uint8], FloatArray]:
    """Codes and factors of all rows, list by list."""
    from biencoder.index.scalar_codes import encode, shape_numbers, shape_of

    shape = shape_of(len(turn))
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    codes = np.zeros((len(order), shape.size), np.uint8)
    factors = np.empty(len(order), np.float32)
    at = 0
    for rows in parts:
        here = slice(at, at + len(rows))
        encode(rows @ turn.T, centres, assigned[here], places[here], shape_numbers(shape), widths, codes, factors)
        at += len(rows)
    return codes, factors


def _told(vectors: FloatArray, progress: RowProgress, passed: int) -> Iterator[FloatArray]:
    """Rows block by block, of the first or the second of two passes."""
    done = 0
    for rows in blocks(vectors, size=_BLOCK):
        yield rows
        done += len(rows)
        progress((passed * len(vectors) + done) // 2, len(vectors))


def _belong_together(lists: Lists) -> bool:
    """Whether arrays have the types, shapes and numbers that the compiled scan takes for granted."""
    from biencoder.index.scalar_codes import shape_of

    kinds = ("f4", "f4", "i8", "u1", "f4", "i4", "f4")
    dimensions = (2, 2, 1, 2, 1, 1, 1)
    arrays: tuple[NDArray[Any], ...] = tuple(getattr(lists, name) for name in lists._fields)
    for array, kind, count in zip(arrays, kinds, dimensions, strict=True):
        if not (array.dtype == kind and array.ndim == count and array.flags.c_contiguous):
            return False
    rows, (dimension, width) = len(lists.rows), lists.basis.shape
    if not 0 < dimension <= width or not rows or lists.starts.size < 2:
        return False
    shapes = (
        lists.centres.shape == (len(lists.starts) - 1, dimension)
        and lists.codes.shape == (rows, shape_of(dimension).size)
        and lists.factors.shape == (rows,)
        and lists.steps.shape == (2,)
    )
    in_order = lists.starts[0] == 0 and lists.starts[-1] == rows and bool((np.diff(lists.starts) >= 0).all())
    return shapes and in_order and int(lists.rows.min()) >= 0 and int(lists.rows.max()) < rows


def _mapped(path: Path) -> NDArray[Any]:
    try:
        return np.asarray(np.lib.format.open_memmap(path, mode="r"))
    except (OSError, ValueError, EOFError) as error:
        raise CorruptError(f"{path} is damaged: it cannot be read ({error}); build the index again") from None
