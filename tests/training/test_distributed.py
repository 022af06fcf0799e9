"""Two processes that train together against one: the same losses, gradients and weights."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from biencoder.towers.bi_encoder import BiEncoder
from biencoder.training.distributed import from_first, is_first, own_share, processes
from biencoder.training.trainer import train
from tests import tiny
from tests.training.tasks import mrr, options, weights

WORKER = """
import json, os, sys
import torch
from torch import distributed
from biencoder.towers.bi_encoder import BiEncoder
from biencoder.training.trainer import train
from tests import tiny
from tests.training.tasks import mrr, options, weights

torch.set_num_threads(1)
cached, folder, out = sys.argv[1] == "cached", sys.argv[2], sys.argv[3]
distributed.init_process_group("gloo")
rank = distributed.get_rank()
tower = tiny.tower()
model = BiEncoder(tower, tower)
chosen = options(epochs=1, evaluations=2, graph_tokens=0 if cached else 10**6, token_budget=64, checkpoint_seconds=0)
from pathlib import Path
collection = tiny.collection()
result = train(model, collection.examples("train"), chosen, folder=Path(folder), validate=mrr(collection, "dev"))
facts = {"losses": result.losses, "scores": list(result.scores.values()), "weights": {
    name: list(memoryview(value).cast("f")) for name, value in weights(model).items() if "LayerNorm" in name}}
Path(f"{out}.{rank}").write_text(json.dumps(facts))
distributed.barrier()  # who is done first must not take the connection from the other
distributed.destroy_process_group()
"""


def together(folder: Path, kind: str) -> list[dict[str, object]]:
    """What two processes under gloo end with."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    import os

    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, kind, str(folder / "checkpoints"), str(folder / "out")],
            env={**os.environ, **shared, "RANK": str(rank)},
            cwd=Path(__file__).parents[2],
        )
        for rank in range(2)
    ]
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    return [json.loads((folder / f"out.{rank}").read_text()) for rank in range(2)]


@pytest.mark.parametrize("kind", ["cached", "held"])
def test_two_processes_are_one(tmp_path: Path, kind: str) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        tower = tiny.tower()
        model = BiEncoder(tower, tower)
        collection = tiny.collection()
        chosen = options(epochs=1, evaluations=2, token_budget=64)
        alone = train(model, collection.examples("train"), chosen, validate=mrr(collection, "dev"))
    finally:
        torch.set_num_threads(before)
    first, second = together(tmp_path, kind)
    assert first == second
    assert first["losses"] == pytest.approx(alone.losses, abs=1e-4)
    assert first["scores"] == pytest.approx(list(alone.scores.values()), abs=0.05)
    found = first["weights"]
    assert isinstance(found, dict)
    for name, value in weights(model).items():
        if "LayerNorm" in name:
            assert found[name] == pytest.approx(list(memoryview(value).cast("f")), abs=2e-3)
    assert (tmp_path / "checkpoints" / "manifest.json").exists()


def test_alone() -> None:
    assert (processes(), is_first(), list(own_share(3)), from_first(lambda: 0.5)) == (1, True, [0, 1, 2], 0.5)
