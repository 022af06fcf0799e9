from __future__ import annotations

import os
from pathlib import Path

import pytest

from biencoder.data import text_folder
from biencoder.data.text_folder import FolderDocuments, split_title
from biencoder.errors import DataError
from biencoder.records import Document


def folder(place: Path, **files: str | bytes) -> Path:
    for name, content in files.items():
        path = place / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return place


def failure(place: Path) -> str:
    with pytest.raises(DataError) as caught:
        FolderDocuments(place)
    return str(caught.value)


def test_texts_are_documents_in_the_order_of_their_paths(tmp_path: Path) -> None:
    folder(
        tmp_path,
        b_dot_txt="# no heading in a text\r\n",
        a__deep__c_dot_md="\ufeff# Bread #\r\n\r\nRise.\r\n",
        a_dot_MD="Read.\n\nThen\n====\nmore\n",
        _dot_git__config_dot_txt="hidden",
    )
    documents = FolderDocuments(tmp_path)
    assert len(documents) == 3
    assert list(documents) == list(documents)
    assert list(documents) == [
        Document("a.MD", "Read.\n\nThen\n====\nmore", "Then"),
        Document("a/deep/c.md", "Rise.", "Bread"),
        Document("b.txt", "# no heading in a text"),
    ]


@pytest.mark.parametrize(
    ("markdown", "title", "text"),
    [
        ("\n\n## *Two* words ##\nx", "*Two* words", "x"),
        ("Title\n===\n\nx", "Title", "x"),
        ("# \n# Real\nx", "Real", "# \n# Real\nx"),
        ("#hashtag\n", "", "#hashtag\n"),
        ("```sh\n# comment\n```\n# Title", "Title", "```sh\n# comment\n```\n# Title"),
        ("~~~\n```\n# comment\n~~~\n", "", "~~~\n```\n# comment\n~~~\n"),
        ("    # code\n", "", "    # code\n"),
        ("===\n", "", "===\n"),
        ("", "", ""),
    ],
)
def test_the_title_is_the_first_heading(markdown: str, title: str, text: str) -> None:
    assert split_title(markdown) == (title, text)


def test_a_heading_alone_is_a_document(tmp_path: Path) -> None:
    assert list(FolderDocuments(folder(tmp_path, a_dot_md="# Bread"))) == [Document("a.md", "", "Bread")]


def test_other_files_are_counted_in_a_warning(tmp_path: Path) -> None:
    folder(tmp_path, a_dot_txt="x", logo_dot_png=b"\x89", sub__data_dot_json="{}")
    with pytest.warns(UserWarning, match=r"2 files are no text and left out, such as logo\.png$"):
        assert list(FolderDocuments(tmp_path)) == [Document("a.txt", "x")]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", ": the document is empty: it has neither title nor text; give it a text or remove it"),
        (
            b"one\ntwo \xff\n",
            ", line 2: byte 0xff at position 9 is not UTF-8; convert the file, for instance with iconv -f latin1 -t utf-8",
        ),
    ],
)
def test_a_file_that_is_no_text(tmp_path: Path, content: bytes, problem: str) -> None:
    folder(tmp_path, a_dot_txt="x", b_dot_txt=content)
    assert failure(tmp_path) == f"{tmp_path / 'b.txt'}{problem}"


def test_a_file_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_folder, "LONGEST_LINE", 3)
    folder(tmp_path, a_dot_txt="1234")
    expected = "a text of more than 64 MiB; split it into several files"
    assert failure(tmp_path) == f"{tmp_path / 'a.txt'}: {expected}"


def test_a_folder_without_texts(tmp_path: Path) -> None:
    none = f"{tmp_path}: no .md, .markdown, .txt, .text file is in this folder; "
    assert failure(tmp_path) == none + "it is empty"
    folder(tmp_path, a_dot_pdf="x")
    assert failure(tmp_path) == none + "it holds 1 other file, such as a.pdf"


def test_links_may_not_leave_the_folder(tmp_path: Path) -> None:
    inside = folder(tmp_path / "in", a_dot_txt="x", sub__b_dot_txt="y")
    (inside / "again.txt").symlink_to("a.txt")
    (inside / "round").symlink_to(".")
    assert [document.id for document in FolderDocuments(inside)] == ["a.txt", "again.txt", "sub/b.txt"]
    outside = folder(tmp_path / "out", other_dot_txt="z")
    for name, target in [("c.txt", outside / "other.txt"), ("folder", outside)]:
        (inside / name).symlink_to(target)
        expected = f"a symbolic link to {target}, outside the folder; copy the files or remove it"
        assert failure(inside) == f"{inside / name}: {expected}"
        (inside / name).unlink()
    (inside / "loop.txt").symlink_to("loop.txt")
    assert failure(inside) in {
        f"{inside / 'loop.txt'}: a symbolic link that leads nowhere; remove it",
        f"{inside / 'loop.txt'}: this is not a regular file; remove it from the folder",
    }


def test_what_is_no_file_and_what_has_no_name(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    assert failure(tmp_path) == f"{tmp_path / 'pipe.txt'}: this is not a regular file; remove it from the folder"
    (tmp_path / "pipe.txt").unlink()
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt")).write_text("x")
    assert "\\udce9 is half of a surrogate pair, not a character; remove it" in failure(tmp_path)
