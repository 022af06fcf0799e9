"""A searcher whose best hits are put in order anew by a model that reads query and document together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from biencoder.errors import ArgumentError
from biencoder.records import Document, Hit
from biencoder.scoring import FloatArray
from biencoder.search.queries import check_queries

DEPTH = 100
"""Candidates that are reranked; twice as many take twice the time."""

_AT_ONCE = 32
"""Queries whose candidates' texts are held together."""


class Scorer(Protocol):
    """What reranking asks of a model; `biencoder.towers.cross_encoder.CrossEncoder` answers it."""

    def score(self, pairs: Sequence[tuple[str, str]], /, *, progress: Callable[[int], None] | None = None) -> FloatArray:
        """How relevant each document is for its query, shape (len(pairs),)."""


class FirstStage(Protocol):
    """What finds the candidates: a `Searcher`, a `KeywordSearcher`, or another that gives hits with their texts."""

    def search_many(self, queries: Sequence[str], *, k: int) -> list[list[Hit]]:
        """For each query its k best documents, best first, with title and text."""


class Reranker:
    """A first stage and a cross-encoder.

    ```python
    reranker = Reranker(Searcher.open("index"), CrossEncoder.load("runs/reranker", precision="fast"))
    reranker.search("does aspirin lower cancer risk?", k=10)  # scores are logits
    ```

    Args:
        searcher: finds the candidates.
        encoder: scores them.
        depth: how many candidates a query has; where more hits are asked for, as many as those, so that every hit's score is of
            one kind.

    Raises:
        ArgumentError: where depth is below 1.

    >>> from biencoder.search import KeywordSearcher
    >>> import numpy as np
    >>> class Shortest:
    ...     def score(self, pairs, /, *, progress=None):
    ...         return np.array([-len(document) for _, document in pairs], dtype=np.float32)
    >>> documents = [Document("d1", "aspirin aspirin"), Document("d2", "aspirin"), Document("d3", "liver")]
    >>> [(hit.rank, hit.id, hit.score) for hit in Reranker(KeywordSearcher.build(documents), Shortest()).search("aspirin")]
    [(1, 'd2', -7.0), (2, 'd1', -15.0)]
    """

    def __init__(self, searcher: FirstStage, encoder: Scorer, depth: int = DEPTH) -> None:
        if depth < 1:
            raise ArgumentError(f"depth is {depth}; it must be at least 1")
        self.searcher = searcher
        self.encoder = encoder
        self.depth = depth

    def search(self, query: str, *, k: int = 10, texts: bool = True, **first_stage: Any) -> list[Hit]:
        """The best documents for one query; see `search_many`."""
        return self.search_many([query], k=k, texts=texts, **first_stage)[0]

    def search_many(self, queries: Sequence[str], *, k: int = 10, texts: bool = True, **first_stage: Any) -> list[list[Hit]]:
        """The best documents for each query by the cross-encoder's scores, best first; of equal scores as they were found.

        Args:
            queries: one or more texts.
            k: how many hits a query.
            texts: whether hits carry title, text and metadata, or their ids alone.
            first_stage: what the searcher's own ``search_many`` takes beside k, such as ``hybrid=True``.

        Raises:
            ArgumentError: where k is below 1 or a query is empty.
        """
        check_queries(queries, k=k)
        answers: list[list[Hit]] = []
        for start in range(0, len(queries), _AT_ONCE):
            block = list(queries[start : start + _AT_ONCE])
            found = self.searcher.search_many(block, k=max(k, self.depth), **first_stage)
            best = [hits[:k] for hits in self._ordered(block, found)]
            answers += best if texts else [[Hit(hit.rank, hit.id, hit.score) for hit in hits] for hits in best]
        return answers

    def _ordered(self, queries: Sequence[str], found: Sequence[Sequence[Hit]]) -> list[list[Hit]]:
        pairs = [(query, content(hit)) for query, hits in zip(queries, found, strict=True) for hit in hits]
        scores = iter(self.encoder.score(pairs).tolist())
        ordered = []
        for hits in found:
            scored = sorted(((next(scores), hit) for hit in hits), key=lambda one: -one[0])
            ordered.append([replace(hit, rank=rank, score=score) for rank, (score, hit) in enumerate(scored, start=1)])
        return ordered


def content(hit: Hit) -> str:
    """What a cross-encoder reads of a hit: the same as a tower reads of its document.

    >>> content(Hit(1, "d", 0.5, "Aspirin", "A drug."))
    'Aspirin A drug.'
    """
    return Document(hit.id, hit.text, hit.title).content
