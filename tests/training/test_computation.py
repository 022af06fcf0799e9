from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from biencoder.errors import DivergedError
from biencoder.records import Example
from biencoder.towers import precision
from biencoder.towers.bi_encoder import BiEncoder
from biencoder.towers.tower import Tower
from biencoder.training import computation, shortcuts
from biencoder.training.computation import Computation, Way, choose_way, tokens_per_second
from biencoder.training.trainer import train
from tests import tiny
from tests.training.tasks import Interrupting, options, weights

ALL = [
    Way("fused", "autocast", short=True),
    Way("plain", "autocast", short=True),
    Way("fused", "bfloat16", short=True),
    Way("plain", "bfloat16", short=True),
]


@pytest.fixture
def with_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda _: True)


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    return tiny.collection().examples("train")


@pytest.mark.usefixtures("with_bfloat16")
@pytest.mark.parametrize("way", ALL)
@pytest.mark.parametrize("separate", [False, True])
def test_every_way_trains_alike(tiny_model_folder: Path, examples: list[Example], way: Way, separate: bool) -> None:
    def trained(**changes: object) -> tuple[list[float], BiEncoder]:
        model = BiEncoder.load(tiny_model_folder)
        model = model.separated() if separate else model
        return train(model, examples, options(dropout=0, **changes)).losses, model

    exact, _ = trained()
    found, model = trained(precision="fast", attention=way.attention, weights=way.weights)
    assert found == pytest.approx(exact, rel=0.03)
    assert {weight.dtype for weight in model.document_tower.parameters()} == {torch.float32}
    assert model.document_tower.backbone.config._attn_implementation == "sdpa"
    assert not model.document_tower.training


@pytest.mark.usefixtures("with_bfloat16")
@pytest.mark.parametrize("fast", [True, False])
def test_rows_come_in_few_lengths_in_bfloat16(
    tiny_model_folder: Path, examples: list[Example], monkeypatch: pytest.MonkeyPatch, fast: bool
) -> None:
    widths: set[int] = set()
    collate = Tower.collate

    def seen(tower: Tower, rows: Sequence[Sequence[int]], **more: int) -> tuple[torch.Tensor, torch.Tensor]:
        ids, mask = collate(tower, rows, **more)
        assert mask.sum() == sum(map(len, rows))
        widths.add(ids.shape[1])
        return ids, mask

    monkeypatch.setattr(Tower, "collate", seen)
    model = BiEncoder.load(tiny_model_folder)
    chosen = options(precision="fast", attention="plain", weights="autocast") if fast else options()
    train(model, examples, chosen)
    limit = model.document_tower.settings.max_length
    assert all(width % 8 == 0 or width == limit for width in widths) is fast


def test_speed_is_measured_with_the_dropout_of_training(monkeypatch: pytest.MonkeyPatch) -> None:
    tower = tiny.tower()
    found: list[float] = []
    attention = [part for name, part in tower.named_modules() if name.endswith("attention.self.dropout")]

    def seconds(*_: object) -> float:
        found.extend(part.p for part in attention)
        return 1.0

    monkeypatch.setattr(computation, "_seconds", seconds)
    assert {part.p for part in attention} == {0.1}
    tokens_per_second(tower, ["the heart", "a lung"] * 8, options())
    assert set(found) == {0.0}
    assert {part.p for part in attention} == {0.1}


def test_fast_without_bfloat16(tiny_model_folder: Path, examples: list[Example], monkeypatch: pytest.MonkeyPatch) -> None:
    """Float32 the short way: the same losses but for rounding."""
    monkeypatch.setattr(precision, "has_bfloat16", lambda _: False)
    monkeypatch.setattr(shortcuts, "_LARGE", 1)
    exact = train(BiEncoder.load(tiny_model_folder, device="cpu"), examples, options(dropout=0))
    assert exact.way == Way("fused", "float32", short=False)
    found = train(BiEncoder.load(tiny_model_folder, device="cpu"), examples, options(dropout=0, precision="fast"))
    assert found.way == Way("fused", "float32", short=True)
    assert found.losses == pytest.approx(exact.losses, rel=1e-4)


