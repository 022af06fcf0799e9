"""How much of a step is run at a time, and how much of it is held, where the options leave that to the device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_CPU_TOKENS = 1024
"""Larger micro-batches leave the cache (docs/experiments.md)."""
_GPU_TOKENS = 16384
"""A GPU then computes for about as long as it takes to launch a small backbone's kernels; more would only be padded more."""
_ACTIVATION_BYTES = 56
"""Of a token, for each layer and dimension: what a backward pass needs, measured on all-MiniLM-L6-v2."""


def micro_batch_tokens(asked: int | None, device: torch.device) -> int:
    """Tokens of a micro-batch, padding included.

    >>> micro_batch_tokens(None, torch.device("cpu")), micro_batch_tokens(256, torch.device("cpu"))
    (1024, 256)
    """
    if asked is not None:
        return asked
    return _CPU_TOKENS if device.type == "cpu" else _GPU_TOKENS


def held_tokens(asked: int | None, backbone: PreTrainedModel, *, on_cpu: int) -> int:
    """Tokens whose activations are held at a time: on GPUs those that fit into half of the memory.

    Args:
        asked: what the options say.
        backbone: where it lies, and how much it keeps of a token.
        on_cpu: where the options say nothing, on processors.
    """
    if asked is not None:
        return asked
    device = next(backbone.parameters()).device
    if device.type != "cuda":
        return on_cpu
    memory: int = torch.cuda.get_device_properties(device).total_memory
    return tokens_that_fit(memory // 2, backbone)


def tokens_that_fit(memory: int, backbone: PreTrainedModel) -> int:
    """Tokens whose activations so many bytes hold, estimated; at least one micro-batch.

    Args:
        memory: bytes.
        backbone: its configuration says how many layers of which size there are.
    """
    config = backbone.config
    size = getattr(config, "hidden_size", 1024) * getattr(config, "num_hidden_layers", 24)
    return max(_GPU_TOKENS, int(memory / (_ACTIVATION_BYTES * size)))
