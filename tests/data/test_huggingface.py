from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from biencoder.data.collection import Collection
from biencoder.data.readers import read_documents
from biencoder.errors import DataError, MissingDependencyError
from biencoder.records import Document, Example, Query

PARTS: dict[str, dict[str, dict[str, list[dict[str, Any]]]]] = {
    "us/pairs": {
        "default": {
            "train": [{"question": "France?", "answer": "Paris."}, {"question": "Bread?", "answer": "Yeast."}],
            "validation": [{"question": "Italy?", "answer": "Rome."}],
        }
    },
    "us/texts": {"en": {"train": [{"id": 1, "text": "x", "year": 2020}]}, "de": {"train": [{"id": 1, "text": "y"}]}},
    "us/task": {
        "corpus": {"corpus": [{"_id": "d1", "title": "T", "text": "x"}, {"_id": "d2", "title": "", "text": "y"}]},
        "queries": {"queries": [{"_id": "q1", "text": "?"}]},
        "default": {
            "test": [{"query-id": "q1", "corpus-id": "d2", "score": 1.0}],
            "validation": [{"query-id": "q1", "corpus-id": "d1", "score": 2.0}],
        },
    },
    "us/beir": {
        "corpus": {"corpus": [{"_id": "d1", "title": "T", "text": "x"}]},
        "queries": {"queries": [{"_id": "q1", "text": "?"}]},
    },
    "us/beir-qrels": {"default": {"test": [{"query-id": "q1", "corpus-id": "d9", "score": 1}]}},
}


class StandIn:
    """As much of ``datasets`` as is used, over data sets made of lists."""

    class exceptions:  # noqa: N801 - a module's name
        class DatasetsError(Exception):
            pass

    def get_dataset_config_names(self, name: str) -> list[str]:
        if name not in PARTS:
            raise FileNotFoundError(f"Dataset '{name}' doesn't exist\non the Hub")
        return list(PARTS[name])

    def load_dataset(self, name: str, config: str | None) -> Any:
        import datasets

        if config is None and len(PARTS[name]) > 1:
            raise ValueError("Config name is missing.")
        if config is not None and config not in PARTS[name]:
            raise ValueError(f"BuilderConfig '{config}' not found.")
        parts = PARTS[name][config or next(iter(PARTS[name]))]
        return datasets.DatasetDict({split: datasets.Dataset.from_list(rows) for split, rows in parts.items()})


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    module = StandIn()
    monkeypatch.setattr("biencoder.data.huggingface.require", lambda _, extra: module)  # noqa: ARG005


@pytest.mark.usefixtures("stand_in")
def test_pairs_keep_their_splits() -> None:
    collection = Collection.read("hf:us/pairs")
    assert collection.splits == ("train", "dev")
    assert [example.positive for example in collection.examples("train")] == ["Paris.", "Yeast."]
    assert collection.examples("dev") == [Example("Italy?", "Rome.", known_positives=frozenset({"Rome."}))]
    assert Collection.read("hf:us/pairs:validation").splits == ("dev",)


@pytest.mark.usefixtures("stand_in")
def test_a_word_is_a_configuration_where_there_is_one() -> None:
    assert list(read_documents("hf:us/texts:de")) == [Document("1", "y")]
    assert list(read_documents("hf:us/texts:en:train")) == [Document("1", "x", "", {"year": 2020})]


@pytest.mark.usefixtures("stand_in")
def test_a_retrieval_task() -> None:
    collection = Collection.read("hf:us/task")
    assert list(collection.documents) == [Document("d1", "x", "T"), Document("d2", "y")]
    assert collection.queries() == [Query("q1", "?")]
    assert collection.splits == ("dev", "test")
    assert collection.judgements("dev") == {"q1": {"d1": 2}}
    assert Collection.read("hf:us/task:test").splits == ("test",)
    assert Collection.read("hf:us/task:validation").splits == ("dev",)
    with pytest.raises(DataError) as caught:
        Collection.read("hf:us/task:train")
    assert str(caught.value) == "hf:us/task:default: there is no split 'train'; there are: test, validation"
    assert len(read_documents("hf:us/task:corpus")) == 2


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("hf:", "not the name of a data set; expected hf:NAME[:CONFIG][:SPLIT]"),
        ("hf:a:b:c:d", "not the name of a data set; expected hf:NAME[:CONFIG][:SPLIT]"),
        ("hf:us/no", "this data set cannot be loaded (Dataset 'us/no' doesn't exist on the Hub)"),
        ("hf:us/texts", "this data set cannot be loaded (Config name is missing.)"),
        ("hf:us/texts:fr:train", "this data set cannot be loaded (BuilderConfig 'fr' not found.)"),
        ("hf:us/texts:en:test", "there is no split 'test'; there are: train"),
        (
            "hf:us/texts:en",
            (
                "row 1: there is no query: expected a field 'query' or 'question' or 'anchor', or its name in "
                "PairColumns.query; the fields here are 'split', 'id', 'text', 'year'"
            ),
        ),
    ],
)
def test_what_cannot_be_a_collection(name: str, problem: str) -> None:
    with pytest.raises(DataError) as caught:
        Collection.read(name)
    assert str(caught.value) == f"{name}: {problem}"


@pytest.mark.usefixtures("stand_in")
def test_references_that_point_nowhere_name_the_data_set() -> None:
    with pytest.raises(DataError) as caught:
        Collection.read("hf:us/beir")
    assert str(caught.value) == (
        "hf:us/beir-qrels:test: row 1: the document 'd9' is not in hf:us/beir:corpus; add it or remove this row"
    )


@pytest.mark.usefixtures("stand_in")
def test_documents_of_several_splits_need_a_name() -> None:
    with pytest.raises(DataError) as caught:
        read_documents("hf:us/pairs")
    assert str(caught.value) == ("hf:us/pairs: there are several splits: train, dev; name one: hf:NAME:CONFIG:SPLIT")


def test_a_data_set_saved_on_this_machine(tmp_path: Path) -> None:
    import datasets

    rows = [{"id": "a", "text": "x"}, {"id": "b", "text": "y"}]
    datasets.Dataset.from_list(rows).save_to_disk(str(tmp_path / "one"))
    documents = read_documents(f"hf:{tmp_path / 'one'}")
    assert list(documents) == list(documents) == [Document("a", "x"), Document("b", "y")]
    parts = {"train": datasets.Dataset.from_list(rows[:1]), "test": datasets.Dataset.from_list(rows[1:])}
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "two"))
    assert list(read_documents(f"hf:{tmp_path / 'two'}:test")) == [Document("b", "y")]


def test_without_the_extra_the_message_is_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingDependencyError) as caught:
        Collection.read("hf:us/pairs")
    assert str(caught.value) == "datasets is not installed; run: pip install 'biencoder[huggingface]'"
