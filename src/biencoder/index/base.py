"""The contract of every engine: rows of vectors in, the nearest rows and their inner products out.

An engine numbers its vectors from 0 in the order in which they were given. It knows nothing of documents: a document may own
several consecutive rows (passages now, tokens later), and who owns which is kept by the layer above.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from biencoder.errors import ArgumentError
from biencoder.scoring import FloatArray, RowArray
from biencoder.storage.vectors import blocks

Metric = Literal["cosine", "dot"]
"""Both are inner products; ``cosine`` says that the vectors have length 1."""

Value = int | str
"""Of a parameter: a whole number, or one of some names."""

Parameters = Mapping[str, Value]
"""Build and search parameters by name."""

RowProgress = Callable[[int, int], None]
"""Is told, now and then, how many rows are done and how many there are."""

_BLOCK = 16384
"""Rows looked at together when vectors are checked or added."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine can do, declared so that a caller asks before it calls.

    Args:
        exact: finds the true nearest rows, always.
        delete: rows can be taken out after the build.
        filter: a search can be limited to some of the rows.
    """

    exact: bool
    delete: bool = False
    filter: bool = False


class VectorIndex(ABC):
    """Vectors made searchable by inner product.

    Searching never changes an index, so that one may be shared by threads; what a search can be told (how much effort to
    spend, for one) is told with each call.
    """

    engine: ClassVar[str]
    capabilities: ClassVar[Capabilities]
    build_defaults: ClassVar[Parameters] = {}
    search_defaults: ClassVar[Parameters] = {}
    choices: ClassVar[Mapping[str, Sequence[Value]]] = {}
    """What a parameter may be, where that is one of a few."""
    may_be_zero: ClassVar[frozenset[str]] = frozenset()
    """Numbers of which 0 leaves the choice to the engine; all others are at least 1."""
    greatest: ClassVar[float] = float(np.finfo(np.float32).max)
    """What a vector's numbers may be at most, of either sign."""

    def __init__(self, *, metric: Metric, dimension: int, parameters: Parameters) -> None:
        self.metric: Metric = metric
        self.dimension = dimension
        self.parameters = dict(parameters)
        self._settings: dict[tuple[object, ...], Parameters] = {}

    @classmethod
    def build(
        cls,
        vectors: FloatArray,
        *,
        metric: Metric,
        parameters: Parameters | None = None,
        progress: RowProgress | None = None,
    ) -> Self:
        """Index the rows of a matrix.

        Args:
            vectors: shape (n, d), float32; may be mapped from a file, and is read in blocks.
            metric: ``cosine`` for vectors of length 1, else ``dot``.
            parameters: build and search parameters by name; what is left out has the engine's default. The search parameters
                become the index's own defaults.
            progress: is told the rows done and the rows in all.

        Raises:
            ArgumentError: for an unknown parameter or value, no vectors, or vectors that are not finite float32 or hold greater
                numbers than the engine takes.
        """
        resolved = cls.resolve(parameters, {**cls.build_defaults, **cls.search_defaults})
        cls._check_matrix(vectors)
        return cls._build(vectors, metric=metric, parameters=resolved, progress=progress or _silent)

    def search(self, queries: NDArray[Any], *, k: int, parameters: Parameters | None = None) -> tuple[FloatArray, RowArray]:
        """The best rows of each query, best first; of equal scores the lower row first.

        Args:
            queries: shape (n, d), finite.
            k: how many; more than the index holds gives all that it holds.
            parameters: search parameters of this call, by name; what is left out is as the index was built.

        Returns:
            Inner products and rows, each of shape (n, min(k, len(index))).

        Raises:
            ArgumentError: where k is below 1, the queries do not fit, or a parameter is unknown.
        """
        if k < 1:
            raise ArgumentError(f"k is {k}; it must be at least 1")
        resolved = self._resolved(parameters or {})
        vectors = self._check_queries(queries)
        count = min(k, len(self))
        if not len(vectors):
            return np.empty((0, count), np.float32), np.empty((0, count), np.int64)
        return self._search(vectors, k=count, parameters=resolved)

    @classmethod
    def _check_matrix(cls, vectors: FloatArray) -> None:
        if vectors.ndim != 2 or vectors.dtype != np.float32:
            raise ArgumentError(f"vectors are {vectors.dtype} of shape {vectors.shape}; a float32 matrix was expected")
        if not vectors.size:
            raise ArgumentError("there are no vectors to index; at least one is needed")
        for number, rows in enumerate(blocks(vectors, size=_BLOCK)):
            fits = (np.abs(rows) <= cls.greatest).all(axis=1)  # false for NaN, too
            if not fits.all():
                at = int(np.argmin(fits))
                found = f"the vector in row {number * _BLOCK + at}"
                if not np.isfinite(rows[at]).all():
                    raise ArgumentError(f"{found} is not finite: it holds NaN or infinity")
                most = float(np.abs(rows[at]).max())
                raise ArgumentError(f"{found} holds {most:.3g}; engine {cls.engine} takes numbers up to {cls.greatest:g}")

    def _resolved(self, given: Parameters) -> Parameters:
        """Search parameters of a call; worked out once for each setting, since that takes as long as a part of a search."""
        key = (*given.items(), None, *self.parameters.items())
        found = self._settings.get(key)
        if found is None:
            own = {name: self.parameters.get(name, value) for name, value in self.search_defaults.items()}
            found = self._settings[key] = self.resolve(given, own)
        return found

    @classmethod
    def resolve(cls, given: Parameters | None, defaults: Parameters) -> dict[str, Value]:
        """Defaults, overridden by what was given.

        Raises:
            ArgumentError: for a name that is not among the defaults, or a value that it cannot have.
        """
        for name, value in (given or {}).items():
            if name not in defaults:
                known = ", ".join(sorted(defaults)) or "none"
                raise ArgumentError(f"engine {cls.engine} has no parameter {name!r} here; it has: {known}")
            cls._check_value(name, value)
        return {**defaults, **(given or {})}

    @classmethod
    def _check_value(cls, name: str, value: Value) -> None:
        allowed = cls.choices.get(name)
        if allowed is not None:
            if value not in allowed:
                raise ArgumentError(f"{name} is {value!r}; choose one of: {', '.join(str(one) for one in allowed)}")
        elif isinstance(value, str | bool):
            raise ArgumentError(f"{name} is {value!r}; a whole number was expected")
        elif value < (least := 0 if name in cls.may_be_zero else 1):
            raise ArgumentError(f"{name} is {value}; it must be at least {least}")

    @abstractmethod
    def __len__(self) -> int:
        """How many rows the index holds."""

    def prepare(self) -> None:
        """Do now what the first search would have to wait for."""
        return

    def stored_vectors(self) -> FloatArray | None:
        """The vectors as they were given, shape (n, d), read-only; None where the engine keeps none, or only codes of them."""
        return None

    def row_bytes(self) -> float | None:
        """Bytes of the engine's files that every row adds, as against those of lists and tables; None where nobody knows."""
        return None

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the engine's files into an existing, empty folder."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path, *, metric: Metric, parameters: Parameters) -> Self:
        """Open what `save` wrote, mapped into memory where the engine can.

        Raises:
            CorruptError: where the files are damaged.
        """

    @classmethod
    @abstractmethod
    def _build(cls, vectors: FloatArray, *, metric: Metric, parameters: Parameters, progress: RowProgress) -> Self:
        """`build`, its arguments checked."""

    @abstractmethod
    def _search(self, queries: FloatArray, *, k: int, parameters: Parameters) -> tuple[FloatArray, RowArray]:
        """`search`, its arguments checked: at least one query, 1 <= k <= len(self)."""

    def _check_queries(self, queries: NDArray[Any]) -> FloatArray:
        found = np.asarray(queries)
        if found.ndim != 2 or found.shape[1] != self.dimension:
            raise ArgumentError(f"queries have shape {found.shape}; (n, {self.dimension}) was expected")
        if found.dtype == np.float32:
            # Kernels are compiled for arrays that may be written to, and would be once more for others.
            vectors = np.ascontiguousarray(found) if found.flags.writeable else found.copy()
        elif np.issubdtype(found.dtype, np.floating):
            with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinity, and is refused below
                vectors = np.ascontiguousarray(found, dtype=np.float32)
        else:
            raise ArgumentError(f"queries are {found.dtype}; floating-point numbers were expected")
        # The sum of squares is finite far sooner than each number was looked at; where it is not, they may be great.
        if not math.isfinite(np.vdot(vectors, vectors)) and not np.isfinite(vectors).all():
            raise ArgumentError("a query vector is not finite: it holds NaN or infinity")
        return vectors


def _silent(done: int, total: int) -> None:  # noqa: ARG001 - the signature of RowProgress
    return
