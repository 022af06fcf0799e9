"""What the engines that FAISS runs have in common: reduction, rescoring, files, ties.

An index has up to three layers. Its core (a graph, or lists) holds codes that are quick to compare, if asked for of fewer
dimensions than the vectors have; what the core ranks best is then rescored with vectors of all dimensions. Each layer is
FAISS's own, so that one call searches all of them.
"""

from __future__ import annotations

import threading
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import numpy as np

from biencoder.cores import available_cores
from biencoder.errors import ArgumentError, CorruptError
from biencoder.index.base import Capabilities, Metric, Parameters, RowProgress, Value, VectorIndex
from biencoder.index.faiss_library import faiss
from biencoder.index.reduction import Reduction, projection, rotation, spread_sample
from biencoder.scoring import FloatArray, RowArray
from biencoder.storage.vectors import blocks

_BLOCK = 8192
"""Rows added at once: many enough to keep the cores busy, few enough for a lively progress bar."""
SAMPLE = 65_536
"""Rows that a projection or codes of single numbers are learned from."""

_LIMITED = threading.local()
"""Threads whose setting was made: to ask for the share takes longer than many a search."""

SCALARS = {"float16": "QT_fp16", "int8": "QT_8bit"}
"""FAISS's names of the codes that keep a number for each dimension."""


@dataclass(frozen=True, slots=True)
class Layers:
    """An index taken apart.

    Attributes:
        whole: what is searched.
        core: graph or lists.
        transform: into the core's dimensions, where there is one.
        rescorer: vectors of all dimensions, where there are some.
    """

    whole: Any
    core: Any
    transform: Any | None
    rescorer: Any | None

    @classmethod
    def of(cls, whole: Any) -> Layers:
        """Of an index that FAISS has read."""
        rescorer = transform = None
        core = faiss.downcast_index(whole)
        if isinstance(core, faiss.IndexRefine):
            rescorer, core = faiss.downcast_index(core.refine_index), faiss.downcast_index(core.base_index)
        if isinstance(core, faiss.IndexPreTransform):
            transform, core = core.chain.at(0), faiss.downcast_index(core.index)
        return cls(whole, core, transform, rescorer)


