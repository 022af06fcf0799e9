"""Two layers as training on processors runs them: the same mathematics, less memory traffic, fewer random numbers.

- *Embedding.* torch's backward pass fills a gradient of the whole vocabulary for every micro-batch; here the rows that occur
  are added to one gradient that lasts for the step. On a vocabulary of 30,000 that was a sixth of a step.
- *Dropout.* torch draws a random number for every value; here a random byte decides, so that the rate is a multiple of 1/256
  (0.1 becomes 26/256), and it stays a byte until it is multiplied: on booleans torch has no fast path. That was a tenth of
  a step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


class EmbeddingGradient:
    """The gradient of an embedding's weights, gathered over the micro-batches of a step.

    Args:
        weights: the master, whose gradient this is.
        padding: the row that is not trained.
    """

    def __init__(self, weights: Tensor, padding: int | None) -> None:
        self._weights = weights
        self._padding = padding
        self._total = torch.zeros_like(weights, dtype=torch.float32)
        self._rows: list[Tensor] = []
        self._whole = False

    def add(self, rows: Tensor, gradients: Tensor) -> None:
        """Take in a micro-batch: the tokens' rows, shape (n,), and the gradients of their vectors, shape (n, d)."""
        self._total.index_add_(0, rows, gradients.float())
        self._rows.append(rows)

    def hand_over(self) -> None:
        """Add what was gathered to the master's gradient, which weights have that are also used elsewhere."""
        if self._padding is not None:
            self._total[self._padding] = 0
        elsewhere = self._weights.grad
        if elsewhere is not None and elsewhere is not self._total:
            self._total += elsewhere
            self._whole = True
        self._weights.grad = self._total

    def clear(self) -> None:
        """Begin anew, behind the optimizer's step; only the rows that were written are, where no others were."""
        if self._whole:
            self._total.zero_()
        else:
            for rows in self._rows:
                self._total[rows] = 0
        self._rows.clear()
        self._whole = False


class _Embed(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, weights: Tensor, ids: Tensor, gradient: EmbeddingGradient) -> Tensor:
        context.save_for_backward(ids)
        context.gradient = gradient
        return weights[ids]

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[None, None, None]:
        (ids,) = context.saved_tensors
        context.gradient.add(ids.flatten(), gradients[0].flatten(0, -2))
        return None, None, None


class _Drop(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, values: Tensor, cut: int) -> Tensor:
        kept = _random_bytes(values.shape).clamp_(cut - 1, cut).sub_(cut - 1)
        context.save_for_backward(kept)
        context.scale = 256 / (256 - cut)
        return _masked(values, kept, context.scale)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (kept,) = context.saved_tensors
        return _masked(gradients[0], kept, context.scale), None


def _masked(values: Tensor, kept: Tensor, scale: float) -> Tensor:
    """Values where ``kept`` is 1, scaled, and 0 where it is 0.

    torch multiplies floats by booleans without vector instructions, which takes two to five times as long as all of this.
    """
    return kept.to(values.dtype).mul_(values).mul_(scale)


def _random_bytes(shape: torch.Size) -> Tensor:
    """Bytes of torch's own generator, eight from each of its numbers."""
    count = shape.numel()
    drawn = torch.empty(-(-count // 8), dtype=torch.int64).random_(-(2**63), None)
    return drawn.view(torch.uint8)[:count].view(shape)


def drop(values: Tensor, *, rate: float) -> Tensor:
    """Dropout at a rate rounded to a multiple of 1/256 (Srivastava et al., 2014).

    >>> _ = torch.manual_seed(0)
    >>> round(float((drop(torch.ones(10_000), rate=0.1) == 0).float().mean()), 2)
    0.1
    """
    cut = round(rate * 256)
    if not cut:
        return values
    dropped: Tensor = _Drop.apply(values, min(cut, 255))  # type: ignore[no-untyped-call]
    return dropped


@contextmanager
def shortened(worker: nn.Module, masters: Mapping[Tensor, Tensor]) -> Iterator[list[EmbeddingGradient]]:
    """Run a module's dropout and large embeddings in the short way while the block runs.

    Args:
        worker: what is run; on a processor.
        masters: of each of its weights the one that the optimizer changes.

    Returns:
        The gradients of the embeddings, to be handed over after each step's backward passes.
    """
    gradients: dict[tuple[Tensor, int | None], EmbeddingGradient] = {}  # one for all embeddings over the same weights
    changed: list[nn.Module] = []
    try:
        for module in worker.modules():
            if type(module) is nn.Dropout:
                module.forward = partial(_dropout, module)  # type: ignore[method-assign]
                changed.append(module)
            elif type(module) is nn.Embedding and _is_large(module):
                key = masters[module.weight], module.padding_idx
                if key not in gradients:
                    gradients[key] = EmbeddingGradient(*key)
                module.forward = partial(_embedding, module, gradients[key])  # type: ignore[method-assign]
                changed.append(module)
        yield list(gradients.values())
    finally:
        for module in changed:
            del module.forward  # the class's own shows again


_LARGE = 2**20
"""Values of an embedding from which its gradient is worth gathering."""


def _is_large(module: nn.Embedding) -> bool:
    """Whether this is a plain, trained embedding whose gradient is worth gathering."""
    plain = module.max_norm is None and not module.scale_grad_by_freq and not module.sparse
    return plain and module.weight.requires_grad and module.weight.numel() >= _LARGE


def _dropout(module: nn.Dropout, values: Tensor) -> Tensor:
    return drop(values, rate=module.p) if module.training and module.p else values


def _embedding(module: nn.Embedding, gradient: EmbeddingGradient, ids: Tensor) -> Tensor:
    found: Tensor = _Embed.apply(module.weight, ids, gradient)  # type: ignore[no-untyped-call]
    return found
