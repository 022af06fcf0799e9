"""The engines by name, and which one `auto` means."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field

from biencoder.errors import ArgumentError
from biencoder.index.base import Parameters, VectorIndex

_ENGINES = {
    "exact": ("biencoder.index.exact", "ExactIndex"),
    "hnsw": ("biencoder.index.hnsw", "HnswIndex"),
    "ivfpq": ("biencoder.index.ivf", "IvfPqIndex"),
    "ivfrabitq": ("biencoder.index.ivf", "IvfRabitqIndex"),
    "ivfsq": ("biencoder.index.ivfsq", "IvfSqIndex"),
    "qdrant": ("biencoder.index.qdrant_index", "QdrantIndex"),
}

_EXACT_NUMBERS = 7_000 * 384
"""Exact search reads this many numbers in about a millisecond (10 MiB at one core's memory speed)."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """An engine that is asked for.

    Args:
        name: ``auto`` or an engine's name.
        parameters: for building and searching, by name; what is left out has the engine's default.
    """

    name: str = "auto"
    parameters: Parameters = field(default_factory=dict)

    def check(self) -> None:
        """Make sure that the engine exists and takes these parameters, before any work is done.

        Raises:
            ArgumentError: where it does not.

        >>> EngineOptions("exact", {"ef_serch": 64}).check()
        Traceback (most recent call last):
        biencoder.errors.ArgumentError: engine exact has no parameter 'ef_serch' here; it has: none
        """
        check_engine(self.name)
        if self.name == "auto":
            if self.parameters:
                raise ArgumentError("parameters belong to an engine, and auto may choose any; name the engine")
            return
        engine = engine_class(self.name)
        engine.resolve(self.parameters, {**engine.build_defaults, **engine.search_defaults})


@dataclass(frozen=True, slots=True)
class Choice:
    """An engine's name and why it was taken."""

    engine: str
    reason: str


def engine_names() -> list[str]:
    """The names that can be asked for, ``auto`` first.

    >>> engine_names()
    ['auto', 'exact', 'hnsw', 'ivfpq', 'ivfrabitq', 'ivfsq', 'qdrant']
    """
    return ["auto", *_ENGINES]


def engine_class(name: str) -> type[VectorIndex]:
    """The class of an engine; its library is imported only now.

    Raises:
        ArgumentError: where there is no engine of this name.

    >>> engine_class("exact").capabilities.exact
    True
    """
    if name not in _ENGINES:
        raise ArgumentError(f"there is no engine {name!r}; choose one of: {', '.join(_ENGINES)}")
    module, attribute = _ENGINES[name]
    found: type[VectorIndex] = getattr(importlib.import_module(module), attribute)
    return found


def check_engine(name: str) -> None:
    """Make sure that an engine can be asked for by this name.

    Raises:
        ArgumentError: where there is no such engine.
    """
    if name not in engine_names():
        raise ArgumentError(f"there is no engine {name!r}; choose one of: {', '.join(engine_names())}")


def choose_engine(name: str, *, rows: int, dimension: int) -> Choice:
    """Turn ``auto`` into an engine: exact while it answers within a millisecond, HNSW beyond.

    Args:
        name: an engine's name, or ``auto``.
        rows: vectors to be indexed.
        dimension: of each.

    Raises:
        ArgumentError: where there is no engine of this name.

    >>> choose_engine("auto", rows=5_000, dimension=384).engine
    'exact'
    >>> choose_engine("auto", rows=50_000, dimension=384).reason
    'exact search of 50,000 x 384 numbers takes more than about a millisecond (up to 7,000 vectors it does not)'
    """
    check_engine(name)
    if name != "auto":
        return Choice(name, "asked for")
    limit = _EXACT_NUMBERS // dimension
    size = f"exact search of {rows:,} x {dimension} numbers takes"
    if rows <= limit:
        return Choice("exact", f"{size} at most about a millisecond (up to {limit:,} vectors), and loses nothing")
    return Choice("hnsw", f"{size} more than about a millisecond (up to {limit:,} vectors it does not)")