class FaissIndex(VectorIndex):
    """An index that FAISS holds and searches.

    Build parameters of all of them: ``dimension`` of the core, 0 for that of the vectors; ``reduction`` to it, ``pca`` or
    ``truncate``; ``rescore``, in which format vectors are kept to rescore candidates with, or ``none``. Search parameter of
    all: ``candidates``, how many are rescored.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(exact=False)
    shared_build_defaults: ClassVar[Parameters] = {"dimension": 0, "reduction": "pca", "rescore": "none"}
    shared_search_defaults: ClassVar[Parameters] = {"candidates": 100}
    shared_choices: ClassVar[dict[str, tuple[Value, ...]]] = {
        "reduction": ("pca", "truncate"),
        "rescore": ("none", "int8", "float16", "float32"),
    }
    may_be_zero = frozenset({"dimension"})
    mixes: ClassVar[bool] = False
    """Whether the core's codes want dimensions of like spread, which a reduction's are not: they are then rotated at random."""

    def __init__(self, layers: Layers, *, metric: Metric, parameters: Parameters) -> None:
        super().__init__(metric=metric, dimension=int(layers.whole.d), parameters=parameters)
        self._layers = layers
        self._efforts: dict[tuple[object, ...], list[Any]] = {}

    def __len__(self) -> int:
        return int(self._layers.whole.ntotal)

    @classmethod
    def file(cls) -> str:
        """The name of the engine's one file."""
        return f"{cls.engine}.faiss"

    def stored_vectors(self) -> FloatArray | None:
        """Where the core or the rescorer holds float32 vectors: those, without a copy, for as long as this object lives."""
        layers = self._layers
        core = faiss.downcast_index(layers.core.storage) if isinstance(layers.core, faiss.IndexHNSW) else layers.core
        for holder in (core if layers.transform is None else None, layers.rescorer):
            if isinstance(holder, faiss.IndexFlat):
                flat = faiss.rev_swig_ptr(holder.get_xb(), len(self) * self.dimension)
                flat.flags.writeable = False
                return cast(FloatArray, flat.reshape(len(self), self.dimension))
        return None

    def row_bytes(self) -> float:
        """The core's code with what finds it, and the vector for rescoring."""
        rescorer = self._layers.rescorer
        return self._core_row_bytes() + (0 if rescorer is None else int(rescorer.code_size))

    @abstractmethod
    def _core_row_bytes(self) -> float:
        """What a row adds to the core."""

    def save(self, folder: Path) -> None:
        """Write all layers into one file."""
        # FAISS's own file writer says nothing when its last bytes do not fit on the disk; Python's does.
        with (folder / self.file()).open("wb") as file:
            faiss.write_index(self._layers.whole, faiss.PyCallbackIOWriter(file.write))

    @classmethod
    def load(cls, folder: Path, *, metric: Metric, parameters: Parameters) -> Self:
        """Map the file: opening reads a graph once, to check its links, and leaves codes and vectors on the disk."""
        path = folder / cls.file()
        try:
            whole = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError as error:
            reason = str(error).rpartition("failed: ")[2].strip() or "not a FAISS file"
            raise CorruptError(f"{path} is damaged: FAISS cannot read it ({reason}); build the index again") from None
        return cls(Layers.of(whole), metric=metric, parameters=parameters)

    @classmethod
    def _build(cls, vectors: FloatArray, *, metric: Metric, parameters: Parameters, progress: RowProgress) -> Self:
        limit_threads()
        width = vectors.shape[1]
        dimension = asked_dimension(parameters, width)
        core = cls._core(len(vectors), dimension, parameters)
        sample = spread_sample(vectors, cls._training_rows(core))
        transform = None
        if dimension < width:
            matrix = projection(sample, dimension=dimension, reduction=cast(Reduction, parameters["reduction"]))
            matrix = rotation(dimension) @ matrix if cls.mixes else matrix
            transform = _linear(matrix)
        cls._train(core, sample if transform is None else transform.apply(sample))
        whole = core if transform is None else faiss.IndexPreTransform(transform, core)
        rescorer = _rescorer(str(parameters["rescore"]), sample)
        if rescorer is not None:
            whole = faiss.IndexRefine(whole, rescorer)
        del sample  # of millions of rows it is gigabytes
        layers = Layers(whole, core, transform, rescorer)
        cls._reserve(layers, len(vectors), parameters)
        for rows in blocks(vectors, size=_BLOCK):
            limit_threads()
            whole.add(np.ascontiguousarray(rows))
            progress(int(whole.ntotal), len(vectors))
        return cls(layers, metric=metric, parameters=parameters)

    @classmethod
    @abstractmethod
    def _core(cls, rows: int, dimension: int, parameters: Parameters) -> Any:
        """An untrained core for so many rows of so many dimensions."""

    @classmethod
    def _training_rows(cls, core: Any) -> int:  # noqa: ARG003 - for those that need more
        """How many rows a core is trained on at most."""
        return SAMPLE

    @classmethod
    def _train(cls, core: Any, sample: FloatArray) -> None:
        """Train a core on rows of its own dimensions."""
        core.train(sample)

    @classmethod
    def _reserve(cls, layers: Layers, rows: int, parameters: Parameters) -> None:  # noqa: ARG003 - for those with a graph
        """Make room for all rows at once: FAISS's vectors grow by doubling, and stand in memory twice while they do."""
        if layers.rescorer is not None:
            make_room(layers.rescorer.codes, rows * layers.rescorer.code_size)

    def _search(self, queries: FloatArray, *, k: int, parameters: Parameters) -> tuple[FloatArray, RowArray]:
        fetch = min(max(k, self._fetched(parameters)), len(self))
        scores, rows = self._found(queries, fetch, k, parameters)
        if rows[:, -1].min() < 0:
            short = np.flatnonzero(rows[:, -1] < 0)
            scores[short], rows[short] = self._look_at_all(queries[short], k)
        return scores, rows

    def _found(self, queries: FloatArray, fetch: int, k: int, parameters: Parameters) -> tuple[FloatArray, RowArray]:
        """The best k of so many that are fetched; -1 where there are fewer."""
        limit_threads()
        return best_first(*self._layers.whole.search(queries, fetch, params=self._effort(fetch, parameters)), k=k)

    def _fetched(self, parameters: Parameters) -> int:
        """How many results are asked for, of which the best k are given."""
        return number(parameters, "candidates") if self._layers.rescorer is not None else 0

    def _effort(self, fetch: int, parameters: Parameters) -> Any:
        """FAISS's search parameters through all layers; made once for each setting, since that takes as long as a search."""
        key = (fetch, *sorted(parameters.items()))
        found = self._efforts.get(key)
        if found is None:
            chain = [self._core_effort(fetch, parameters)]  # kept whole: FAISS's own references do not keep Python's objects
            if self._layers.transform is not None:
                chain.append(faiss.SearchParametersPreTransform(index_params=chain[-1]))
            if self._layers.rescorer is not None:
                chain.append(faiss.IndexRefineSearchParameters(k_factor=1.0, base_index_params=chain[-1]))
            found = self._efforts[key] = chain
        return found[-1]

    @abstractmethod
    def _core_effort(self, fetch: int, parameters: Parameters) -> Any:
        """FAISS's search parameters of the core."""

    def _look_at_all(self, queries: FloatArray, k: int) -> tuple[FloatArray, RowArray]:
        """Search every row, for queries whose search ended with too few."""
        limit_threads()
        rescorer = self._layers.rescorer
        found = rescorer.search(queries, k) if rescorer is not None else self._whole_core(self._reduced(queries), k)
        return best_first(*found, k=k)

    @abstractmethod
    def _whole_core(self, queries: FloatArray, k: int) -> tuple[FloatArray, RowArray]:
        """Search every code of the core; queries have its dimensions."""

    def _reduced(self, queries: FloatArray) -> FloatArray:
        """Queries in the core's dimensions."""
        transform = self._layers.transform
        return queries if transform is None else cast(FloatArray, transform.apply(queries))


