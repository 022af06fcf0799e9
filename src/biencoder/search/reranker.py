"""A searcher whose best hits are put in order anew by a model that reads query and document together.

The first stage's score may count beside the cross-encoder's, as one more witness: a reranker that has seen few pairs errs where
the first stage does not (Akkalyoncu Yilmaz et al., 2019). How much it counts is measured (`biencoder.evaluation.candidates`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from biencoder.errors import ArgumentError
from biencoder.identity import fingerprint
from biencoder.records import Document, FirstStageWeight, Hit
from biencoder.scoring import FloatArray
from biencoder.search.keywords import KeywordSearcher
from biencoder.search.model import metric_of
from biencoder.search.queries import check_queries
from biencoder.search.searcher import Searcher

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
    reranker.search("does aspirin lower cancer risk?", k=10)  # scores are log-odds
    ```

    Args:
        searcher: finds the candidates.
        encoder: scores them.
        depth: how many candidates a query has; where more hits are asked for, as many as those, so that every hit's score is of
            one kind.

        weight: of the first stage's own score, which is added to the cross-encoder's. None takes the one that was measured when
            the cross-encoder was trained, where ``searcher`` is the first stage that it was trained for, and otherwise 0. Hits
            of a hybrid search have fused scores, which are not added.

    Raises:
        ArgumentError: where depth is below 1, or weight is negative or no number.

    >>> from biencoder.search import KeywordSearcher
    >>> import numpy as np
    >>> class Shortest:
    ...     def score(self, pairs, /, *, progress=None):
    ...         return np.array([-len(document) for _, document in pairs], dtype=np.float32)
    >>> documents = [Document("d1", "aspirin aspirin"), Document("d2", "aspirin"), Document("d3", "liver")]
    >>> [(hit.rank, hit.id, hit.score) for hit in Reranker(KeywordSearcher.build(documents), Shortest()).search("aspirin")]
    [(1, 'd2', -7.0), (2, 'd1', -15.0)]
    """

    def __init__(self, searcher: FirstStage, encoder: Scorer, depth: int = DEPTH, *, weight: float | None = None) -> None:
        if depth < 1:
            raise ArgumentError(f"depth is {depth}; it must be at least 1")
        if weight is not None and not 0 <= weight < math.inf:
            raise ArgumentError(f"the first stage's weight is {weight}; it must be a number that is not negative")
        self.searcher = searcher
        self.encoder = encoder
        self.depth = depth
        self.weight = measured_weight(encoder, searcher) if weight is None else weight

    def search(self, query: str, *, k: int = 10, texts: bool = True, **first_stage: Any) -> list[Hit]:
        """The best documents for one query; see `search_many`."""
        return self.search_many([query], k=k, texts=texts, **first_stage)[0]

    def search_many(self, queries: Sequence[str], *, k: int = 10, texts: bool = True, **first_stage: Any) -> list[list[Hit]]:
        """The best documents for each query, best first; of equal scores as they were found.

        A hit's score is the cross-encoder's, with ``weight`` times the first stage's added.

        Args:
            queries: one or more texts.
            k: how many hits a query.
            texts: whether hits carry title, text and metadata, or their ids alone.
            first_stage: what the searcher's own ``search_many`` takes beside k, such as ``hybrid=True``.

        Raises:
            ArgumentError: where k is below 1 or a query is empty.
        """
        check_queries(queries, k=k)
        weight = 0.0 if first_stage.get("hybrid") else self.weight
        answers: list[list[Hit]] = []
        for start in range(0, len(queries), _AT_ONCE):
            block = list(queries[start : start + _AT_ONCE])
            found = self.searcher.search_many(block, k=max(k, self.depth), **first_stage)
            best = [hits[:k] for hits in self._ordered(block, found, weight)]
            answers += best if texts else [[Hit(hit.rank, hit.id, hit.score) for hit in hits] for hits in best]
        return answers

    @staticmethod
    def pairs(query: str, hits: Sequence[Hit]) -> list[tuple[str, str]]:
        """What a cross-encoder reads of a query and its hits."""
        return [(query, content(hit)) for hit in hits]

    def _ordered(self, queries: Sequence[str], found: Sequence[Sequence[Hit]], weight: float) -> list[list[Hit]]:
        pairs = [pair for query, hits in zip(queries, found, strict=True) for pair in self.pairs(query, hits)]
        scores = iter(self.encoder.score(pairs).tolist())
        ordered = []
        for hits in found:
            scored = sorted(((next(scores) + weight * hit.score, hit) for hit in hits), key=lambda one: -one[0])
            ordered.append([replace(hit, rank=rank, score=score) for rank, (score, hit) in enumerate(scored, start=1)])
        return ordered


def first_stage_of(searcher: FirstStage) -> str | None:
    """What tells a first stage's scores from another's: BM25's options, or its model's fingerprint; None where it is not known.

    The scores of BM25 also spread with the logarithm of the number of documents, which a weight can live with.

    >>> first_stage_of(KeywordSearcher.build([Document("d1", "aspirin")]))
    'bm25, english, k1 0.9, b 0.4'
    """
    if isinstance(searcher, KeywordSearcher):
        options = searcher.index.options
        return f"bm25, {options.language}, k1 {options.k1:g}, b {options.b:g}"
    if isinstance(searcher, Searcher):
        model = searcher.model
        parts = {"document": model.identity.document, "query": model.identity.query, "metric": metric_of(model)}
        return fingerprint(parts)
    return None


def measured_weight(encoder: Scorer, searcher: FirstStage) -> float:
    """The first stage's weight that was measured for a cross-encoder; 0 where none was, or for another first stage."""
    measured: FirstStageWeight | None = getattr(encoder, "first_stage", None)
    return measured.weight if measured is not None and measured.first_stage == first_stage_of(searcher) else 0.0


def content(hit: Hit) -> str:
    """What a cross-encoder reads of a hit: the same as a tower reads of its document.

    >>> content(Hit(1, "d", 0.5, "Aspirin", "A drug."))
    'Aspirin A drug.'
    """
    return Document(hit.id, hit.text, hit.title).content
