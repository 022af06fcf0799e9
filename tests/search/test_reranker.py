from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from biencoder.data.collection import Collection
from biencoder.errors import ArgumentError
from biencoder.evaluation import evaluate
from biencoder.records import Document, FirstStageWeight, Hit
from biencoder.scoring import FloatArray
from biencoder.search import KeywordOptions, KeywordSearcher, Reranker, Searcher
from biencoder.search import reranker as module
from biencoder.search.reranker import first_stage_of
from tests import tiny
from tests.search.fakes import FakeModel, corpus

BM25 = "bm25, english, k1 0.9, b 0.4"


class CountingWords:
    """Scores a pair by how often the document holds the query's first word; remembers what it was asked."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def score(self, pairs: Sequence[tuple[str, str]], /, *, progress: Callable[[int], None] | None = None) -> FloatArray:
        del progress
        self.calls.append(len(pairs))
        return np.array([document.split().count(query.split()[0]) for query, document in pairs], dtype=np.float32)


DOCUMENTS = corpus(200)


@pytest.fixture(scope="module")
def searcher() -> Searcher:
    return Searcher.in_memory(FakeModel(), DOCUMENTS, keywords=True)


def test_the_best_hits_are_put_in_order_anew(searcher: Searcher) -> None:
    found = Reranker(searcher, CountingWords(), depth=30).search("aspirin heart", k=5)
    candidates = searcher.search("aspirin heart", k=30)
    words = {hit.id: f"{hit.title} {hit.text}".split().count("aspirin") for hit in candidates}
    order = sorted(candidates, key=lambda hit: -words[hit.id])[:5]  # of equal scores as they were found
    assert found == [replace(hit, rank=rank, score=float(words[hit.id])) for rank, hit in enumerate(order, start=1)]
    assert [hit.id for hit in found] != [hit.id for hit in candidates[:5]]


def test_the_cross_encoder_reads_title_and_text(searcher: Searcher) -> None:
    encoder = tiny.cross_encoder()
    found = Reranker(searcher, encoder, depth=10).search("aspirin", k=10)
    by_id = {document.id: document for document in DOCUMENTS}
    expected = encoder.score([("aspirin", by_id[hit.id].content) for hit in found])
    assert [hit.score for hit in found] == pytest.approx(expected.tolist(), abs=1e-5)
    assert [hit.score for hit in found] == sorted((hit.score for hit in found), reverse=True)
    assert [hit.rank for hit in found] == [*range(1, 11)]


def test_k_above_depth_looks_at_k(searcher: Searcher) -> None:
    encoder = CountingWords()
    assert len(Reranker(searcher, encoder, depth=10).search("aspirin", k=25)) == 25
    assert len(Reranker(searcher, encoder, depth=10).search("aspirin", k=4)) == 4
    assert len(Reranker(searcher, encoder, depth=10**6).search("aspirin", k=10**6)) == 200
    assert encoder.calls == [25, 10, 200]


def test_what_the_first_stage_takes_is_passed_on(searcher: Searcher) -> None:
    reranker = Reranker(searcher, CountingWords(), depth=5)
    hybrid = {hit.id for hit in searcher.search("aspirin liver", k=5, hybrid=True)}
    assert {hit.id for hit in reranker.search("aspirin liver", k=5, hybrid=True)} == hybrid
    assert hybrid != {hit.id for hit in searcher.search("aspirin liver", k=5)}


def test_ids_alone(searcher: Searcher) -> None:
    reranker = Reranker(searcher, CountingWords(), depth=20)
    full = reranker.search("aspirin", k=3)
    assert reranker.search("aspirin", k=3, texts=False) == [Hit(hit.rank, hit.id, hit.score) for hit in full]


def test_many_queries_are_scored_in_blocks(searcher: Searcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", 2)
    encoder = CountingWords()
    reranker = Reranker(searcher, encoder, depth=7)
    queries = ["aspirin", "heart", "liver", "lung", "fever"]
    assert reranker.search_many(queries, k=3) == [reranker.search(query, k=3) for query in queries]
    assert encoder.calls == [14, 14, 7] + [7] * 5
    assert reranker.search_many([], k=3) == []


def test_a_query_without_candidates() -> None:
    keywords = KeywordSearcher.build([Document("d1", "aspirin"), Document("d2", "heart heart")])
    reranker = Reranker(keywords, tiny.cross_encoder())
    assert reranker.search("unknown") == []
    assert [[hit.id for hit in hits] for hits in reranker.search_many(["unknown", "heart"])] == [[], ["d2"]]


class Trained(CountingWords):
    """One whose training has measured how much the first stage's score counts."""

    def __init__(self, first_stage: str | None) -> None:
        super().__init__()
        self.first_stage = None if first_stage is None else FirstStageWeight(2.5, first_stage)


