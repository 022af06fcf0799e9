"""What changes a vector changes the fingerprint, and nothing else does."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from biencoder.towers.bi_encoder import BiEncoder
from biencoder.towers.pooling import Pooling
from biencoder.towers.tower import Projection, Tower, TowerSettings
from tests import tiny

PLAIN = TowerSettings(max_length=32)


def with_settings(**changes: Any) -> Callable[[], Tower]:
    return lambda: tiny.tower(replace(PLAIN, **changes))


def one_weight() -> Tower:
    tower = tiny.tower(PLAIN)
    with torch.no_grad():
        tower.backbone.get_parameter("embeddings.word_embeddings.weight")[7, 3] += 1e-6
    return tower


def another_word() -> Tower:
    tokenizer = tiny.tokenizer()
    tokenizer.add_tokens(["paracetamol"])
    return Tower(tiny.bert(), tokenizer, PLAIN)


def projected(seed: int = 0, activation: str = "Identity") -> Tower:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return tiny.tower(PLAIN, projection=Projection(inputs=32, outputs=8, activation=activation))


CHANGES: dict[str, Callable[[], Tower]] = {
    "one weight": one_weight,
    "all weights": lambda: tiny.tower(PLAIN, seed=1),
    "the activation": lambda: tiny.tower(PLAIN, hidden_act="relu"),
    "an epsilon": lambda: tiny.tower(PLAIN, layer_norm_eps=1e-5),
    "pooling": with_settings(pooling=Pooling.CLS),
    "normalisation": with_settings(normalise=False),
    "prompt": with_settings(prompt="query: "),
    "length": with_settings(max_length=31),
    "the tokenizer's words": another_word,
    "a projection": projected,
    "the projection's weights": lambda: projected(seed=1),
    "the projection's activation": lambda: projected(activation="Tanh"),
}


def truncating() -> Tower:
    tokenizer = tiny.tokenizer()
    tokenizer(["heart", "the lung"], truncation=True, max_length=3, padding=True)
    assert tokenizer.backend_tokenizer.truncation is not None
    return Tower(tiny.bert(), tokenizer, PLAIN)


def training() -> Tower:
    tower = tiny.tower(PLAIN)
    tower.train()
    return tower


def named() -> Tower:
    tower = tiny.tower(PLAIN)
    tower.backbone.config._name_or_path = "somebody/some-model"
    return tower


def other_pooler() -> Tower:
    tower = tiny.tower(PLAIN)
    with torch.no_grad():
        tower.backbone.get_parameter("pooler.dense.weight").zero_()
    return tower


NO_CHANGES: dict[str, Callable[[], Tower]] = {
    "built again": lambda: tiny.tower(PLAIN),
    "dropout": lambda: tiny.tower(PLAIN, dropout=0.5),
    "the tokenizer's truncation and padding": truncating,
    "training": training,
    "name": named,
    "the pooler that nothing reads": other_pooler,
    "how weights are drawn": lambda: tiny.tower(PLAIN, classifier_dropout=0.3),
}


@pytest.fixture(scope="module")
def plain() -> str:
    return tiny.tower(PLAIN).fingerprint()


@pytest.mark.parametrize("change", CHANGES)
def test_changes(plain: str, change: str) -> None:
    assert CHANGES[change]().fingerprint() != plain


def test_every_change_is_another_fingerprint() -> None:
    assert len({make().fingerprint() for make in CHANGES.values()}) == len(CHANGES)


@pytest.mark.parametrize("change", NO_CHANGES)
def test_no_changes(plain: str, change: str) -> None:
    assert NO_CHANGES[change]().fingerprint() == plain


def test_rotary_positions_count() -> None:
    from transformers import ModernBertConfig, ModernBertModel

    def fingerprint(theta: float) -> str:
        config = ModernBertConfig(
            vocab_size=len(tiny.vocabulary()),
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            rope_parameters={
                name: {"rope_type": "default", "rope_theta": theta} for name in ("full_attention", "sliding_attention")
            },
            pad_token_id=0,
            bos_token_id=2,
            cls_token_id=2,
            eos_token_id=3,
            sep_token_id=3,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return Tower(ModernBertModel(config), tiny.tokenizer(), PLAIN).fingerprint()

    assert fingerprint(10_000.0) == fingerprint(10_000.0)
    assert fingerprint(10_000.0) != fingerprint(20_000.0)


def test_the_sides_are_kept_apart() -> None:
    tower = tiny.tower(PLAIN)
    model = BiEncoder(tower, tower)
    prompted = BiEncoder(tower.twin(replace(PLAIN, prompt="q: ")), tower)
    assert model.identity.query == model.identity.document
    assert prompted.identity.document == model.identity.document
    assert prompted.identity.query != model.identity.query
    assert model.separated().identity == model.identity


def test_precision_is_execution_only(monkeypatch: pytest.MonkeyPatch) -> None:
    from biencoder.towers import precision

    monkeypatch.setattr(precision, "has_bfloat16", lambda _: True)
    tower = tiny.tower(PLAIN)
    exact, fast = BiEncoder(tower, tower).identity, BiEncoder(tower, tower, precision="fast").identity
    assert (exact.document, exact.query) == (fast.document, fast.query)
    assert exact.execution != fast.execution


def test_place_and_encoding_do_not_count(tiny_model_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_model_folder, tmp_path / "elsewhere" / "e5-base")
    here, there = BiEncoder.load(tiny_model_folder), BiEncoder.load(tmp_path / "elsewhere" / "e5-base")
    before = here.identity
    here.encode_queries(["heart " * 99, ""])
    assert there.identity == here.identity == before
