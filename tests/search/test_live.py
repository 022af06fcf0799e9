"""Live indexes: documents in a Qdrant store. The embedded engine always; a server where QDRANT_URL names one."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from biencoder.data.passages import PassageOptions
from biencoder.errors import ArgumentError, DataError, IdentityError, LockedError, StorageError
from biencoder.index.engines import EngineOptions
from biencoder.index.filters import parse_filter
from biencoder.index.tuning import Goal
from biencoder.records import Document, Hit
from biencoder.search import QdrantServer, Searcher, Updated, add_documents, build_index, compact_index, delete_documents
from biencoder.search.live import LiveDocuments
from biencoder.storage.manifest import verify
from tests.search.fakes import WORDS, FakeModel, Notes, corpus, tree

URL = os.environ.get("QDRANT_URL", "")
MODEL = FakeModel(dimension=64)
QUERIES = [f"{one} {other}" for one in WORDS[:5] for other in WORDS[:5]]
Build = Callable[..., Searcher]


@pytest.fixture(params=["embedded", "server"])
def build(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Build]:
    server = None
    if request.param == "server":
        if not URL:
            pytest.skip("QDRANT_URL names no server")
        server = QdrantServer(URL)
    opened: list[Searcher] = []

    def make(documents: list[Document], **more: object) -> Searcher:
        options = {"out": tmp_path / "x", "engine": "qdrant", "server": server} | more
        opened.append(build_index(MODEL, documents, **options))  # type: ignore[arg-type]
        return opened[-1]

    yield make
    for searcher in opened:
        searcher.close()


def with_metadata(documents: list[Document]) -> list[Document]:
    langs = ("en", "de", "fr")
    return [
        Document(own.id, own.text, own.title, {"year": 2000 + row % 20, "lang": langs[row % 3], "tags": [f"t{row % 7}"]})
        for row, own in enumerate(documents)
    ]


def ranked(hits: list[Hit]) -> list[tuple[float, str]]:
    return sorted((round(-hit.score, 5), hit.id) for hit in hits)


def test_anything_in_any_order(build: Build) -> None:
    chance = random.Random(5)  # noqa: S311
    known = {document.id: document for document in with_metadata(corpus(60))}
    searcher = build(list(known.values()))
    for step in range(10):
        if step % 2:
            ids = chance.sample(sorted(known), 5)
            assert searcher.delete([*ids, "never"]) == Updated(deleted=5, unknown=("never",), documents=len(known) - 5)
            known = {name: own for name, own in known.items() if name not in ids}
        else:
            fresh = with_metadata(
                [Document(chance.choice([*known, "new"]), f"{own.text} {step}") for own in corpus(6, seed=step)]
            )
            fresh = list({document.id: document for document in fresh}.values())
            replaced = sum(document.id in known for document in fresh)
            known |= {document.id: document for document in fresh}
            assert searcher.add(fresh) == Updated(added=len(fresh) - replaced, replaced=replaced, documents=len(known))
        assert {document.id: document for document in searcher.documents} == known
        assert len(searcher) == len(known)
        for where in (None, "year >= 2010 and lang in (en, de)", "tags = t3 or not year < 2015"):
            chosen = [own for own in known.values() if where is None or parse_filter(where).matches(own.metadata)]
            oracle = Searcher.in_memory(MODEL, chosen)
            found = searcher.search_many(QUERIES, k=100, where=where)
            for own, wanted in zip(found, oracle.search_many(QUERIES, k=100), strict=True):
                assert ranked(own) == ranked(wanted)
                assert all(known[hit.id] == Document(hit.id, hit.text, hit.title, hit.metadata) for hit in own)
    assert [hit.text for hit in searcher.search("aspirin", texts=False)] == [""] * 10


def test_passages(build: Build) -> None:
    options = PassageOptions(3, 0)
    documents = [Document("long", "aspirin " * 30), *corpus(9, words=9)]
    searcher = build(documents, passages=options)
    assert len(searcher) == 10
    assert searcher.manifest is not None
    assert searcher.manifest.vectors == 10 + 9 * 3
    batch = build_index(MODEL, documents, out=f"{searcher.path}-batch", passages=options)
    for own, wanted in zip(searcher.search_many(QUERIES, k=10), batch.search_many(QUERIES, k=10), strict=True):
        assert ranked(own) == ranked(wanted)
        assert {hit.id: hit.text for hit in own} == {document.id: document.text for document in documents}
    searcher.add([Document("long", "liver liver liver"), Document("other", "zebra " * 7)])  # fewer passages than it had
    assert len(searcher) == 11
    assert searcher.search("aspirin aspirin aspirin", k=1)[0].id != "long"
    assert searcher.delete(["long", "d1"]).documents == 9
    assert {hit.id for hit in searcher.search("liver", k=50)} == {"d0", *(f"d{row}" for row in range(2, 9)), "other"}


def test_what_is_new_in_the_metadata_can_be_filtered_on(build: Build) -> None:
    searcher, notes = build(with_metadata(corpus(30))), Notes()
    with pytest.raises(ArgumentError, match=r"^there is no filter on 'kind'; the fields that were declared are: "):
        searcher.search("aspirin", where="kind = 'note'")
    searcher.add([Document("n", "aspirin", metadata={"kind": "note", "year": 1990})], progress=notes)
    assert notes.said == ["new in the metadata: kind; the graph is built again, so that filters on it are right"]
    assert [hit.id for hit in searcher.search("aspirin", where="kind = note")] == ["n"]
    assert [hit.id for hit in searcher.search("aspirin", where="year < 2000")] == ["n"]
    with pytest.raises(ArgumentError, match=r"year is 1\.5, and the field was declared integer; declare it float$"):
        searcher.add([Document("o", "aspirin", metadata={"year": 1.5})])
    with pytest.raises(
        DataError, match=r"^the metadata of document 'o' has a field '_id', which a live index keeps for itself"
    ):
        searcher.add([Document("o", "aspirin", metadata={"_id": "x"})])
    assert len(searcher) == 31


def test_it_stays(build: Build, tmp_path: Path) -> None:
    place = tmp_path / "x"
    build(corpus(20)).close()
    assert add_documents(place, [Document("new", "zebra")], model=MODEL) == Updated(added=1, documents=21)
    assert delete_documents(place, ["d1", "no"]) == Updated(deleted=1, unknown=("no",), documents=20)
    assert compact_index(place) == 20
    verify(place)
    with Searcher.open(place, model=MODEL) as searcher:
        assert searcher.search("zebra", k=1)[0].id == "new"
        assert not searcher.refresh()
        assert isinstance(searcher.documents, LiveDocuments)
        with pytest.raises(ArgumentError, match=r"^hybrid search needs keywords, and this index has none"):
            searcher.search("zebra", hybrid=True)
    with pytest.raises(IdentityError):
        Searcher.open(place, model=FakeModel("b", dimension=64))
    with pytest.raises(IdentityError):
        add_documents(place, [Document("a", "b")], model=FakeModel("b", dimension=64))


def test_one_process_at_a_time(tmp_path: Path) -> None:
    place = tmp_path / "x"
    with build_index(MODEL, corpus(20), out=place, engine="qdrant"):
        for attempt in (
            lambda: Searcher.open(place, model=MODEL),
            lambda: add_documents(place, corpus(1), model=MODEL),
            lambda: build_index(MODEL, corpus(5), out=place, engine="qdrant"),
        ):
            with pytest.raises(LockedError, match=r"x is open already; Qdrant's embedded engine serves one process at a time"):
                attempt()
    with build_index(MODEL, corpus(5), out=place, engine="qdrant") as searcher:
        assert len(searcher) == 5
    assert len(build_index(MODEL, corpus(6), out=place, engine="exact")) == 6
    assert not (place / "live").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".x.lock", "x"]


def test_parameters_and_tuning(tmp_path: Path) -> None:
    options = EngineOptions("qdrant", {"links": 8, "ef_search": 40, "codes": "int8"})
    with build_index(MODEL, corpus(300), out=tmp_path / "x", engine=options) as searcher:
        assert searcher.manifest is not None
        assert {name: searcher.manifest.parameters[name] for name in options.parameters} == options.parameters
        assert isinstance(searcher.documents, LiveDocuments)
        assert (searcher.documents.points.options.links, searcher.documents.points.options.codes) == (8, "int8")
        assert searcher.documents.parameters == {"ef_search": 40}
    goal = Goal(0.9)
    with build_index(MODEL, corpus(300), out=tmp_path / "y", engine="qdrant", recall=goal, queries=QUERIES) as searcher:
        assert searcher.manifest is not None
        assert searcher.manifest.recall is not None
        assert searcher.manifest.recall >= 0.9
        assert (tmp_path / "y" / "frontier.json").exists()


def test_a_failure_leaves_the_old_one(tmp_path: Path) -> None:
    place = tmp_path / "x"
    build_index(MODEL, corpus(20), out=place, engine="qdrant").close()
    before = {name for name in tree(place) if not name.startswith("live/")}
    with pytest.raises(DataError, match="keeps for itself"):
        build_index(MODEL, [Document("d", "x", metadata={"_text": 1})], out=place, engine="qdrant")
    assert {name for name in tree(place) if not name.startswith("live/")} == before
    with Searcher.open(place, model=MODEL) as searcher:
        assert len(searcher) == 20


def test_what_cannot_be_asked(tmp_path: Path) -> None:
    with pytest.raises(
        ArgumentError, match=r"^a server is for live indexes, and engine auto is asked for; choose engine qdrant$"
    ):
        build_index(MODEL, corpus(3), out=tmp_path / "x", server=QdrantServer("http://localhost:1"))
    with pytest.raises(StorageError, match=r"^http://localhost:1.*the server does not answer"):
        build_index(MODEL, corpus(3), out=tmp_path / "x", engine="qdrant", server=QdrantServer("http://localhost:1"))
    batch = build_index(MODEL, corpus(3), out=tmp_path / "x")
    with pytest.raises(ArgumentError, match=r"^engine exact cannot filter; build the index with engine qdrant$"):
        batch.search("aspirin", where="year = 3")
    with pytest.raises(ArgumentError, match=r"^filter, position "):
        batch.search("aspirin", where="year = = 3")
    with pytest.raises(ArgumentError, match=r"^a search in memory has no folder to change; build an index$"):
        Searcher.in_memory(MODEL, corpus(3)).delete(["d1"])
    with build_index(MODEL, corpus(3), out=tmp_path / "y", engine="qdrant"):
        pass
    shutil.rmtree(tmp_path / "y" / "live")
    with pytest.raises(StorageError, match=r"y/live is no store of points: "):
        Searcher.open(tmp_path / "y", model=MODEL)


def test_a_batch_searcher_adds_and_deletes(tmp_path: Path) -> None:
    searcher = build_index(MODEL, corpus(20), out=tmp_path / "x")
    assert searcher.add([Document("new", "zebra")]) == Updated(added=1, documents=21)
    assert searcher.search("zebra", k=1)[0].id == "new"
    assert searcher.delete(["new"]) == Updated(deleted=1, documents=20)
    assert "new" not in {hit.id for hit in searcher.search("zebra", k=100)}


def test_all_gone(build: Build) -> None:
    searcher = build(corpus(5))
    assert searcher.delete([f"d{row}" for row in range(5)]).documents == 0
    assert searcher.search("aspirin") == []
    assert searcher.add([Document("new", "aspirin")]) == Updated(added=1, documents=1)
    assert [hit.id for hit in searcher.search("aspirin")] == ["new"]