def test_the_first_stages_score_counts_as_much_as_it_is_told(searcher: Searcher) -> None:
    candidates = {hit.id: hit for hit in searcher.search("aspirin heart", k=30)}
    words = {name: float(f"{hit.title} {hit.text}".split().count("aspirin")) for name, hit in candidates.items()}
    expected = {name: words[name] + 30 * hit.score for name, hit in candidates.items()}
    found = Reranker(searcher, CountingWords(), depth=30, weight=30).search("aspirin heart", k=30)
    order = sorted(expected.items(), key=lambda one: -one[1])
    assert [(hit.id, hit.score) for hit in found] == order != list(expected.items())
    assert [hit.id for hit in found] != sorted(words, key=lambda name: -words[name])


def test_a_measured_weight_is_taken_for_its_own_first_stage(searcher: Searcher) -> None:
    keywords = KeywordSearcher.build(DOCUMENTS)
    own = first_stage_of(searcher)
    assert own is not None
    assert (first_stage_of(keywords), first_stage_of(CountingHits())) == (BM25, None)
    assert first_stage_of(KeywordSearcher.build(DOCUMENTS, options=KeywordOptions("german", 2))) == "bm25, german, k1 2, b 0.4"
    assert own == first_stage_of(Searcher.in_memory(FakeModel(), DOCUMENTS[:3]))
    assert own != first_stage_of(Searcher.in_memory(FakeModel("b"), DOCUMENTS[:3]))
    assert own != first_stage_of(Searcher.in_memory(FakeModel(normalised=False), DOCUMENTS[:3]))  # compared by inner products
    assert Reranker(searcher, Trained(own)).weight == Reranker(keywords, Trained(BM25)).weight == 2.5
    for encoder in (Trained(BM25), Trained(None), CountingWords()):
        assert Reranker(searcher, encoder).weight == 0
    assert Reranker(CountingHits(), Trained(BM25)).weight == 0
    assert Reranker(searcher, Trained(own), weight=0).weight == 0


class CountingHits:
    """A first stage of somebody else."""

    def search_many(self, queries: Sequence[str], *, k: int) -> list[list[Hit]]:
        return [[Hit(1, "d", 1.0)][:k] for _ in queries]


def test_fused_scores_are_not_added(searcher: Searcher) -> None:
    weighed, plain = (Reranker(searcher, CountingWords(), depth=9, weight=weight) for weight in (1000, 0))
    assert weighed.search("aspirin liver", hybrid=True) == plain.search("aspirin liver", hybrid=True)
    assert weighed.search("aspirin liver", hybrid=False) != plain.search("aspirin liver", hybrid=False)


def test_it_can_be_evaluated(tiny_collection: Collection) -> None:
    keywords = KeywordSearcher.build(tiny_collection.documents)
    found = evaluate(Reranker(keywords, CountingWords(), depth=10), tiny_collection, measures=["MRR@10", "Recall@100"])
    plain = evaluate(keywords, tiny_collection, measures=["MRR@10", "Recall@100"])
    assert found.measures["Recall@100"] == plain.measures["Recall@100"] > 0.5
    assert found.measures["MRR@10"] < plain.measures["MRR@10"]


def test_bad_arguments(searcher: Searcher) -> None:
    with pytest.raises(ArgumentError, match=r"^depth is 0; it must be at least 1$"):
        Reranker(searcher, CountingWords(), depth=0)
    with pytest.raises(ArgumentError, match=r"^k is 0; it must be at least 1$"):
        Reranker(searcher, CountingWords()).search("aspirin", k=0)
    with pytest.raises(ArgumentError, match=r"^the query is empty; give it at least one word$"):
        Reranker(searcher, CountingWords()).search(" ")
    for weight in (-1.0, float("inf"), float("nan")):
        with pytest.raises(ArgumentError, match=r"^the first stage's weight is .*; it must be a number that is not negative$"):
            Reranker(searcher, CountingWords(), weight=weight)
