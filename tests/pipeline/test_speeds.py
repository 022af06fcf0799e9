from __future__ import annotations

import math

from biencoder.data.collection import Collection
from biencoder.pipeline import FitOptions
from biencoder.pipeline.speeds import measure_speeds
from biencoder.records import Example
from biencoder.towers.bi_encoder import BiEncoder


def test_lengths_are_counted_in_tokens(tiny_model: BiEncoder, tiny_collection: Collection) -> None:
    examples = tiny_collection.examples("train")
    options = FitOptions.model_validate({"training": {"precision": "exact", "document_length": 8, "token_budget": 256}})
    speeds = measure_speeds(tiny_model, examples, options)
    assert speeds.query == 2 + 7  # two things and five fillers between the special tokens
    assert speeds.document_whole == 2 + 1 + 8
    assert speeds.document == 8
    assert all(math.isfinite(speed) and speed > 0 for speed in (speeds.train, speeds.encode))


def test_lengths_are_of_pairs_from_the_whole(tiny_model: BiEncoder, tiny_collection: Collection) -> None:
    text = "aspirin " * 15
    examples = tiny_collection.examples("train")[:1] * 128 + [Example(text, text)] * 128
    speeds = measure_speeds(tiny_model, examples, FitOptions.model_validate({"training": {"precision": "exact"}}))
    assert (speeds.query, speeds.document, speeds.document_whole) == (13.0, 14.0, 14.0)
