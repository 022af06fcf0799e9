from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from biencoder.data.collection import Collection
from biencoder.data.contents import Triple
from biencoder.data.pairs import PairColumns, document_id, merged, query_id
from biencoder.data.values import ValueProblem
from biencoder.errors import DataError
from biencoder.records import Document, Example, Query

KNOWN = frozenset({"Paris."})


def failure(*rows: dict[str, Any], columns: PairColumns | None = None) -> str:
    with pytest.raises(DataError) as caught:
        Collection.from_pairs(rows, columns=columns)
    return str(caught.value)


def examples(*rows: dict[str, Any], columns: PairColumns | None = None) -> list[Example]:
    return Collection.from_pairs(rows, columns=columns).examples("train")


def test_identical_texts_are_one_document_and_one_query() -> None:
    pairs = [{"query": "a?", "answer": "x"}, {"query": "b?", "answer": "x"}, {"query": "a?", "answer": "y"}]
    collection = Collection.from_pairs(pairs)
    x, y, a, b = document_id("x"), document_id("y"), query_id("a?"), query_id("b?")
    assert list(collection.documents) == list(collection.documents) == [Document(x, "x"), Document(y, "y")]
    assert len(collection.documents) == 2
    assert collection.queries() == [Query(a, "a?"), Query(b, "b?")]
    assert collection.judgements("train") == {a: {x: 1, y: 1}, b: {x: 1}}
    both = frozenset({"x", "y"})
    assert collection.examples("train") == [
        Example("a?", "x", known_positives=both),
        Example("a?", "y", known_positives=both),
        Example("b?", "x", known_positives=frozenset({"x"})),
    ]


@pytest.mark.parametrize("query", ["query", "question", "anchor"])
@pytest.mark.parametrize("positive", ["positive", "pos", "document", "doc", "answer", "passage", "text"])
def test_usual_names(query: str, positive: str) -> None:
    assert examples({query: "France?", positive: "Paris."}) == [Example("France?", "Paris.", known_positives=KNOWN)]


@pytest.mark.parametrize("name", ["negative", "neg", "negatives"])
@pytest.mark.parametrize("value", ["Rome.", ["Rome."], ("Rome.",)])
def test_negatives(name: str, value: object) -> None:
    row = {"query": "France?", "positive": "Paris.", name: value, "scores": [9, 1]}
    assert examples(row) == [Example("France?", "Paris.", ("Rome.",), (9.0, 1.0), KNOWN)]


def test_numbered_negatives_may_be_empty() -> None:
    row = {"query": "France?", "positive": "Paris.", "negative_1": "Rome.", "negative_2": None, "negative_10": "Bern."}
    assert examples(row) == [Example("France?", "Paris.", ("Rome.", "Bern."), None, KNOWN)]


def test_several_positives_share_the_negatives() -> None:
    both = frozenset({"a", "b"})
    assert examples({"query": "q", "pos": ["a", "b"], "neg": ["n", "n"]}) == [
        Example("q", "a", ("n",), None, both),
        Example("q", "b", ("n",), None, both),
    ]


def test_given_names_and_splits() -> None:
    columns = PairColumns("frage", "treffer", ("falsch",), "noten", "wert", "teil")
    rows: list[dict[str, Any]] = [
        {"frage": "q", "treffer": "a", "falsch": "n", "noten": [2, 1], "wert": 3, "teil": "test"},
        {"frage": "p", "treffer": "b", "teil": ""},
    ]
    collection = Collection.from_pairs(rows, columns=columns)
    assert collection.splits == ("train", "test")
    assert collection.judgements("test") == {query_id("q"): {document_id("a"): 3}}
    assert collection.examples("test") == [Example("q", "a", ("n",), (2.0, 1.0), frozenset("a"))]
    assert collection.examples("train") == [Example("p", "b", known_positives=frozenset("b"))]


