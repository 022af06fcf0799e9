"""How much of a step is run at a time, and how much of it is held, where the options leave that to the device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_CPU_TOKENS = 1024
"""Larger micro-batches leave the cache (docs/experiments.md)."""
_GPU_TOKENS = 16384
"""A GPU then computes for about as long as it takes to launch a small backbone's kernels; more would only be padded more."""
_ACTIVATION_BYTES = 56
"""Of a token, for each layer and dimension: what a backward pass needs, measured on all-MiniLM-L6-v2."""


class PortionOptions(Protocol):
    """What training options say of it; None leaves it to the device."""

    @property
    def token_budget(self) -> int | None:
        """Of a micro-batch."""

    @property
    def graph_tokens(self) -> int | None:
        """Held."""


@dataclass(frozen=True, slots=True)
class Portions:
    """Tokens that are run and held at a time; a step's dropout depends on them, so that they belong to what is resumed.

    Attributes:
        micro_batch: tokens of a micro-batch, padding included.
        held: tokens whose activations are held at a time.
    """

    micro_batch: int
    held: int

    @classmethod
    def of(cls, options: PortionOptions, backbone: PreTrainedModel, *, held_on_cpu: int) -> Portions:
        """As the options say, else as the device takes it: on GPUs what half of the memory holds.

        Args:
            options: of the training.
            backbone: where it lies, and how much it keeps of a token.
            held_on_cpu: tokens, on processors.
        """
        device = next(backbone.parameters()).device
        micro_batch, held = _CPU_TOKENS, held_on_cpu
        if device.type == "cuda":
            held = tokens_that_fit(torch.cuda.get_device_properties(device).total_memory // 2, backbone)
            micro_batch = min(_GPU_TOKENS, max(_CPU_TOKENS, held))
        return cls(
            micro_batch=micro_batch if options.token_budget is None else options.token_budget,
            held=held if options.graph_tokens is None else options.graph_tokens,
        )


def tokens_that_fit(memory: int, backbone: PreTrainedModel) -> int:
    """Tokens whose activations so many bytes hold, estimated.

    Args:
        memory: bytes.
        backbone: its configuration says how many layers of which size there are.
    """
    config = backbone.config
    size = getattr(config, "hidden_size", 1024) * getattr(config, "num_hidden_layers", 24)
    return int(memory / (_ACTIVATION_BYTES * size))
