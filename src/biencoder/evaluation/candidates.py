"""Judged queries whose candidates are found once, to be reranked again and again; and how much the first stage's score counts.

A cross-encoder's logits are log-odds, and so, up to a factor, are the scores of a first stage trained by a softmax. Their sum,
with a weight that judged queries decide, is the better judge wherever the two err on different documents (Akkalyoncu Yilmaz et
al., 2019).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self

import numpy as np

from biencoder.data.batches import distinct
from biencoder.data.collection import Collection
from biencoder.evaluation.comparison import compare
from biencoder.evaluation.evaluation import Evaluation, evaluate
from biencoder.progress import Progress
from biencoder.records import FirstStageWeight, Hit
from biencoder.scoring import FloatArray
from biencoder.search.keywords import KeywordSearcher
from biencoder.search.model import Model
from biencoder.search.reranker import FirstStage, Reranker, Scorer, first_stage_of
from biencoder.search.searcher import Searcher

_QUERIES = 16
"""Queries that are reranked together; enough for batches of pairs that are about equally long."""
_SHARES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Weights that are tried: how far the first stage's scores of one query spread, as a multiple of how far the reranker's do."""


@dataclass(frozen=True, slots=True)
class Reranked:
    """What reranking the candidates gave.

    Attributes:
        score: the measure, with the weight that gave the best.
        weight: of the first stage's score, and whose.
        alone: the measure by the cross-encoder's scores alone.
        p_value: of the difference that ``score`` makes to the first stage, by the paired randomisation test; the weight was
            chosen on the same queries, so that it is somewhat too small.
    """

    score: float
    weight: FirstStageWeight
    alone: float
    p_value: float


@dataclass(frozen=True, slots=True)
class Candidates:
    """Judged queries with their candidates: a first stage whose answers are known.

    Attributes:
        collection: the queries, and the documents that were searched.
        split: of the judgements.
        measure: what decides.
        hits: of each query's text.
        first_stage: which first stage found them.
    """

    collection: Collection
    split: str
    measure: str
    hits: dict[str, list[Hit]]
    first_stage: str

    @classmethod
    def find(
        cls,
        collection: Collection,
        split: str,
        *,
        retriever: Model | None,
        measure: str,
        depth: int,
        progress: Progress,
    ) -> Self:
        """Search once for the queries of a split.

        Args:
            collection: small enough to be searched in memory, such as `biencoder.data.sampling.sample` draws.
            split: whose queries.
            retriever: the first stage; None takes BM25.
            measure: in the notation of `biencoder.evaluation.measures`.
            depth: candidates a query.
            progress: is told how far encoding is.
        """
        texts = [query.text for query in collection.queries(split)]
        searcher: FirstStage
        if retriever is None:
            searcher = KeywordSearcher.build(collection.documents)
        else:
            searcher = Searcher.in_memory(retriever, collection.documents, progress=progress)
        found = dict(zip(texts, searcher.search_many(texts, k=depth), strict=True))
        return cls(collection, split, measure, found, first_stage_of(searcher) or "")

    def search_many(self, queries: Sequence[str], *, k: int) -> list[list[Hit]]:
        """The first of each query's candidates."""
        return [self.hits[query][:k] for query in queries]

    def before(self) -> float:
        """The measure of the first stage."""
        return self._measured(self, Progress()).measures[self.measure]

    def reranked(self, encoder: Scorer, *, progress: Progress) -> Reranked:
        """The measure after reranking, and the weight of the first stage's score that gives the best; of equals, the smallest.

        The cross-encoder scores each pair once, however many weights are tried.
        """
        scorer = _Remembering(encoder)
        alone = self._measured(self._reranker(scorer, 0.0), progress)
        best, weight = alone, 0.0
        for tried in self._weights(scorer):
            found = self._measured(self._reranker(scorer, tried), Progress())
            if found.measures[self.measure] > best.measures[self.measure]:
                best, weight = found, tried
        return Reranked(
            score=best.measures[self.measure],
            weight=FirstStageWeight(weight, self.first_stage),
            alone=alone.measures[self.measure],
            p_value=compare(best, self._measured(self, Progress()), measure=self.measure).p_value,
        )

    def _reranker(self, scorer: Scorer, weight: float) -> Reranker:
        return Reranker(self, scorer, depth=max(1, *map(len, self.hits.values())), weight=weight)

    def _measured(self, retriever: FirstStage, progress: Progress) -> Evaluation:
        return evaluate(
            retriever,
            self.collection,
            split=self.split,
            measures=[self.measure],
            block_size=_QUERIES,
            progress=partial(progress, "reranking"),
        )

    def _weights(self, scorer: Scorer) -> list[float]:
        """Those to be tried, to three digits: none where the first stage gives all candidates of a query the same score."""
        lists = [(query, hits) for query, hits in self.hits.items() if len(hits) > 1]
        first = [np.std([hit.score for hit in hits]) for _, hits in lists]
        logits = [np.std(scorer.score(Reranker.pairs(query, hits))) for query, hits in lists]
        if not lists or not (spread := float(np.mean(first))):
            return []
        unit = float(np.mean(logits)) / spread
        return [float(f"{share * unit:.3g}") for share in _SHARES if unit]


class _Remembering:
    """A cross-encoder that scores no pair twice."""

    def __init__(self, encoder: Scorer) -> None:
        self._encoder = encoder
        self._known: dict[tuple[str, str], float] = {}

    def score(self, pairs: Sequence[tuple[str, str]], /, *, progress: Callable[[int], None] | None = None) -> FloatArray:
        """The scores, of new pairs by the cross-encoder."""
        new, _ = distinct([pair for pair in pairs if pair not in self._known])
        if new:
            self._known.update(zip(new, self._encoder.score(new, progress=progress).tolist(), strict=True))
        return np.array([self._known[pair] for pair in pairs], dtype=np.float32)
