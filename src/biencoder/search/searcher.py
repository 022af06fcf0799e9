"""Text to hits: encode the query, find the nearest rows, show their documents; with keywords beside where asked."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from biencoder.data.passages import best_per_document
from biencoder.errors import ArgumentError, CorruptError
from biencoder.index.base import Parameters, VectorIndex
from biencoder.index.engines import engine_class
from biencoder.index.exact import ExactIndex
from biencoder.index.manifest import IndexManifest
from biencoder.progress import Progress
from biencoder.records import Hit
from biencoder.scoring import FloatArray, RowArray
from biencoder.search.documents import DocumentStore
from biencoder.search.fusion import reciprocal_rank_fusion
from biencoder.search.keywords import FOLDER as KEYWORDS
from biencoder.search.keywords import KeywordIndex
from biencoder.search.model import Model, comparable, metric_of
from biencoder.search.queries import check_queries
from biencoder.search.vectors import OWNERS, open_owners

if TYPE_CHECKING:
    from biencoder.data.documents import Documents

ENGINE = "engine"
"""Where an engine's files lie in an index folder."""
MODEL = "model"
"""Where the model lies in an index folder."""

_FUSED = 100
"""Candidates that each side gives to a hybrid search, or k where that is more."""
_ENCODED = 4096
"""Documents encoded in one call for a search in memory."""
_SAMPLE = 32
"""Documents that a runtime is chosen on, where that is open."""

Found = tuple[list[float], list[int]]
"""Scores and document numbers of one query, best first."""


