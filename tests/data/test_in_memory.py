from __future__ import annotations

from typing import Any

import pytest

from biencoder.data.collection import Collection
from biencoder.errors import ArgumentError, DataError
from biencoder.records import Document, Judgement, Query

DOCUMENTS = [Document("d1", "one"), Document("d2", "", "two")]
QUERIES = [Query("q1", "uno")]


def failure(**parts: Any) -> str:
    with pytest.raises(DataError) as caught:
        Collection(**{"documents": DOCUMENTS, "queries": QUERIES, "judgements": {}, **parts})
    return str(caught.value)


def test_records_in_memory_are_a_collection() -> None:
    judgements = {"dev": [Judgement("q1", "d2", 2), Judgement("q1", "d1", 0), Judgement("q1", "d2", 2)]}
    collection = Collection(documents=DOCUMENTS, queries=iter(QUERIES), judgements=judgements)
    assert collection.documents is DOCUMENTS
    assert collection.queries("dev") == QUERIES
    assert collection.judgements("dev") == {"q1": {"d2": 2, "d1": 0}}


def test_a_corpus_alone_is_a_collection() -> None:
    assert Collection(documents=DOCUMENTS).splits == ()


@pytest.mark.parametrize(
    ("documents", "problem"),
    [
        ([], "there are no documents; a collection needs at least one"),
        ([*DOCUMENTS, Document("d1", "x")], "document 3: the id 'd1' stands on document 1 already; ids must differ"),
        ([*DOCUMENTS, Query("d3", "x")], "document 3: found a Query; expected a Document"),
        ([Document("d1", "")], "document 1: the document is empty: it has neither title nor text; give it a text or remove it"),
        ([Document(1, "x")], "document 1: the id is a number; expected a string"),  # type: ignore[arg-type]
        ([Document("d1", None)], "document 1: the text is null; expected a string"),  # type: ignore[arg-type]
        ([Document("a\tb", "x")], "document 1: the id 'a\\tb' holds a tab or a line break; use ids without them"),
        ([Document("d1", "\udfff")], "document 1: \\udfff is half of a surrogate pair, not a character; remove it"),
    ],
)
def test_documents_that_are_none(documents: list[Any], problem: str) -> None:
    assert failure(documents=documents) == problem


def test_documents_that_can_be_read_once() -> None:
    message = "documents can be iterated only once; give something sized that can be read again, such as a list"
    with pytest.raises(ArgumentError) as caught:
        Collection(documents=iter(DOCUMENTS))  # type: ignore[arg-type]
    assert str(caught.value) == message


def test_queries_that_are_none() -> None:
    assert failure(queries=[*QUERIES, Query("q1", "x")]) == (
        "query 2: the query id 'q1' stands further up already; ids must differ"
    )
    assert failure(queries=[Query("q", " ")]) == (
        "query 1: the query 'q' is empty; give it a text, or remove it and its judgements"
    )


@pytest.mark.parametrize(
    ("judgements", "problem"),
    [
        ({"dev": [Judgement("q9", "d1")]}, "the query 'q9' is judged in 'dev', but not among the queries; add it"),
        ({"dev": [Judgement("q1", "d9")]}, "the document 'd9' is judged, but not among the documents; add it"),
        ({"dev": []}, "the split 'dev' has no judgements; add some or leave it out"),
        (
            {"dev": [Judgement("q1", "d1"), Judgement("q1", "d1", 2)]},
            "query 'q1' and document 'd1' are judged both 1 and 2 in 'dev'; keep one of the two",
        ),
        (
            {"a/b": [Judgement("q1", "d1")]},
            "the split is 'a/b'; expected a name of letters, digits, '-', '_' and '.', such as train",
        ),
        (
            {"dev": [Judgement("q1", "d1", 0.5)]},  # type: ignore[arg-type]
            "the field 'grade' is 0.5; a grade is a whole number, above 0 where relevant",
        ),
    ],
)
def test_judgements_that_are_none(judgements: dict[str, list[Judgement]], problem: str) -> None:
    assert failure(judgements=judgements) == problem
