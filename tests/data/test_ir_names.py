from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from biencoder.data.collection import Collection
from biencoder.data.readers import read_documents
from biencoder.errors import DataError, MissingDependencyError
from biencoder.records import Document, Query


class AbstractDoc(NamedTuple):
    doc_id: str
    title: str
    abstract: str

    def default_text(self) -> str:
        return f"{self.title} {self.abstract}"


class Topic(NamedTuple):
    query_id: str
    title: str
    narrative: str

    def default_text(self) -> str:
        return self.title


class Entry:
    """A catalogue entry over lists."""

    def __init__(self, docs: Any = (), queries: Any = (), qrels: Any = ()) -> None:
        self.docs, self.queries, self.qrels = docs, queries, qrels

    def has_docs(self) -> bool:
        return bool(self.docs)

    def has_queries(self) -> bool:
        return bool(self.queries)

    def has_qrels(self) -> bool:
        return bool(self.qrels)

    def docs_iter(self) -> Iterator[Any]:
        return iter(self.docs)

    def queries_iter(self) -> Iterator[Any]:
        return iter(self.queries)

    def qrels_iter(self) -> Iterator[Any]:
        return iter(self.qrels)


class Qrel(NamedTuple):
    query_id: str
    doc_id: str
    relevance: int


class Broken(Entry):
    def has_docs(self) -> bool:
        return True

    def docs_iter(self) -> Iterator[Any]:
        raise RuntimeError("download\nfailed")


DOCS = [AbstractDoc("d1", "Bread", "Yeast."), AbstractDoc("d2", "Paris", "France.")]
TOPICS = [Topic("q1", "dough", "long"), Topic("q2", "capital", "long")]


class StandIn:
    registry: dict[str, Entry] = {  # noqa: RUF012 - a module's variable
        "toy": Entry(DOCS, TOPICS),
        "toy/train": Entry(DOCS, TOPICS, [Qrel("q1", "d1", 1)]),
        "toy/test": Entry(DOCS, TOPICS, [Qrel("q2", "d2", 2), Qrel("q2", "d1", 0)]),
        "apart": Entry(DOCS),
        "apart/train": Entry(DOCS, TOPICS[:1], [Qrel("q1", "d1", 1)]),
        "apart/dev": Entry(DOCS, TOPICS, [Qrel("q2", "d2", 1)]),
        "clash": Entry(DOCS),
        "clash/train": Entry(DOCS, TOPICS, [Qrel("q1", "d1", 1)]),
        "clash/test": Entry(DOCS, [Topic("q1", "otherwise", "")], [Qrel("q1", "d1", 1)]),
        "trec-8": Entry(DOCS, TOPICS, [Qrel("q1", "d9", 1)]),
        "queries-only": Entry((), TOPICS),
        "broken": Broken(),
    }

    def load(self, name: str) -> Entry:
        return self.registry[name]


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    module = StandIn()
    monkeypatch.setattr("biencoder.data.ir_names.require", lambda _, extra: module)  # noqa: ARG005


@pytest.mark.usefixtures("stand_in")
def test_documents_have_their_default_text_where_no_field_is_one() -> None:
    documents = read_documents("ir:toy")
    assert (
        list(documents)
        == list(documents)
        == [
            Document("d1", "Bread Yeast.", "", {"abstract": "Yeast.", "title": "Bread"}),
            Document("d2", "Paris France.", "", {"abstract": "France.", "title": "Paris"}),
        ]
    )
    assert list(read_documents("ir:toy", text_field="abstract")) == [
        Document("d1", "Yeast.", "Bread"),
        Document("d2", "France.", "Paris"),
    ]


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize(
    ("name", "splits"),
    [("ir:toy/train", ("train",)), ("ir:toy", ("train", "test")), ("ir:apart", ("train", "dev"))],
)
def test_splits_are_entries(name: str, splits: tuple[str, ...]) -> None:
    collection = Collection.read(name)
    assert collection.splits == splits
    assert collection.queries() == [
        Query("q1", "dough", {"title": "dough", "narrative": "long"}),
        Query("q2", "capital", {"title": "capital", "narrative": "long"}),
    ]
    assert collection.judgements("train") == {"q1": {"d1": 1}}


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("ir:no", "ir:no: there is no such entry in ir_datasets; the names are listed at https://ir-datasets.com"),
        ("ir:queries-only", "ir:queries-only: this entry has no judgements; its documents alone can be indexed"),
        (
            "ir:trec-8",
            "ir:trec-8, judgements of test: row 1: the document 'd9' is not in ir:trec-8; add it or remove this row",
        ),
        ("ir:clash", "ir:clash, queries: row 3: the query id 'q1' stands on row 1 already; ids must differ"),
    ],
)
def test_what_cannot_be_a_collection(name: str, problem: str) -> None:
    with pytest.raises(DataError) as caught:
        Collection.read(name)
    assert str(caught.value) == problem


@pytest.mark.usefixtures("stand_in")
def test_what_cannot_be_a_corpus() -> None:
    with pytest.raises(DataError, match=r"^ir:queries-only: this entry has no docs$"):
        read_documents("ir:queries-only")
    with pytest.raises(DataError, match=r"^ir:broken: this entry cannot be read \(download failed\)$"):
        read_documents("ir:broken")


def test_an_entry_of_the_catalogue_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IR_DATASETS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("IR_DATASETS_TMP", str(tmp_path / "tmp"))
    import ir_datasets

    (tmp_path / "docs.tsv").write_text("d1\tYeast.\nd2\tParis.\n")
    (tmp_path / "queries.tsv").write_text("q1\tdough\n")
    (tmp_path / "qrels.txt").write_text("q1 0 d1 1\nq1 0 d2 0\n")
    entry = ir_datasets.create_dataset(
        docs_tsv=str(tmp_path / "docs.tsv"),
        queries_tsv=str(tmp_path / "queries.tsv"),
        qrels_trec=str(tmp_path / "qrels.txt"),
    )
    monkeypatch.setattr(ir_datasets, "load", {"mine/dev": entry}.__getitem__)
    collection = Collection.read("ir:mine/dev")
    assert list(collection.documents) == [Document("d1", "Yeast."), Document("d2", "Paris.")]
    assert collection.queries() == [Query("q1", "dough")]
    assert collection.judgements("dev") == {"q1": {"d1": 1, "d2": 0}}


def test_without_the_extra_the_message_is_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ir_datasets", None)
    with pytest.raises(MissingDependencyError) as caught:
        Collection.read("ir:toy")
    assert str(caught.value) == "ir_datasets is not installed; run: pip install 'biencoder[ir-datasets]'"
