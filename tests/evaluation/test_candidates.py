from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest

from biencoder.data.collection import Collection
from biencoder.evaluation import compare, evaluate
from biencoder.evaluation.candidates import Candidates, Reranked
from biencoder.progress import Progress
from biencoder.records import Document, FirstStageWeight, Judgement, Query
from biencoder.scoring import FloatArray
from biencoder.search import Reranker, Searcher
from biencoder.search.reranker import first_stage_of
from tests.search.fakes import FakeModel

WORDS = ("aspirin", "heart", "cancer", "lung", "liver", "virus", "fever", "trial")
"""One a query; four documents hold it, once to four times, so that the shorter ones are the better in the eyes of BM25."""

BM25 = "bm25, english, k1 0.9, b 0.4"


@pytest.fixture(scope="module")
def collection() -> Collection:
    documents = [Document(f"{word}{count}", f"{word} " + "other " * count) for word in WORDS for count in range(4)]
    judgements = [Judgement(word, f"{word}{number % 2}") for number, word in enumerate(WORDS)]
    return Collection(documents=documents, queries=[Query(word, word) for word in WORDS], judgements={"dev": judgements})


def candidates(collection: Collection, retriever: FakeModel | None = None) -> Candidates:
    return Candidates.find(collection, "dev", retriever=retriever, measure="MRR@4", depth=4, progress=Progress())


class Given:
    """Scores by the document's number of words; counts the pairs that it was asked for."""

    def __init__(self, scores: Mapping[int, float]) -> None:
        self.scores = scores
        self.asked = 0

    def score(self, pairs: Sequence[tuple[str, str]], /, *, progress: Callable[[int], None] | None = None) -> FloatArray:
        del progress
        self.asked += len(pairs)
        return np.array([self.scores[len(document.split()) - 1] for _, document in pairs], dtype=np.float32)


def reranked(found: Candidates, *scores: float) -> Reranked:
    return found.reranked(Given(dict(enumerate(scores))), progress=Progress())


def test_candidates_are_what_the_first_stage_finds(collection: Collection) -> None:
    found = candidates(collection)
    assert [hit.id for hit in found.hits["liver"]] == ["liver0", "liver1", "liver2", "liver3"]
    assert found.search_many(["liver"], k=2) == [found.hits["liver"][:2]]
    assert found.before() == pytest.approx((1 + 1 / 2) / 2)
    assert found.first_stage == BM25


def test_a_first_stage_of_vectors(collection: Collection) -> None:
    model = FakeModel()
    found, searcher = candidates(collection, model), Searcher.in_memory(model, collection.documents)
    assert found.hits == {word: searcher.search(word, k=4) for word in WORDS}
    assert found.before() == evaluate(searcher, collection, split="dev", measures="MRR@4").measures["MRR@4"]
    assert (
        found.first_stage
        == first_stage_of(searcher)
        != first_stage_of(Searcher.in_memory(FakeModel("b"), collection.documents))
    )


def test_each_errs_where_the_other_does_not(collection: Collection) -> None:
    """BM25 puts 0 before 1 before 2; the reranker 2 first, which is never right, then 0 or 1, as it should be."""
    found = candidates(collection)
    odd = {f"{word} {'other ' * 1}" for word in WORDS[1::2]}

    class Errs:
        def score(self, pairs: Sequence[tuple[str, str]], /, *, progress: Callable[[int], None] | None = None) -> FloatArray:
            del progress
            logits = {0: 0.0, 1: -0.5, 2: 0.4, 3: -1.0}
            return np.array([1.0 if text in odd else logits[len(text.split()) - 1] for _, text in pairs], dtype=np.float32)

    together = found.reranked(Errs(), progress=Progress())
    assert [found.before(), together.alone] == pytest.approx([0.75, 0.75])
    assert together.score == 1.0
    assert together.weight.first_stage == BM25
    before = evaluate(found, collection, split="dev", measures="MRR@4")
    same = Reranker(found, Errs(), depth=4, weight=together.weight.weight)
    after = evaluate(same, collection, split="dev", measures="MRR@4")
    assert after.measures["MRR@4"] == together.score
    assert together.p_value == compare(after, before, measure="MRR@4").p_value < 0.5


def test_what_needs_no_help_gets_none(collection: Collection) -> None:
    right = reranked(candidates(collection), 2.0, 1.0, 0.0, -1.0)
    assert (right.score, right.alone, right.weight.weight) == (0.75, 0.75, 0.0)


def test_weights_follow_the_scale_of_the_scores(collection: Collection) -> None:
    found = candidates(collection)
    wrong = [0.0, 1.0, 2.0, 3.0]
    small, large = reranked(found, *wrong), reranked(found, *(1000 * score for score in wrong))
    assert small.alone < small.score == large.score
    assert large.weight.weight == pytest.approx(1000 * small.weight.weight, rel=0.01)
    assert small.weight.weight == float(f"{small.weight.weight:.3g}") > 0


def test_a_pair_is_scored_once(collection: Collection) -> None:
    encoder = Given(dict(enumerate([0.0, 1.0, 2.0, 3.0])))
    candidates(collection).reranked(encoder, progress=Progress())
    assert encoder.asked == 4 * len(WORDS)


def test_nothing_to_weigh(collection: Collection) -> None:
    """Of one candidate a query, and of a reranker to which all are equal, no weight makes a difference."""
    found = candidates(collection)
    assert reranked(found, 1.0, 1.0, 1.0, 1.0).weight.weight == 0.0
    single = Candidates(collection, "dev", "MRR@4", {word: hits[:1] for word, hits in found.hits.items()}, BM25)
    assert reranked(single, 3.0, 2.0, 1.0, 0.0).weight.weight == 0.0
    nothing = Candidates(collection, "dev", "MRR@4", {word: [] for word in WORDS}, BM25)
    assert reranked(nothing, 3.0) == Reranked(0.0, FirstStageWeight(0.0, BM25), 0.0, 1.0)


def test_the_bar_moves(collection: Collection) -> None:
    told: list[tuple[str, int, int]] = []

    class Noting(Progress):
        def __call__(self, stage: str, done: int, total: int, facts: str = "") -> None:
            assert not facts
            told.append((stage, done, total))

    candidates(collection).reranked(Given(dict.fromkeys(range(4), 0.0)), progress=Noting())
    assert told == [("reranking", len(WORDS), len(WORDS))]
