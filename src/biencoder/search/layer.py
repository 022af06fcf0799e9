"""Documents that were indexed together, and which of them are gone since."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from biencoder.data.passages import best_per_document
from biencoder.errors import CorruptError
from biencoder.index.base import Metric, Parameters, Value, VectorIndex
from biencoder.index.engines import engine_class
from biencoder.scoring import FloatArray, RowArray
from biencoder.search.documents import DocumentStore
from biencoder.search.keywords import FOLDER as KEYWORDS
from biencoder.search.keywords import KeywordIndex
from biencoder.search.vectors import OWNERS, open_owners

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

    def drop(self, number: int | RowArray) -> None:
        """Mark a document, or several, as gone; to be called before the layer is shared by threads."""
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
        if not k:
            return [([], [])] * len(vectors)

        def look(queries: list[int], fetch: int) -> list[Found]:
            scores, rows = self.index.search(vectors[queries], k=fetch, parameters=parameters)
            return [self._best_live(*own, k) for own in zip(scores, rows, strict=True)]

        return until_enough(look, len(vectors), k=k, total=len(self.index), size=lambda found: len(found[1]))

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


_Found = TypeVar("_Found")


def until_enough(
    look: Callable[[list[int], int], list[_Found]], queries: int, *, k: int, total: int, size: Callable[[_Found], int]
) -> list[_Found]:
    """Results of queries of which some of what is fetched does not count: fetch twice as much until k are left.

    Args:
        look: given numbers of queries and how much to fetch, what is left of it for each of them.
        queries: how many there are.
        k: how many results each shall have.
        total: how much there is to fetch; beyond it nothing more comes.
        size: of one query's results.

    >>> until_enough(lambda queries, fetch: [list(range(fetch // 3)) for _ in queries], 2, k=2, total=8, size=len)
    [[0, 1], [0, 1]]
    """
    waiting, fetch = list(range(queries)), k
    found = dict(zip(waiting, look(waiting, fetch), strict=True))
    while fetch < total and (waiting := [query for query in waiting if size(found[query]) < k]):
        fetch *= 2
        found.update(zip(waiting, look(waiting, fetch), strict=True))
    return [found[query] for query in range(queries)]


class LayerFacts(Protocol):
    """What a manifest says of a layer."""

    @property
    def engine(self) -> str:
        """That searches the rows."""

    @property
    def metric(self) -> Metric:
        """``cosine`` or ``dot``."""

    @property
    def parameters(self) -> dict[str, Value]:
        """Of the engine."""

    @property
    def count(self) -> int:
        """Documents."""

    @property
    def vectors(self) -> int:
        """Rows."""


def open_layer(folder: Path, manifest: LayerFacts, *, engine: Path) -> Layer:
    """Open what was built together.

    Args:
        folder: of the documents, and of owners and keywords where there are any.
        manifest: what it should hold.
        engine: folder of the engine's files.

    Raises:
        CorruptError: where the parts do not belong together.
    """
    index = engine_class(manifest.engine).load(engine, metric=manifest.metric, parameters=manifest.parameters)
    documents = DocumentStore(folder)
    if (len(index), len(documents)) != (manifest.vectors, manifest.count):
        raise CorruptError(
            f"{folder} holds {len(index)} vectors of {len(documents)} documents; its manifest says "
            f"{manifest.vectors} of {manifest.count}: build the index again"
        )
    return Layer(
        index,
        documents,
        owners=open_owners(folder) if (folder / OWNERS).exists() else None,
        keywords=KeywordIndex.load(folder / KEYWORDS) if (folder / KEYWORDS).exists() else None,
    )
