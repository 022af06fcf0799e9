"""Inverted lists: vectors in clusters, of which a search probes the nearest, with codes that are quick to compare."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from biencoder.errors import ArgumentError
from biencoder.index.base import Parameters
from biencoder.index.faiss_index import SAMPLE, FaissIndex, number
from biencoder.index.faiss_library import faiss
from biencoder.scoring import FloatArray, RowArray

ROWS_PER_LIST = 64
"""Training rows for each list; FAISS asks for 39 at least and takes 256 at most."""
_GRAPH_FROM = 2048
"""Lists from which their centres are searched by a graph instead of one by one."""
CLUSTERED_BY_GRAPH_FROM = 8192
"""Lists from which training, too, finds the nearest centre by a graph: exact search for it costs lists times rows, three times
as much at 16,384 lists. Over 4,096 lists it would save a quarter of the time, and the lists would be a little worse: to find
95 of 100 neighbours, 79 lists with 20,500 rows instead of 75 with 19,800."""
_ID_BYTES = 8
"""A list keeps the number of each of its rows."""
GREATEST = 1e15
"""Squared distances of greater numbers overflow: k-means then ends the process or never ends."""
_CENTRE_LINKS = 32
_CENTRE_EFFORT = 2
"""efSearch among the centres, as a multiple of nprobe."""


class _IvfIndex(FaissIndex):
    """Lists, whatever their codes; ``lists`` 0 takes a power of two near four times the root of the rows."""

    may_be_zero = frozenset({"dimension", "lists"})
    greatest = GREATEST
    search_defaults: ClassVar[Parameters] = {"nprobe": 32, **FaissIndex.shared_search_defaults}

    @classmethod
    def _core(cls, rows: int, dimension: int, parameters: Parameters) -> Any:
        lists = min(number(parameters, "lists") or default_lists(rows), rows)
        by_graph = lists >= _GRAPH_FROM
        if by_graph:
            centres = faiss.IndexHNSWFlat(dimension, _CENTRE_LINKS, faiss.METRIC_INNER_PRODUCT)
        else:
            centres = faiss.IndexFlatIP(dimension)
        core = cls._lists(centres, dimension, lists, parameters)
        core.own_fields = True
        centres.this.disown()
        if by_graph:
            core.quantizer_trains_alone = 2  # clusters with exact search, and then puts the centres into the graph
        return core

    @classmethod
    @abstractmethod
    def _lists(cls, centres: Any, dimension: int, lists: int, parameters: Parameters) -> Any:
        """Untrained lists around centres."""

    @classmethod
    def _training_rows(cls, core: Any) -> int:
        return max(SAMPLE, ROWS_PER_LIST * int(core.nlist))

    @classmethod
    def _train(cls, core: Any, sample: FloatArray) -> None:
        least = cls._least(core)
        if len(sample) < least:  # few rows, each of which then has a code of its own
            sample = np.tile(sample, (-(-least // len(sample)), 1))
        core.cp.min_points_per_centroid = 1
        if core.nlist >= CLUSTERED_BY_GRAPH_FROM:
            graph = faiss.IndexHNSWFlat(core.d, _CENTRE_LINKS, faiss.METRIC_INNER_PRODUCT)
            core.clustering_index = graph
        core.train(sample)
        core.clustering_index = None  # it goes with this call

    @classmethod
    def _least(cls, core: Any) -> int:
        """Rows without which FAISS trains no lists or codes."""
        return int(core.nlist)

    def _core_row_bytes(self) -> float:
        return int(self._layers.core.code_size) + _ID_BYTES

    def _core_effort(self, fetch: int, parameters: Parameters) -> Any:  # noqa: ARG002 - lists are probed whole
        probes = min(number(parameters, "nprobe"), int(self._layers.core.nlist))
        return self._probing(probes)

    def _probing(self, probes: int) -> Any:
        """FAISS's parameters for so many lists."""
        return faiss.IVFPQSearchParameters(nprobe=probes, **self._among_centres(probes))

    def _among_centres(self, probes: int) -> dict[str, Any]:
        if not isinstance(faiss.downcast_index(self._layers.core.quantizer), faiss.IndexHNSW):
            return {}
        return {"quantizer_params": faiss.SearchParametersHNSW(efSearch=max(_CENTRE_EFFORT * probes, 32))}

    def _whole_core(self, queries: FloatArray, k: int) -> tuple[FloatArray, RowArray]:
        """The lists that were probed can hold too few."""
        core = self._layers.core
        scores, rows = core.search(queries, k, params=self._probing(int(core.nlist)))
        return scores, rows


