"""A model and a teacher whose scores are written down by hand, and collections for them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from biencoder.data.collection import Collection
from biencoder.records import Document, Judgement, Query
from biencoder.scoring import FloatArray
from tests.search.fakes import FakeModel

Table = Mapping[str, Mapping[str, float]]
"""Query text → document content → score; 0 where nothing stands."""


class ScoredModel(FakeModel):
    """Inner products are what a table says: a dimension for each query."""

    def __init__(self, table: Table, name: str = "a") -> None:
        super().__init__(name, dimension=max(2, len(table)), normalised=False)
        self.table = table
        self.asked: list[int] = []

    def encode_queries(self, texts: Sequence[str]) -> FloatArray:
        self.asked.append(len(texts))
        places = {text: place for place, text in enumerate(self.table)}
        return np.eye(self.dimension, dtype=np.float32)[[places[text] for text in texts]]

    def _encode(self, texts: Sequence[str]) -> FloatArray:
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for place, scores in enumerate(self.table.values()):
            vectors[:, place] = [scores.get(text, 0.0) for text in texts]
        return vectors


class FakeTeacher:
    """Gives the logits of a table and remembers what it was asked."""

    def __init__(self, table: Table, name: str = "t") -> None:
        self.table = table
        self.name = name
        self.calls: list[list[tuple[str, str]]] = []

    def score(self, pairs: Sequence[tuple[str, str]]) -> FloatArray:
        self.calls.append(list(pairs))
        return np.array([self.table.get(query, {}).get(document, 0.0) for query, document in pairs], dtype=np.float32)

    def fingerprint(self) -> str:
        return self.name


def collection(
    documents: Mapping[str, str], queries: Mapping[str, str], **splits: Mapping[str, Mapping[str, int]]
) -> Collection:
    """Id → text of documents and queries; for each split query id → document id → grade."""
    return Collection(
        documents=[Document(name, text) for name, text in documents.items()],
        queries=[Query(name, text) for name, text in queries.items()],
        judgements={
            split: [Judgement(query, document, grade) for query, own in grades.items() for document, grade in own.items()]
            for split, grades in splits.items()
        },
    )


def lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSONL file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def negatives(path: Path) -> dict[tuple[str, str], list[str]]:
    """(Query id, positive id) → ids of the negatives."""
    return {(line["query_id"], line["positive_id"]): line["negative_ids"] for line in lines(path)}
