from __future__ import annotations

from pathlib import Path

import pytest

from biencoder.data.readers import read_documents, read_pairs
from biencoder.data.tables import SUFFIXES
from biencoder.errors import ArgumentError, DataError
from biencoder.records import Document
from tests.data.folders import beir_folder


def test_every_kind_of_corpus(tmp_path: Path) -> None:
    one = [Document("1", "x", "T")]
    (tmp_path / "a.tsv").write_text("id\ttitle\tcontents\n1\tT\tx\n")
    assert list(read_documents(tmp_path / "a.tsv")) == one
    (tmp_path / "a.jsonl").write_text('{"docid": 1, "title": "T", "body": "x"}\n')
    assert list(read_documents(str(tmp_path / "a.jsonl"))) == one
    (tmp_path / "b.jsonl").write_text('{"key": 1, "name": "T", "words": "x"}\n')
    assert list(read_documents(tmp_path / "b.jsonl", id_field="key", title_field="name", text_field="words")) == one
    folder = beir_folder(tmp_path / "beir")
    assert [document.id for document in read_documents(folder)] == ["d1", "d2"]
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/1.md").write_text("# T\nx")
    assert list(read_documents(tmp_path / "texts")) == [Document("1.md", "x", "T")]


def test_what_is_no_corpus(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_text("x")
    expected = f"expected a file ({', '.join(SUFFIXES)}) or a folder with corpus.jsonl or .md, .markdown, .txt, .text files"
    for name, problem in [("a.pdf", "not a corpus by its name"), ("b.pdf", "there is no such file or folder")]:
        with pytest.raises(DataError) as caught:
            read_documents(tmp_path / name)
        assert str(caught.value) == f"{tmp_path / name}: {problem}; {expected}"


def test_a_folder_of_texts_has_no_fields(tmp_path: Path) -> None:
    (tmp_path / "1.txt").write_text("x")
    message = f"{tmp_path} is a folder of texts, which have no fields; leave id, title and text field out"
    with pytest.raises(ArgumentError) as caught:
        read_documents(tmp_path, text_field="text")
    assert str(caught.value) == message


def test_a_beir_corpus_needs_ids(tmp_path: Path) -> None:
    folder = beir_folder(tmp_path, {"corpus.jsonl": '{"text": "x"}\n'})
    with pytest.raises(DataError, match=r"corpus\.jsonl, line 1: there is no id"):
        read_documents(folder)


def test_pairs(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("query,answer\nq,a\n")
    assert read_pairs(path).examples("train")[0].positive == "a"