class IvfPqIndex(_IvfIndex):
    """Product quantisation (Jégou et al., 2011): a code for each group of dimensions.

    With ``bits`` 4, codes are compared in the processor's registers (André et al., Quicker ADC, 2019); with 8, by tables, which
    is slower and more exact. ``groups`` 0 takes two dimensions a group. Codes lose a little: ``rescore`` keeps vectors that
    set it right.

    >>> import numpy as np
    >>> index = IvfPqIndex.build(np.eye(4, dtype=np.float32), metric="cosine")
    >>> index.search(np.array([[0.0, 0.6, 0.8, 0.0]], dtype=np.float32), k=2)[1].tolist()
    [[2, 1]]
    """

    engine: ClassVar[str] = "ivfpq"
    build_defaults: ClassVar[Parameters] = {
        "lists": 0,
        "groups": 0,
        "bits": 4,
        **FaissIndex.shared_build_defaults,
        "rescore": "float16",
    }
    may_be_zero = _IvfIndex.may_be_zero | {"groups"}
    choices: ClassVar[Mapping[str, Any]] = {"bits": (4, 8), **FaissIndex.shared_choices}

    @classmethod
    def _lists(cls, centres: Any, dimension: int, lists: int, parameters: Parameters) -> Any:
        groups = number(parameters, "groups") or max(1, dimension // 2)
        if dimension % groups:
            raise ArgumentError(f"groups is {groups}; it must divide the {dimension} dimensions")
        kind = faiss.IndexIVFPQFastScan if parameters["bits"] == 4 else faiss.IndexIVFPQ
        return kind(centres, dimension, lists, groups, number(parameters, "bits"), faiss.METRIC_INNER_PRODUCT)

    @classmethod
    def _least(cls, core: Any) -> int:
        return max(super()._least(core), 1 << int(core.pq.nbits))


class IvfRabitqIndex(_IvfIndex):
    """RaBitQ (Gao and Long, 2024; Gao et al., 2025): a few bits for each dimension of what a vector differs from its centre by.

    Inner products are estimated without bias. ``bits`` is from 1 to 9.

    >>> import numpy as np
    >>> index = IvfRabitqIndex.build(np.eye(4, dtype=np.float32), metric="cosine")
    >>> index.search(np.array([[0.0, 0.6, 0.8, 0.0]], dtype=np.float32), k=2)[1].tolist()
    [[2, 1]]
    """

    engine: ClassVar[str] = "ivfrabitq"
    build_defaults: ClassVar[Parameters] = {"lists": 0, "bits": 4, **FaissIndex.shared_build_defaults}
    choices: ClassVar[Mapping[str, Any]] = {"bits": tuple(range(1, 10)), **FaissIndex.shared_choices}
    mixes = True
    _QUERY_BITS = 4
    """Of the query when codes are sorted out by their first bit; what is left is compared with the whole query. Over a million
    vectors, 8 take a third more time and add 0.0002 recall."""

    @classmethod
    def _lists(cls, centres: Any, dimension: int, lists: int, parameters: Parameters) -> Any:
        bits = number(parameters, "bits")
        return faiss.IndexIVFRaBitQ(centres, dimension, lists, faiss.METRIC_INNER_PRODUCT, True, bits)

    def _probing(self, probes: int) -> Any:
        return faiss.IVFRaBitQSearchParameters(nprobe=probes, qb=self._QUERY_BITS, **self._among_centres(probes))


def default_lists(rows: int) -> int:
    """A power of two near four times the root of the rows, and one list where they are few.

    >>> [default_lists(rows) for rows in (1, 200, 10_000, 1_000_000, 10_000_000)]
    [1, 8, 256, 4096, 16384]
    """
    wanted = 4 * rows**0.5
    if rows < 2 * ROWS_PER_LIST:
        return 1
    return int(2 ** round(np.log2(min(wanted, rows / ROWS_PER_LIST * 2))))
