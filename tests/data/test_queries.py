from __future__ import annotations

from typing import Any

import pytest

from biencoder.data.queries import check_query, read_queries
from biencoder.data.tables import RowsTable
from biencoder.data.values import ValueProblem
from biencoder.errors import DataError
from biencoder.records import Document, Query


def test_usual_names_and_metadata() -> None:
    rows: list[dict[str, Any]] = [{"qid": 3, "question": "x", "metadata": {"a": 1}, "b": 2}, {"_id": "4", "text": "y"}]
    expected = {"3": Query("3", "x", {"a": 1, "b": 2}), "4": Query("4", "y")}
    assert read_queries(RowsTable(lambda: rows, name="queries")) == expected


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"_id": "1", "text": "again"}, "the query id '1' stands on row 1 already; ids must differ"),
        ({"_id": "2", "text": "\n"}, "the query '2' is empty; give it a text, or remove it and its judgements"),
        ({"_id": "2", "text": 3}, "the field 'text' is a number; expected a string"),
        (
            {"text": "x"},
            "there is no id: expected a field '_id' or 'id' or 'query_id' or 'qid'; the fields here are 'text'",
        ),
        (
            {"_id": "2"},
            "there is no text: expected a field 'text' or 'query' or 'question'; the fields here are '_id'",
        ),
    ],
)
def test_a_row_that_is_no_query(row: dict[str, Any], problem: str) -> None:
    with pytest.raises(DataError) as caught:
        read_queries(RowsTable(lambda: [{"_id": "1", "text": "x"}, row], name="queries"))
    assert str(caught.value) == f"queries: row 2: {problem}"


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        (Document("1", "x"), "found a Document; expected a Query"),
        (Query(1, "x"), "the id is a number; expected a string"),  # type: ignore[arg-type]
        (Query("1", "\ud800"), "\\ud800 is half of a surrogate pair, not a character; remove it"),
        (Query("1", ""), "the query '1' is empty; give it a text, or remove it and its judgements"),
    ],
)
def test_an_object_that_is_no_query(query: object, problem: str) -> None:
    with pytest.raises(ValueProblem) as caught:
        check_query(query)
    assert str(caught.value) == problem
