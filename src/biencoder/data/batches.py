"""Which texts run together, and which pairs meet in a training batch."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from biencoder.errors import ArgumentError

Item = TypeVar("Item", bound=Hashable)


def length_sorted_batches(lengths: Sequence[int], *, token_budget: int, multiple: int = 1) -> list[list[int]]:
    """Group texts of similar length, so that little padding is computed.

    Args:
        lengths: tokens of each text.
        token_budget: the most tokens, padding included, that a batch may have; a longer text gets a batch of its own.
        multiple: lengths count as the next multiple of it.

    Returns:
        Batches of positions in ``lengths``, longest texts first, so that memory is at its peak in the first batch.

    >>> length_sorted_batches([2, 9, 3, 9], token_budget=18)
    [[1, 3], [2, 0]]
    """
    order = sorted(range(len(lengths)), key=lambda position: (-lengths[position], position))
    batches: list[list[int]] = []
    for position in order:
        fits = batches and _rounded_up(lengths[batches[-1][0]], multiple) * (len(batches[-1]) + 1) <= token_budget
        if fits:
            batches[-1].append(position)
        else:
            batches.append([position])
    return batches


def padded_width(lengths: Iterable[int], *, multiple: int, limit: int) -> int:
    """Tokens that the texts of a batch are padded to: a multiple, unless that is more than the model may read.

    >>> padded_width([13, 5], multiple=8, limit=512), padded_width([250, 5], multiple=8, limit=250)
    (16, 250)
    """
    longest = max(lengths)
    return max(longest, min(_rounded_up(longest, multiple), limit))


def _rounded_up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple


class PairSampler:
    """Batches of a fixed number of randomly drawn pairs; every epoch is a new permutation, its remainder left out.

    Which pairs meet depends on the seed and the step alone, so that a resumed run draws what the unbroken one would have.
    Length never decides who is whose negative.

    >>> sampler = PairSampler(count=5, batch_size=2, seed=7)
    >>> sampler.steps_per_epoch
    2
    >>> sampler.batch(3) == PairSampler(count=5, batch_size=2, seed=7).batch(3)
    True

    Raises:
        ArgumentError: where there is no whole batch in the examples.
    """

    def __init__(self, *, count: int, batch_size: int, seed: int) -> None:
        if batch_size < 2:
            raise ArgumentError(f"batch_size is {batch_size}; in-batch negatives need at least 2 pairs in a batch")
        if count < 2:
            raise ArgumentError(f"{count} training pairs; at least 2 are needed, since each pair's negatives are the others'")
        self.batch_size = min(batch_size, count)
        self.steps_per_epoch = count // self.batch_size
        self._count = count
        self._seed = seed
        self._order = lru_cache(maxsize=1)(self._permutation)

    def batch(self, step: int) -> list[int]:
        """Positions of the pairs of one step, counted from 0."""
        epoch, place = divmod(step, self.steps_per_epoch)
        return [int(position) for position in self._order(epoch)[place * self.batch_size : (place + 1) * self.batch_size]]

    def _permutation(self, epoch: int) -> NDArray[np.int64]:
        return np.random.default_rng([self._seed, epoch]).permutation(self._count)

    def __iter__(self) -> Iterator[list[int]]:
        step = 0
        while True:
            yield self.batch(step)
            step += 1


def distinct(texts: Sequence[Item]) -> tuple[list[Item], list[int]]:
    """Each text, or pair of texts, once, in order of first appearance, and the place of every one among them.

    >>> distinct(["a", "b", "a"])
    (['a', 'b'], [0, 1, 0])
    """
    places: dict[Item, int] = {}
    positions = [places.setdefault(text, len(places)) for text in texts]
    return list(places), positions


def equal_length_batches(lengths: Sequence[int], *, token_budget: int) -> list[list[int]]:
    """Group texts of exactly the same length, so that nothing is padded and no mask is needed.

    Args:
        lengths: tokens of each text.
        token_budget: the most tokens that a batch may have; a longer text gets a batch of its own.

    Returns:
        Batches of positions in ``lengths``, longest texts first; those of one length differ by at most one text in size.

    >>> equal_length_batches([2, 3, 3, 2, 3], token_budget=6)
    [[1, 2], [4], [0, 3]]
    """
    groups: dict[int, list[int]] = {}
    for position, length in enumerate(lengths):
        groups.setdefault(length, []).append(position)
    batches: list[list[int]] = []
    for length in sorted(groups, reverse=True):
        group = groups[length]
        parts = -(-len(group) // max(1, token_budget // max(length, 1)))
        batches += [[int(position) for position in part] for part in np.array_split(group, parts)]
    return batches
