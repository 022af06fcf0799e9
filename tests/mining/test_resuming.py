"""Reuse, interruption, retraining: what is taken, gone on with or done again, and that the bytes are the same."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from biencoder.data.collection import Collection
from biencoder.errors import LockedError, StorageError
from biencoder.index import engines
from biencoder.mining import Mined, MiningOptions, mine, mining
from biencoder.mining.record import record_path
from biencoder.records import Document, Judgement, Query
from biencoder.scoring import FloatArray
from biencoder.search.documents import CorpusDigest
from biencoder.search.vectors import VectorsFolder
from biencoder.storage.folder import locked
from tests.mining.fakes import FakeTeacher, lines
from tests.search.fakes import WORDS, FakeModel, Notes, corpus, tree

QUERIES = [Query(f"q{place}", f"{one} {other}") for place, (one, other) in enumerate(pairwise(WORDS))]
CHOSEN = MiningOptions(relative_margin=None, negatives=3, last_rank=20)


def judged(documents: Sequence[Document] | None = None) -> Collection:
    """Twelve queries with one to three positives each among 60 documents."""
    relevant = {query.id: range(place, place + 1 + place % 3) for place, query in enumerate(QUERIES)}
    judgements = [Judgement(query, f"d{number}") for query, numbers in relevant.items() for number in numbers]
    return Collection(documents=documents or corpus(60), queries=QUERIES, judgements={"train": judgements})


class Interrupted(FakeModel):
    """Stops at its n-th block of queries."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def encode_queries(self, texts: Sequence[str]) -> FloatArray:
        self.at -= 1
        if not self.at:
            raise KeyboardInterrupt
        return super().encode_queries(texts)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mining, "BLOCK", 5)


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto` takes HNSW for any number of vectors."""
    monkeypatch.setattr(engines, "_EXACT_NUMBERS", 0)


def interrupt(out: Path, *, at: int = 3, options: MiningOptions = CHOSEN, **more: object) -> None:
    with pytest.raises(KeyboardInterrupt):
        mine(Interrupted(at), judged(), out=out, options=options, **more)  # type: ignore[arg-type]


def everything(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in tree(folder).items() if not name.endswith(".lock")}


def test_progress_and_what_is_left_behind(tmp_path: Path) -> None:
    notes, model = Notes(), FakeModel()
    done = mine(model, judged(), out=tmp_path / "n.jsonl", options=CHOSEN, progress=notes)
    assert (done.pairs, done.negatives, done.fresh) == (24, 72, 24)
    assert notes.steps == [("encoding", 60, 60), ("mining", 5, 12), ("mining", 10, 12), ("mining", 12, 12)]
    assert notes.said == []
    assert sorted(path.name for path in tmp_path.iterdir()) == [".n.jsonl.lock", "n.jsonl", "n.jsonl.meta.json"]


def test_the_record_says_what_decided_the_file(tmp_path: Path) -> None:
    teacher = FakeTeacher({}, name="some digest")
    mine(FakeModel(), judged(), out=tmp_path / "n.jsonl", options=CHOSEN, teacher=teacher)
    record = json.loads(record_path(tmp_path / "n.jsonl").read_text())
    made_of = record["made_of"]
    assert made_of["model"] == FakeModel().identity.as_dict()
    assert (made_of["teacher"], made_of["split"], made_of["options"]["negatives"]) == ("some digest", "train", 3)
    digest = CorpusDigest()
    for document in corpus(60):
        digest.add(document)
    assert made_of["corpus"] == digest.value()
    assert record["file"]["bytes"] == (tmp_path / "n.jsonl").stat().st_size
    assert record["counts"]["pairs"] == 24


@pytest.mark.parametrize("source", ["model", "bm25"])
def test_the_same_call_reuses_the_file(tmp_path: Path, source: str) -> None:
    chosen = CHOSEN.model_copy(update={"source": source})
    first = mine(FakeModel(), judged(), out=tmp_path / "n.jsonl", options=chosen)
    before, notes, model = everything(tmp_path), Notes(), FakeModel()
    again = mine(model, judged(), out=tmp_path / "n.jsonl", options=chosen, progress=notes)
    assert again == Mined(first.path, first.pairs, first.negatives, first.dropped, first.without_negatives, fresh=0)
    assert (notes.said, notes.steps, model.calls) == (["reused the negatives of 24 pairs"], [], [])
    assert everything(tmp_path) == before


@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize("source", ["model", "bm25"])
def test_an_interrupted_run_is_gone_on_with_and_ends_in_the_same_bytes(tmp_path: Path, at: int, source: str) -> None:
    chosen = CHOSEN.model_copy(update={"source": source})
    whole = mine(FakeModel(), judged(), out=tmp_path / "whole" / "n.jsonl", options=chosen)
    interrupt(tmp_path / "n" / "n.jsonl", at=at, options=chosen)
    assert sorted(path.name for path in (tmp_path / "n").iterdir()) == [".n.jsonl.lock", ".n.jsonl.partial"]
    notes, model = Notes(), FakeModel()
    done = mine(model, judged(), out=tmp_path / "n" / "n.jsonl", options=chosen, progress=notes)
    resumed = [] if at == 1 else [f"resumed behind {5 * (at - 1)} queries"]
    assert notes.said == [*resumed, "reused the vectors of 60 documents"]
    assert model.calls == []
    assert everything(tmp_path / "n") == everything(tmp_path / "whole")
    assert done.dropped == whole.dropped
    assert done.fresh == {1: 24, 2: 15, 3: 5}[at]


@pytest.mark.usefixtures("graphs")
def test_an_interrupted_run_goes_on_with_the_graph_that_it_began_with(tmp_path: Path) -> None:
    mine(FakeModel(), judged(), out=tmp_path / "whole.jsonl", options=CHOSEN)
    interrupt(tmp_path / "n.jsonl")
    graph = tmp_path / ".n.jsonl.partial" / "engine" / "hnsw.faiss"
    before = (graph.stat().st_ino, graph.read_bytes())
    notes = Notes()
    interrupt(tmp_path / "n.jsonl", at=1, progress=notes)
    assert (graph.stat().st_ino, graph.read_bytes()) == before
    assert notes.steps == []
    mine(FakeModel(), judged(), out=tmp_path / "n.jsonl", options=CHOSEN)
    assert (tmp_path / "n.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


@pytest.mark.usefixtures("graphs")
def test_a_graph_is_said_and_counted(tmp_path: Path) -> None:
    notes = Notes()
    mine(FakeModel(), judged(), out=tmp_path / "n.jsonl", options=CHOSEN, progress=notes)
    assert notes.said == [
        "engine hnsw: exact search of 60 x 32 numbers takes more than about a millisecond (up to 0 vectors it does not)"
    ]
    assert ("graph", 60, 60) in notes.steps


def test_after_training_it_is_mined_anew(tmp_path: Path) -> None:
    out, kept = tmp_path / "n.jsonl", tmp_path / "vectors"
    mine(FakeModel("a"), judged(), out=out, options=CHOSEN, vectors=kept)
    first, notes, trained = out.read_bytes(), Notes(), FakeModel("b")
    done = mine(trained, judged(), out=out, options=CHOSEN, vectors=kept, progress=notes)
    assert notes.said[0].startswith(f"mining anew: {out} was mined otherwise (model: document: ")
    assert (done.fresh, trained.calls) == (24, [60])
    assert out.read_bytes() != first
    assert VectorsFolder(kept).manifest.identity == trained.identity
    mine(FakeModel("b"), judged(), out=tmp_path / "m.jsonl", options=CHOSEN)
    assert out.read_bytes() == (tmp_path / "m.jsonl").read_bytes()


def test_an_interrupted_run_of_another_model_is_not_gone_on_with(tmp_path: Path) -> None:
    interrupt(tmp_path / "n.jsonl")
    notes, trained = Notes(), FakeModel("b")
    assert mine(trained, judged(), out=tmp_path / "n.jsonl", options=CHOSEN, progress=notes).fresh == 24
    assert (notes.said, trained.calls) == ([], [60])
    mine(FakeModel("b"), judged(), out=tmp_path / "m.jsonl", options=CHOSEN)
    assert (tmp_path / "n.jsonl").read_bytes() == (tmp_path / "m.jsonl").read_bytes()


def test_other_options_begin_again_but_keep_the_vectors_of_an_interrupted_run(tmp_path: Path) -> None:
    interrupt(tmp_path / "n.jsonl")
    notes, model = Notes(), FakeModel()
    chosen = CHOSEN.model_copy(update={"negatives": 2})
    assert mine(model, judged(), out=tmp_path / "n.jsonl", options=chosen, progress=notes).fresh == 24
    assert (notes.said, model.calls) == (["reused the vectors of 60 documents"], [])


def test_vectors_that_are_given_a_place_stay_there(tmp_path: Path) -> None:
    mine(FakeModel(), judged(), out=tmp_path / "n.jsonl", options=CHOSEN, vectors=tmp_path / "v")
    model, notes = FakeModel(), Notes()
    chosen = CHOSEN.model_copy(update={"seed": 1})
    mine(model, judged(), out=tmp_path / "n.jsonl", options=chosen, vectors=tmp_path / "v", progress=notes)
    assert notes.said == [
        f"mining anew: {tmp_path / 'n.jsonl'} was mined otherwise (options: seed: 0, now 1)",
        "reused the vectors of 60 documents",
    ]
    assert model.calls == []


def other_documents() -> Collection:
    documents = corpus(60)
    documents[40] = Document("d40", "another text")
    return judged(documents)


def other_judgements() -> Collection:
    grades = {query: own for query, own in judged().judgements("train").items() if query != "q3"}
    judgements = [Judgement(query, document) for query, own in grades.items() for document in own]
    return Collection(documents=corpus(60), queries=QUERIES, judgements={"train": judgements})


@pytest.mark.parametrize(
    ("changed", "teacher", "what", "fresh"),
    [
        (other_documents, None, "corpus", 24),
        (other_judgements, None, "questions", 23),
        (judged, FakeTeacher({}), "teacher: null, now", 24),
    ],
)
def test_whatever_decides_the_file_is_looked_at(
    tmp_path: Path, changed: object, teacher: FakeTeacher | None, what: str, fresh: int
) -> None:
    assert callable(changed)
    mine(FakeModel(), judged(), out=tmp_path / "n.jsonl", options=CHOSEN)
    notes = Notes()
    done = mine(FakeModel(), changed(), out=tmp_path / "n.jsonl", options=CHOSEN, teacher=teacher, progress=notes)
    assert notes.said[0].startswith(f"mining anew: {tmp_path / 'n.jsonl'} was mined otherwise ({what}")
    assert done.fresh == fresh


def test_a_file_that_has_changed_is_mined_anew(tmp_path: Path) -> None:
    out = tmp_path / "n.jsonl"
    mine(FakeModel(), judged(), out=out, options=CHOSEN)
    whole = out.read_bytes()
    out.write_bytes(whole.replace(b"aspirin", b"ASPIRIN", 1))
    notes = Notes()
    assert mine(FakeModel(), judged(), out=out, options=CHOSEN, progress=notes).fresh == 24
    assert notes.said == [f"mining anew: {out} is not as it was written"]
    assert out.read_bytes() == whole
    out.unlink()
    assert mine(FakeModel(), judged(), out=out, options=CHOSEN).fresh == 24


def test_killed_between_record_and_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "n.jsonl"
    mine(FakeModel(), judged(), out=tmp_path / "whole.jsonl", options=CHOSEN)
    mine(FakeModel("b"), judged(), out=out, options=CHOSEN)
    old = out.read_bytes()

    moved = Path.replace

    def killed(self: Path, to: Path) -> Path:
        if self.name == "examples.jsonl":
            raise KeyboardInterrupt
        return moved(self, to)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        mine(FakeModel(), judged(), out=out, options=CHOSEN)
    monkeypatch.setattr(Path, "replace", moved)
    assert out.read_bytes() == old
    notes, model = Notes(), FakeModel()
    done = mine(model, judged(), out=out, options=CHOSEN, progress=notes)
    assert notes.said == [f"mining anew: {out} is not as it was written", "resumed behind 12 queries"]
    assert (done.pairs, done.fresh, model.calls) == (24, 0, [])
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


@pytest.mark.parametrize("damage", ["progress", "examples", "other"])
def test_a_damaged_work_folder_begins_again(tmp_path: Path, damage: str) -> None:
    mine(FakeModel(), judged(), out=tmp_path / "whole.jsonl", options=CHOSEN)
    interrupt(tmp_path / "n.jsonl")
    work = tmp_path / ".n.jsonl.partial"
    if damage == "progress":
        (work / "progress.json").write_text("{")
    elif damage == "examples":
        data = (work / "examples.jsonl").read_bytes()
        (work / "examples.jsonl").write_bytes(data[:-1])
    else:
        shutil.rmtree(work / "vectors")
    done = mine(FakeModel(), judged(), out=tmp_path / "n.jsonl", options=CHOSEN)
    assert done.fresh == (5 if damage == "other" else 24)
    assert (tmp_path / "n.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_lines_behind_the_mark_are_written_again(tmp_path: Path) -> None:
    mine(FakeModel(), judged(), out=tmp_path / "whole.jsonl", options=CHOSEN)
    interrupt(tmp_path / "n.jsonl", at=2)
    with (tmp_path / ".n.jsonl.partial" / "examples.jsonl").open("ab") as file:
        file.write(b'{"half a')
    mine(FakeModel(), judged(), out=tmp_path / "n.jsonl", options=CHOSEN)
    assert (tmp_path / "n.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_nothing_else_is_replaced(tmp_path: Path) -> None:
    out = tmp_path / "n.jsonl"
    out.write_text("mine")
    reason = f"{out} exists and was not mined, or its record n.jsonl.meta.json is gone; remove it, or choose another place"
    with pytest.raises(StorageError, match=f"^{re.escape(reason)}$"):
        mine(FakeModel(), judged(), out=out, options=CHOSEN)
    record_path(out).write_text('{"kind": "something else"}')
    with pytest.raises(StorageError, match=f"^{re.escape(reason)}$"):
        mine(FakeModel(), judged(), out=out, options=CHOSEN)
    assert out.read_text() == "mine"
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(StorageError, match=r"folder\.jsonl: a folder stands where the file should go; choose another place$"):
        mine(FakeModel(), judged(), out=tmp_path / "folder.jsonl", options=CHOSEN)


def test_two_at_once(tmp_path: Path) -> None:
    with locked(tmp_path / "n.jsonl"), pytest.raises(LockedError, match=r"n\.jsonl: another process is writing this"):
        mine(FakeModel(), judged(), out=tmp_path / "n.jsonl", options=CHOSEN)


def test_a_full_disk_keeps_what_was_there(small_disk: Path) -> None:
    out = small_disk / "n.jsonl"
    mine(FakeModel(), judged(), out=out, options=CHOSEN)
    old = out.read_bytes()
    with pytest.raises(StorageError, match="the disk is full: free some space or choose another place"):
        mine(FakeModel(), judged(corpus(60, words=2000)), out=out, options=CHOSEN)
    assert out.read_bytes() == old
    assert mine(FakeModel(), judged(), out=out, options=CHOSEN).fresh == 0
    assert not (small_disk / ".n.jsonl.partial").exists()


def test_a_disk_that_can_only_be_read(read_only_disk: Path) -> None:
    with pytest.raises(StorageError, match="the file system is read-only: choose another place"):
        mine(FakeModel(), judged(), out=read_only_disk / "n.jsonl", options=CHOSEN)


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "n.jsonl").symlink_to(tmp_path / "elsewhere" / "real.jsonl")
    mine(FakeModel(), judged(), out=tmp_path / "n.jsonl", options=CHOSEN)
    assert (tmp_path / "n.jsonl").is_symlink()
    assert len(lines(tmp_path / "elsewhere" / "real.jsonl")) == 24