def number(parameters: Parameters, name: str) -> int:
    """A parameter that is a number."""
    return int(parameters[name])


def asked_dimension(parameters: Parameters, width: int) -> int:
    """How many of a vector's dimensions are asked for; 0 is all.

    Raises:
        ArgumentError: for more than there are.
    """
    dimension = number(parameters, "dimension") or width
    if dimension > width:
        raise ArgumentError(f"dimension is {dimension}; the vectors have {width}")
    return dimension


def best_first(scores: FloatArray, rows: RowArray, *, k: int) -> tuple[FloatArray, RowArray]:
    """The first k of results that are sorted by score; of equal scores the lower row first, which FAISS does not see to.

    >>> best_first(np.array([[3, 2, 2]], dtype=np.float32), np.array([[4, 9, 1]]), k=2)[1].tolist()
    [[4, 1]]
    """
    if (scores[:, 1:] == scores[:, :-1]).any():
        order = np.lexsort((rows, -scores), axis=1)
        scores, rows = np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)
    return scores[:, :k], rows[:, :k]


def make_room(array: Any, size: int) -> None:
    """Reserve a FAISS vector's memory."""
    array.resize(size)
    array.resize(0)  # keeps the room


def limit_threads() -> None:
    """Keep FAISS's OpenMP within this process's share of the machine, once for each thread, to which the setting belongs."""
    if not hasattr(_LIMITED, "threads"):
        _LIMITED.threads = min(available_cores(), faiss.omp_get_max_threads())
        faiss.omp_set_num_threads(_LIMITED.threads)


def _linear(matrix: FloatArray) -> Any:
    transform = faiss.LinearTransform(matrix.shape[1], matrix.shape[0], False)
    faiss.copy_array_to_vector(matrix.ravel(), transform.A)
    transform.set_is_orthonormal()
    transform.is_trained = True
    return transform


def _rescorer(kind: str, sample: FloatArray) -> Any | None:
    """Vectors of all dimensions in a format; trained where the format needs it."""
    if kind == "none":
        return None
    if kind == "float32":
        return faiss.IndexFlatIP(sample.shape[1])
    found = faiss.IndexScalarQuantizer(
        sample.shape[1], getattr(faiss.ScalarQuantizer, SCALARS[kind]), faiss.METRIC_INNER_PRODUCT
    )
    found.train(sample)
    return found
