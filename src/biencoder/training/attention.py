"""Attention of plain matrix products forward, and again backward, for training in bfloat16.

torch's fused attention kernel is fast forward and slow backward in bfloat16 on processors (in float32 it is the faster one);
transformers' unfused one is fast both ways and keeps the attention weights of every layer, several times over and growing with
the square of the length. This one keeps them once for short texts, where they are little beside all else that is kept, and for
others computes them again in the backward pass, as FlashAttention does (Dao et al., 2022): the speed of the second, about the
memory of the first.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "biencoder_plain"
"""What transformers knows it by."""

_KEPT = 192
"""Tokens up to which weights are kept: 12 heads then keep 4.6 KB a token, a layer's other activations some 20 KB."""


_MORE = ("softcap", "s_aux", "position_bias")
"""What some backbones add to the scores, which is not done here."""


class _Attention(torch.autograd.Function):
    """Softmax attention without dropout, in the number format of its inputs."""

    @staticmethod
    def forward(context: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
        heads = query.shape[1]
        query, key, value = _flat(query), _flat(key), _flat(value)
        with torch.autocast(query.device.type, enabled=False):
            weights = _weights(query, key, mask, scale, heads)
            output = torch.bmm(weights, value)
        context.heads, context.scale = heads, scale
        context.save_for_backward(query, key, value, mask, weights if key.shape[1] <= _KEPT else None)
        return _parted(output, heads)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, mask, weights = context.saved_tensors
        given, heads, scale = _flat(gradients[0]), context.heads, context.scale
        with torch.autocast(query.device.type, enabled=False):
            if weights is None:
                weights = _weights(query, key, mask, scale, heads)
            of_value = torch.bmm(weights.transpose(1, 2), given)
            of_weights = torch.bmm(given, value.transpose(1, 2))
            # One pass over the weights where plain operations take five; torch has it under no other name.
            of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype)  # noqa: SLF001
            of_query = _product(of_scores, key, scale)
            of_key = _product(of_scores.transpose(1, 2), query, scale)
        return _parted(of_query, heads), _parted(of_key, heads), _parted(of_value, heads), None, None


def _flat(heads: Tensor) -> Tensor:
    """Shape (batch x heads, tokens, head size), contiguous: `matmul` would copy the same into a worse order."""
    return heads.flatten(0, 1).contiguous()


def _parted(heads: Tensor, count: int) -> Tensor:
    """Shape (batch, heads, tokens, head size), the same memory."""
    return heads.view(len(heads) // count, count, *heads.shape[1:])


def _weights(query: Tensor, key: Tensor, mask: Tensor | None, scale: float, heads: int) -> Tensor:
    """Shape (batch x heads, tokens, tokens)."""
    scores = _product(query, key.transpose(1, 2), scale)
    if mask is not None:
        _parted(scores, heads).add_(mask)
    return scores.softmax(dim=-1)


def _product(left: Tensor, right: Tensor, scale: float) -> Tensor:
    """Batched matrix product times a number, without a pass of its own for that."""
    return torch.baddbmm(left.new_empty(1, 1, 1), left, right, beta=0, alpha=scale)


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **more: Any,
) -> tuple[Tensor, Tensor | None]:
    """What transformers calls in each layer; shapes (batch, heads, tokens, head size), the output (batch, tokens, heads, …)."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    unlike = key.shape[:2] != query.shape[:2] or not (query.dtype == key.dtype == value.dtype)
    unlike = unlike or any(more.get(name) is not None for name in _MORE)
    causal = attention_mask is None and getattr(module, "is_causal", True)  # it leaves the future out without a mask
    if dropout or unlike or causal:
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **more)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    mask = attention_mask
    if mask is not None:
        mask = _additive(mask[..., : key.shape[-2]], query.dtype)
    output = _Attention.apply(query, key, value, mask, scale)  # type: ignore[no-untyped-call]
    return output.transpose(1, 2).contiguous(), None


def _additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask to be added to scores; one of booleans is True where a token is real."""
    if mask.dtype != torch.bool:
        return mask.to(dtype)
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, torch.finfo(dtype).min)


def takes(module: nn.Module) -> bool:
    """Whether a backbone lets its attention be exchanged; older models of transformers do not."""
    return bool(getattr(module, "_supports_attention_backend", False))


@contextmanager
def exchanged(*modules: PreTrainedModel) -> Iterator[None]:
    """Let backbones that take it compute with this kernel while the block runs; they have their own again afterwards."""
    register()
    before = [module.config._attn_implementation for module in modules]  # noqa: SLF001 - transformers tells it nowhere else
    for module in modules:
        module.set_attn_implementation(NAME)
    try:
        yield
    finally:
        for module, implementation in zip(modules, before, strict=True):
            module.set_attn_implementation(implementation)


def register() -> None:
    """Make the kernel known to transformers, with masks as its fused one takes them."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, _attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
