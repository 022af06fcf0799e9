"""Texts that are nearly the same, found exactly: no pair above the threshold is missed.

A text is the set of its runs of ``width`` tokens, its *shingles*, and two texts resemble each other as much as the Jaccard
index of their sets says (Broder, On the resemblance and containment of documents, 1997). Instead of Broder's sketches, which
miss pairs by chance, the pairs come from an index of each set's rarest shingles: sets that share enough of their members
share one of those (prefix filtering: Bayardo, Ma and Srikant, Scaling up all pairs similarity search, 2007).
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from biencoder.errors import ArgumentError

Shingles = NDArray[np.uint64]

_TOKEN = re.compile(r"\w+|[^\w\s]")
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd, its bits spread evenly: 2**64 divided by the golden ratio
_TOKENS = 2**16
"""Tokens whose hashes are kept: most of a text's tokens are frequent ones."""


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
    _check_width(width)
    sets = _shingle_sets(texts, width)
    pairs = [(i, j) for i, j in _candidates(sets, threshold) if _resemblance(sets[i], sets[j]) >= threshold]
    return sorted(pairs)


def shingles(text: str, *, width: int = 5) -> Shingles:
    """The shingles of a single text, to be held against those of others as they come (`resemble`).

    A token's number is its hash here: 64 bits, the same in every process, so that texts need not be known together.

    Args:
        text: case and punctuation count, white space does not.
        width: tokens in a shingle; a shorter text is one shingle, one without a token has none.

    Returns:
        Sorted, each once.

    Raises:
        ArgumentError: where ``width`` is below 1.

    >>> len(shingles("one two three four five six")), len(shingles("one two")), len(shingles(" "))
    (2, 1, 0)
    """
    _check_width(width)
    return _hashed([_token_hash(token) for token in _TOKEN.findall(text)], width)


def resemble(first: Shingles, second: Shingles, *, threshold: float) -> bool:
    """Whether the shingles of two texts have a Jaccard index of at least ``threshold``.

    >>> resemble(shingles("a b c d", width=1), shingles("a b c e", width=1), threshold=0.6)
    True
    >>> resemble(shingles(""), shingles(""), threshold=0.6)
    False
    """
    if not len(first) or not len(second) or not _of_similar_size(len(first), len(second), threshold):
        return False
    return _resemblance(first, second) >= threshold


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


def _check_width(width: int) -> None:
    if width < 1:
        raise ArgumentError(f"width is {width}; it must be at least 1")


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


@lru_cache(maxsize=_TOKENS)
def _token_hash(token: str) -> int:
    return int.from_bytes(hashlib.blake2b(token.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


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
                if _of_similar_size(size, len(sets[other]), threshold):
                    found.add((other, position))
            holders[shingle].append(position)
    return found


def _of_similar_size(one: int, other: int, threshold: float) -> bool:
    """Whether sets of these sizes can have a Jaccard index of the threshold: it is at most the ratio of the sizes."""
    return min(one, other) >= threshold * max(one, other) - 1e-9


def _resemblance(first: Shingles, second: Shingles) -> float:
    """The Jaccard index of two sorted sets, which are not both empty."""
    shared = len(np.intersect1d(first, second, assume_unique=True))
    return shared / (len(first) + len(second) - shared)
