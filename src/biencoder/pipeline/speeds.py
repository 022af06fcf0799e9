"""What a plan is made from: how fast this machine trains and encodes, and how long the texts are."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from biencoder.pipeline.options import FitOptions
from biencoder.records import Example
from biencoder.towers.bi_encoder import BiEncoder
from biencoder.training.computation import tokens_per_second

_SAMPLE = 128
"""Pairs that lengths and speeds are measured on."""


@dataclass(frozen=True, slots=True)
class Speeds:
    """What was measured before the plan was made.

    Attributes:
        train: tokens a second, forward and backward.
        encode: tokens a second, forward.
        query: tokens of a training query on average.
        document: tokens of a document in training.
        document_whole: tokens of a document as it is encoded.
    """

    train: float
    encode: float
    query: float
    document: float
    document_whole: float


def measure_speeds(model: BiEncoder, examples: Sequence[Example], options: FitOptions) -> Speeds:
    """Lengths and speeds on a few of the pairs."""
    step = -(-len(examples) // _SAMPLE)
    some = list(examples[::step])[:_SAMPLE]
    queries, documents = [one.query for one in some], [one.positive for one in some]
    wholes = [len(row) for row in model.document_tower.tokenise(documents)]
    limit = options.training.document_length or max(wholes)
    asked = [len(row) for row in model.query_tower.tokenise(queries)]
    train = tokens_per_second(model.document_tower, documents, options.training)
    model.encode_documents(documents[:8])
    seconds = []
    for _ in range(3):  # whatever else the machine does only slows it down: the least counts
        began = time.perf_counter()
        model.encode_documents(documents[:64])
        seconds.append(time.perf_counter() - began)
    encode = sum(wholes[:64]) / max(min(seconds), 1e-9)
    return Speeds(
        train=train,
        encode=encode,
        query=sum(asked) / len(asked),
        document=sum(min(length, limit) for length in wholes) / len(wholes),
        document_whole=sum(wholes) / len(wholes),
    )
