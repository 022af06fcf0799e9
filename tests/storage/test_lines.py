from __future__ import annotations

import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biencoder.errors import CorruptError
from biencoder.storage.lines import Lines, LineWriter

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def written(folder: Path, values: list[object]) -> Lines:
    with LineWriter(folder, "x") as writer:
        for value in values:
            writer.write(value)
    return Lines(folder, "x")


@given(st.lists(json_values, max_size=8))
def test_what_was_written_is_read(values: list[object]) -> None:
    with tempfile.TemporaryDirectory() as name:
        lines = written(Path(name), values)
        assert list(lines) == values
        assert [lines[number] for number in range(len(lines))] == values
        text = (Path(name) / "x.jsonl").read_text(encoding="utf-8")
        assert [json.loads(line) for line in text.split("\n")[:-1]] == values


def test_half_a_surrogate_pair_stays_valid_utf8(tmp_path: Path) -> None:
    assert written(tmp_path, ["a\ud800b", "é\u2028"])[0] == "a\ud800b"
    assert (tmp_path / "x.jsonl").read_bytes() == b'"a\\ud800b"\n"\xc3\xa9\xe2\x80\xa8"\n'


def test_many_lines_from_many_threads(tmp_path: Path) -> None:
    lines = written(tmp_path, list(range(5000)))
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lines.__getitem__, range(5000))) == list(range(5000))


def test_numbers_out_of_range(tmp_path: Path) -> None:
    lines = written(tmp_path, ["a"])
    for number in (-1, 1):
        with pytest.raises(IndexError, match=f"^line {number} of 1$"):
            lines[number]


def test_an_open_file_outlives_its_name(tmp_path: Path) -> None:
    lines = written(tmp_path, ["a", "b"])
    (tmp_path / "x.jsonl").unlink()
    assert list(lines) == ["a", "b"]


def test_files_that_do_not_belong_together(tmp_path: Path) -> None:
    written(tmp_path, ["a", "b"])
    path = tmp_path / "x.jsonl"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CorruptError) as caught:
        Lines(tmp_path, "x")
    assert str(caught.value) == f"{path} does not match its offsets; build the folder again"
    (tmp_path / "x.offsets.npy").write_bytes(b"no array")
    with pytest.raises(CorruptError, match=r"x.offsets.npy is damaged .*; build the folder again$"):
        Lines(tmp_path, "x")


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    written(tmp_path, ["a", "b"])
    path = tmp_path / "x.jsonl"
    path.write_bytes(path.read_bytes()[:-2] + b"\xff\n")
    lines = Lines(tmp_path, "x")
    assert lines[0] == "a"
    with pytest.raises(CorruptError) as caught:
        lines[1]
    assert str(caught.value) == f"{path}, line 2 is damaged; build the folder again"


def test_offsets_are_plain_numbers(tmp_path: Path) -> None:
    written(tmp_path, ["a", "bc"])
    assert np.load(tmp_path / "x.offsets.npy", allow_pickle=False).tolist() == [0, 4, 9]
