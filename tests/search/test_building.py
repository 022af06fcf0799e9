from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from biencoder.data.passages import PassageOptions
from biencoder.errors import ArgumentError, CorruptError, DataError, IdentityError, StorageError
from biencoder.index import EngineOptions, IndexManifest
from biencoder.records import Document
from biencoder.scoring import dot, top_k
from biencoder.search import Searcher, build_index, encode
from biencoder.search.layers import Layers
from biencoder.storage.manifest import verify
from tests.search.fakes import FakeModel, Notes, corpus, tree

QUERIES = ["aspirin heart", "liver virus fever", "brain sleep"]


@pytest.mark.parametrize("engine", ["exact", "hnsw"])
def test_an_index_holds_all_that_a_search_needs(tmp_path: Path, engine: str) -> None:
    model, documents, notes = FakeModel(), corpus(60), Notes()
    built = build_index(model, documents, out=tmp_path / "x", engine=engine, progress=notes)
    files = set(tree(tmp_path / "x"))
    own = {"exact": "engine/vectors.npy", "hnsw": "engine/hnsw.faiss"}[engine]
    assert {name for name in files if not name.startswith("keywords/")} == {
        *("manifest.json", "documents.jsonl", "documents.offsets.npy", "ids.jsonl", "ids.offsets.npy", "model/config.json"),
        *("ids.hashes.npy", "canaries.json"),
        own,
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == [".x.lock", "x"]
    assert set(verify(tmp_path / "x").files) == files - {"manifest.json"}
    found = IndexManifest.read(tmp_path / "x")
    assert found == built.manifest
    assert (found.engine, found.reason, found.metric, found.dimension) == (engine, "asked for", "cosine", 32)
    assert (found.count, found.vectors, found.identity, found.keywords) == (60, 60, model.identity, True)
    assert found.bytes_per_vector == pytest.approx((tmp_path / "x" / own).stat().st_size / 60, abs=0.1)
    assert found.passages is None
    expected = top_k(dot(model.encode_queries(QUERIES), model.encode_documents([d.content for d in documents])), k=5)
    opened = Searcher.open(tmp_path / "x", model=FakeModel())
    for hits, scores, rows in zip(opened.search_many(QUERIES, k=5), *expected, strict=True):
        assert [hit.score for hit in hits] == pytest.approx(scores.tolist())
        assert [hit.id for hit in hits] == [documents[row].id for row in rows]
    assert notes.said == [f"engine {engine}: asked for"]
    assert [stage for stage, done, total in notes.steps if done == total == 60] == [
        "documents",
        "encoding",
        "keywords",
        "graph",
    ]


def test_auto_records_why(tmp_path: Path) -> None:
    built = build_index(FakeModel(), corpus(20), out=tmp_path / "x")
    assert built.manifest is not None
    assert built.manifest.engine == "exact"
    assert built.manifest.reason == (
        "exact search of 20 x 32 numbers takes at most about a millisecond (up to 84,000 vectors), and loses nothing"
    )


def test_parameters_are_kept(tmp_path: Path) -> None:
    engine = EngineOptions("hnsw", {"links": 8, "ef_search": 50})
    built = build_index(FakeModel(), corpus(20), out=tmp_path / "x", engine=engine)
    assert built.manifest is not None
    assert built.manifest.parameters == {
        "links": 8,
        "ef_construction": 200,
        "codes": "float32",
        "dimension": 0,
        "reduction": "pca",
        "rescore": "none",
        "ef_search": 50,
        "candidates": 100,
    }
    layers = Searcher.open(tmp_path / "x", model=FakeModel()).documents
    assert isinstance(layers, Layers)
    assert layers.base.index.parameters["ef_search"] == 50


def test_documents_are_read_once(tmp_path: Path) -> None:
    built = build_index(FakeModel(), (document for document in corpus(20)), out=tmp_path / "x")
    assert [document.id for document in built.documents] == [f"d{row}" for row in range(20)]


def test_without_keywords(tmp_path: Path) -> None:
    built = build_index(FakeModel(), corpus(20), out=tmp_path / "x", keywords=False)
    assert not (tmp_path / "x" / "keywords").exists()
    with pytest.raises(ArgumentError, match=r"^hybrid search needs keywords, and this index has none; build it with keywords$"):
        built.search("aspirin", hybrid=True)


def test_given_vectors_are_taken_and_stay(tmp_path: Path) -> None:
    encode(FakeModel(), corpus(30), out=tmp_path / "v", window=7)
    before = tree(tmp_path / "v")
    model = FakeModel()
    built = build_index(model, corpus(30), out=tmp_path / "x", vectors=tmp_path / "v", engine="exact")
    assert model.calls == [4]  # the canaries
    assert tree(tmp_path / "v") == before
    assert tree(tmp_path / "x")["engine/vectors.npy"] == before["vectors.npy"]
    assert built.search("aspirin heart") == Searcher.in_memory(FakeModel(), corpus(30)).search("aspirin heart")


def test_given_vectors_of_another_model_or_corpus(tmp_path: Path) -> None:
    encode(FakeModel("b"), corpus(30), out=tmp_path / "v")
    place = re.escape(str(tmp_path / "v"))
    digests = FakeModel("b").identity.document[:12], FakeModel("a").identity.document[:12]
    with pytest.raises(
        IdentityError, match=rf"^{place} holds vectors of document side {digests[0]}, .* given is {digests[1]}; "
    ):
        build_index(FakeModel("a"), corpus(30), out=tmp_path / "x", vectors=tmp_path / "v")
    changed = corpus(30)
    changed[7] = Document("other", changed[7].text)
    edited = corpus(30)
    edited[7] = Document("d7", "another text", edited[7].title)
    start = rf"^{place}: the vectors are not those of this corpus: "
    end = "; encode the corpus again$"
    for documents, message in [
        (changed, "document 8 of the corpus is 'other', of the vectors 'd7'"),
        (corpus(20), "the corpus ends with document 20, and the vectors go on to 30"),
        (corpus(31), "document 31 of the corpus is 'd30', and the vectors end before it"),
        (edited, "the ids agree, but a title or text has changed since"),
    ]:
        with pytest.raises(DataError, match=start + message + end):
            build_index(FakeModel("b"), documents, out=tmp_path / "x", vectors=tmp_path / "v")
    assert not (tmp_path / "x").exists()


def test_given_vectors_bring_their_passages(tmp_path: Path) -> None:
    options = PassageOptions(3, 1)
    encode(FakeModel(), corpus(30), out=tmp_path / "v", passages=options)
    built = build_index(FakeModel(), corpus(30), out=tmp_path / "x", vectors=tmp_path / "v")
    assert built.manifest is not None
    assert (built.manifest.count, built.manifest.passages) == (30, {"size": 3, "overlap": 1})
    assert built.manifest.vectors > 30
    assert np.load(tmp_path / "x" / "owners.npy").shape == (built.manifest.vectors,)
    with pytest.raises(ArgumentError) as caught:
        build_index(FakeModel(), corpus(30), out=tmp_path / "y", vectors=tmp_path / "v", passages=PassageOptions(4, 1))
    assert str(caught.value) == (
        f"{tmp_path / 'v'} was encoded with passages of size 3 and overlap 1, and passages of size 4 and overlap 1 are asked "
        "for; leave passages out, or encode again"
    )


def test_only_an_index_is_replaced(tmp_path: Path) -> None:
    build_index(FakeModel(), corpus(10), out=tmp_path / "x")
    built = build_index(FakeModel(), corpus(12), out=tmp_path / "x")
    assert len(built) == 12
    encode(FakeModel(), corpus(10), out=tmp_path / "v")
    with pytest.raises(StorageError, match=r"v is a folder of kind vectors; one of kind index will not replace it: choose"):
        build_index(FakeModel(), corpus(10), out=tmp_path / "v")
    with pytest.raises(StorageError, match=r"x is a folder of kind index; one of kind vectors was expected$"):
        build_index(FakeModel(), corpus(10), out=tmp_path / "y", vectors=tmp_path / "x")


def test_a_reader_keeps_the_old_index_while_it_is_replaced(tmp_path: Path) -> None:
    for engine in ("exact", "hnsw"):
        reader = build_index(FakeModel(), corpus(40), out=tmp_path / engine, engine=engine)
        before = reader.search_many(QUERIES, hybrid=True)
        build_index(FakeModel(), corpus(40, seed=9), out=tmp_path / engine, engine=engine)
        assert reader.search_many(QUERIES, hybrid=True) == before


@pytest.mark.parametrize("engine", ["exact", "hnsw"])
def test_a_flipped_byte_in_any_file_is_found(tmp_path: Path, engine: str) -> None:
    place = tmp_path / "x"
    build_index(FakeModel(), corpus(30), out=place, engine=engine, passages=PassageOptions(3, 1))
    chance = np.random.default_rng(0)
    files = tree(place)
    assert {"owners.npy", "model/config.json", "keywords/data.csc.index.npy"} < set(files)
    for name, data in files.items():
        position = int(chance.integers(len(data) - 2))
        changed = bytearray(data)
        changed[position] ^= 1 << int(chance.integers(8))
        (place / name).write_bytes(changed)
        message = re.escape(f"{place / name} is damaged: ") if name != "manifest.json" else "manifest.json is damaged: "
        with pytest.raises(CorruptError, match=message):
            Searcher.open(place, model=FakeModel())
        (place / name).write_bytes(data)
    assert len(Searcher.open(place, model=FakeModel())) == 30


def test_a_full_disk_leaves_the_old_index(small_disk: Path) -> None:
    build_index(FakeModel(), corpus(20), out=small_disk / "x", engine="hnsw")
    before = tree(small_disk / "x")
    with pytest.raises(StorageError, match=r"free some space or choose another place"):
        build_index(FakeModel(), corpus(1500), out=small_disk / "x", engine="hnsw")
    assert tree(small_disk / "x") == before


def test_a_read_only_place(read_only_disk: Path) -> None:
    with pytest.raises(StorageError, match=r"the file system is read-only: choose another place$"):
        build_index(FakeModel(), corpus(3), out=read_only_disk / "x")


def test_mistakes_are_told_before_any_work(tmp_path: Path) -> None:
    model = FakeModel()
    with pytest.raises(
        ArgumentError, match=r"^there is no engine 'hsnw'; choose one of: auto, exact, hnsw, ivfpq, ivfrabitq, ivfsq, qdrant$"
    ):
        build_index(model, corpus(3), out=tmp_path / "x", engine="hsnw")
    with pytest.raises(
        ArgumentError, match=r"^engine hnsw has no parameter 'm' here; it has: candidates, codes, dimension, ef_construction"
    ):
        build_index(model, corpus(3), out=tmp_path / "x", engine=EngineOptions("hnsw", {"m": 3}))
    with pytest.raises(ArgumentError, match=r"^there are no documents; at least one is needed$"):
        build_index(model, [], out=tmp_path / "x")
    with pytest.raises(DataError, match=r"^the id 'd1' belongs to documents 2 and 4; ids must differ$"):
        build_index(model, [*corpus(3), Document("d1", "again")], out=tmp_path / "x")
    assert model.calls == []
    assert [path.name for path in tmp_path.iterdir()] == [".x.lock"]


def test_after_a_failure_the_vectors_are_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(FakeModel, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            build_index(FakeModel(), corpus(30), out=tmp_path / "x")
    assert [path.name for path in (tmp_path / ".x.partial").iterdir() if path.is_dir()] == ["vectors"]
    model, notes = FakeModel(), Notes()
    build_index(model, corpus(30), out=tmp_path / "x", progress=notes)
    assert model.calls == [4]  # the canaries
    assert notes.said[0] == "reused the vectors of 30 documents"
    assert not (tmp_path / ".x.partial").exists()
