"""A small training task with a dev score, and ways to look at what came of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from biencoder.data.collection import Collection
from biencoder.progress import Progress
from biencoder.towers.bi_encoder import BiEncoder
from biencoder.towers.tower import Tower
from biencoder.training.options import TrainingOptions
from biencoder.training.state import weights_of


def options(**changes: Any) -> TrainingOptions:
    """Seven steps an epoch over the tiny collection, which learns from them."""
    return TrainingOptions.model_validate({"batch_size": 16, "learning_rate": 1e-3, "precision": "exact"} | changes)


def weights(model: BiEncoder) -> dict[str, bytes]:
    """Every parameter of both towers, to the bit."""
    towers: dict[str, Tower] = {"query": model.query_tower, "document": model.document_tower}
    return {
        f"{side}.{name}": tensor.numpy().tobytes()
        for side, tower in towers.items()
        for name, tensor in weights_of(tower).items()
    }


def mrr(collection: Collection, split: str) -> Callable[[BiEncoder], float]:
    """Mean reciprocal rank of each query's only relevant document, by exact search."""
    documents = list(collection.documents)
    places = {document.id: place for place, document in enumerate(documents)}
    queries = collection.queries(split)
    relevant = [places[next(iter(collection.judgements(split)[query.id]))] for query in queries]

    def score(model: BiEncoder) -> float:
        asked = model.encode_queries([query.text for query in queries])
        scores = asked @ model.encode_documents([document.content for document in documents]).T
        right = scores[np.arange(len(queries)), relevant][:, None]
        return float((1 / (scores >= right).sum(axis=1)).mean())

    return score


class Interrupting(Progress):
    """Ctrl-C when a given number of steps has been done."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.said: list[str] = []

    def __call__(self, stage: str, done: int, total: int, facts: str = "") -> None:  # noqa: ARG002
        if done == self.step:
            raise KeyboardInterrupt

    def say(self, message: str) -> None:
        self.said.append(message)
