"""Nearest-neighbour engines behind one contract. Knows vectors and rows, never text or models; never imports torch."""

from __future__ import annotations

from biencoder.index.base import Capabilities, Metric, VectorIndex
from biencoder.index.engines import Choice, EngineOptions, choose_engine, engine_class, engine_names
from biencoder.index.manifest import IndexManifest

__all__ = [
    "Capabilities",
    "Choice",
    "EngineOptions",
    "IndexManifest",
    "Metric",
    "VectorIndex",
    "choose_engine",
    "engine_class",
    "engine_names",
]