def test_a_grade_of_nothing_is_no_example() -> None:
    collection = Collection.from_pairs([{"query": "q", "doc": "a", "label": 0}, {"query": "q", "doc": "b", "label": "2"}])
    assert collection.judgements("train") == {query_id("q"): {document_id("a"): 0, document_id("b"): 2}}
    assert collection.examples("train") == [Example("q", "b", known_positives=frozenset("b"))]


def test_rows_of_the_same_pair_are_one_triple() -> None:
    rows: list[dict[str, Any]] = [
        {"query": "q", "positive": "a", "negative": "n", "scores": [2, 1]},
        {"query": "q", "positive": "a", "negative": "m", "scores": [2, 0]},
    ]
    assert examples(*rows) == [Example("q", "a", ("n", "m"), (2.0, 1.0, 0.0), frozenset("a"))]


def test_what_is_relevant_for_a_query_is_never_its_negative() -> None:
    rows: list[dict[str, Any]] = [
        {"query": "q", "positive": "a", "negatives": ["b", "n"], "scores": [3, 2, 1]},
        {"query": "q", "positive": "b"},
    ]
    both = frozenset({"a", "b"})
    assert examples(*rows) == [
        Example("q", "a", ("n",), (3.0, 1.0), both),
        Example("q", "b", (), None, both),
    ]


@pytest.mark.parametrize("name", ["pairs.jsonl", "pairs.csv", "pairs.tsv", "pairs.parquet"])
def test_the_same_collection_from_every_format(tmp_path: Path, name: str) -> None:
    rows: list[dict[str, Any]] = [
        {"query": "France?", "positive": "Paris.", "negatives": ["Rome.", '["x"]'], "scores": [9.5, 1, 0], "split": "train"},
        {"query": "Bread?", "positive": "Yeast,\nflour.", "negatives": [], "scores": None, "split": "dev"},
    ]
    path = tmp_path / name
    if name.endswith("l"):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif name.endswith("parquet"):
        pa.parquet.write_table(pa.Table.from_pylist(rows), path)
    else:
        lines = [
            "query,positive,negatives,scores,split",
            'France?,Paris.,"[""Rome."", ""[\\""x\\""]""]","[9.5, 1, 0]",train',
            'Bread?,"Yeast,\nflour.",,,dev',
        ]
        text = "\n".join(lines) + "\n"
        if name.endswith("tsv"):
            text = "\t".join(["query", "positive", "negatives", "scores", "split"]) + "\n"
            text += 'France?\tParis.\t"[""Rome."", ""[\\""x\\""]""]"\t[9.5, 1, 0]\ttrain\n"Bread?"\t"Yeast,\nflour."\t\t\tdev\n'
        path.write_text(text)
    collection = Collection.read(path)
    assert collection.splits == ("train", "dev")
    assert collection.examples("train") == [Example("France?", "Paris.", ("Rome.", '["x"]'), (9.5, 1.0, 0.0), KNOWN)]
    assert collection.examples("dev") == [Example("Bread?", "Yeast,\nflour.", (), None, frozenset({"Yeast,\nflour."}))]
    assert [document.text for document in collection.documents] == ["Paris.", "Rome.", '["x"]', "Yeast,\nflour."]


