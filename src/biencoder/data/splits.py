"""Train, dev and test from groups of queries that must stay together."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from biencoder.errors import DataError

SHARES: Mapping[str, float] = {"test": 0.12, "dev": 0.08}
"""Share of the queries that each held-out split gets; train gets the rest."""

LARGEST_SHARE = 0.02
"""A group with more than this share of all queries goes to train: a test of one file's functions measures that file."""


def split_groups(sizes: Mapping[str, int], *, seed: int = 0) -> dict[str, str]:
    """Assign whole groups to ``train``, ``dev`` and ``test``, in an order drawn from the seed and the groups' names.

    Neither the order of the mapping nor anything of the machine has a say, and a new group moves few of the others.
    Groups above ``LARGEST_SHARE`` and above twice the mean go to train; the mean counts where there are few groups, all large.

    Args:
        sizes: for each group's name, how many queries it holds.
        seed: another one gives another split.

    Returns:
        For each group its split.

    Raises:
        DataError: where there are too few groups for three splits.

    >>> splits = split_groups({f"file{number}": 1 for number in range(100)})
    >>> [list(splits.values()).count(split) for split in ("train", "dev", "test")]
    [80, 8, 12]
    """
    total = sum(sizes.values())
    large = max(total * LARGEST_SHARE, 2 * total / max(len(sizes), 1))
    splits = dict.fromkeys(sizes, "train")
    filled = dict.fromkeys(SHARES, 0.0)
    for name in sorted((name for name in sizes if sizes[name] <= large), key=lambda name: draw(seed, name)):
        split = min(SHARES, key=lambda held: filled[held])
        if filled[split] < 1 - 1e-9:
            splits[name] = split
            filled[split] += sizes[name] / (SHARES[split] * total)
    if missing := {"train", *SHARES}.difference(splits.values()):
        raise DataError(
            f"{len(sizes)} groups of files hold {total} queries, too few for a {min(missing)} split",
            hint="give more source files",
        )
    return splits


def draw(seed: int, name: str) -> bytes:
    """A key that puts names in random order: the same on every machine, another one for every seed."""
    return hashlib.sha256(f"{seed}/{name}".encode()).digest()
