"""One backward pass over many micro-batches: with all of their graphs held, or with one at a time.

Holding one at a time is gradient caching (Gao, Zhang, Han and Callan, Scaling deep contrastive learning batch size under
memory limited setup, 2021): embed without a graph, take the loss's gradient with regard to the vectors, then embed each
micro-batch again with its graph and hand it its part of that gradient. The sum is the gradient of the whole batch, to rounding.

Under torchrun each process embeds its share of the micro-batches, all see all vectors, and the gradients are summed: the same
loss and gradients as one process would have (`biencoder.training.distributed`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor

from biencoder.training.distributed import own_share, with_others

Forward = Callable[[], Tensor]
"""Embeds one micro-batch, shape (texts, d); called twice it must give the same, dropout included."""


@dataclass(frozen=True, slots=True)
class MicroBatches:
    """A batch in parts.

    Attributes:
        forwards: embed one part each; the same on every process, in the same order.
        sizes: texts of each part.
        dimension: of the vectors.
        device: where they lie.
        running: opens the context that the parts are embedded in. Autocast keeps converted weights as long as a context lasts:
            what was converted without a graph, or for a graph that is spent, must not serve the next one.
    """

    forwards: Sequence[Forward]
    sizes: Sequence[int]
    dimension: int
    device: torch.device
    running: Callable[[], AbstractContextManager[object]]

    def together(self, own: Sequence[Tensor]) -> Tensor:
        """The vectors of all parts on all processes."""
        return with_others(own, self.sizes, dimension=self.dimension, device=self.device)


def backward(parts: MicroBatches, loss_of: Callable[[Tensor], Tensor], *, cached: bool) -> Tensor:
    """Accumulate the gradients of a loss over the vectors of a whole batch.

    Args:
        parts: the batch.
        loss_of: from all vectors, shape (texts, d), in the order of the parts, to a scalar.
        cached: hold one part's graph at a time instead of all of them; a forward pass more.

    Returns:
        The loss, detached.
    """
    own = [parts.forwards[number] for number in own_share(len(parts.forwards))]
    if not cached:
        with parts.running():
            vectors = [forward() for forward in own]
        loss = loss_of(parts.together(vectors))
        _backward(loss)
        return loss.detach()
    with torch.no_grad(), parts.running():
        leaves = [forward() for forward in own]
    for leaf in leaves:
        leaf.requires_grad_()
    loss = loss_of(parts.together(leaves))
    _backward(loss)
    for forward, leaf in zip(own, leaves, strict=True):
        with parts.running():
            again = forward()
        again.backward(leaf.grad)  # type: ignore[no-untyped-call]
    return loss.detach()


def _backward(loss: Tensor) -> None:
    if loss.requires_grad:  # not where a process has no part of its own
        loss.backward()  # type: ignore[no-untyped-call]
