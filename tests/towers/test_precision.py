from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from biencoder.errors import ArgumentError
from biencoder.towers import precision
from biencoder.towers.bi_encoder import BiEncoder
from biencoder.towers.precision import (
    Precision,
    arithmetic,
    bound_kernel_caches,
    has_bfloat16,
    keeps_kernels_of_training,
    running,
)
from biencoder.towers.tower import TowerSettings
from tests import tiny

CPU = torch.device("cpu")
TEXTS = ["does aspirin lower cancer risk?", "The liver makes bile. " * 20, "zinc", "How long should a fever last in children"]


def test_unknown() -> None:
    with pytest.raises(ArgumentError, match=r"^precision 'int3' is unknown; choose one of exact, fast, int8$"):
        Precision.of("int3")


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [({"avx2": True}, False), ({"avx512_bf16": True}, True), ({"amx_bf16": True}, True), ({"amx_bf16": False}, False)],
)
def test_has_bfloat16(monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], expected: bool) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert has_bfloat16(CPU) is expected
    assert arithmetic(Precision.FAST, CPU) == ("bfloat16" if expected else "float32")
    assert arithmetic(Precision.EXACT, CPU) == "float32"


def test_an_unknown_kind_of_device_computes_in_float32() -> None:
    assert arithmetic(Precision.FAST, torch.device("meta")) == "float32"


def _with(model: BiEncoder, chosen: Precision) -> BiEncoder:
    return BiEncoder(model.query_tower, model.document_tower, similarity=model.similarity, precision=chosen)


def test_fast_agrees_with_exact(real_model: BiEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda _: True)  # bfloat16 is emulated where the processor lacks it
    exact, fast = real_model.encode_documents(TEXTS), _with(real_model, Precision.FAST).encode_documents(TEXTS)
    assert fast.dtype == np.float32
    assert not np.array_equal(exact, fast)
    assert (exact * fast).sum(axis=1).min() >= 0.9999


def test_fast_is_exact_where_the_processor_lacks_bfloat16(tiny_model: BiEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda _: False)
    fast = _with(tiny_model, Precision.FAST)
    assert fast.execution["arithmetic"] == "float32"
    assert fast.identity == tiny_model.identity
    np.testing.assert_array_equal(fast.encode_queries(TEXTS), tiny_model.encode_queries(TEXTS))


def test_kernel_caches_are_bounded_unless_the_user_has_set_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LRU_CACHE_CAPACITY", "77")
    monkeypatch.delenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", raising=False)
    with running(Precision.EXACT, CPU):
        assert os.environ["LRU_CACHE_CAPACITY"] == "77"
        assert os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "8"
    monkeypatch.delenv("LRU_CACHE_CAPACITY")
    bound_kernel_caches()
    assert os.environ["LRU_CACHE_CAPACITY"] == "8"


def test_training_keeps_the_kernels_of_all_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", raising=False)
    bound_kernel_caches(training=True)
    bound_kernel_caches()
    assert os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "512"
    assert keeps_kernels_of_training()
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "8")
    bound_kernel_caches(training=True)
    assert not keeps_kernels_of_training()


@pytest.mark.parametrize("has", [True, False])
def test_rows_in_bfloat16_are_as_long_as_few_others(monkeypatch: pytest.MonkeyPatch, *, has: bool) -> None:
    """Every length is a kernel to be prepared."""
    monkeypatch.setattr(precision, "has_bfloat16", lambda _: has)
    tower, encoder = tiny.tower(TowerSettings(max_length=30)), tiny.cross_encoder()
    encoder.precision = Precision.FAST
    texts = [" ".join(["heart"] * count) for count in range(1, 40)]
    widths: dict[str, set[int]] = {"tower": set(), "pairs": set()}
    tower.backbone.register_forward_pre_hook(
        lambda _, __, given: widths["tower"].add(given["input_ids"].shape[1]), with_kwargs=True
    )
    encoder.module.register_forward_pre_hook(
        lambda _, __, given: widths["pairs"].add(given["input_ids"].shape[1]), with_kwargs=True
    )
    found = tower.encode(texts, precision=Precision.FAST, token_budget=64)
    scores = encoder.score([("liver", text) for text in texts])
    own = {"tower": {8, 16, 24, 30}, "pairs": {16, 32}}  # a budget of 1,024 tokens takes many short pairs together
    assert (widths == own) is has
    alone = np.concatenate([tower.encode([text]) for text in texts])
    np.testing.assert_allclose(found, alone, atol=0.02)
    np.testing.assert_allclose(scores, tiny.cross_encoder().score([("liver", text) for text in texts]), atol=0.1)
