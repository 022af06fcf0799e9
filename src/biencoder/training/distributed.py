"""Several processes under torchrun, one batch: each embeds its share of the micro-batches, all take the same loss.

The loss is that of the whole batch on every process, with a graph through the process's own vectors only; summed over processes
the gradients are those of one process. Nothing is averaged, so that nothing has to be scaled back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar, cast

import torch
from torch import Tensor, distributed, nn

Made = TypeVar("Made")


def processes() -> int:
    """How many train together; 1 outside torchrun."""
    return distributed.get_world_size() if _together() else 1


def is_first() -> bool:
    """Whether this process writes what all share."""
    return not _together() or distributed.get_rank() == 0


def own_share(count: int) -> range:
    """The numbers of the micro-batches that this process embeds.

    >>> list(own_share(3))
    [0, 1, 2]
    """
    return range(distributed.get_rank(), count, processes()) if _together() else range(count)


def with_others(own: Sequence[Tensor], sizes: Sequence[int], *, dimension: int, device: torch.device) -> Tensor:
    """Vectors of all micro-batches in order, those of other processes without a graph.

    Args:
        own: of this process's micro-batches (`own_share`), each of shape (texts, dimension), float32.
        sizes: texts of every micro-batch.
        dimension: of the vectors.
        device: where they lie.

    Returns:
        Shape (sum of sizes, dimension).
    """
    if not _together():
        return torch.cat(list(own))
    parts: dict[int, Tensor] = {}
    for rank in range(processes()):
        numbers = range(rank, len(sizes), processes())
        shares = [sizes[number] for number in numbers]
        sent = torch.empty((sum(shares), dimension), device=device)
        if rank == distributed.get_rank() and own:
            sent = torch.cat([vectors.detach() for vectors in own])
        distributed.broadcast(sent, src=rank)
        parts |= dict(zip(numbers, torch.split(sent, shares), strict=True))
    parts |= dict(zip(own_share(len(sizes)), own, strict=True))
    return torch.cat([parts[number] for number in range(len(sizes))])


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Add up the gradients of all processes, in place; one message, whatever the number of parameters."""
    if not _together():
        return
    found = list(parameters)
    flat = torch.cat([(torch.zeros_like(one) if one.grad is None else one.grad).flatten() for one in found])
    distributed.all_reduce(flat)
    start = 0
    for one in found:
        one.grad = flat[start : start + one.numel()].view_as(one).clone()
        start += one.numel()


def from_first(make: Callable[[], Made]) -> Made:
    """What the first process makes, on all of them."""
    if not _together():
        return make()
    sent: list[Made | None] = [make() if is_first() else None]
    distributed.broadcast_object_list(sent)
    return cast(Made, sent[0])


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized()
