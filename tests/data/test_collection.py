from __future__ import annotations

from pathlib import Path

import pytest

from biencoder.data.collection import Collection
from biencoder.data.tables import SUFFIXES
from biencoder.errors import DataError
from biencoder.records import Document, Example, Judgement, Query
from tests.data.folders import beir_folder

COLLECTION = Collection(
    documents=[Document("d1", "rises.", "Bread"), Document("d2", "Paris"), Document("d3", "unjudged")],
    queries=[Query("q1", "dough"), Query("q2", "France"), Query("q3", "other")],
    judgements={
        "test": [Judgement("q2", "d2")],
        "extra": [Judgement("q3", "d1", 0)],
        "train": [Judgement("q2", "d2", 2), Judgement("q1", "d2"), Judgement("q1", "d1"), Judgement("q2", "d1", 0)],
        "dev": [Judgement("q1", "d1")],
    },
)


def test_splits_stand_in_their_order() -> None:
    assert COLLECTION.splits == ("train", "dev", "test", "extra")


def test_queries_by_split_stand_in_file_order() -> None:
    assert [query.id for query in COLLECTION.queries()] == ["q1", "q2", "q3"]
    assert [query.id for query in COLLECTION.queries("train")] == ["q1", "q2"]
    assert [query.id for query in COLLECTION.queries("test")] == ["q2"]


def test_judgements_are_graded_and_belong_to_the_caller() -> None:
    judgements = COLLECTION.judgements("train")
    assert judgements == {"q2": {"d2": 2, "d1": 0}, "q1": {"d2": 1, "d1": 1}}
    judgements["q2"]["d2"] = 9
    assert COLLECTION.judgements("train")["q2"]["d2"] == 2


def test_examples_are_one_for_each_relevant_document() -> None:
    both = frozenset({"Paris", "Bread rises."})
    assert COLLECTION.examples("train") == [
        Example("dough", "Paris", known_positives=both),
        Example("dough", "Bread rises.", known_positives=both),
        Example("France", "Paris", known_positives=frozenset({"Paris"})),
    ]
    assert COLLECTION.examples("extra") == []


def test_its_representation_says_how_much_there_is() -> None:
    assert repr(COLLECTION) == "Collection(3 documents, 3 queries, train 2, dev 1, test 1, extra 1)"


def test_an_unknown_split_names_those_there_are() -> None:
    for call in (COLLECTION.queries, COLLECTION.judgements, COLLECTION.examples):
        with pytest.raises(DataError) as caught:
            call("valid")
        assert str(caught.value) == "there is no split 'valid' in this collection; there are: train, dev, test, extra"
    with pytest.raises(DataError) as caught:
        Collection(documents=[Document("d", "x")]).queries("train")
    assert str(caught.value) == "there is no split 'train' in this collection; there are: none"


EXPECTED = (
    "expected a folder with corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv, each perhaps with .gz, "
    f"or a file of pairs ({', '.join(SUFFIXES)})"
)


def test_a_path_that_is_no_collection(tmp_path: Path) -> None:
    (tmp_path / "notes.pdf").write_text("x")
    for name, problem in [
        ("notes.pdf", "no collection is here"),
        ("", "no collection is here"),
        ("absent", "there is no such file or folder"),
        ("nul\0byte", "there is no such file or folder"),
    ]:
        with pytest.raises(DataError) as caught:
            Collection.read(tmp_path / name)
        assert str(caught.value) == f"{tmp_path / name}: {problem}; {EXPECTED}"
    with pytest.raises(DataError) as caught:
        Collection.read(str(tmp_path / "absent.csv.gz"))
    assert str(caught.value) == f"{tmp_path / 'absent.csv.gz'}: there is no such file"


def test_a_folder_named_like_a_table(tmp_path: Path) -> None:
    assert Collection.read(beir_folder(tmp_path / "a.csv")).splits == ("train", "test")


def test_reading_holds_no_texts(tmp_path: Path) -> None:
    import tracemalloc

    text = "word " * 2000
    corpus = "".join(f'{{"_id": "d{number}", "text": "{text}"}}\n' for number in range(1, 2001))
    folder = beir_folder(tmp_path, {"corpus.jsonl": corpus})
    tracemalloc.start()
    try:
        collection = Collection.read(folder)
        assert collection.examples("train")[0].positive == text
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2e6  # the corpus is 20 MB
