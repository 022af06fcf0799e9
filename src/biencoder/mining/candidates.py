"""From a ranking to candidates: known positives and repeated texts passed over, a window of ranks, margins below a positive."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from biencoder.mining.options import MiningOptions
from biencoder.scoring import FloatArray, RowArray


@dataclass(frozen=True, slots=True)
class Others:
    """A ranking without the texts that are known to be relevant, each other text once, at its best place.

    The document at place i has rank i + 1.

    Args:
        places: in the whole ranking, ascending.
        numbers: of the documents.
        keys: of their texts.
    """

    places: RowArray
    numbers: RowArray
    keys: RowArray

    @classmethod
    def of(cls, ranking: RowArray, keys: RowArray, *, known: RowArray) -> Others:
        """Pass over what is known.

        Args:
            ranking: document numbers, best first.
            keys: of their texts, in the same order.
            known: keys of the texts that are left out.

        >>> ranking, keys = np.array([7, 3, 5, 4, 9]), np.array([70, 30, 50, 30, 90])
        >>> Others.of(ranking, keys, known=np.array([50])).numbers.tolist()
        [7, 3, 9]
        """
        unknown = np.flatnonzero(~np.isin(keys, known))
        _, first = np.unique(keys[unknown], return_index=True)
        places = unknown[np.sort(first)]
        return cls(places, ranking[places], keys[places])

    def rank_at(self, place: int) -> int:
        """The rank of a document left out, by its place in the whole ranking: one more than there are others before it.

        >>> ranking, keys = np.array([7, 3, 5]), np.array([70, 30, 50])
        >>> Others.of(ranking, keys, known=np.array([50])).rank_at(2)
        3
        """
        return int(np.searchsorted(self.places, place)) + 1

    def rank_of(self, key: int) -> int | None:
        """The rank of a text that may be among the others."""
        found = np.flatnonzero(self.keys == key)
        return int(found[0]) + 1 if len(found) else None


def limit_below(positive: float, options: MiningOptions) -> float:
    """The score that a negative must stay below, next to a positive's score: the lower of what the two margins say.

    >>> limit_below(0.8, MiningOptions(relative_margin=0.05)), limit_below(-2.0, MiningOptions(relative_margin=0.05))
    (0.76, -2.1)
    >>> limit_below(0.8, MiningOptions(relative_margin=None))
    inf
    """
    limits = [math.inf]
    if options.absolute_margin is not None:
        limits.append(positive - options.absolute_margin)
    if options.relative_margin is not None:
        limits.append(positive - options.relative_margin * abs(positive))
    return min(limits)


def below(scores: FloatArray, positive: float, options: MiningOptions) -> NDArray[np.bool_]:
    """Which candidates keep the margins below a positive.

    Args:
        scores: of the candidates.
        positive: the positive's score.
        options: the margins.

    >>> below(np.array([0.75, 0.77, 0.9], dtype=np.float32), 0.8, MiningOptions()).tolist()
    [True, False, False]
    """
    return np.asarray(scores.astype(np.float64) < limit_below(positive, options))
