from __future__ import annotations

from typing import Any

import pytest

from biencoder.data.contents import Triple
from biencoder.data.judgements import JudgementTable, TripleTable, as_grade, as_scores
from biencoder.data.tables import RowsTable
from biencoder.data.values import ValueProblem
from biencoder.errors import DataError
from biencoder.records import Query


def table(*rows: dict[str, Any]) -> RowsTable:
    return RowsTable(lambda: rows, name="qrels")


def judged(*rows: tuple[Any, Any, Any]) -> JudgementTable:
    return JudgementTable(table(*({"query-id": q, "corpus-id": d, "score": grade} for q, d, grade in rows)))


def test_grades_are_kept_as_they_are() -> None:
    assert judged(("q", "b", 2), ("q", "a", "0"), ("p", 7, "-1"), ("q", "b", 2.0)).grades == {
        "q": {"b": 2, "a": 0},
        "p": {"7": -1},
    }


def test_judgements_that_disagree_name_both_rows() -> None:
    with pytest.raises(DataError) as caught:
        judged(("q", "b", 1), ("q", "a", 1), ("q", "b", 2))
    problem = "query 'q' and document 'b' are judged 2 here, but 1 on row 1; keep one of the two"
    assert str(caught.value) == f"qrels: row 3: {problem}"


def test_a_judgement_that_lacks_a_field() -> None:
    with pytest.raises(DataError) as caught:
        JudgementTable(table({"query-id": "q", "doc": "d", "score": 1}))
    problem = "the field 'corpus-id' is missing; the fields here are 'query-id', 'doc', 'score'"
    assert str(caught.value) == f"qrels: row 1: {problem}"


def test_judgements_that_point_nowhere_are_named() -> None:
    part = judged(("q", "a", 1), ("p", "b", 0), ("q", "c", 1))
    part.check_queries({"q": Query("q", "x"), "p": Query("p", "y")}, place="queries")
    part.check_documents(set(), place="corpus")
    with pytest.raises(DataError) as caught:
        part.check_queries({"q": Query("q", "x")}, place="queries")
    assert str(caught.value) == "qrels: row 2: the query 'p' is not in queries; add it or remove this row"
    with pytest.raises(DataError) as caught:
        part.check_documents({"c"}, place="corpus")
    assert str(caught.value) == "qrels: row 3: the document 'c' is not in corpus; add it or remove this row"


@pytest.mark.parametrize("value", ["1.5", "", None, "one", True, 0.5, float("nan"), "１", "1" * 10, " 1"])
def test_what_is_no_grade(value: object) -> None:
    with pytest.raises(ValueProblem) as caught:
        as_grade(value, field="score")
    assert str(caught.value) == f"the field 'score' is {value!r}; a grade is a whole number, above 0 where relevant"


def test_what_are_no_scores() -> None:
    assert as_scores(None, count=2, field="scores") is None
    for value in ("1", [1, None], [True, 1], [1.0, float("inf")]):
        with pytest.raises(ValueProblem, match=r"^the field 'scores' is not a list of finite numbers$"):
            as_scores(value, count=2, field="scores")
    with pytest.raises(ValueProblem) as caught:
        as_scores([1.0], count=3, field="scores")
    assert str(caught.value) == "found 1 scores; expected 3: the positive's, then one for each negative"


def test_triples() -> None:
    rows = (
        {"query_id": "q", "positive_id": "a", "negative_ids": ["b", "c"], "scores": [3, 2, 1]},
        {"query_id": "q", "positive_id": "b"},
    )
    triples = TripleTable(table(*rows))
    assert triples.triples == {
        ("q", "a"): Triple("q", "a", ("b", "c"), (3.0, 2.0, 1.0)),
        ("q", "b"): Triple("q", "b"),
    }
    assert sorted(triples.document_ids()) == ["a", "b", "b", "c"]
    triples.check_pairs({"q": {"a": 1, "b": 2}})
    with pytest.raises(DataError) as caught:
        triples.check_pairs({"q": {"a": 1, "b": 0}})
    problem = "document 'b' is not judged relevant for query 'q' in this split; add the judgement or remove this row"
    assert str(caught.value) == f"qrels: row 2: {problem}"


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"query_id": "q"}, "the field 'positive_id' is null; an id is a string or a whole number"),
        (
            {"query_id": "q", "positive_id": "b", "negative_ids": "c"},
            "the field 'negative_ids' is a string; expected a list of ids",
        ),
        ({"query_id": "q", "positive_id": "a"}, "query 'q' and positive 'a' stand further up already; keep one row"),
    ],
)
def test_triples_that_are_none(row: dict[str, Any], problem: str) -> None:
    with pytest.raises(DataError) as caught:
        TripleTable(table({"query_id": "q", "positive_id": "a"}, row))
    assert str(caught.value) == f"qrels: row 2: {problem}"