PAIR = {"query": "q", "positive": "a"}


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (
            {"positive": "a"},
            (
                "there is no query: expected a field 'query' or 'question' or 'anchor', or its name in "
                "PairColumns.query; the fields here are 'positive'"
            ),
        ),
        (
            {"query": "q", "url": "u"},
            (
                "there is no document: expected a field 'positive' or 'pos' or 'document' or 'doc' or "
                "'answer' or 'passage' or 'text', or its name in PairColumns.positive; the fields here are 'url'"
            ),
        ),
        ({**PAIR, "query": " "}, "the query is empty; give it a text or remove the row"),
        ({**PAIR, "query": 3}, "the field 'query' is a number; expected a string"),
        ({**PAIR, "positive": ""}, "the document is empty; give it a text or remove the row"),
        ({**PAIR, "positive": []}, "the document is empty; give it a text or remove the row"),
        ({**PAIR, "positive": "\n"}, "the field 'positive' holds an empty text; remove it"),
        ({**PAIR, "positive": {"text": "a"}}, "the field 'positive' holds an object; expected a string or a list of strings"),
        ({**PAIR, "negatives": ["n", 3]}, "the field 'negatives' holds a number; expected a string or a list of strings"),
        ({**PAIR, "negatives": ["n", ""]}, "the field 'negatives' holds an empty text; remove it"),
        ({**PAIR, "negative": "a"}, "a negative is the same text as the positive; remove one of the two"),
        ({**PAIR, "negatives": ["n", "n"], "scores": [1, 2, 3]}, "the same negative is scored twice; keep one of the two"),
        ({**PAIR, "scores": [1, 2]}, "found 2 scores; expected 1: the positive's, then one for each negative"),
        ({**PAIR, "scores": [float("nan")]}, "the field 'scores' is not a list of finite numbers"),
        (
            {**PAIR, "positive": ["a", "b"], "scores": [1]},
            ("there are scores, but several positives; give each positive a row of its own"),
        ),
        ({**PAIR, "label": None}, "the field 'label' is None; a grade is a whole number, above 0 where relevant"),
        (
            {**PAIR, "positive": "b", "label": 0, "neg": "n"},
            ("there are negatives or scores, but the grade is 0; they need a relevant document"),
        ),
        ({**PAIR, "split": "../x"}, "the split is '../x'; expected a name of letters, digits, '-', '_' and '.', such as train"),
        ({**PAIR, "label": 2}, "the same query and document have the grade 2 here and 1 further up; keep one of the two"),
        (
            {**PAIR, "scores": [3.0], "query": "first"},
            ("the same query and document were scored otherwise further up; keep one of the two"),
        ),
        (
            {**PAIR, "negative": "n", "query": "first"},
            ("the same query and document have scores on one row and none on another; score both or neither"),
        ),
        ({**PAIR, "query": "\ud800"}, "\\ud800 is half of a surrogate pair, not a character; remove it"),
    ],
)
def test_a_row_that_is_no_pair(row: dict[str, Any], problem: str) -> None:
    first = {"query": "first", "positive": "a", "scores": [1.0]}
    assert failure(first, PAIR, row) == f"pairs: row 3: {problem}"


def test_lists_in_text_formats_are_json(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    for column, value in (("negatives", "Rome."), ("scores", "[1")):
        path.write_text(f"query,answer,{column}\nq,a,{value}\n")
        with pytest.raises(DataError) as caught:
            Collection.read(path)
        expected = f"the field {column!r} is {value!r}; expected a JSON list, such as [1, 2]"
        assert str(caught.value) == f"{path}, line 2: {expected}"


def test_a_named_column_that_no_row_has() -> None:
    assert failure(PAIR, columns=PairColumns(negatives=("hard",))) == (
        "pairs: no row has a column 'hard'; the columns are 'positive', 'query'"
    )


def test_columns_that_are_not_read_are_named() -> None:
    with pytest.warns(UserWarning, match=r"^pairs: columns that are not read: 'negativ', 'url'$"):
        Collection.from_pairs([{**PAIR, "url": "u"}, {**PAIR, "negativ": "n"}])


def test_a_file_that_changes_between_readings(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("query,answer\nq,a\nq,b\n")
    collection = Collection.read(path)
    path.write_text("query,answer\nq,a\n")
    with pytest.raises(DataError, match=r"a\.csv: the file has become shorter since it was first read; read it again$"):
        list(collection.documents)
    path.write_text("query,answer\nq,a\nq,b\nq,c\n")
    with pytest.raises(DataError, match=r"a\.csv, line 4: the file has changed since it was first read; read it again$"):
        list(collection.documents)


def test_triples_that_cannot_be_merged() -> None:
    scored = Triple("q", "p", ("a",), (2.0, 1.0))
    with pytest.raises(ValueProblem, match="scores on one row and none on another"):
        merged(scored, Triple("q", "p", ("b",)))
    with pytest.raises(ValueProblem, match="scored otherwise further up"):
        merged(scored, Triple("q", "p", ("a",), (2.0, 0.5)))
