from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from biencoder.data.passages import PassageOptions, split_document
from biencoder.errors import ArgumentError, LockedError, ModelError, StorageError
from biencoder.records import Document
from biencoder.scoring import FloatArray
from biencoder.search import Encoded, encode
from biencoder.search.vectors import VectorsFolder
from biencoder.storage.folder import locked
from biencoder.storage.manifest import verify
from tests.search.fakes import FakeModel, Notes, corpus, tree


class Broken(FakeModel):
    """Stops, or gives something else, at its n-th window."""

    def __init__(self, at: int, gives: FloatArray | None = None) -> None:
        super().__init__()
        self.at = at
        self.gives = gives

    def encode_documents(self, texts: Sequence[str], *, progress: Callable[[int], None] | None = None) -> FloatArray:
        if len(self.calls) + 1 == self.at:
            if self.gives is None:
                raise KeyboardInterrupt
            return self.gives
        return super().encode_documents(texts, progress=progress)


def interrupt(documents: list[Document], out: Path, *, at: int = 4, passages: PassageOptions | None = None) -> None:
    with pytest.raises(KeyboardInterrupt):
        encode(Broken(at), documents, out=out, window=10, passages=passages)


def test_vectors_ids_and_facts(tmp_path: Path) -> None:
    model, documents = FakeModel(), corpus(25)
    notes = Notes()
    done = encode(model, documents, out=tmp_path / "v", window=10, progress=notes)
    assert done == Encoded(tmp_path / "v", count=25, vectors=25, fresh=25)
    found = VectorsFolder(tmp_path / "v")
    expected = FakeModel().encode_documents([document.content for document in documents])
    np.testing.assert_array_equal(found.vectors(), expected)
    assert list(found.ids) == [document.id for document in documents]
    assert (found.manifest.metric, found.manifest.identity, found.manifest.window) == ("cosine", model.identity, 10)
    assert found.owners() is None
    assert model.calls == [10, 10, 5]
    assert notes.steps == [("encoding", 10, 25), ("encoding", 20, 25), ("encoding", 25, 25)]
    assert sorted(tree(tmp_path / "v")) == ["ids.jsonl", "ids.offsets.npy", "manifest.json", "vectors.npy"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".v.lock", "v"]


def test_passages_have_owners(tmp_path: Path) -> None:
    options = PassageOptions(4, 1)
    documents = [Document("d1", "a b c d e f g h"), Document("d2", "a"), Document("d3", "i j k l m")]
    encode(FakeModel(), documents, out=tmp_path / "v", passages=options)
    found = VectorsFolder(tmp_path / "v")
    texts = [split_document(document, options) for document in documents]
    owners = found.owners()
    assert owners is not None
    assert owners.tolist() == [row for row, own in enumerate(texts) for _ in own] == [0, 0, 0, 1, 2, 2]
    expected = FakeModel().encode_documents([text for own in texts for text in own])
    np.testing.assert_array_equal(found.vectors(), expected)
    assert (found.manifest.count, found.manifest.vectors) == (3, 6)
    assert found.manifest.passages == {"size": 4, "overlap": 1}


@pytest.mark.parametrize("passages", [None, PassageOptions(3, 1)])
def test_an_interrupted_run_is_gone_on_with_and_ends_in_the_same_bytes(tmp_path: Path, passages: PassageOptions | None) -> None:
    documents = corpus(45)
    encode(FakeModel(), documents, out=tmp_path / "whole", window=10, passages=passages)
    interrupt(documents, tmp_path / "v", passages=passages)
    assert not (tmp_path / "v").exists()
    notes = Notes()
    done = encode(FakeModel(), documents, out=tmp_path / "v", window=10, passages=passages, progress=notes)
    assert (done.count, done.fresh) == (45, 15)
    assert notes.said == ["resumed behind 30 documents"]
    assert notes.steps == [("encoding", 40, 45), ("encoding", 45, 45)]
    assert tree(tmp_path / "v") == tree(tmp_path / "whole")


@pytest.mark.parametrize("changed", [3, 29])
def test_a_corpus_that_has_changed_is_encoded_again(tmp_path: Path, changed: int) -> None:
    documents = corpus(45)
    interrupt(documents, tmp_path / "v")
    documents[changed] = Document(documents[changed].id, "another text")
    notes = Notes()
    done = encode(FakeModel(), documents, out=tmp_path / "v", window=10, progress=notes)
    assert done.fresh == 45
    assert notes.said == [
        "resumed behind 30 documents",
        "the documents have changed since the interrupted run: encoding them all again",
    ]
    encode(FakeModel(), documents, out=tmp_path / "whole", window=10)
    assert tree(tmp_path / "v") == tree(tmp_path / "whole")


@pytest.mark.parametrize("count", [5, 20, 29])
def test_a_corpus_that_has_shrunk_is_encoded_again(tmp_path: Path, count: int) -> None:
    interrupt(corpus(45), tmp_path / "v")
    assert encode(FakeModel(), corpus(45)[:count], out=tmp_path / "v", window=10).fresh == count
    encode(FakeModel(), corpus(45)[:count], out=tmp_path / "whole", window=10)
    assert tree(tmp_path / "v") == tree(tmp_path / "whole")


