from __future__ import annotations

import json
from pathlib import Path

import pytest

from biencoder import Collection, quickstart
from biencoder.errors import StorageError


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quickstart, "FAST_DOCUMENTS", 150)
    monkeypatch.setattr(quickstart, "RECIPE", quickstart.RECIPE.model_copy(update={"batch_size": 8, "query_length": 16}))


@pytest.mark.usefixtures("small")
def test_the_whole_way_with_a_tiny_model(tmp_path: Path, tiny_model_folder: Path) -> None:
    found = quickstart.quickstart(tmp_path / "out", fast=True, model=str(tiny_model_folder))
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results.keys() >= {"bm25", "zero_shot", "trained", "p_value", "seconds", "documents", "test_queries"}
    for name in ("bm25", "zero_shot", "trained"):
        assert results[name].keys() == {"nDCG@10", "MRR@10", "Recall@100"}
    assert results["trained"]["nDCG@10"] == found.trained.measures["nDCG@10"]
    assert results["bm25"]["nDCG@10"] > 0.3  # over so few functions, words are enough
    assert results["comparison"]["mean_a"] == pytest.approx(results["trained"]["nDCG@10"])
    assert 0 < results["documents"] <= 160
    text = found.text()
    assert f"{results['zero_shot']['nDCG@10']:.4f}" in text
    assert "biencoder search" in text
    assert [len(hits) for hits in found.examples.values()] == [3, 3, 3]


@pytest.mark.usefixtures("small")
def test_a_second_call_takes_what_is_there(tmp_path: Path, tiny_model_folder: Path) -> None:
    first = quickstart.quickstart(tmp_path / "out", fast=True, model=str(tiny_model_folder))
    again = quickstart.quickstart(tmp_path / "out", fast=True, model=str(tiny_model_folder))
    assert again.as_dict() | {"seconds": 0} == first.as_dict() | {"seconds": 0}


@pytest.mark.usefixtures("small")
def test_dev_and_test_are_disjoint_by_file(tmp_path: Path, tiny_model_folder: Path) -> None:
    quickstart.quickstart(tmp_path / "out", fast=True, model=str(tiny_model_folder))
    collection = Collection.read(tmp_path / "out" / "collection")
    files = {document.id: document.metadata["file"] for document in collection.documents}
    held = [
        {files[document] for judged in collection.judgements(split).values() for document in judged}
        for split in ("dev", "test")
    ]
    assert held[0].isdisjoint(held[1])


def test_a_folder_of_something_else_is_refused(tmp_path: Path, tiny_model_folder: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear reader")
    with pytest.raises(
        StorageError, match="holds something that the quickstart did not write; choose another place with --out"
    ):
        quickstart.quickstart(tmp_path, model=str(tiny_model_folder))


@pytest.mark.usefixtures("small")
def test_another_seed_wants_another_folder(tmp_path: Path, tiny_model_folder: Path) -> None:
    quickstart.quickstart(tmp_path / "out", fast=True, model=str(tiny_model_folder))
    with pytest.raises(StorageError, match=r"holds a quickstart with .*'seed': 0.*, now .*'seed': 1"):
        quickstart.quickstart(tmp_path / "out", fast=True, seed=1, model=str(tiny_model_folder))
