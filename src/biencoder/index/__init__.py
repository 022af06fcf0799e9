"""Nearest-neighbour engines behind one contract. Knows vectors and rows, never text or models; never imports torch."""

from __future__ import annotations

from biencoder.index.base import Capabilities, Metric, VectorIndex
from biencoder.index.engines import Choice, EngineOptions, choose_engine, engine_class, engine_names
from biencoder.index.manifest import IndexManifest
from biencoder.index.measuring import Point
from biencoder.index.tuning import Goal, Tuned, tune

__all__ = [
    "Capabilities",
    "Choice",
    "EngineOptions",
    "Goal",
    "IndexManifest",
    "Metric",
    "Point",
    "Tuned",
    "VectorIndex",
    "choose_engine",
    "engine_class",
    "engine_names",
    "tune",
]
