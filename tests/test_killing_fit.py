"""SIGKILL `fit` at random moments: it ends with the weights of an unbroken run, and nothing is ever half written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from biencoder.pipeline import FitOptions, StageOptions, fit
from biencoder.pipeline.story import RESULT
from biencoder.progress import Progress
from biencoder.storage.manifest import verify
from biencoder.towers.bi_encoder import BiEncoder
from biencoder.training.options import TrainingOptions
from tests import tiny
from tests.killing import Nursery
from tests.pipeline.test_fit import untimed

OPTIONS = FitOptions(
    training=TrainingOptions(
        batch_size=16, epochs=3, learning_rate=1e-3, evaluations=2, precision="exact", checkpoint_seconds=0
    ),
    stages=(StageOptions(name="in-batch"), StageOptions(name="mined", negatives="mined")),
    budget=None,
    teacher="none",
)


def work(progress: Progress, model: str, out: str) -> None:
    """One attempt at a run; what a worker does."""
    fit(BiEncoder.load(model), tiny.collection(), out=out, options=OPTIONS, progress=progress)


def check(out: Path) -> None:
    """Whatever stands there is whole."""
    for unit in out.glob("units/*"):
        if (unit / "training").exists() and not (unit / RESULT).exists():  # else it is being removed, which a kill can stop too
            verify(unit / "training")
    for name in ("run.json", "measures.json"):
        if (out / name).exists():
            json.loads((out / name).read_text())
    if (out / "model").exists():
        BiEncoder.load(out / "model")
        assert (out / "measures.json").exists()


@pytest.mark.slow
def test_fit(tmp_path: Path, tiny_model_folder: Path) -> None:
    model, whole = str(tiny_model_folder), tmp_path / "whole"
    with Nursery(__name__) as nursery:
        nursery.finish(model, out=whole)
        measures = json.loads((whole / "measures.json").read_text())
        assert measures["kept"]
        for out in nursery.survivors(model, folder=tmp_path, longest=0.25, check=check):
            weights = Path("model") / "model.safetensors"
            assert (out / weights).read_bytes() == (whole / weights).read_bytes()
            found = json.loads((out / "measures.json").read_text())
            assert untimed(found) == untimed(measures)
            assert not list(out.glob(".*.new-*"))
