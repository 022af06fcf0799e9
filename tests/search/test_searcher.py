from __future__ import annotations

import re
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biencoder.data.passages import PassageOptions, split_document
from biencoder.errors import ArgumentError, CorruptError, DataError, IdentityError, StorageError
from biencoder.identity import Identity
from biencoder.records import Document, Hit
from biencoder.scoring import FloatArray, dot
from biencoder.search import KeywordSearcher, Searcher, build_index, reciprocal_rank_fusion
from biencoder.storage.manifest import peek_manifest, write_manifest
from tests.search.fakes import WORDS, FakeModel, corpus

DOCUMENTS = [
    Document("d1", "heart aspirin", "A title", {"year": 1999}),
    Document("d2", "liver"),
    Document("d3", "aspirin"),
]


def test_hits_carry_the_document() -> None:
    model = FakeModel(dimension=512)
    found = Searcher.in_memory(model, DOCUMENTS).search("aspirin", k=2)
    score = float(dot(model.encode_queries(["aspirin"]), model.encode_documents(["A title heart aspirin"]))[0, 0])
    assert found == [Hit(1, "d3", 1.0, "", "aspirin"), Hit(2, "d1", score, "A title", "heart aspirin", {"year": 1999})]
    assert score == pytest.approx(0.5)


def test_ids_alone() -> None:
    searcher = Searcher.in_memory(FakeModel(), DOCUMENTS, keywords=True)
    for hybrid in (False, True):
        full = searcher.search("aspirin", hybrid=hybrid)
        assert searcher.search("aspirin", hybrid=hybrid, texts=False) == [Hit(hit.rank, hit.id, hit.score) for hit in full]


def test_queries_are_encoded_together() -> None:
    class Counting(FakeModel):
        def encode_queries(self, texts: Sequence[str]) -> FloatArray:
            self.calls.append(-len(texts))
            return super().encode_queries(texts)

    model = Counting()
    searcher = Searcher.in_memory(model, DOCUMENTS)
    found = searcher.search_many(["aspirin", "liver"], k=1)
    assert [[hit.id for hit in hits] for hits in found] == [["d3"], ["d2"]]
    assert model.calls == [3, -2]
    assert searcher.search_many([]) == []


def test_lengths_count_in_a_model_that_does_not_normalise(tmp_path: Path) -> None:
    model = FakeModel(normalised=False, dimension=512)
    documents = [Document("d1", "heart"), Document("d2", "heart heart heart")]
    built = build_index(model, documents, out=tmp_path / "x")
    assert built.manifest is not None
    assert built.manifest.metric == "dot"
    assert [(hit.id, hit.score) for hit in built.search("heart")] == [("d2", 3.0), ("d1", 1.0)]


@pytest.mark.parametrize("k", [3, 4, 10**6])
def test_k_above_the_corpus_gives_all(tmp_path: Path, k: int) -> None:
    for engine in ("exact", "hnsw"):
        built = build_index(FakeModel(), DOCUMENTS, out=tmp_path / engine, engine=engine)
        for hybrid in (False, True):
            assert sorted(hit.id for hit in built.search("aspirin", k=k, hybrid=hybrid)) == ["d1", "d2", "d3"]


def test_hybrid_is_the_fusion_of_both() -> None:
    documents = corpus(200)
    searcher = Searcher.in_memory(FakeModel(), documents, keywords=True)
    for query in ("aspirin heart", "title7 liver"):
        dense = searcher.search(query, k=100)
        sparse = KeywordSearcher.build(documents).search(query, k=100)
        assert searcher.search(query, k=8, hybrid=True) == reciprocal_rank_fusion([dense, sparse], k=8)