@pytest.mark.parametrize("short", [False, True])
def test_the_short_way_is_taken_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch, short: bool) -> None:
    monkeypatch.setattr(shortcuts, "_LARGE", 1)
    tower = tiny.tower()
    computation = Computation(tower, tower, Way(short=short))
    with computation.prepared():
        computation.train()
        tower(*tower.collate(tower.tokenise(["the heart", "a lung"]))).sum().backward()
        gradient = tower.backbone.get_parameter("embeddings.word_embeddings.weight").grad
        assert (gradient is None) is short  # it is gathered elsewhere
        computation.collect_gradients()
    assert tower.backbone.get_parameter("embeddings.word_embeddings.weight").grad is not None


@pytest.mark.usefixtures("with_bfloat16")
def test_a_copy_is_shared_where_the_towers_are() -> None:
    tower = tiny.tower()
    shared = Computation(tower, tower.twin(tower.settings), Way("fused", "bfloat16"))
    assert shared.query.backbone is shared.document.backbone is not tower.backbone
    assert {weight.dtype for weight in shared.query.backbone.parameters()} == {torch.bfloat16}
    apart = Computation(tower, tiny.tower(seed=1), Way("fused", "bfloat16"))
    assert apart.query.backbone is not apart.document.backbone


@pytest.mark.usefixtures("with_bfloat16")
def test_the_fastest_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    tower = tiny.tower()
    for best in ALL:
        monkeypatch.setattr(computation, "_seconds", lambda given, *_, best=best: 1.0 if given.way == best else 2.0)
        assert choose_way(tower, tower, ["the heart"] * 8, options(precision="fast")) == best
    monkeypatch.setattr(computation, "_seconds", lambda given, *_: 1.0 if given.way == ALL[0] else 0.97)
    assert choose_way(tower, tower, ["the heart"] * 8, options(precision="fast")) == ALL[0]  # not worth a change


@pytest.mark.usefixtures("with_bfloat16")
def test_what_the_options_leave_open(monkeypatch: pytest.MonkeyPatch) -> None:
    tower, texts = tiny.tower(), ["the heart of the lung"] * 8
    seen: list[Way] = []
    monkeypatch.setattr(computation, "_seconds", lambda given, *_: seen.append(given.way) or 1.0)  # type: ignore[func-returns-value]
    choose_way(tower, tower, texts, options(precision="fast"))
    assert seen == ALL
    assert choose_way(tower, tower, texts, options(precision="fast", attention="plain", weights="bfloat16")) == ALL[3]
    assert choose_way(tower, tower, texts, options()) == Way("fused", "float32")
    seen.clear()
    monkeypatch.setattr(computation, "_takes", lambda *_: False)
    choose_way(tower, tower, texts, options(precision="fast"))
    assert seen == [ALL[0], ALL[2]]


@pytest.mark.usefixtures("with_bfloat16")
def test_a_resumed_training_keeps_its_way(
    tiny_model_folder: Path, examples: list[Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = options(precision="fast", checkpoint_seconds=0)
    expected = BiEncoder.load(tiny_model_folder)
    fixed = {"attention": "plain", "weights": "bfloat16"}
    train(expected, examples, options(precision="fast", **fixed))
    monkeypatch.setattr(computation, "_seconds", lambda given, *_: 1.0 if given.way == ALL[3] else 2.0)
    with pytest.raises(KeyboardInterrupt):
        train(BiEncoder.load(tiny_model_folder), examples, chosen, folder=tmp_path / "t", progress=Interrupting(4))
    monkeypatch.setattr(computation, "_seconds", lambda given, *_: 1.0 if given.way == ALL[0] else 2.0)
    model = BiEncoder.load(tiny_model_folder)
    assert train(model, examples, chosen, folder=tmp_path / "t").way == ALL[3]
    assert weights(model) == weights(expected)


def test_divergence_has_an_error_of_its_own(tiny_model: BiEncoder, examples: list[Example]) -> None:
    with torch.no_grad():
        tiny_model.document_tower.backbone.get_parameter("embeddings.LayerNorm.weight").fill_(float("inf"))
    with pytest.raises(DivergedError, match=r"^the loss is nan at step 1; lower the learning rate"):
        train(tiny_model, examples, options())
