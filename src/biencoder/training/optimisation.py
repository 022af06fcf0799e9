"""What every training loop here has in common: the optimizer, its schedule, dropout, and the seed of a step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


def adamw(module: nn.Module, *, learning_rate: float, weight_decay: float) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter, 2019); biases and normalisation weights do not decay."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in parameters if parameter.ndim >= 2], "weight_decay": weight_decay},
        {"params": [parameter for parameter in parameters if parameter.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, fused=True)


def linear_schedule(step: int, steps: int, *, warmup: float) -> float:
    """Share of the learning rate at a step: linear warm-up, then linear decay to zero.

    The first step is not lost on a rate of zero.

    >>> [round(linear_schedule(step, 4, warmup=0.25), 2) for step in range(4)]
    [0.5, 1.0, 0.67, 0.33]
    """
    rising = warmup * steps
    if step < rising:
        return (step + 1) / (rising + 1)
    return (steps - step) / max(steps - rising, 1)


def seed_of(seed: int, step: int) -> int:
    """The seed of all that is random in one step, so that a resumed training draws what the unbroken one would have."""
    return seed * 1_000_003 + step + 1


def seed_of_part(seed: int, number: int) -> int:
    """The seed of a step's micro-batch, from the step's: running it twice, or in another process, gives the same dropout."""
    return seed * 4099 % 2**62 + number


@contextmanager
def dropout_set(module: nn.Module, *, hidden: float | None, attention: float | None) -> Iterator[None]:
    """Set the dropout of attention weights, which BERT and its relatives keep in their self-attention modules, and the rest.

    Args:
        module: towers, or a cross-encoder.
        hidden: probability; None keeps the checkpoint's own.
        attention: the same for attention weights.
    """
    found: list[tuple[nn.Dropout, float]] = []
    for part in module.modules():
        wanted = attention if type(part).__name__.endswith("SelfAttention") else hidden
        own = [child for child in part.children() if isinstance(child, nn.Dropout)]
        found += [(dropout, dropout.p) for dropout in own]
        for dropout in own:
            dropout.p = dropout.p if wanted is None else wanted
    try:
        yield
    finally:
        for dropout, before in found:
            dropout.p = before
