"""Approximate search through FAISS: HNSW, a navigable small-world graph (Malkov and Yashunin, 2016)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import faiss
import numpy as np

from biencoder.cores import available_cores
from biencoder.errors import CorruptError
from biencoder.index.base import Capabilities, Metric, RowProgress, VectorIndex
from biencoder.scoring import FloatArray, RowArray
from biencoder.storage.vectors import blocks

_FILE = "hnsw.faiss"

_BLOCK = 8192
"""Rows added at once: many enough to keep the cores busy, few enough for a lively progress bar."""


class HnswIndex(VectorIndex):
    """A graph over float32 vectors; ``ef_search`` trades time for recall, call by call.

    Two builds over the same vectors with several threads differ in a few links: judge a build by its recall.

    >>> index = HnswIndex.build(np.eye(4, dtype=np.float32), metric="cosine")
    >>> index.search(np.array([[0.0, 0.6, 0.8, 0.0]], dtype=np.float32), k=2, parameters={"ef_search": 64})[1].tolist()
    [[2, 1]]
    """

    engine: ClassVar[str] = "hnsw"
    capabilities: ClassVar[Capabilities] = Capabilities(exact=False)
    # On MedQuAD (15,809 documents, all-MiniLM-L6-v2) these lose 0.001 nDCG@10 against exact search; ef_search 128 loses 0.003,
    # 192 loses 0.002. More links (48) or a costlier build (400, twice the time) gain less than the search effort does.
    build_defaults: ClassVar[Mapping[str, int]] = {"links": 32, "ef_construction": 200}
    search_defaults: ClassVar[Mapping[str, int]] = {"ef_search": 256}

    def __init__(self, graph: Any, *, metric: Metric, parameters: Mapping[str, int]) -> None:
        super().__init__(metric=metric, dimension=int(graph.d), parameters=parameters)
        self._graph = graph

    def __len__(self) -> int:
        return int(self._graph.ntotal)

    def save(self, folder: Path) -> None:
        """Write ``hnsw.faiss``: the graph and the vectors."""
        # FAISS's own file writer says nothing when its last bytes do not fit on the disk; Python's does.
        with (folder / _FILE).open("wb") as file:
            faiss.write_index(self._graph, faiss.PyCallbackIOWriter(file.write))  # type: ignore[attr-defined] # missing in FAISS's stubs

    @classmethod
    def load(cls, folder: Path, *, metric: Metric, parameters: Mapping[str, int]) -> Self:
        """Map ``hnsw.faiss``: opening reads the graph once, to check its links, and leaves the vectors on the disk."""
        path = folder / _FILE
        try:
            graph = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError as error:
            reason = str(error).rpartition("failed: ")[2].strip() or "not a FAISS file"
            raise CorruptError(f"{path} is damaged: FAISS cannot read it ({reason}); build the index again") from None
        return cls(graph, metric=metric, parameters=parameters)

    @classmethod
    def _build(cls, vectors: FloatArray, *, metric: Metric, parameters: Mapping[str, int], progress: RowProgress) -> Self:
        graph = faiss.IndexHNSWFlat(vectors.shape[1], parameters["links"], faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction = parameters["ef_construction"]
        _reserve(graph, rows=len(vectors), links=parameters["links"])
        for rows in blocks(vectors, size=_BLOCK):
            _limit_threads()
            graph.add(np.ascontiguousarray(rows))
            progress(int(graph.ntotal), len(vectors))
        return cls(graph, metric=metric, parameters=parameters)

    def _search(self, queries: FloatArray, *, k: int, parameters: Mapping[str, int]) -> tuple[FloatArray, RowArray]:
        _limit_threads()
        effort = faiss.SearchParametersHNSW()  # type: ignore[attr-defined] # missing in FAISS's stubs
        effort.efSearch = max(parameters["ef_search"], k)
        # All candidates that the walk has met are taken, so that of equal scores at the cut the lower row is kept.
        scores, rows = self._graph.search(queries, min(effort.efSearch, len(self)), params=effort)
        order = np.lexsort((rows, -scores), axis=1)[:, :k]
        scores, rows = np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)
        # A graph over many equal vectors falls apart, and a walk through it can end with too few: then look at all of them.
        short = np.flatnonzero((rows < 0).any(axis=1))
        if len(short):
            scores[short], rows[short] = self._look_at_all(queries[short], k)
        return scores, rows

    def _look_at_all(self, queries: FloatArray, k: int) -> tuple[FloatArray, RowArray]:
        scores, rows = self._graph.storage.search(queries, k)
        order = np.lexsort((rows, -scores), axis=1)
        return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)


def _reserve(graph: Any, *, rows: int, links: int) -> None:
    """Make room for all rows at once: FAISS's vectors grow by doubling, and stand in memory twice while they do."""
    codes = faiss.downcast_index(graph.storage).codes  # type: ignore[attr-defined] # missing in FAISS's stubs
    neighbours = graph.hnsw.neighbors
    # A row has 2 * links neighbours on the ground level, and on average 1 / (links - 1) levels of links above.
    per_row = 2 * links + links / max(links - 1, 1)
    for array, size in ((codes, rows * graph.d * 4), (neighbours, int(rows * per_row * 1.01))):
        array.resize(size)
        array.resize(0)  # keeps the room


def _limit_threads() -> None:
    """Keep FAISS's OpenMP within this process's share of the machine; the setting belongs to the calling thread."""
    faiss.omp_set_num_threads(min(available_cores(), faiss.omp_get_max_threads()))
