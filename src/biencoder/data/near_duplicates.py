"""Texts that are nearly the same, found exactly: no pair above the threshold is missed.

A text is the set of its runs of ``width`` tokens, its *shingles*, and two texts resemble each other as much as the Jaccard
index of their sets says (Broder, On the resemblance and containment of documents, 1997). Instead of Broder's sketches, which
miss pairs by chance, the pairs come from an index of each set's rarest shingles: sets that share enough of their members
share one of those (prefix filtering: Bayardo, Ma and Srikant, Scaling up all pairs similarity search, 2007).
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from biencoder.errors import ArgumentError

Shingles = NDArray[np.uint64]

_TOKEN = re.compile(r"\w+|[^\w\s]")
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd, its bits spread evenly: 2**64 divided by the golden ratio


def near_duplicates(texts: Sequence[str], *, threshold: float = 0.8, width: int = 5) -> list[tuple[int, int]]:
    r"""All pairs of texts whose shingles have a Jaccard index of at least ``threshold``.

    Args:
        texts: the texts; case and punctuation count, white space does not.
        threshold: above 0, at most 1.
        width: tokens in a shingle; a shorter text is one shingle. Texts without a token are duplicates of nothing.

    Returns:
        Positions (i, j) with i < j, in ascending order.

    Raises:
        ArgumentError: where ``threshold`` or ``width`` is out of range.

    >>> near_duplicates(["def f(x): return x + 1", "def g(): pass", "def f(x):\n    return x + 1"])
    [(0, 2)]
    """
    if not 0 < threshold <= 1:
        raise ArgumentError(f"threshold is {threshold}; it must be above 0 and at most 1")
    if width < 1:
        raise ArgumentError(f"width is {width}; it must be at least 1")
    sets = _shingle_sets(texts, width)
    pairs = [(i, j) for i, j in _candidates(sets, threshold) if _resemblance(sets[i], sets[j]) >= threshold]
    return sorted(pairs)


def connected(count: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """The group of each of ``count`` items when every pair joins its two (union-find).

    Returns:
        For each item the lowest item of its group.

    >>> connected(5, [(3, 1), (4, 3)])
    [0, 1, 2, 1, 1]
    """
    parents = list(range(count))
    for pair in pairs:
        low, high = sorted(_root(parents, item) for item in pair)
        parents[high] = low
    return [_root(parents, item) for item in range(count)]


def _root(parents: list[int], item: int) -> int:
    while parents[item] != item:
        parents[item] = parents[parents[item]]
        item = parents[item]
    return item


def _shingle_sets(texts: Sequence[str], width: int) -> list[Shingles]:
    """Each text's shingles as a sorted array of numbers, rarest shingle in the collection first.

    Tokens are numbered as they appear, a shingle is hashed to 64 bits from its tokens' numbers, and shingles are then
    renumbered by frequency. Nothing depends on Python's own hash, which changes from process to process.
    """
    numbers: dict[str, int] = {}
    hashed = [_hashed([numbers.setdefault(token, len(numbers) + 1) for token in _TOKEN.findall(text)], width) for text in texts]
    if not hashed:
        return []
    _, inverse, counts = np.unique(np.concatenate(hashed), return_inverse=True, return_counts=True)
    rank = np.empty(len(counts), dtype=np.uint64)
    rank[np.argsort(counts, kind="stable")] = np.arange(len(counts), dtype=np.uint64)
    ends = np.cumsum([len(shingles) for shingles in hashed])[:-1]
    return [np.sort(part) for part in np.split(rank[inverse], ends)]


def _hashed(tokens: list[int], width: int) -> Shingles:
    """The distinct shingles of a text of numbered tokens, as hashes: a polynomial in the multiplier, modulo 2**64."""
    if not tokens:
        return np.empty(0, dtype=np.uint64)
    padded = np.array(tokens + [0] * (width - len(tokens)), dtype=np.uint64)
    shingles = np.zeros(len(padded) - width + 1, dtype=np.uint64)
    for offset in range(width):
        shingles = shingles * _MULTIPLIER + padded[offset : offset + len(shingles)]
    return np.unique(shingles)


def _candidates(sets: Sequence[Shingles], threshold: float) -> set[tuple[int, int]]:
    """Pairs that may reach the threshold: of similar size, and with one of their rarest shingles in common.

    Two sets of Jaccard index t share at least t·n members, n being the size of either; so they cannot differ wholly in the
    first n - ⌈t·n⌉ + 1 members of both, the members being in one order.
    """
    holders: defaultdict[int, list[int]] = defaultdict(list)
    found: set[tuple[int, int]] = set()
    for position, shingles in enumerate(sets):
        size = len(shingles)
        for shingle in shingles[: size - math.ceil(threshold * size - 1e-9) + 1].tolist():
            for other in holders[shingle]:
                if min(size, len(sets[other])) >= threshold * max(size, len(sets[other])) - 1e-9:
                    found.add((other, position))
            holders[shingle].append(position)
    return found


def _resemblance(first: Shingles, second: Shingles) -> float:
    """The Jaccard index of two sorted sets, which are not both empty."""
    shared = len(np.intersect1d(first, second, assume_unique=True))
    return shared / (len(first) + len(second) - shared)
