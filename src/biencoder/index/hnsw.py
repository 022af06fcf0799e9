"""HNSW: a navigable small-world graph (Malkov and Yashunin, 2016), over whole vectors or over short codes of them."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from biencoder.index.base import Metric, Parameters
from biencoder.index.faiss_index import SCALARS, FaissIndex, Layers, make_room, number
from biencoder.index.faiss_library import faiss
from biencoder.index.pages import free_memory
from biencoder.scoring import FloatArray, RowArray

if TYPE_CHECKING:
    from biencoder.index.walk import Walk

_MOST_KEPT = 8192
"""Effort up to which the walk keeps its best in a sorted list; beyond, FAISS's heap is faster."""
_ROW_BYTES = 12
"""Where a row's neighbours begin, and its level."""


class HnswIndex(FaissIndex):
    """A graph; ``ef_search`` trades time for recall, call by call.

    FAISS builds and stores it; the walk through it is compiled here, and copies codes and links into memory at the first
    search. Where more than half of the free memory would go there, FAISS walks through the file as it
    lies on the disk, at about a third of the speed.

    ``codes`` says in which format the graph holds its vectors. Two builds over the same vectors with several threads differ in
    a few links: judge a build by its recall.

    >>> import numpy as np
    >>> index = HnswIndex.build(np.eye(4, dtype=np.float32), metric="cosine")
    >>> index.search(np.array([[0.0, 0.6, 0.8, 0.0]], dtype=np.float32), k=2, parameters={"ef_search": 64})[1].tolist()
    [[2, 1]]
    """

    engine: ClassVar[str] = "hnsw"
    # On MedQuAD (15,809 documents, all-MiniLM-L6-v2) these lose 0.001 nDCG@10 against exact search; ef_search 128 loses 0.003,
    # 192 loses 0.002. More links (48) or a costlier build (400, twice the time) gain less than the search effort does.
    build_defaults: ClassVar[Parameters] = {
        "links": 32,
        "ef_construction": 200,
        "codes": "float32",
        **FaissIndex.shared_build_defaults,
    }
    search_defaults: ClassVar[Parameters] = {"ef_search": 256, **FaissIndex.shared_search_defaults}
    choices: ClassVar[Mapping[str, Any]] = {"codes": ("float32", "float16", "int8"), **FaissIndex.shared_choices}

    def __init__(self, layers: Layers, *, metric: Metric, parameters: Parameters) -> None:
        super().__init__(layers, metric=metric, parameters=parameters)
        self._opening = threading.Lock()
        self._opened: tuple[Walk | None] | None = None

    def prepare(self) -> None:
        """Load the walk, and copy graph and codes, by a search."""
        self.search(np.zeros((1, self.dimension), np.float32), k=1)

    def _walk(self) -> Walk | None:
        """What walks; None where FAISS has to."""
        if self._opened is None:
            with self._opening:
                if self._opened is None:
                    self._opened = (self._new_walk(),)
        return self._opened[0]

    def _new_walk(self) -> Walk | None:
        if len(self) * self._core_row_bytes() > free_memory() / 2:
            return None
        from biencoder.index.faiss_graph import walk_of  # its compiler is imported only now

        try:
            return walk_of(self._layers)
        except (OSError, MemoryError):  # a limit of this process's own
            return None

    def _found(self, queries: FloatArray, fetch: int, k: int, parameters: Parameters) -> tuple[FloatArray, RowArray]:
        effort = min(max(number(parameters, "ef_search"), fetch), len(self))
        walk = self._walk() if effort <= _MOST_KEPT else None
        if walk is None:
            return super()._found(queries, fetch, k, parameters)
        return walk.search(queries, effort=effort, fetch=fetch, k=k)

    @classmethod
    def _core(cls, rows: int, dimension: int, parameters: Parameters) -> Any:  # noqa: ARG003 - a graph grows as it must
        links, codes = number(parameters, "links"), str(parameters["codes"])
        if codes == "float32":
            core = faiss.IndexHNSWFlat(dimension, links, faiss.METRIC_INNER_PRODUCT)
        else:
            kind = getattr(faiss.ScalarQuantizer, SCALARS[codes])
            core = faiss.IndexHNSWSQ(dimension, kind, links, faiss.METRIC_INNER_PRODUCT)
        core.hnsw.efConstruction = number(parameters, "ef_construction")
        return core

    @classmethod
    def _reserve(cls, layers: Layers, rows: int, parameters: Parameters) -> None:
        super()._reserve(layers, rows, parameters)
        storage = faiss.downcast_index(layers.core.storage)
        make_room(storage.codes, rows * storage.code_size)
        make_room(layers.core.hnsw.neighbors, int(rows * _neighbours(number(parameters, "links")) * 1.01))

    def _core_row_bytes(self) -> float:
        storage = faiss.downcast_index(self._layers.core.storage)
        return int(storage.code_size) + 4 * _neighbours(int(self._layers.core.hnsw.nb_neighbors(1))) + _ROW_BYTES

    def _fetched(self, parameters: Parameters) -> int:
        effort = number(parameters, "ef_search")
        # Without rescoring, all that the walk has met are taken, so that of equal scores at the cut the lower row is kept.
        return min(effort, super()._fetched(parameters)) if self._layers.rescorer is not None else effort

    def _core_effort(self, fetch: int, parameters: Parameters) -> Any:
        return faiss.SearchParametersHNSW(efSearch=max(number(parameters, "ef_search"), fetch))

    def _whole_core(self, queries: FloatArray, k: int) -> tuple[FloatArray, RowArray]:
        """A graph over many equal vectors falls apart, and a walk through it can end with too few."""
        scores, rows = self._layers.core.storage.search(queries, k)
        return scores, rows


def _neighbours(links: int) -> float:
    """Of a row: twice the links on the ground level, and on average 1 / (links - 1) levels of links above."""
    return 2 * links + links / max(links - 1, 1)
