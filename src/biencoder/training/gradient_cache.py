"""One backward pass over many micro-batches, with the graphs of as many of them held as memory is granted.

The others go through gradient caching (Gao, Zhang, Han and Callan, Scaling deep contrastive learning batch size under memory
limited setup, 2021): embed without a graph, take the loss's gradient with regard to the vectors, then embed each micro-batch
again with its graph and hand it its part of that gradient. The sum is the gradient of the whole batch, to rounding.

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
        tokens: of each part, padding included.
        dimension: of the vectors.
        device: where they lie.
        running: opens the context that the parts are embedded in. Autocast keeps converted weights as long as a context lasts:
            what was converted without a graph, or for a graph that is spent, must not serve the next one.
    """

    forwards: Sequence[Forward]
    sizes: Sequence[int]
    tokens: Sequence[int]
    dimension: int
    device: torch.device
    running: Callable[[], AbstractContextManager[object]]

    def together(self, own: Sequence[Tensor]) -> Tensor:
        """The vectors of all parts on all processes."""
        return with_others(own, self.sizes, dimension=self.dimension, device=self.device)


def backward(parts: MicroBatches, loss_of: Callable[[Tensor], Tensor], *, graph_tokens: int) -> Tensor:
    """Accumulate the gradients of a loss over the vectors of a whole batch.

    Args:
        parts: the batch.
        loss_of: from all vectors, shape (texts, d), in the order of the parts, to a scalar.
        graph_tokens: hold the graphs of this process's first parts, up to so many tokens; the others are computed twice.

    Returns:
        The loss, detached.
    """
    own = list(own_share(len(parts.forwards)))
    held = _held([parts.tokens[number] for number in own], graph_tokens)
    with parts.running():
        vectors = [parts.forwards[number]() for number in own[:held]]
    with torch.no_grad(), parts.running():
        leaves = [parts.forwards[number]() for number in own[held:]]
    for leaf in leaves:
        leaf.requires_grad_()
    loss = loss_of(parts.together([*vectors, *leaves]))
    if loss.requires_grad:  # not where a process has no part of its own
        loss.backward()  # type: ignore[no-untyped-call]
    for number, leaf in zip(own[held:], leaves, strict=True):
        with parts.running():
            again = parts.forwards[number]()
        again.backward(leaf.grad)  # type: ignore[no-untyped-call]
    return loss.detach()


def _held(tokens: Sequence[int], limit: int) -> int:
    """How many of the first parts fit.

    >>> _held([5, 4, 2], 9), _held([5, 4, 2], 4), _held([], 4)
    (2, 0, 0)
    """
    count = total = 0
    for own in tokens:
        total += own
        if total > limit:
            break
        count += 1
    return count
