"""Our attention against transformers' own and against autograd's gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from biencoder.training import attention
from tests import tiny


class Module(torch.nn.Module):
    def __init__(self, *, looks_back: bool) -> None:
        super().__init__()
        self.is_causal: Any = looks_back


def by_autograd(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    scores = query @ key.transpose(-1, -2) * scale
    return (scores if mask is None else scores + mask).softmax(dim=-1) @ value


@pytest.mark.parametrize("kept", [0, 192])
@pytest.mark.parametrize("shape", [None, (2, 1, 1, 5), (2, 1, 6, 5), (1, 1, 6, 5), (2, 3, 6, 5)])
def test_outputs_and_gradients(monkeypatch: pytest.MonkeyPatch, kept: int, shape: tuple[int, ...] | None) -> None:
    """Queries and values of other lengths and sizes than keys."""
    monkeypatch.setattr(attention, "_KEPT", kept)
    chance = torch.Generator().manual_seed(0)
    sizes = [(6, 4), (5, 4), (5, 8), (6, 8)]  # of queries, keys, values and the output's gradient
    inputs = [torch.randn(2, 3, *size, generator=chance, dtype=torch.float64) for size in sizes]
    mask = None
    if shape is not None:
        mask = torch.zeros(shape, dtype=torch.float64)
        mask[-1, ..., 3:] = torch.finfo(torch.float64).min
    found = []
    functions: list[Callable[..., Tensor]] = [by_autograd, attention._Attention.apply]
    for function in functions:
        own = [tensor.clone().requires_grad_() for tensor in inputs[:3]]
        output = function(*own, mask, 0.3)
        output.backward(inputs[3])  # type: ignore[no-untyped-call]
        found.append([output, *(tensor.grad for tensor in own)])
    for expected, value in zip(*found, strict=True):
        torch.testing.assert_close(value, expected, atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("lengths", [[7, 7, 7], [9, 4, 1]])
def test_in_a_backbone(lengths: list[int]) -> None:
    tower = tiny.tower(dropout=0.0)
    rows = [list(range(5, 5 + length)) for length in lengths]
    found = []
    for name in ("eager", attention.NAME):
        attention.register()
        tower.backbone.set_attn_implementation(name)
        tower.zero_grad()
        vectors = tower(*tower.collate(rows))
        vectors[:, :3].sum().backward()
        gradients = [weight.grad.clone() for weight in tower.parameters() if weight.grad is not None]
        found.append([vectors.detach(), *gradients])
    for expected, value in zip(*found, strict=True):
        torch.testing.assert_close(value, expected, atol=1e-5, rtol=1e-3)


def test_with_dropout_the_fused_kernel_takes_over() -> None:
    query = torch.randn(1, 2, 3, 4, generator=torch.Generator().manual_seed(0))
    module = Module(looks_back=False)
    torch.manual_seed(3)
    found, _ = attention._attend(module, query, query, query, None, dropout=0.5)
    torch.manual_seed(3)
    expected = torch.nn.functional.scaled_dot_product_attention(query, query, query, dropout_p=0.5).transpose(1, 2)
    torch.testing.assert_close(found, expected)


def test_what_a_backbone_adds_to_its_scores_is_left_to_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.integrations import sdpa_attention

    query = torch.randn(1, 2, 3, 4, generator=torch.Generator().manual_seed(0))
    theirs = query.transpose(1, 2), None
    monkeypatch.setattr(sdpa_attention, "sdpa_attention_forward", lambda *_, **__: theirs)
    module = Module(looks_back=False)
    assert attention._attend(module, query, query, query, None, softcap=30.0) is theirs
    assert attention._attend(module, query, query, query, None, softcap=None) is not theirs


def test_a_backbone_that_looks_back_only_leaves_the_future_out() -> None:
    query = torch.randn(1, 2, 3, 4, generator=torch.Generator().manual_seed(0))
    module = Module(looks_back=True)
    found, _ = attention._attend(module, query, query, query, None)
    expected = torch.nn.functional.scaled_dot_product_attention(query, query, query, is_causal=True).transpose(1, 2)
    torch.testing.assert_close(found, expected)
