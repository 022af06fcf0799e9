from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biencoder.errors import CorruptError
from biencoder.scoring import FloatArray
from biencoder.storage.vectors import VectorWriter, blocks, open_vectors, write_vectors


def rows(count: int, *, start: int = 0) -> FloatArray:
    return np.arange(start * 3, (start + count) * 3, dtype=np.float32).reshape(count, 3)


def durable(folder: Path, state: dict[str, object], dimension: int = 3) -> tuple[int, object]:
    """What a new writer finds."""
    writer = VectorWriter(folder, dimension=dimension, state=state)
    writer.close()
    return writer.count, writer.mark


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "new").mkdir()
    return tmp_path / "new"


def test_blocks_become_one_matrix(folder: Path) -> None:
    writer = VectorWriter(folder, dimension=3, state={})
    writer.append(rows(2))
    writer.append(rows(5, start=2).astype(np.float64))
    writer.finish()
    assert open_vectors(folder).tolist() == rows(7).tolist()
    np.save(folder / "same.npy", rows(7))
    assert (folder / "same.npy").read_bytes() == (folder / "vectors.npy").read_bytes()


def test_the_next_writer_goes_on_behind_the_last_durable_block(folder: Path) -> None:
    writer = VectorWriter(folder, dimension=3, state={"model": "a"})
    writer.append(rows(2), mark={"documents": 7})
    writer.close()
    with (folder / "vectors.npy").open("ab") as file:
        file.write(b"half a block")
    again = VectorWriter(folder, dimension=3, state={"model": "a"})
    assert (again.count, again.mark) == (2, {"documents": 7})
    again.append(rows(1, start=2))
    again.finish()
    assert open_vectors(folder).tolist() == rows(3).tolist()


def test_finished_vectors_can_still_be_gone_on_with(folder: Path) -> None:
    writer = VectorWriter(folder, dimension=3, state={})
    writer.append(rows(2))
    writer.finish()
    again = VectorWriter(folder, dimension=3, state={})
    assert again.count == 2
    again.finish()
    assert open_vectors(folder).tolist() == rows(2).tolist()


@pytest.mark.parametrize(("model", "dimension"), [("b", 3), ("a", 4)])
def test_another_state_starts_afresh(folder: Path, model: str, dimension: int) -> None:
    writer = VectorWriter(folder, dimension=3, state={"model": "a"})
    writer.append(rows(2), mark=1)
    writer.close()
    assert durable(folder, {"model": model}, dimension) == (0, None)
    assert durable(folder, {"model": "a"}) == (0, None)  # what it knew is gone with the rows


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"count": -1, "mark": null, "state": {"dimension": 3}}', "null"])
def test_progress_that_cannot_be_read_starts_afresh(folder: Path, text: str) -> None:
    writer = VectorWriter(folder, dimension=3, state={})
    writer.append(rows(2))
    writer.close()
    (folder.parent / "new.progress.json").write_text(text)
    assert durable(folder, {}) == (0, None)


def test_progress_that_promises_more_than_there_is_starts_afresh(folder: Path) -> None:
    writer = VectorWriter(folder, dimension=3, state={})
    writer.append(rows(2))
    writer.close()
    with (folder / "vectors.npy").open("r+b") as file:
        file.truncate(130)
    assert durable(folder, {}) == (0, None)


def test_a_block_of_another_shape(folder: Path) -> None:
    writer = VectorWriter(folder, dimension=3, state={})
    with pytest.raises(ValueError, match=r"^a block of shape \(n, 3\) was expected, found \(2, 4\)$"):
        writer.append(np.zeros((2, 4), dtype=np.float32))
    writer.close()


def test_files_that_are_no_matrix(folder: Path) -> None:
    path = folder / "vectors.npy"
    with pytest.raises(CorruptError, match=r"vectors.npy cannot be read .*; encode the documents again$"):
        open_vectors(folder)
    np.save(path, np.zeros(3))
    with pytest.raises(CorruptError) as caught:
        open_vectors(folder)
    assert str(caught.value) == f"{path} holds float64 of shape (3,); a float32 matrix was expected"
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(CorruptError, match=r"cannot be read"):
        open_vectors(folder)


@given(count=st.integers(0, 7), block=st.integers(1, 4))
def test_writing_in_blocks_is_writing_at_once(tmp_path_factory: pytest.TempPathFactory, count: int, block: int) -> None:
    folder = tmp_path_factory.mktemp("v")
    write_vectors(folder, rows(count), block=block)
    np.save(folder / "same.npy", rows(count))
    assert (folder / "same.npy").read_bytes() == (folder / "vectors.npy").read_bytes()


def mapped_kib(path: Path) -> int:
    """What of a mapped file is in this process's memory now."""
    entries = Path("/proc/self/smaps").read_text().split("VmFlags")
    return sum(int(entry.split("\nRss:")[1].split()[0]) for entry in entries if str(path) in entry)


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux's account of a process's memory")
def test_rows_that_were_passed_leave_memory(folder: Path) -> None:
    write_vectors(folder, np.ones((16384, 256), np.float32))
    mapped = open_vectors(folder)
    sizes = []
    for block in blocks(mapped, size=2048):
        assert block.sum() == 2048 * 256
        sizes.append(mapped_kib(folder / "vectors.npy"))
    assert max(sizes) <= 8192  # of 16,384 KiB; the system maps a little ahead
    assert mapped[16383, 255] == 1


def test_what_was_changed_in_a_private_mapping_stays(folder: Path) -> None:
    write_vectors(folder, rows(5))
    private = np.load(folder / "vectors.npy", mmap_mode="c")
    private[0] = 7
    assert sum(float(block.sum()) for block in blocks(private, size=2)) == rows(5)[1:].sum() + 21
    assert private[0].tolist() == [7, 7, 7]
