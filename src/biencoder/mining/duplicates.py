"""Candidates that are nearly the same text as a known positive: they answer the query too, whatever nobody has judged."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from biencoder.data.near_duplicates import Shingles, resemble, shingles
from biencoder.search.documents import DocumentStore

_HELD = 2**23
"""Shingles held in memory: 64 MiB, those of some tens of thousands of pages."""


class NearDuplicates:
    """Compares documents by their shingles, which are computed once while a bounded memory holds them.

    Args:
        documents: read by number.
        threshold: Jaccard index from which two are near duplicates; None finds none.
        held: shingles kept, in all.
    """

    def __init__(self, documents: DocumentStore, *, threshold: float | None, held: int = _HELD) -> None:
        self._documents = documents
        self._threshold = threshold
        self._limit = held
        self._held = 0
        self._sets: OrderedDict[int, Shingles] = OrderedDict()

    def of_any(self, candidate: int, positives: Iterable[int]) -> bool:
        """Whether a document is a near duplicate of one of the positives, all by number."""
        if self._threshold is None:
            return False
        own = self._shingles(candidate)
        return any(resemble(own, self._shingles(positive), threshold=self._threshold) for positive in positives)

    def _shingles(self, number: int) -> Shingles:
        if number in self._sets:
            self._sets.move_to_end(number)
            return self._sets[number]
        made = self._sets[number] = shingles(self._documents[number].content)
        self._held += len(made)
        while self._held > self._limit and len(self._sets) > 1:
            self._held -= len(self._sets.popitem(last=False)[1])
        return made
