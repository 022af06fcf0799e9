from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from biencoder.errors import CorruptError, StorageError
from biencoder.records import Example
from biencoder.storage.manifest import verify
from biencoder.training import state as state_module
from biencoder.training.state import TrainingState, digest_of, load_state, put_weights, save_state, weights_of
from tests.disks import read_only_disk, small_disk

__all__ = ["read_only_disk", "small_disk"]
PURPOSE = {"examples": "abc", "options": {"epochs": 1.0}}


def trained(seed: int = 0, *, width: int = 4) -> tuple[nn.Module, torch.optim.Optimizer]:
    """Two layers, the second never used, and an optimizer that has taken a step."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        towers = nn.ModuleDict({"a": nn.Linear(width, width), "unused": nn.Linear(2, 2)})
        optimizer = torch.optim.AdamW(towers.parameters(), lr=0.1)
        towers["a"](torch.randn(3, width)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return towers, optimizer


def step(towers: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    torch.stack([parameter.pow(3).sum() for parameter in towers.parameters()]).sum().backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return weights_of(towers)


def test_saved_and_loaded_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    towers, optimizer = trained()
    state = TrainingState(3, {0: 0.5, 2: 0.25}, [1.0, 0.1 + 0.2, 1e-9], {"x": torch.arange(3.0)})
    save_state(tmp_path / "t", state, towers, optimizer, PURPOSE)
    again, other = trained(seed=1)
    found = load_state(tmp_path / "t", again, other, PURPOSE)
    assert found is not None
    assert (found.step, found.scores, found.losses, found.best_step) == (3, {0: 0.5, 2: 0.25}, [1.0, 0.1 + 0.2, 1e-9], 0)
    assert found.best is not None
    assert found.best["x"].tolist() == [0.0, 1.0, 2.0]
    mine, theirs = step(towers, optimizer), step(again, other)
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert mine.keys() == theirs.keys()


def test_nothing_to_load(tmp_path: Path) -> None:
    assert load_state(tmp_path / "t", *trained(), PURPOSE) is None


def test_best_step() -> None:
    assert TrainingState().best_step is None
    assert TrainingState(scores={0: 0.1, 5: 0.3, 9: 0.3}).best_step == 5
    assert TrainingState(scores={0: 0.1, 5: float("nan")}).best_step == 0


def test_weights_are_copies() -> None:
    towers, _ = trained()
    before = weights_of(towers)
    with torch.no_grad():
        for parameter in towers.parameters():
            parameter.zero_()
    assert any(bool(tensor.any()) for tensor in before.values())
    put_weights(towers, before)
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights_of(towers).items())


@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.safetensors", "best.safetensors", "state.json"])
def test_damage_is_found_in_files_of_any_size(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from biencoder.storage import manifest

    monkeypatch.setattr(manifest, "CHECKED_ON_OPENING", 0)  # as for files beyond it
    towers, optimizer = trained()
    save_state(tmp_path / "t", TrainingState(1, {}, [1.0], {"x": torch.ones(1)}), towers, optimizer, PURPOSE)
    path = tmp_path / "t" / name
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptError) as caught:
        load_state(tmp_path / "t", towers, optimizer, PURPOSE)
    assert str(caught.value) == f"{path} is damaged: its checksum differs; build the folder again"


def test_another_kind_of_folder(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    with pytest.raises(StorageError, match=r"it was not written by biencoder$"):
        load_state(tmp_path / "t", *trained(), PURPOSE)


def test_a_checkpoint_is_whole_or_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    towers, optimizer = trained()
    save_state(tmp_path / "t", TrainingState(1), towers, optimizer, PURPOSE)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(state_module, "_optimizer_tensors", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_state(tmp_path / "t", TrainingState(2), towers, optimizer, PURPOSE)
    monkeypatch.undo()
    verify(tmp_path / "t")
    found = load_state(tmp_path / "t", towers, optimizer, PURPOSE)
    assert found is not None
    assert found.step == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [".t.lock", "t"]


def test_full_disk(small_disk: Path) -> None:
    small = trained()
    save_state(small_disk / "t", TrainingState(1), *small, PURPOSE)
    with pytest.raises(StorageError, match=r"the disk is full: free some space or choose another place; what was there before"):
        save_state(small_disk / "t", TrainingState(2), *trained(width=300), PURPOSE)
    verify(small_disk / "t")
    found = load_state(small_disk / "t", *small, PURPOSE)
    assert found is not None
    assert found.step == 1


def test_read_only_disk(read_only_disk: Path) -> None:
    with pytest.raises(StorageError, match=r"the file system is read-only"):
        save_state(read_only_disk / "t", TrainingState(1), *trained(), PURPOSE)


def test_digest_of_examples() -> None:
    one = Example("q", "a", ("b",), (1.0, 0.5), frozenset("axyz"))
    same = Example("q", "a", ("b",), (1.0, 0.5), frozenset("zyxa"))
    others = [Example("q", "a"), Example("q", "a", ("b",)), Example("r", "a", ("b",), (1.0, 0.5), frozenset("axyz"))]
    assert digest_of([one]) == digest_of([same])
    assert len({digest_of(list(given)) for given in ([one], [], [one, one], *([other] for other in others))}) == 6
    assert digest_of([others[0], others[1]]) != digest_of([others[1], others[0]])