class Searcher:
    """An open index with its model. Searches may come from many threads at once.

    ```python
    searcher = Searcher.open("index")
    searcher.search("does aspirin lower cancer risk?", k=10)        # [Hit(rank=1, id=..., score=..., title=..., text=...), ...]
    searcher.search("aspirin", k=10, hybrid=True)                   # vectors and BM25, fused by rank
    ```

    Attributes:
        path: the index folder, or None for a search in memory.
        manifest: what the folder says of itself, or None for a search in memory.
        model: encodes the queries.
        index: the engine.
        documents: by number.
    """

    def __init__(
        self,
        model: Model,
        index: VectorIndex,
        documents: DocumentStore,
        *,
        owners: RowArray | None = None,
        keywords: KeywordIndex | None = None,
        path: Path | None = None,
        manifest: IndexManifest | None = None,
    ) -> None:
        self.model = model
        self.index = index
        self.documents = documents
        self.path = path
        self.manifest = manifest
        self._owners = owners
        self._keywords = keywords

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        model: Model | None = None,
        precision: str = "exact",
        runtime: str = "torch",
        threads: int | None = None,
    ) -> Searcher:
        """Open an index folder.

        Args:
            path: what `build_index` wrote.
            model: encodes the queries; by default the model that lies in the index. Another query side trained for the same
                document side is welcome.
            precision: how the index's own model is run: ``exact``, ``fast`` or ``int8``.
            runtime: what it is run by: ``torch``, ``openvino``, ``onnx`` or ``auto``; it need not be what made the vectors.
            threads: on processors; None takes this process's share of the machine.

        Raises:
            StorageError: where the folder is no index.
            CorruptError: where it is damaged.
            IdentityError: where the model's document side is not the one that made the vectors; names both.
        """
        folder = Path(path)
        manifest = IndexManifest.read(folder)
        if model is None:
            from biencoder.towers.bi_encoder import BiEncoder

            model = BiEncoder.load(folder / MODEL, precision=precision, runtime=runtime, threads=threads)
        model.identity.check_documents(manifest.identity, what=str(folder))
        index = engine_class(manifest.engine).load(folder / ENGINE, metric=manifest.metric, parameters=manifest.parameters)
        documents = DocumentStore(folder)
        if (len(index), len(documents)) != (manifest.vectors, manifest.count):
            raise CorruptError(
                f"{folder} holds {len(index)} vectors of {len(documents)} documents; its manifest says "
                f"{manifest.vectors} of {manifest.count}: build the index again"
            )
        return cls(
            model,
            index,
            documents,
            owners=open_owners(folder) if (folder / OWNERS).exists() else None,
            keywords=KeywordIndex.load(folder / KEYWORDS) if manifest.keywords else None,
            path=folder,
            manifest=manifest,
        )

    @classmethod
    def in_memory(
        cls, model: Model, documents: Documents, *, keywords: bool = False, progress: Progress | None = None
    ) -> Searcher:
        """Search documents exactly, without an index folder: for evaluating a model.

        The vectors are kept in memory, the documents in a temporary file.

        Args:
            model: encodes documents and queries.
            documents: read once.
            keywords: build a BM25 index too, for hybrid search.
            progress: is told how many documents are encoded.

        Raises:
            ArgumentError: where there are no documents.
            DataError: where an id stands twice.
        """
        store = DocumentStore.temporary(documents)
        model.prepare(_sample(store), say=progress.say if progress else None)
        matrix = np.empty((len(store), model.dimension), dtype=np.float32)
        metric = metric_of(model)
        for start in range(0, len(store), _ENCODED):
            texts = [store[number].content for number in range(start, min(start + _ENCODED, len(store)))]
            told = partial(_tell, progress or Progress(), start, len(store))
            vectors = model.encode_documents(texts, progress=told)
            matrix[start : start + len(texts)] = comparable(vectors, model=model, metric=metric)
        index = ExactIndex.build(matrix, metric=metric)
        terms = KeywordIndex.build(document.content for document in store) if keywords else None
        return cls(model, index, store, keywords=terms)

    def __len__(self) -> int:
        return len(self.documents)

    def prepare(self, *, say: Callable[[str], None] | None = None) -> None:
        """Do now what the first search would wait for: choose a runtime where that is open, export, compile.

        Args:
            say: is told what was decided.
        """
        self.model.prepare(_sample(self.documents), say=say)
        self.model.encode_queries(["warm"])

    def search(
        self,
        query: str,
        *,
        k: int = 10,
        hybrid: bool = False,
        texts: bool = True,
        parameters: Parameters | None = None,
    ) -> list[Hit]:
        """The best documents for one query; see `search_many`."""
        return self.search_many([query], k=k, hybrid=hybrid, texts=texts, parameters=parameters)[0]

    def search_many(
        self,
        queries: Sequence[str],
        *,
        k: int = 10,
        hybrid: bool = False,
        texts: bool = True,
        parameters: Parameters | None = None,
    ) -> list[list[Hit]]:
        """The best documents for each query, best first.

        Args:
            queries: encoded together by one call.
            k: how many hits a query; more than there are documents gives all of them.
            hybrid: fuse with BM25 by reciprocal rank; the scores are then those of the fusion.
            texts: whether hits carry title, text and metadata, or their ids alone.
            parameters: search parameters of the engine, for this call.

        Raises:
            ArgumentError: where k is below 1, a query is empty, a parameter is unknown, or the index has no keywords.
        """
        check_queries(queries, k=k)
        if hybrid and self._keywords is None:
            raise ArgumentError("hybrid search needs keywords, and this index has none; build it with keywords")
        if not queries:
            return []
        depth = max(k, _FUSED) if hybrid else k
        vectors = comparable(self.model.encode_queries(list(queries)), model=self.model, metric=self.index.metric)
        found = self._nearest(vectors, depth, parameters)
        if hybrid:
            found = [self._fuse(query, own, k, depth) for query, own in zip(queries, found, strict=True)]
        return [self.documents.hits(scores, numbers, texts=texts) for scores, numbers in found]

    def _nearest(self, vectors: FloatArray, k: int, parameters: Parameters | None) -> list[Found]:
        if self._owners is None:
            scores, rows = self.index.search(vectors, k=k, parameters=parameters)
            return list(zip(scores.tolist(), rows.tolist(), strict=True))
        return self._nearest_owners(self._owners, vectors, min(k, len(self.documents)), parameters)

    def _nearest_owners(self, owners: RowArray, vectors: FloatArray, k: int, parameters: Parameters | None) -> list[Found]:
        """Rows are passages: fetch more of them, doubling, until k documents are among them."""
        found: list[Found] = [([], [])] * len(vectors)
        waiting = list(range(len(vectors)))
        fetch = k
        while waiting:
            scores, rows = self.index.search(vectors[waiting], k=fetch, parameters=parameters)
            for query, own_scores, own_rows in zip(waiting, scores, rows, strict=True):
                best, documents = best_per_document(owners, own_scores, own_rows, k=k)
                found[query] = best.tolist(), documents.tolist()
            waiting = [query for query in waiting if len(found[query][1]) < k] if fetch < len(self.index) else []
            fetch *= 2
        return found

    def _fuse(self, query: str, dense: Found, k: int, depth: int) -> Found:
        assert self._keywords is not None  # noqa: S101 - checked by search_many
        _, rows = self._keywords.search(query, k=depth)
        rankings = [_as_hits(dense[1]), _as_hits(rows.tolist())]
        fused = reciprocal_rank_fusion(rankings, k=k)
        return [hit.score for hit in fused], [int(hit.id) for hit in fused]


def _sample(store: DocumentStore) -> list[str]:
    """A few dozen of the documents' texts, from all over the corpus."""
    return [store[number].content for number in range(0, len(store), max(1, len(store) // _SAMPLE))][:_SAMPLE]


def _tell(progress: Progress, before: int, total: int, done: int) -> None:
    progress("encoding", before + done, total)


def _as_hits(numbers: Iterable[int]) -> list[Hit]:
    """Document numbers as a ranking; fusion looks at nothing else."""
    return [Hit(rank, str(number), 0.0) for rank, number in enumerate(numbers, start=1)]
