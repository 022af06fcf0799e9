"""Several rankings made into one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from biencoder.errors import ArgumentError
from biencoder.records import Hit


def reciprocal_rank_fusion(rankings: Sequence[Sequence[Hit]], *, k: int, constant: int = 60) -> list[Hit]:
    """Fuse rankings by place alone: a document scores the sum of 1 / (constant + its place) over the rankings that hold it.

    Cormack, Clarke and Buettcher, Reciprocal rank fusion outperforms Condorcet and individual rank learning methods, 2009.
    Scores of different scales need no calibration, because they are not looked at.

    Args:
        rankings: each best first; a document's place is where it stands, counted from 1, its first place where it stands
            twice.
        k: how many hits to return at most.
        constant: how little the very first places weigh; 60 in the paper.

    Returns:
        Hits with the fused scores and new ranks. Of equal scores, the document that the earlier ranking places higher comes
        first.

    Raises:
        ArgumentError: where k is below 1 or the constant is negative.

    >>> dense = [Hit(1, "a", 0.9), Hit(2, "b", 0.8)]
    >>> sparse = [Hit(1, "b", 12.0), Hit(2, "c", 7.0)]
    >>> [hit.id for hit in reciprocal_rank_fusion([dense, sparse], k=3)]
    ['b', 'a', 'c']
    """
    if k < 1:
        raise ArgumentError(f"k is {k}; it must be at least 1")
    if constant < 0:
        raise ArgumentError(f"constant is {constant}; it must be at least 0")
    hits: dict[str, Hit] = {}
    places: dict[str, list[float]] = {}
    for number, ranking in enumerate(rankings):
        for place, hit in enumerate(ranking, start=1):
            hits.setdefault(hit.id, hit)
            own = places.setdefault(hit.id, [math.inf] * len(rankings))
            own[number] = min(own[number], place)
    scores = {name: math.fsum(1 / (constant + place) for place in own) for name, own in places.items()}
    best = sorted(hits, key=lambda name: (-scores[name], places[name]))[:k]
    return [replace(hits[name], rank=rank, score=scores[name]) for rank, name in enumerate(best, start=1)]
