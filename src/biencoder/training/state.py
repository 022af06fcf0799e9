"""Checkpoints of a running training: written at optimizer steps, whole or not at all, read back to the last bit.

All tensors lie in safetensors files, everything else in a JSON file; no pickle. Nothing random needs to be stored: the pairs
of a step and the dropout in it are functions of the seed and the step.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from biencoder.configuration import first_difference
from biencoder.errors import ArgumentError
from biencoder.records import Example
from biencoder.storage.folder import writing
from biencoder.storage.manifest import read_manifest, verify, write_manifest
from biencoder.towers.backbone import os_errors_of_rust
from biencoder.training.computation import Way

KIND = "training"
VERSION = 4
"""Also of the arithmetic: a training that goes on ends as it would have without a break."""


@dataclass(slots=True)
class TrainingState:
    """Where a training stands: steps done, dev scores by step, the best of them, the losses so far, how it computes."""

    step: int = 0
    scores: dict[int, float] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)
    best: dict[str, Tensor] | None = None
    way: Way | None = None

    @property
    def best_step(self) -> int | None:
        """The step of the best dev score, the earliest of equals; None before any was taken."""
        return max(self.scores, key=lambda step: (self.scores[step], -step)) if self.scores else None


def save_state(
    folder: Path, state: TrainingState, towers: nn.Module, optimizer: torch.optim.Optimizer, purpose: dict[str, Any]
) -> None:
    """Write a checkpoint in one step; ``purpose`` is what a later run must want to do to go on from it."""
    scores = {str(step): score for step, score in state.scores.items()}
    way = None if state.way is None else asdict(state.way)
    record = {"step": state.step, "scores": scores, "losses": state.losses, "way": way}
    with writing(folder) as new, os_errors_of_rust():
        save_file(weights_of(towers), new / "weights.safetensors")
        save_file(_optimizer_tensors(optimizer), new / "optimizer.safetensors")
        if state.best is not None:
            save_file(state.best, new / "best.safetensors")
        (new / "state.json").write_text(json.dumps(record), encoding="utf-8")
        write_manifest(new, kind=KIND, version=VERSION, fields=purpose)


def load_state(
    folder: Path, towers: nn.Module, optimizer: torch.optim.Optimizer, purpose: dict[str, Any]
) -> TrainingState | None:
    """Read a checkpoint into towers and optimizer; None where there is none.

    Raises:
        ArgumentError: where the checkpoint was written for another purpose; the message names the first difference.
        CorruptError: where it is damaged.
    """
    if not folder.exists():
        return None
    found = read_manifest(folder, kind=KIND, version=VERSION).fields
    wanted = json.loads(json.dumps(purpose))
    if found != wanted:
        raise ArgumentError(
            f"{folder} holds another training ({first_difference(found, wanted)}); choose another place, or remove that "
            "folder to begin again"
        )
    verify(folder)
    record = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    put_weights(towers, load_file(folder / "weights.safetensors"))
    _put_optimizer_tensors(optimizer, load_file(folder / "optimizer.safetensors"))
    best = folder / "best.safetensors"
    return TrainingState(
        step=int(record["step"]),
        scores={int(step): float(score) for step, score in record["scores"].items()},
        losses=[float(loss) for loss in record["losses"]],
        best=load_file(best) if best.exists() else None,
        way=Way(**record["way"]) if record.get("way") else None,
    )


def weights_of(towers: nn.Module) -> dict[str, Tensor]:
    """A copy of every parameter, shared ones once."""
    return {name: parameter.detach().cpu().clone() for name, parameter in towers.named_parameters()}


def put_weights(towers: nn.Module, weights: dict[str, Tensor]) -> None:
    """Copy weights back in place."""
    with torch.no_grad():
        for name, parameter in towers.named_parameters():
            parameter.copy_(weights[name])


def digest_of(examples: Iterable[Example]) -> str:
    """SHA-256 over everything in the examples, in order."""
    digest = hashlib.sha256()
    for example in examples:
        record = asdict(example) | {"known_positives": sorted(example.known_positives)}
        digest.update(json.dumps(record, sort_keys=True).encode())
    return digest.hexdigest()


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    state = optimizer.state_dict()["state"]
    return {
        f"{number}.{name}": torch.as_tensor(value).detach().cpu().clone()
        for number, values in state.items()
        for name, value in values.items()
    }


def _put_optimizer_tensors(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
