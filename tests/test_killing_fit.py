"""SIGKILL `fit` at random moments: it ends with the weights of an unbroken run, and nothing is ever half written."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from biencoder.pipeline import FitOptions, fit
from biencoder.progress import Progress
from biencoder.storage.manifest import verify
from biencoder.towers.bi_encoder import BiEncoder
from biencoder.training.options import TrainingOptions
from tests import tiny

KILLS = 20
OPTIONS = FitOptions(
    training=TrainingOptions(
        batch_size=16, epochs=6, learning_rate=1e-3, evaluations=4, precision="exact", checkpoint_seconds=0
    )
)
NURSERY = """
import os, sys, traceback
import transformers.models.bert.modeling_bert
from tests.test_killing_fit import work
while line := sys.stdin.readline():
    child = os.fork()
    if not child:
        try:
            work(*line.split())
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    print(child, flush=True)
    sys.stdin.readline()  # until then a dead child keeps its number, which is what is killed
    print(os.waitpid(child, 0)[1], flush=True)
"""
"""A process that has imported everything and run nothing, and forks a worker for each line: importing anew takes seconds."""


class Marked(Progress):
    """Leaves a file when the first step has been done."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __call__(self, stage: str, done: int, total: int, facts: str = "") -> None:  # noqa: ARG002
        self.marker.touch()


def work(model: str, out: str) -> None:
    """One attempt at a run; what a worker does."""
    run = Path(out)
    fit(BiEncoder.load(model), tiny.collection(), out=run, options=OPTIONS, progress=Marked(run.with_suffix(".marker")))


@contextmanager
def nursery() -> Iterator[tuple[IO[str], IO[str]]]:
    root = Path(__file__).parents[1]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
    command = [sys.executable, "-W", "ignore", "-c", NURSERY]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env=environment, cwd=root
    )
    assert process.stdin
    assert process.stdout
    try:
        yield process.stdin, process.stdout
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


def attempt(pipes: tuple[IO[str], IO[str]], model: Path, out: Path, *, chance: random.Random) -> bool:
    """Start a worker and kill it, mostly within the training; gives whether it had ended before."""
    marker = out.with_suffix(".marker")
    marker.unlink(missing_ok=True)
    pipes[0].write(f"{model} {out}\n")
    child = int(pipes[1].readline())
    limit = time.monotonic() + (30 if chance.random() < 0.75 else 0)
    while not marker.exists() and not (out / "model").exists() and time.monotonic() < limit:
        time.sleep(0.001)
    time.sleep(chance.uniform(0, 0.25))
    os.kill(child, signal.SIGKILL)
    pipes[0].write("\n")
    status = int(pipes[1].readline())
    assert status in (0, signal.SIGKILL), "the worker failed; its error stands above"
    return status == 0


def check(out: Path) -> None:
    """Whatever stands there is whole."""
    if (out / "training").exists():
        verify(out / "training")
    for name in ("run.json", "measures.json"):
        if (out / name).exists():
            json.loads((out / name).read_text())
    if (out / "model").exists():
        BiEncoder.load(out / "model")
        assert (out / "measures.json").exists()


@pytest.mark.slow
def test_fit(tmp_path: Path, tiny_model_folder: Path) -> None:
    with nursery() as pipes:
        pipes[0].write(f"{tiny_model_folder} {tmp_path / 'whole'}\n\n")
        assert [pipes[1].readline() for _ in range(2)][1] == "0\n"
        expected = (tmp_path / "whole" / "model" / "model.safetensors").read_bytes()
        assert json.loads((tmp_path / "whole" / "measures.json").read_text())["kept"]
        chance = random.Random(time.time_ns())  # noqa: S311
        kills = runs = 0
        while kills < KILLS:
            out, ended = tmp_path / f"run{runs}", False
            runs += 1
            while not ended:
                ended = attempt(pipes, tiny_model_folder, out, chance=chance)
                kills += not ended
                check(out)
            assert (out / "model" / "model.safetensors").read_bytes() == expected
            found, whole = (json.loads((folder / "measures.json").read_text()) for folder in (out, tmp_path / "whole"))
            assert {**found, "pairs_per_second": 0} == {**whole, "pairs_per_second": 0}
            assert not list(out.glob(".*.new-*"))
