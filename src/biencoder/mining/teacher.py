"""What mining asks of a cross-encoder, and its scores, each asked for once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np

from biencoder.errors import ModelError
from biencoder.scoring import FloatArray
from biencoder.search.documents import DocumentStore

_AT_ONCE = 4096
"""Pairs whose texts are held together; a block of queries has fewer, unless they have many positives."""


class Teacher(Protocol):
    """A model that reads query and document together."""

    def score(self, pairs: Sequence[tuple[str, str]], /) -> FloatArray:
        """How relevant each document is for its query, shape (len(pairs),): logits, whose differences are log-odds."""

    def fingerprint(self) -> str:
        """What the scores depend on, as a digest."""


class TeacherScores:
    """A teacher's scores of some queries' documents, asked for in large parts."""

    def __init__(self, teacher: Teacher, documents: DocumentStore) -> None:
        self._teacher = teacher
        self._documents = documents
        self._scores: dict[tuple[str, int], float] = {}

    def fetch(self, pairs: Iterable[tuple[str, int]]) -> None:
        """Make the scores of queries' texts with document numbers known.

        Raises:
            ModelError: where the teacher does not give one finite number a pair.
        """
        new = [pair for pair in dict.fromkeys(pairs) if pair not in self._scores]
        for start in range(0, len(new), _AT_ONCE):
            part = new[start : start + _AT_ONCE]
            texts = [(query, self._documents[number].content) for query, number in part]
            scores = np.asarray(self._teacher.score(texts))
            if scores.shape != (len(part),) or not np.isfinite(scores).all():
                found = f"shape {scores.shape}" if scores.shape != (len(part),) else "some that are not finite"
                raise ModelError(
                    f"the teacher gave scores of {found} for {len(part)} pairs; one finite number each was expected"
                )
            self._scores.update(zip(part, scores.tolist(), strict=True))

    def __getitem__(self, pair: tuple[str, int]) -> float:
        return self._scores[pair]
