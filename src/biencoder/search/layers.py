"""Several layers searched as one: the build, and what was added since.

A document is known by one number over all layers: its number within its layer, behind those of the layers before.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from heapq import merge
from itertools import accumulate

from biencoder.errors import ArgumentError
from biencoder.index.base import Metric, Parameters
from biencoder.index.filter_tree import Filter
from biencoder.records import Document, Hit
from biencoder.scoring import FloatArray
from biencoder.search.fusion import reciprocal_rank_fusion
from biencoder.search.layer import Found, Layer

_FUSED = 100
"""Candidates that each side gives to a hybrid search, or k where that is more."""


class Layers:
    """A build and its changes. Nothing of it changes once it is open, so that threads may share it.

    Args:
        layers: the build first, then additions from old to new.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = tuple(layers)
        self._starts = list(accumulate((len(layer.documents) for layer in self.layers[:-1]), initial=0))

    @property
    def base(self) -> Layer:
        """What was built."""
        return self.layers[0]

    @property
    def has_keywords(self) -> bool:
        """Whether BM25 can be asked."""
        return self.base.keywords is not None

    def __len__(self) -> int:
        return sum(layer.live for layer in self.layers)

    def __iter__(self) -> Iterator[Document]:
        """The live documents, in order."""
        for layer in self.layers:
            for number in range(len(layer.documents)):
                if layer.gone is None or not layer.gone[number]:
                    yield layer.documents[number]

    def find(self, identifier: str) -> tuple[int, int] | None:
        """Layer and number in it of the live document with this id; None where there is none."""
        for place in reversed(range(len(self.layers))):
            number = self.layers[place].find(identifier)
            if number is not None:
                return place, number
        return None

    @property
    def metric(self) -> Metric:
        """How vectors are compared."""
        return self.base.index.metric

    def sample(self) -> list[str]:
        """A few of the texts."""
        return self.base.documents.sample()

    def prepare(self) -> None:
        """Do now what the first search would have to wait for."""
        for layer in self.layers:
            layer.index.prepare()

    def close(self) -> None:
        """Nothing: mapped files go with the object."""

    def search(
        self,
        vectors: FloatArray,
        queries: Sequence[str],
        *,
        k: int,
        hybrid: bool = False,
        where: Filter | None = None,
        texts: bool = True,
        parameters: Parameters | None = None,
    ) -> list[list[Hit]]:
        """The best documents of each query; see `Searcher.search_many`.

        Raises:
            ArgumentError: where there is a filter, which these engines do not take.
        """
        if where is not None:
            raise ArgumentError(f"engine {self.base.index.engine} cannot filter; build the index with engine qdrant")
        depth = max(k, _FUSED) if hybrid else k
        found = self.nearest(vectors, k=depth, parameters=parameters)
        if hybrid:
            terms = [self.by_keywords(query, k=depth) for query in queries]
            found = [_fused(own, other, k) for own, other in zip(found, terms, strict=True)]
        return [self.hits(scores, numbers, texts=texts) for scores, numbers in found]

    def nearest(self, vectors: FloatArray, *, k: int, parameters: Parameters | None = None) -> list[Found]:
        """The best documents of each query, shape (n, d); ``parameters`` are those of the build's engine."""
        first = self.base.nearest(vectors, k=k, parameters=parameters)
        if len(self.layers) == 1:
            return first
        others = [layer.nearest(vectors, k=k) for layer in self.layers[1:]]
        return [self._merged([own, *rest], k) for own, *rest in zip(first, *others, strict=True)]

    def by_keywords(self, query: str, *, k: int) -> Found:
        """The best documents by BM25; those that share no term with the query are none."""
        found = [layer.by_keywords(query, k=k) for layer in self.layers]
        return self._merged([(scores.tolist(), rows.tolist()) for scores, rows in found], k)

    def _merged(self, found: Sequence[Found], k: int) -> Found:
        """Results of all layers into one; of equal scores the lower number first."""
        ranked = [
            [(-score, start + number) for score, number in zip(*own, strict=True)]
            for own, start in zip(found, self._starts, strict=True)
        ]
        best = list(merge(*ranked))[:k]
        return [-score for score, _ in best], [number for _, number in best]

    def hits(self, scores: Sequence[float], numbers: Sequence[int], *, texts: bool = True) -> list[Hit]:
        """Results with their documents, best first; see `DocumentStore.hits`."""
        if len(self.layers) == 1:
            return self.base.documents.hits(scores, numbers, texts=texts)
        hits: list[Hit] = []
        for rank, (score, number) in enumerate(zip(scores, numbers, strict=True), start=1):
            place = bisect_right(self._starts, number) - 1
            documents = self.layers[place].documents
            hit = documents.hits([score], [number - self._starts[place]], texts=texts)[0]
            hits.append(replace(hit, rank=rank))
        return hits


def _fused(dense: Found, terms: Found, k: int) -> Found:
    fused = reciprocal_rank_fusion([_as_hits(dense[1]), _as_hits(terms[1])], k=k)
    return [hit.score for hit in fused], [int(hit.id) for hit in fused]


def _as_hits(numbers: Iterable[int]) -> list[Hit]:
    """Document numbers as a ranking; fusion looks at nothing else."""
    return [Hit(rank, str(number), 0.0) for rank, number in enumerate(numbers, start=1)]