@settings(max_examples=12)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=8),
    k=st.integers(1, 10),
    size=st.integers(1, 4),
    seed=st.integers(0, 100),
)
def test_a_document_scores_as_its_best_passage(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], k: int, size: int, seed: int
) -> None:
    chance = np.random.default_rng(seed)
    documents = [Document(f"d{row}", " ".join(chance.choice(WORDS, count))) for row, count in enumerate(lengths)]
    options = PassageOptions(size, size // 2)
    model = FakeModel()
    place = tmp_path_factory.mktemp("x") / "x"
    found = build_index(model, documents, out=place, passages=options, keywords=False).search("aspirin heart", k=k)
    query = model.encode_queries(["aspirin heart"])
    best = [float(dot(query, model.encode_documents(split_document(own, options))).max()) for own in documents]
    order = sorted(range(len(best)), key=lambda row: (-round(best[row], 5), row))[:k]
    assert [hit.score for hit in found] == pytest.approx([best[row] for row in order], abs=1e-6)
    assert len({hit.id for hit in found}) == len(found) == min(k, len(documents))
    assert [hit.id for hit in found] == [f"d{row}" for row in order]


def test_many_passages_of_one_document_do_not_hide_the_others(tmp_path: Path) -> None:
    documents = [Document("long", "aspirin " * 500), *(Document(f"d{row}", "liver") for row in range(9))]
    for engine in ("exact", "hnsw"):
        built = build_index(FakeModel(), documents, out=tmp_path / engine, engine=engine, passages=PassageOptions(2, 0))
        hits = built.search_many(["aspirin", "liver"], k=5)
        assert [hit.id for hit in hits[0]] == ["long", "d0", "d1", "d2", "d3"]
        assert [hit.id for hit in hits[1]] == ["d0", "d1", "d2", "d3", "d4"]


def test_the_document_side_decides_what_may_search(tmp_path: Path) -> None:
    build_index(FakeModel("a"), DOCUMENTS, out=tmp_path / "x")
    place, (made, given_) = re.escape(str(tmp_path / "x")), (FakeModel(name).identity.document[:12] for name in "ab")
    message = (
        f"^{place} holds vectors of document side {made}, but the model given is {given_}; "
        "encode the documents again with this model, or use the model that made them$"
    )
    with pytest.raises(IdentityError, match=message):
        Searcher.open(tmp_path / "x", model=FakeModel("b"))

    class OtherQueries(FakeModel):
        @property
        def identity(self) -> Identity:
            return Identity(super().identity.document, "another query side", "another execution")

    assert Searcher.open(tmp_path / "x", model=OtherQueries("a")).search("liver", k=1)[0].id == "d2"


def test_what_is_no_index(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"nowhere: no such folder$"):
        Searcher.open(tmp_path / "nowhere")
    with pytest.raises(StorageError, match=r"has no manifest.json: it was not written by biencoder$"):
        Searcher.open(tmp_path)
    place = tmp_path / "x"
    build_index(FakeModel(), DOCUMENTS, out=place)
    manifest = peek_manifest(place)
    write_manifest(place, kind="index", version=99, fields=manifest.fields)
    with pytest.raises(StorageError, match=r"x has format version 99 of kind index; this biencoder reads version 2: "):
        Searcher.open(place, model=FakeModel())
    write_manifest(place, kind="index", version=2, fields={**manifest.fields, "count": 4})
    with pytest.raises(CorruptError, match=r"x holds 3 vectors of 3 documents; its manifest says 3 of 4: build"):
        Searcher.open(place, model=FakeModel())


def test_what_cannot_be_asked() -> None:
    searcher = Searcher.in_memory(FakeModel(), DOCUMENTS)
    for query in ("", " \t\n", "\u2003"):
        with pytest.raises(ArgumentError, match=r"^the query is empty; give it at least one word$"):
            searcher.search(query)
    with pytest.raises(ArgumentError, match=r"^query 2 of 3 is empty; give it at least one word$"):
        searcher.search_many(["a", "", "b"])
    for k in (0, -1):
        with pytest.raises(ArgumentError, match=rf"^k is {k}; it must be at least 1$"):
            searcher.search("a", k=k)
    with pytest.raises(ArgumentError, match=r"^one string was given in place of a list of queries; put it in a list"):
        searcher.search_many("aspirin")
    with pytest.raises(ArgumentError, match=r"^engine exact has no parameter 'ef_search' here; it has: none$"):
        searcher.search("a", parameters={"ef_search": 3})
    with pytest.raises(ArgumentError, match=r"^hybrid search needs keywords"):
        searcher.search("a", hybrid=True)
    with pytest.raises(ArgumentError, match=r"^there are no documents; at least one is needed$"):
        Searcher.in_memory(FakeModel(), [])
    with pytest.raises(DataError, match=r"^the id 'd1' belongs to documents 1 and 4; ids must differ$"):
        Searcher.in_memory(FakeModel(), [*DOCUMENTS, DOCUMENTS[0]])


@pytest.mark.parametrize("query", ["aspirin " * 125_000, "a" * 10**6, "🙂" * 10**6, "\x00 \ud800"])
def test_hostile_queries(query: str) -> None:
    class Tolerant(FakeModel):
        def encode_queries(self, texts: Sequence[str]) -> FloatArray:
            return super().encode_queries([text[:100].encode("utf-8", "replace").decode() for text in texts])

    searcher = Searcher.in_memory(Tolerant(), corpus(500), keywords=True)
    start = time.perf_counter()
    assert len(searcher.search(query, k=3, hybrid=True)) == 3
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize("engine", ["exact", "hnsw"])
def test_many_threads_find_what_one_finds(tmp_path: Path, engine: str) -> None:
    searcher = build_index(FakeModel(), corpus(400), out=tmp_path / "x", engine=engine, passages=PassageOptions(4, 0))
    queries = [f"{one} {other}" for one in WORDS[:8] for other in WORDS[:8]]
    expected = [searcher.search(query, k=5, hybrid=True) for query in queries]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda query: searcher.search(query, k=5, hybrid=True), queries)) == expected
