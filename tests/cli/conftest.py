from __future__ import annotations

from pathlib import Path

import pytest

from biencoder.data.collection import Collection
from tests import tiny
from tests.cli.running import cli

RERANK_SETTINGS = (
    "--precision", "exact",
    *("--set", "training.batch_size=4"),
    *("--set", "training.negatives=3"),
    *("--set", "training.learning_rate=3e-3"),
    *("--set", "training.epochs=4"),
    *("--set", "training.max_length=32"),
    *("--set", "candidates=10"),
)  # fmt: skip


@pytest.fixture(scope="session")
def collection_folder(tiny_collection: Collection, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny collection in BEIR layout."""
    folder = tmp_path_factory.mktemp("collections") / "tiny"
    tiny_collection.write(folder)
    return folder


@pytest.fixture(scope="session")
def index_folder(tiny_model_folder: Path, collection_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exact index of the tiny collection with keywords; no test may change it."""
    folder = tmp_path_factory.mktemp("indexes") / "tiny"
    assert cli("index", tiny_model_folder, collection_folder, "--out", folder, "--precision", "exact").status == 0
    return folder


@pytest.fixture(scope="session")
def run_folder(tiny_model_folder: Path, collection_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on the tiny collection; no test may change it."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    settings = ("--set", "training.epochs=3", "--set", "training.batch_size=8", "--set", "training.learning_rate=1e-3")
    chosen = (*settings, "--stages", "in-batch,bm25", "--teacher", "none", "--set", "again=none")
    done = cli("fit", collection_folder, "--model", tiny_model_folder, "--out", folder, *chosen, "--precision", "exact")
    assert done.status == 0, done.err
    return folder


@pytest.fixture(scope="session")
def marked_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection that a reranker learns, in BEIR layout."""
    folder = tmp_path_factory.mktemp("collections") / "marked"
    tiny.marked_collection().write(folder)
    return folder


@pytest.fixture(scope="session")
def reranker_folder(tiny_model_folder: Path, marked_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a reranker on that collection; no test may change it."""
    folder = tmp_path_factory.mktemp("runs") / "reranker"
    done = cli("rerank-fit", marked_folder, "--model", tiny_model_folder, "--out", folder, *RERANK_SETTINGS)
    assert done.status == 0, done.err
    return folder
