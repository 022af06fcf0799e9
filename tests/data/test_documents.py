from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from biencoder.data import documents
from biencoder.data.documents import DocumentFields, TableDocuments, check_corpus
from biencoder.data.tables import JsonTable, RowsTable
from biencoder.errors import ArgumentError, DataError
from biencoder.records import Document


def read(*rows: dict[str, Any], **fields: str) -> list[Document]:
    return list(TableDocuments(RowsTable(lambda: rows, name="corpus"), DocumentFields(**fields)))


def failure(*rows: dict[str, Any], **fields: str) -> str:
    with pytest.raises(DataError) as caught:
        read(*rows, **fields)
    return str(caught.value)


@pytest.mark.parametrize("id_name", ["_id", "id", "doc_id", "docid"])
@pytest.mark.parametrize("text_name", ["text", "contents", "content", "body", "passage"])
def test_usual_names(id_name: str, text_name: str) -> None:
    assert read({id_name: 7, "title": "T", text_name: "x", "url": "u"}) == [Document("7", "x", "T", {"url": "u"})]


def test_of_two_usual_names_the_first_counts_and_the_other_is_metadata() -> None:
    assert read({"id": "b", "_id": "a", "body": "y", "text": "x"}) == [Document("a", "x", "", {"id": "b", "body": "y"})]


def test_given_names() -> None:
    row = {"key": "k", "name": "N", "abstract": "x", "id": "other", "title": "t", "text": "z"}
    expected = Document("k", "x", "N", {"id": "other", "title": "t", "text": "z"})
    assert read(row, id="key", title="name", text="abstract") == [expected]
    assert read({"id": "a", "title": "only"}, text="title") == [Document("a", "only")]


def test_the_title_may_be_missing_or_null() -> None:
    rows = ({"id": "1", "text": "x"}, {"id": "2", "text": "y", "title": "T"}, {"id": "3", "text": None, "title": "U"})
    assert read(*rows) == [Document("1", "x"), Document("2", "y", "T"), Document("3", "", "U")]


def test_without_ids_the_row_number_is_the_id() -> None:
    assert [document.id for document in read({"text": "x"}, {"text": "y"})] == ["1", "2"]
    late = "corpus: row 2: here is a field 'id', but the first row has no id; give every row one, or none"
    assert failure({"text": "x"}, {"text": "y", "id": "b"}) == late


def test_metadata_from_tables_becomes_json() -> None:
    assert read({"text": "x", "on": date(2024, 5, 1)})[0].metadata == {"on": "2024-05-01"}
    bytes_message = "corpus: row 1: the field 'image' holds a bytes, which metadata cannot keep; leave the field out"
    assert failure({"text": "x", "image": b"..."}) == bytes_message


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"text": "x"}, "the field 'id' is missing; every document needs it"),
        ({"id": "2"}, "the field 'text' is missing; every document needs it"),
        ({"id": "2", "text": 5}, "the field 'text' is a number; expected a string"),
        ({"id": "2", "text": "x", "title": ["t"]}, "the field 'title' is a list; expected a string"),
        ({"id": None, "text": "x"}, "the field 'id' is null; an id is a string or a whole number"),
        (
            {"id": "2", "text": " \n", "title": ""},
            "the document is empty: it has neither title nor text; give it a text or remove it",
        ),
        ({"id": "1", "text": "again"}, "the id '1' stands on row 1 already; ids must differ"),
        ({"id": 1, "text": "again"}, "the id '1' stands on row 1 already; ids must differ"),
    ],
)
def test_a_row_that_is_no_document(row: dict[str, Any], problem: str) -> None:
    assert failure({"id": "1", "text": "x"}, row) == f"corpus: row 2: {problem}"


def test_fields_that_are_not_there() -> None:
    assert failure({"_id": "a", "txt": "x"}) == (
        "corpus: row 1: there is no text: expected a field 'text' or 'contents' or 'content' or 'body' or 'passage', "
        "or its name in text_field; the fields here are '_id', 'txt'"
    )
    assert failure({"text": "x"}, id="key") == (
        "corpus: row 1: there is no id: expected a field 'key'; the fields here are 'text'"
    )
    assert failure({"text": "x"}, title="name") == (
        "corpus: row 1: there is no title: expected a field 'name'; the fields here are 'text'"
    )


def test_a_corpus_that_is_judged_needs_ids() -> None:
    with pytest.raises(DataError) as caught:
        TableDocuments(RowsTable(lambda: [{"text": "x"}], name="corpus"), need_ids=True)
    assert str(caught.value) == (
        "corpus: row 1: there is no id: expected a field '_id' or 'id' or 'doc_id' or 'docid'; the fields here are 'text'"
    )


def test_one_name_for_two_things() -> None:
    with pytest.raises(ArgumentError, match=r"^id, title and text are three different fields; one name was given twice$"):
        DocumentFields(id="a", text="a")


def test_documents_stream_again_and_know_their_number(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"_id": "a", "text": "x"}\n{"_id": "b", "text": "y"}\n')
    corpus = TableDocuments(JsonTable(path))
    assert len(corpus) == 2
    assert list(corpus) == list(corpus) == [Document("a", "x"), Document("b", "y")]
    path.write_text('{"_id": "a", "text": ""}\n')
    with pytest.raises(DataError, match="line 1: the document is empty"):
        list(corpus)


def test_ids_of_equal_hash_are_not_taken_for_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "hash", lambda _: 1, raising=False)
    assert [document.id for document in read({"id": "a", "text": "x"}, {"id": "b", "text": "y"})] == ["a", "b"]
    rows = ({"id": "a", "text": "x"}, {"id": "b", "text": "y"}, {"id": "b", "text": "z"})
    assert failure(*rows) == "corpus: row 3: the id 'b' stands on row 2 already; ids must differ"


def test_the_first_repetition_is_named_among_many() -> None:
    ids = [*range(5000), 4000, 17]
    assert failure(*({"id": name, "text": "x"} for name in ids)) == (
        "corpus: row 5001: the id '4000' stands on row 4001 already; ids must differ"
    )


def test_expected_ids_are_struck_off() -> None:
    def numbered() -> Iterator[tuple[int, Document]]:
        return iter([(1, Document("a", "x"))])

    expected = {"a", "b"}
    count = check_corpus(numbered, fault=lambda _, problem: DataError(problem), unit="row", expected=expected)
    assert (count, expected) == (1, {"b"})
