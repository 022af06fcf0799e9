"""Documents that were indexed together, and which of them are gone since."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from biencoder.data.passages import best_per_document
from biencoder.index.base import Parameters, VectorIndex
from biencoder.scoring import FloatArray, RowArray
from biencoder.search.documents import DocumentStore
from biencoder.search.keywords import KeywordIndex

Found = tuple[list[float], list[int]]
"""Scores and document numbers of one query, best first."""


@dataclass(slots=True)
class Layer:
    """Vectors, documents and keywords of one build.

    Attributes:
        index: the engine.
        documents: by number.
        owners: the document of each row; None where each row is one.
        keywords: where there are any.
        gone: true for each document that was deleted or replaced since; None where none was.
    """

    index: VectorIndex
    documents: DocumentStore
    owners: RowArray | None = None
    keywords: KeywordIndex | None = None
    gone: NDArray[np.bool_] | None = None

    @property
    def live(self) -> int:
        """Documents that are not gone."""
        return len(self.documents) - (0 if self.gone is None else int(self.gone.sum()))

    def find(self, identifier: str) -> int | None:
        """The number of the live document with this id, if there is one."""
        number = self.documents.find(identifier)
        return None if number is None or (self.gone is not None and self.gone[number]) else number

    def drop(self, number: int) -> None:
        """Mark a document as gone; to be called before the layer is shared by threads."""
        if self.gone is None:
            self.gone = np.zeros(len(self.documents), dtype=np.bool_)
        self.gone[number] = True

    def nearest(self, vectors: FloatArray, *, k: int, parameters: Parameters | None = None) -> list[Found]:
        """The best live documents of each query.

        Args:
            vectors: of the queries, shape (n, d).
            k: how many; fewer where there are fewer.
            parameters: search parameters of the engine.
        """
        if self.owners is None and self.gone is None:
            scores, rows = self.index.search(vectors, k=k, parameters=parameters)
            return list(zip(scores.tolist(), rows.tolist(), strict=True))
        return self._nearest_live(vectors, min(k, self.live), parameters)

    def _nearest_live(self, vectors: FloatArray, k: int, parameters: Parameters | None) -> list[Found]:
        """Rows can be passages, and documents gone: fetch more of them, doubling, until k live documents are among them."""
        found: list[Found] = [([], [])] * len(vectors)
        waiting = list(range(len(vectors))) if k else []
        fetch = k
        while waiting:
            scores, rows = self.index.search(vectors[waiting], k=fetch, parameters=parameters)
            for query, own_scores, own_rows in zip(waiting, scores, rows, strict=True):
                found[query] = self._best_live(own_scores, own_rows, k)
            waiting = [query for query in waiting if len(found[query][1]) < k] if fetch < len(self.index) else []
            fetch *= 2
        return found

    def _best_live(self, scores: FloatArray, rows: RowArray, k: int) -> Found:
        if self.gone is not None:
            own = rows if self.owners is None else self.owners[rows]
            there = ~self.gone[own]
            scores, rows = scores[there], rows[there]
        if self.owners is not None:
            scores, rows = best_per_document(self.owners, scores, rows, k=k)
        return scores[:k].tolist(), rows[:k].tolist()

    def by_keywords(self, query: str, *, k: int) -> tuple[FloatArray, RowArray]:
        """BM25 scores and numbers of the best live documents that share a term with the query."""
        assert self.keywords is not None  # noqa: S101 - the searcher looks before it asks
        return self.keywords.search(query, k=k, without=self.gone)
