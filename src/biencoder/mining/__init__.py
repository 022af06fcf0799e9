"""Negatives: documents that a query's rankings confuse with its relevant ones, written as examples that training reads."""

from __future__ import annotations

from biencoder.mining.examples import MinedPair, read_examples, read_pairs
from biencoder.mining.mining import Mined, mine
from biencoder.mining.options import MiningOptions
from biencoder.mining.teacher import Teacher

__all__ = [
    "Mined",
    "MinedPair",
    "MiningOptions",
    "Teacher",
    "mine",
    "read_examples",
    "read_pairs",
]
