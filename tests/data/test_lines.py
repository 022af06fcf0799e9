from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from biencoder.data import lines
from biencoder.data.lines import numbered_lines, require_file, solid
from biencoder.errors import DataError


def test_lines_keep_their_ends_and_start_at_one(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffone\r\ntwo\u2028still two\n\nfour".encode())
    assert list(numbered_lines(path)) == [(1, "one\r\n"), (2, "two\u2028still two\n"), (3, "\n"), (4, "four")]


def test_a_packed_file_reads_like_the_plain_one(tmp_path: Path) -> None:
    text = "".join(f"line {number}\n" for number in range(5000))
    (tmp_path / "a.txt").write_text(text)
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(text.encode()))
    assert list(numbered_lines(tmp_path / "a.txt.gz")) == list(numbered_lines(tmp_path / "a.txt"))


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf"])
def test_nothing_has_no_lines(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    assert list(numbered_lines(path)) == []


def test_bytes_that_are_not_utf8_are_found_by_line_and_position(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"fine\ncaf\xe9\n")
    with pytest.raises(DataError) as caught:
        list(numbered_lines(path))
    assert str(caught.value) == (
        f"{path}, line 2: byte 0xe9 at position 4 is not UTF-8; convert the file, for instance with iconv -f latin1 -t utf-8"
    )
    assert (caught.value.path, caught.value.line) == (path, 2)


def test_a_packed_file_that_is_cut_off_names_the_line_reached(tmp_path: Path) -> None:
    whole = "".join(f"{number:x}\n" for number in range(100_000)).encode()
    packed = gzip.compress(whole)
    path = tmp_path / "a.txt.gz"
    path.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(DataError) as caught:
        list(numbered_lines(path))
    line = caught.value.line
    assert line is not None
    assert 20_000 < line < 60_000
    assert str(caught.value) == (
        f"{path}, line {line}: the gzip stream is broken or cut off (Compressed file ended before the end-of-stream marker "
        "was reached); copy or pack the file again"
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"plain text\n", "(Not a gzipped file (b'pl'))"),
        (gzip.compress(b"x\n") + b"rubbish", "(Not a gzipped file (b'ru'))"),
        (gzip.compress(b"x\n" * 9)[:-8] + bytes(8), "(CRC check failed 0x0 != "),
        (gzip.compress(b"")[:10] + b"\xff" * 20, "(Error -3 while decompressing data: invalid block type)"),
    ],
    ids=["plain", "trailing", "checksum", "deflate"],
)
def test_a_packed_file_that_is_damaged(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "a.txt.gz"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        list(numbered_lines(path))
    assert str(caught.value).startswith(f"{path}, line 1: the gzip stream is broken or cut off {reason}")


def test_an_endless_line_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LONGEST_LINE", 8)
    path = tmp_path / "a.txt"
    path.write_text("short\n12345678\n")
    with pytest.raises(DataError) as caught:
        list(numbered_lines(path))
    assert str(caught.value) == f"{path}, line 2: a line of more than 64 MiB; is a line end missing?"


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        list(numbered_lines(tmp_path))
    assert str(caught.value) == f"{tmp_path}: cannot be read (Is a directory)"


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(DataError) as caught:
        require_file(tmp_path / "pipe.jsonl")
    assert str(caught.value) == (
        f"{tmp_path / 'pipe.jsonl'}: this is not a regular file; pipes and devices cannot be read twice"
    )
    with pytest.raises(DataError) as caught:
        require_file(tmp_path / "none.jsonl")
    assert str(caught.value) == f"{tmp_path / 'none.jsonl'}: there is no such file"


def test_blank_lines_are_dropped_at_the_end_only() -> None:
    assert list(solid([(1, "a\n"), (2, "\n"), (3, " \t\n")], blank=str.isspace, path="a")) == [(1, "a\n")]
    with pytest.raises(DataError, match=r"^a, line 2: a blank line before the end of the file; remove it$"):
        list(solid([(1, "a\n"), (2, "\n"), (3, "\n"), (4, "b\n")], blank=str.isspace, path="a"))
