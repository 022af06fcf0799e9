"""What tuning tries: ways of building each engine, and the efforts that a search may spend on them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from biencoder.index.base import Parameters
from biencoder.index.engines import engine_class


def _ladder(first: int, last: int) -> tuple[int, ...]:
    """Numbers that grow by about a tenth."""
    found = [first]
    while found[-1] < last:
        found.append(max(found[-1] + 1, round(found[-1] * 1.1)))
    return tuple(found)


_EFFORTS = _ladder(10, 2048)
_PROBES = _ladder(1, 1024)
_CANDIDATES = (20, 40, 80, 160, 320, 640)

_LEAN_FROM = 128
"""Dimensions from which on leaving out a third saves enough for a design."""


@dataclass(frozen=True, slots=True)
class Design:
    """An engine with its build parameters.

    >>> Design("hnsw", {"codes": "int8"}).effort
    'ef_search'
    """

    engine: str
    parameters: Parameters = field(default_factory=dict)

    @property
    def effort(self) -> str | None:
        """The search parameter that trades time for recall."""
        return {"exact": None, "hnsw": "ef_search", "qdrant": "ef_search"}.get(self.engine, "nprobe")

    @property
    def efforts(self) -> tuple[int, ...]:
        """Its values, the least first."""
        return _EFFORTS if self.effort == "ef_search" else _PROBES

    @property
    def rescores(self) -> bool:
        """Whether candidates are rescored."""
        return {**engine_class(self.engine).build_defaults, **self.parameters}.get("rescore", "none") != "none"

    def candidates(self, k: int) -> tuple[int | None, ...]:
        """How many may be rescored; None where nothing is."""
        return tuple(count for count in _CANDIDATES if count >= k) if self.rescores else (None,)

    def __str__(self) -> str:
        told = " ".join(f"{name}={value}" for name, value in self.parameters.items())
        return f"{self.engine} {told}".strip()


def designs(engine: str, *, dimension: int) -> list[Design]:
    """What there is to try.

    Args:
        engine: one alone, or ``auto`` for all.
        dimension: of the vectors.

    >>> [str(design) for design in designs("hnsw", dimension=64)][:2]
    ['hnsw', 'hnsw codes=float16']
    """
    found = [design for design in _all(dimension) if engine in {"auto", design.engine}]
    return found or [Design(engine)]


def _all(dimension: int) -> Iterator[Design]:
    yield Design("hnsw")
    yield Design("hnsw", {"codes": "float16"})
    yield Design("hnsw", {"codes": "int8", "rescore": "float16"})
    yield Design("hnsw", {"codes": "int8"})
    for short in shorter(dimension):
        yield Design("hnsw", {"dimension": short, "codes": "float16", "rescore": "float16"})
        yield Design("hnsw", {"dimension": short, "codes": "int8", "rescore": "float16"})
        yield Design("hnsw", {"dimension": short, "codes": "int8", "rescore": "int8"})
    for kind in ("float16", "int8"):
        yield Design("ivfpq", {"rescore": kind})
        yield Design("ivfrabitq", {"bits": 1, "rescore": kind})
    for bits in (3, 4):
        yield Design("ivfrabitq", {"bits": bits})
    yield Design("ivfsq")
    if (fewer := round(dimension * 2 / 3 / 64) * 64) >= _LEAN_FROM:  # 256 of 384: 168 bytes a vector
        yield Design("ivfsq", {"dimension": fewer})


def shorter(dimension: int) -> list[int]:
    """A third and a half of the dimensions, where that leaves enough; multiples of 16, which compare fastest.

    >>> shorter(384), shorter(1024), shorter(32)
    ([128, 192], [336, 512], [])
    """
    found = [max(16, round(dimension / part / 16) * 16) for part in (3, 2)]
    return found if dimension >= 96 else []
