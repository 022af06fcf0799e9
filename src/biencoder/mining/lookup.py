"""Queries to rankings: through an index over the model's vectors, or by BM25; and the scores that margins compare."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from biencoder.errors import ModelError
from biencoder.index.base import Metric, VectorIndex
from biencoder.index.engines import choose_engine, engine_class
from biencoder.progress import Progress
from biencoder.scoring import FloatArray, RowArray
from biencoder.search.keywords import KeywordIndex
from biencoder.search.model import Model, comparable
from biencoder.storage.folder import flush_tree


@dataclass(frozen=True, slots=True)
class Found:
    """What a query's search gave.

    Args:
        ranking: document numbers, best first.
        score: the scores of any document numbers for this query, by the measure that margins compare.
    """

    ranking: RowArray
    score: Callable[[RowArray], FloatArray]


Lookup = Callable[[Sequence[str], int], list[Found]]
"""From queries' texts and how many documents each is to rank, to what was found."""


class ModelLookup:
    """Scores by a model's vectors; rankings by an index over them, or by BM25 where that is given.

    Args:
        model: encodes the queries.
        vectors: of the documents, shape (documents, d); may be mapped from a file.
        ranks: an index over the same rows, or BM25 over the same documents.
        metric: how the vectors are compared.
    """

    def __init__(self, model: Model, vectors: FloatArray, ranks: VectorIndex | KeywordIndex, *, metric: Metric) -> None:
        self._model = model
        self._vectors = np.asarray(vectors)  # a plain view: NumPy's memmap class is slow to slice
        self._ranks = ranks
        self._metric: Metric = metric

    def __call__(self, queries: Sequence[str], depth: int) -> list[Found]:
        """Search for all queries at once.

        Raises:
            ModelError: where a query's vector is not finite.
        """
        vectors = comparable(self._model.encode_queries(list(queries)), model=self._model, metric=self._metric)
        finite = np.isfinite(vectors).all(axis=1)
        if not finite.all():
            query = queries[int(np.argmin(finite))]
            raise ModelError(
                f"the model gave a vector that is not finite for the query {query[:60]!r}; its weights are damaged"
            )
        if isinstance(self._ranks, KeywordIndex):
            rankings = [self._ranks.search(query, k=depth)[1] for query in queries]
        else:
            rankings = list(self._ranks.search(vectors, k=depth)[1])
        return [Found(ranking, partial(self._score, vector)) for ranking, vector in zip(rankings, vectors, strict=True)]

    def _score(self, vector: FloatArray, numbers: RowArray) -> FloatArray:
        return np.asarray(self._vectors[numbers] @ vector)


class KeywordLookup:
    """Rankings and scores by BM25 alone."""

    def __init__(self, keywords: KeywordIndex) -> None:
        self._keywords = keywords

    def __call__(self, queries: Sequence[str], depth: int) -> list[Found]:
        """Search for one query after the other; what shares no term with a query is in no ranking, and its score is 0."""
        found = []
        for query in queries:
            scores, ranking = self._keywords.search(query, k=depth)
            found.append(Found(ranking, partial(self._score, query, dict(zip(ranking.tolist(), scores.tolist(), strict=True)))))
        return found

    def _score(self, query: str, known: dict[int, float], numbers: RowArray) -> FloatArray:
        if not known.keys() >= set(numbers.tolist()):
            scores, ranking = self._keywords.search(query, k=len(self._keywords))
            known.update(zip(ranking.tolist(), scores.tolist(), strict=True))
        return np.array([known.setdefault(number, 0.0) for number in numbers.tolist()], dtype=np.float32)


def open_index(vectors: FloatArray, *, metric: Metric, folder: Path, progress: Progress) -> VectorIndex:
    """An index over vectors, by the engine that their number asks for.

    A graph is kept, since two builds of it differ in a few links: mining that was interrupted goes on with the graph that it
    began with.

    Args:
        vectors: shape (n, d); may be mapped from a file.
        metric: how they are compared.
        folder: where a graph is kept, and taken from where it lies there already.
        progress: is told how much of a graph is built.
    """
    choice = choose_engine("auto", rows=len(vectors), dimension=vectors.shape[1])
    engine = engine_class(choice.engine)
    if engine.capabilities.exact:
        return engine.build(vectors, metric=metric)
    if not folder.exists():
        progress.say(f"engine {choice.engine}: {choice.reason}")
        new = folder.with_name(f"{folder.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        engine.build(vectors, metric=metric, progress=partial(progress, "graph")).save(new)
        flush_tree(new)
        new.rename(folder)
    return engine.load(folder, metric=metric, parameters={})