def test_behind_the_mark_the_corpus_may_differ(tmp_path: Path) -> None:
    interrupt(corpus(45), tmp_path / "v")
    longer = [*corpus(45)[:30], *corpus(20, seed=1)]
    longer[30:] = [Document(f"new{row}", document.text) for row, document in enumerate(longer[30:])]
    assert encode(FakeModel(), longer, out=tmp_path / "v", window=10).fresh == 20
    encode(FakeModel(), longer, out=tmp_path / "whole", window=10)
    assert tree(tmp_path / "v") == tree(tmp_path / "whole")


@pytest.mark.parametrize(
    ("model", "window", "passages"),
    [(FakeModel("b"), 10, None), (FakeModel(), 9, None), (FakeModel(), 10, PassageOptions(3, 0))],
)
def test_another_model_or_option_begins_again(
    tmp_path: Path, model: FakeModel, window: int, passages: PassageOptions | None
) -> None:
    interrupt(corpus(45), tmp_path / "v")
    assert encode(model, corpus(45), out=tmp_path / "v", window=window, passages=passages).fresh == 45
    encode(model, corpus(45), out=tmp_path / "whole", window=window, passages=passages)
    assert tree(tmp_path / "v") == tree(tmp_path / "whole")


def test_what_is_there_already_is_reused(tmp_path: Path) -> None:
    encode(FakeModel(), corpus(25), out=tmp_path / "v")
    model, notes = FakeModel(), Notes()
    assert encode(model, corpus(25), out=tmp_path / "v", progress=notes).fresh == 0
    assert (model.calls, notes.said) == ([], ["reused the vectors of 25 documents"])
    assert encode(FakeModel(), corpus(26), out=tmp_path / "v").fresh == 26
    assert encode(FakeModel("b"), corpus(26), out=tmp_path / "v").fresh == 26
    (tmp_path / "v" / "vectors.npy").write_bytes(b"damaged")
    assert encode(FakeModel("b"), corpus(26), out=tmp_path / "v").fresh == 26
    assert verify(tmp_path / "v").fields["count"] == 26


def test_an_old_folder_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    encode(FakeModel(), corpus(25), out=tmp_path / "v", window=10)
    old = tree(tmp_path / "v")
    interrupt(corpus(45, seed=2), tmp_path / "v")
    assert tree(tmp_path / "v") == old
    assert encode(FakeModel(), corpus(45, seed=2), out=tmp_path / "v", window=10).fresh == 15


def test_other_folders_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_text("mine")
    with pytest.raises(StorageError) as caught:
        encode(FakeModel(), corpus(3), out=tmp_path / "photos")
    assert str(caught.value) == (
        f"{tmp_path / 'photos'} exists and is no folder of kind vectors that can be read; remove it, or choose another place"
    )
    assert (tmp_path / "photos" / "a.jpg").read_text() == "mine"


def test_two_writers_do_not_meet(tmp_path: Path) -> None:
    message = f"^{re.escape(str(tmp_path / 'v'))}: another process is writing this folder; wait for it to end$"
    with locked(tmp_path / "v"), pytest.raises(LockedError, match=message):
        encode(FakeModel(), corpus(3), out=tmp_path / "v")


def test_a_full_disk_leaves_nothing_half_and_the_work_is_gone_on_with(small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(bytes(150_000))
    documents = corpus(900)
    with pytest.raises(StorageError, match=r"free some space or choose another place"):
        encode(FakeModel(), documents, out=small_disk / "v", window=100)
    assert not (small_disk / "v").exists()
    (small_disk / "ballast").unlink()
    assert 0 < encode(FakeModel(), documents, out=small_disk / "v", window=100).fresh < 900
    assert verify(small_disk / "v").fields["count"] == 900


def test_a_read_only_place(read_only_disk: Path) -> None:
    with pytest.raises(StorageError, match=r"the file system is read-only: choose another place$"):
        encode(FakeModel(), corpus(3), out=read_only_disk / "v")


@pytest.mark.parametrize(
    ("gives", "message"),
    [
        (np.full((10, 32), np.nan, np.float32), "the model gave a vector that is not finite among documents 'd10' to 'd19'; "),
        (np.zeros((10, 3), np.float32), "the model gave vectors of shape (10, 3) for 10 texts; (10, 32) was expected"),
    ],
)
def test_vectors_that_cannot_be_used(tmp_path: Path, gives: FloatArray, message: str) -> None:
    with pytest.raises(ModelError) as caught:
        encode(Broken(2, gives), corpus(25), out=tmp_path / "v", window=10)
    assert str(caught.value).startswith(message)
    assert not (tmp_path / "v").exists()


def test_arguments_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"^window is 0; it must be at least 1$"):
        encode(FakeModel(), corpus(3), out=tmp_path / "v", window=0)
    with pytest.raises(ArgumentError, match=r"^there are no documents; at least one is needed$"):
        encode(FakeModel(), [], out=tmp_path / "v")
    with pytest.raises(ArgumentError, match=r"^documents can be read only once here; give a list or a collection's documents"):
        encode(FakeModel(), iter(corpus(3)), out=tmp_path / "v")  # type: ignore[arg-type]
