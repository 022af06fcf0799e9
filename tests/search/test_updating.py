"""Additions and deletions: whatever was done, an index finds what a search over the documents themselves finds."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from biencoder.data.passages import PassageOptions
from biencoder.errors import ArgumentError, CorruptError, DataError, IdentityError, LockedError, ModelError, StorageError
from biencoder.records import Document, Hit
from biencoder.scoring import FloatArray
from biencoder.search import Searcher, Updated, add_documents, build_index, compact_index, delete_documents
from biencoder.search.changes import FOLDER, change_folders
from biencoder.search.layers import Layers
from biencoder.storage.folder import locked
from biencoder.storage.manifest import verify
from tests.search.fakes import WORDS, FakeModel, Notes, corpus, tree

QUERIES = [f"{one} {other}" for one in WORDS[:6] for other in WORDS[:6]]
MODEL = FakeModel(dimension=64)


def ranked(hits: Sequence[Hit]) -> list[tuple[float, str]]:
    """Scores and ids; of equal scores by id, since an update changes the order of documents."""
    return sorted(((round(-hit.score, 5), hit.id) for hit in hits), key=lambda pair: pair)


def assert_finds_what_is_there(searcher: Searcher, expected: dict[str, Document]) -> None:
    assert {document.id: document for document in searcher.documents} == expected
    assert len(searcher) == len(expected)
    oracle = Searcher.in_memory(MODEL, list(expected.values()))
    for found, wanted in zip(searcher.search_many(QUERIES, k=500), oracle.search_many(QUERIES, k=500), strict=True):
        assert ranked(found) == ranked(wanted)
        assert all(expected[hit.id].text == hit.text for hit in found)
        assert [hit.rank for hit in found] == list(range(1, len(found) + 1))


@pytest.mark.parametrize("passages", [None, PassageOptions(3, 1)])
@pytest.mark.parametrize("seed", range(2))
def test_anything_in_any_order(tmp_path: Path, seed: int, passages: PassageOptions | None) -> None:
    chance = random.Random(seed)  # noqa: S311
    place = tmp_path / "x"
    known = {document.id: document for document in corpus(60)}
    build_index(MODEL, list(known.values()), out=place, engine="exact", passages=passages)
    searcher = Searcher.open(place, model=MODEL)
    for step in range(9):
        if chance.random() < 0.5 and len(known) > 1:
            ids = chance.sample(sorted(known), chance.randint(1, min(8, len(known) - 1)))
            done = delete_documents(place, [*ids, f"never-{step}"])
            for identifier in ids:
                del known[identifier]
            assert done == Updated(deleted=len(ids), unknown=(f"never-{step}",), documents=len(known))
        else:
            fresh = [
                Document(f"d{chance.randint(0, 99)}-{n}" if n % 2 else chance.choice([*known, f"e{n}"]), f"{text.text} {step}")
                for n, text in enumerate(corpus(chance.randint(1, 12), seed=100 * seed + step))
            ]
            fresh = list({document.id: document for document in fresh}.values())
            replaced = sum(document.id in known for document in fresh)
            done = add_documents(place, fresh, model=MODEL)
            known |= {document.id: document for document in fresh}
            assert done == Updated(added=len(fresh) - replaced, replaced=replaced, documents=len(known))
        assert searcher.refresh()
        assert not searcher.refresh()
        if passages is None:
            assert_finds_what_is_there(searcher, known)
        assert {document.id for document in Searcher.open(place, model=MODEL).documents} == known.keys()
        for folder in change_folders(place):
            verify(folder)
        if step == 5:
            assert compact_index(place) == len(known)
            assert not (place / FOLDER).exists()
            assert searcher.refresh()
            assert {document.id: document for document in searcher.documents} == known
    assert len(change_folders(place)) <= 4
    # What was compacted is what would have been built.
    compact_index(place)
    fresh_one = build_index(MODEL, searcher.documents, out=tmp_path / "y", engine="exact", passages=passages)
    ours, theirs = tree(place), tree(tmp_path / "y")
    assert ours.keys() == theirs.keys()
    different = {name for name in ours if ours[name] != theirs[name]}
    assert different <= {"manifest.json", "canaries.json"}
    assert Searcher.open(place, model=MODEL).search_many(QUERIES, hybrid=True) == fresh_one.search_many(QUERIES, hybrid=True)


def test_a_refresh_keeps_the_index_of_what_was_built_and_stayed(tmp_path: Path) -> None:
    """What a large index has prepared is not made once more for each new document."""
    place = tmp_path / "x"
    build_index(MODEL, corpus(50), out=place, engine="hnsw")
    searcher = Searcher.open(place, model=MODEL)
    assert isinstance(searcher.documents, Layers)
    index = searcher.documents.base.index
    add_documents(place, [Document("new", "aspirin heart zebra")], model=MODEL)
    assert searcher.refresh()
    assert isinstance(searcher.documents, Layers)
    assert searcher.documents.base.index is index
    assert searcher.search("aspirin heart zebra", k=1)[0].id == "new"
    compact_index(place)
    assert searcher.refresh()
    assert isinstance(searcher.documents, Layers)
    assert searcher.documents.base.index is not index
    assert searcher.search("aspirin heart zebra", k=1)[0].id == "new"


@pytest.mark.parametrize("engine", ["exact", "hnsw", "ivfpq", "ivfrabitq", "ivfsq"])
def test_every_engine_takes_them(tmp_path: Path, engine: str) -> None:
    place = tmp_path / "x"
    build_index(MODEL, corpus(300), out=place, engine=engine)
    delete_documents(place, [f"d{row}" for row in range(0, 300, 3)])
    add_documents(place, [Document("new", "aspirin heart zebra")], model=MODEL)
    searcher = Searcher.open(place, model=MODEL)
    assert len(searcher) == 201
    assert searcher.search("aspirin heart zebra", k=1)[0].id == "new"
    assert searcher.search("zebra", k=1, hybrid=True)[0].id == "new"
    for hits in searcher.search_many(QUERIES, k=50):
        assert len(hits) == len({hit.id for hit in hits}) == 50
        assert all(hit.id == "new" or int(hit.id[1:]) % 3 for hit in hits)
    assert compact_index(place) == 201
    after = Searcher.open(place, model=MODEL)
    assert after.manifest is not None
    assert after.manifest.engine == engine
    assert (after.manifest.count, after.manifest.vectors) == (201, 201)
    assert after.search("aspirin heart zebra", k=1)[0].id == "new"
    assert compact_index(place) == 201  # nothing to do


def test_many_additions_have_an_engine_of_their_own(tmp_path: Path) -> None:
    place = tmp_path / "x"
    model = FakeModel(dimension=1024)  # exact search stops being a matter of a millisecond at 2,625 of these
    build_index(model, corpus(10), out=place, keywords=False)
    many = [Document(f"n{row}", f"{own.text} w{row} v{row % 977}") for row, own in enumerate(corpus(2700))]
    add_documents(place, many, model=model)
    assert (change_folders(place)[0] / "engine" / "hnsw.faiss").exists()
    searcher = Searcher.open(place, model=model)
    for number in (0, 1350, 2699):
        assert searcher.search(many[number].text, k=1)[0].id == f"n{number}"
    add_documents(place, corpus(6000, seed=3)[3000:], model=model)  # takes the other in
    assert [path.name for path in change_folders(place)] == ["00000001-00000002"]
    assert len(Searcher.open(place, model=model)) == 10 + 2700 + 3000


def test_small_changes_are_taken_into_one(tmp_path: Path) -> None:
    place = tmp_path / "x"
    build_index(MODEL, corpus(50), out=place)
    names = []
    for row in range(17):
        add_documents(place, [Document(f"n{row}", f"aspirin {row}")], model=MODEL)
        names.append([path.name for path in change_folders(place)])
        assert len(list((place / FOLDER).iterdir())) == len(names[-1])
    assert max(map(len, names)) <= 5
    assert names[-1][-1].endswith("00000017")
    assert len(Searcher.open(place, model=MODEL)) == 67


def test_keywords_weigh_as_in_the_build(tmp_path: Path) -> None:
    place = tmp_path / "x"
    documents = corpus(80)
    build_index(MODEL, documents, out=place)
    twin = Document("twin", documents[7].text, documents[7].title)
    add_documents(place, [twin, Document("other", "zebra")], model=MODEL)
    layers = Searcher.open(place, model=MODEL).documents
    assert isinstance(layers, Layers)
    scores, numbers = layers.by_keywords(documents[7].content, k=2)
    assert numbers == [7, 80]
    assert scores[0] == pytest.approx(scores[1], rel=1e-6)  # the same text has the same score, in the build and beside it
    assert layers.by_keywords("zebra", k=5)[1] == [81]
    assert layers.by_keywords("nothing-like-it", k=5) == ([], [])


def test_a_search_under_way_keeps_what_it_began_with(tmp_path: Path) -> None:
    place = tmp_path / "x"
    build_index(MODEL, corpus(20), out=place)
    old = Searcher.open(place, model=MODEL)
    before = old.search_many(QUERIES, k=5, hybrid=True)
    add_documents(place, [Document("new", "aspirin")], model=MODEL)
    assert old.search_many(QUERIES, k=5, hybrid=True) == before
    build_index(MODEL, corpus(30, seed=9), out=place)
    shutil.rmtree(place)
    assert old.search_many(QUERIES, k=5, hybrid=True) == before


def test_all_gone(tmp_path: Path) -> None:
    place = tmp_path / "x"
    build_index(MODEL, corpus(5), out=place)
    assert delete_documents(place, [f"d{row}" for row in range(5)]).documents == 0
    searcher = Searcher.open(place, model=MODEL)
    assert searcher.search("aspirin") == searcher.search("aspirin", hybrid=True) == []
    with pytest.raises(ArgumentError, match=r"x: no document is left; add some, or remove the folder$"):
        compact_index(place)
    add_documents(place, [Document("d1", "aspirin again")], model=MODEL)
    assert [hit.text for hit in Searcher.open(place, model=MODEL).search("aspirin")] == ["aspirin again"]
    assert compact_index(place) == 1


def test_what_cannot_be_done_changes_nothing(tmp_path: Path) -> None:
    place = tmp_path / "x"
    build_index(MODEL, corpus(5), out=place)
    before = tree(place)
    with pytest.raises(ArgumentError, match=r"^there are no documents; at least one is needed$"):
        add_documents(place, [], model=MODEL)
    with pytest.raises(DataError, match=r"^the id 'a' belongs to documents 1 and 2; ids must differ$"):
        add_documents(place, [Document("a", "x"), Document("a", "y")], model=MODEL)
    with pytest.raises(IdentityError, match=r"x holds vectors of document side"):
        add_documents(place, [Document("a", "x")], model=FakeModel("b", dimension=64))
    with pytest.raises(StorageError, match=r"nowhere: no such folder$"):
        add_documents(tmp_path / "nowhere", [Document("a", "x")], model=MODEL)
    with pytest.raises(ArgumentError, match=r"^one string was given in place of ids; put it in a list$"):
        delete_documents(place, "d1")
    assert delete_documents(place, ["unknown"]) == Updated(unknown=("unknown",), documents=5)
    notes = Notes()
    assert compact_index(place, progress=notes) == 5
    assert notes.said == ["nothing has changed since the index was built"]
    with locked(place), pytest.raises(LockedError, match=r"x: another process is writing this folder; wait for it to end$"):
        add_documents(place, [Document("a", "x")], model=MODEL)
    assert tree(place) == before


def test_a_damaged_change_is_an_error(tmp_path: Path) -> None:
    place = tmp_path / "x"
    build_index(MODEL, corpus(5), out=place)
    add_documents(place, [Document("a", "aspirin")], model=MODEL)
    file = change_folders(place)[0] / "vectors.npy"
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(data)
    with pytest.raises(CorruptError, match=r"vectors.npy is damaged: its checksum differs"):
        Searcher.open(place, model=MODEL)


class Drifted(FakeModel):
    """The same weights, other vectors."""

    def __init__(self, by: float, *, side: str) -> None:
        super().__init__(dimension=64)
        self.by, self.side = by, side

    def encode_queries(self, texts: Sequence[str]) -> FloatArray:
        return self._drifted(super().encode_queries(texts), "query")

    def encode_documents(self, texts: Sequence[str], *, progress: Callable[[int], None] | None = None) -> FloatArray:
        return self._drifted(super().encode_documents(texts, progress=progress), "document")

    def _drifted(self, vectors: FloatArray, side: str) -> FloatArray:
        return vectors + np.float32(self.by) / 8 * (side == self.side)  # 64 dimensions: a length of ``by``


def test_canaries(tmp_path: Path) -> None:
    place = tmp_path / "x"
    build_index(MODEL, corpus(20), out=place)
    for by in (0.0, 0.1):
        Searcher.open(place, model=Drifted(by, side="query"))
        add_documents(place, [Document("a", "x")], model=Drifted(by, side="document"))
    told = r"x: this machine gives other vectors for {} than the one that built the index \(they lie 0\.\d\d of their"
    with pytest.raises(ModelError, match=told.format("queries")):
        Searcher.open(place, model=Drifted(0.2, side="query"))
    with pytest.raises(ModelError, match=told.format("documents")):
        add_documents(place, [Document("b", "x")], model=Drifted(0.2, side="document"))
    with pytest.raises(ModelError, match="apart"):
        Searcher.open(place, model=Drifted(float("nan"), side="query"))
    (place / "canaries.json").unlink()
    with pytest.raises(CorruptError, match=r"canaries.json is missing; build the folder again$"):
        Searcher.open(place, model=MODEL)
