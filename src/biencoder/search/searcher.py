"""Text to hits: encode the query, find the nearest rows, show their documents; with keywords beside where asked."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Self

import numpy as np

from biencoder.errors import ArgumentError
from biencoder.index.base import Parameters
from biencoder.index.exact import ExactIndex
from biencoder.index.filters import Filter, parse_filter
from biencoder.index.manifest import IndexManifest
from biencoder.progress import Progress
from biencoder.records import Hit
from biencoder.search.canaries import Canaries
from biencoder.search.documents import DocumentStore
from biencoder.search.keywords import KeywordIndex
from biencoder.search.layer import Layer
from biencoder.search.layers import Layers
from biencoder.search.layout import MODEL
from biencoder.search.live import LiveDocuments
from biencoder.search.model import Model, comparable, metric_of
from biencoder.search.opening import Opened, open_index
from biencoder.search.queries import check_queries
from biencoder.search.updated import Updated
from biencoder.search.updating import add_documents, add_live, delete_documents

if TYPE_CHECKING:
    from biencoder.data.documents import Documents

_ENCODED = 4096
"""Documents encoded in one call for a search in memory."""


class Searcher:
    """An open index with its model. Searches may come from many threads at once.

    ```python
    searcher = Searcher.open("index")
    searcher.search("does aspirin lower cancer risk?", k=10)        # [Hit(rank=1, id=..., score=..., title=..., text=...), ...]
    searcher.search("aspirin", k=10, hybrid=True)                   # vectors and BM25, fused by rank
    ```

    Attributes:
        model: encodes the queries.
    """

    def __init__(self, model: Model, documents: Layers | LiveDocuments, *, opened: Opened | None = None) -> None:
        self.model = model
        self._documents = documents
        self._opened = opened

    @property
    def path(self) -> Path | None:
        """The index folder, or None for a search in memory."""
        return None if self._opened is None else self._opened.folder

    @property
    def manifest(self) -> IndexManifest | None:
        """What the folder says of itself, or None for a search in memory."""
        return None if self._opened is None else self._opened.manifest

    @property
    def documents(self) -> Layers | LiveDocuments:
        """What can be found: the documents that are there now; they can be counted and iterated over."""
        return self._documents

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        model: Model | None = None,
        precision: str = "exact",
        runtime: str = "torch",
        threads: int | None = None,
        say: Callable[[str], None] | None = None,
    ) -> Searcher:
        """Open an index folder, and make sure that its queries are encoded here as they were where it was built.

        Args:
            path: what `build_index` wrote.
            model: encodes the queries; by default the model that lies in the index. Another query side trained for the same
                document side is welcome.
            precision: how the index's own model is run: ``exact``, ``fast`` or ``int8``.
            runtime: what it is run by: ``torch``, ``openvino``, ``onnx`` or ``auto``; it need not be what made the vectors.
            threads: on processors; None takes this process's share of the machine.
            say: is told which runtime was chosen, where that is open.

        Raises:
            StorageError: where the folder is no index.
            CorruptError: where it is damaged.
            IdentityError: where the model's document side is not the one that made the vectors; names both.
            ModelError: where the model gives other vectors here than it gave when the index was built.
        """
        opened = open_index(Path(path))
        Thread(target=opened.documents.prepare).start()  # while the model is loaded; the first search waits for it
        if model is None:
            from biencoder.towers.bi_encoder import BiEncoder

            model = BiEncoder.load(opened.folder / MODEL, precision=precision, runtime=runtime, threads=threads)
        _check_model(model, opened, say)
        return cls(model, opened.documents, opened=opened)

    def refresh(self) -> bool:
        """Take in what changed in the folder since it was opened: documents added or deleted, or a new index in its place.

        Searches under way end with what they began with. Costs a look at the folder where nothing has changed.

        Returns:
            Whether something had changed.

        Raises:
            IdentityError: where the index is now that of another model.
        """
        if self._opened is None or self._opened.is_current():
            return False
        opened = open_index(self._opened.folder)
        _check_model(self.model, opened, None)
        opened.keep_index(self._opened)
        opened.documents.prepare()
        self._documents, self._opened = opened.documents, opened
        return True

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
        model.prepare(store.sample(), say=progress.say if progress else None)
        matrix = np.empty((len(store), model.dimension), dtype=np.float32)
        metric = metric_of(model)
        for start in range(0, len(store), _ENCODED):
            texts = [store[number].content for number in range(start, min(start + _ENCODED, len(store)))]
            told = partial(_tell, progress or Progress(), start, len(store))
            vectors = model.encode_documents(texts, progress=told)
            matrix[start : start + len(texts)] = comparable(vectors, model=model, metric=metric)
        index = ExactIndex.build(matrix, metric=metric)
        terms = KeywordIndex.build(document.content for document in store) if keywords else None
        return cls(model, Layers([Layer(index, store, keywords=terms)]))

    def __len__(self) -> int:
        return len(self._documents)

    def search(
        self,
        query: str,
        *,
        k: int = 10,
        hybrid: bool = False,
        where: str | Filter | None = None,
        texts: bool = True,
        parameters: Parameters | None = None,
    ) -> list[Hit]:
        """The best documents for one query; see `search_many`."""
        return self.search_many([query], k=k, hybrid=hybrid, where=where, texts=texts, parameters=parameters)[0]

    def search_many(
        self,
        queries: Sequence[str],
        *,
        k: int = 10,
        hybrid: bool = False,
        where: str | Filter | None = None,
        texts: bool = True,
        parameters: Parameters | None = None,
    ) -> list[list[Hit]]:
        """The best documents for each query, best first.

        Args:
            queries: encoded together by one call.
            k: how many hits a query; more than there are documents gives all of them.
            hybrid: fuse with BM25 by reciprocal rank; the scores are then those of the fusion.
            where: what the documents' metadata must match, such as ``year >= 2020 and lang in (en, de)``; live indexes alone
                take it.
            texts: whether hits carry title, text and metadata, or their ids alone.
            parameters: search parameters of the engine, for this call.

        Raises:
            ArgumentError: where k is below 1, a query is empty, a parameter is unknown, or the index has no keywords.
        """
        check_queries(queries, k=k)
        documents = self._documents  # one state of the index for the whole search, whoever refreshes it meanwhile
        if hybrid and not documents.has_keywords:
            raise ArgumentError("hybrid search needs keywords, and this index has none; build it with keywords")
        if not queries:
            return []
        found = parse_filter(where) if isinstance(where, str) else where
        vectors = comparable(self.model.encode_queries(list(queries)), model=self.model, metric=documents.metric)
        return documents.search(vectors, queries, k=k, hybrid=hybrid, where=found, texts=texts, parameters=parameters)

    def add(self, documents: Documents, *, progress: Progress | None = None) -> Updated:
        """Add documents to the index, encoded by this searcher's model; see `biencoder.search.add_documents`.

        Raises:
            ArgumentError: for a search in memory, which has no folder.
        """
        folder = self._changeable()
        if not isinstance(self._documents, Layers):
            return add_live(self._documents, documents, folder=folder, model=self.model, progress=progress or Progress())
        done = add_documents(folder, documents, model=self.model, progress=progress)
        self.refresh()
        return done

    def delete(self, ids: Iterable[str]) -> Updated:
        """Take documents out of the index; see `biencoder.search.delete_documents`.

        Raises:
            ArgumentError: for a search in memory, which has no folder.
        """
        folder = self._changeable()
        if not isinstance(self._documents, Layers):
            return self._documents.delete(ids)
        done = delete_documents(folder, ids)
        self.refresh()
        return done

    def _changeable(self) -> Path:
        if self._opened is None:
            raise ArgumentError("a search in memory has no folder to change; build an index")
        return self._opened.folder

    def close(self) -> None:
        """Let go of a live index, which the embedded engine gives to one process at a time; others need no closing."""
        self._documents.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _check_model(model: Model, opened: Opened, say: Callable[[str], None] | None) -> None:
    """Make sure that a model may search an index, and that its queries are encoded here as they were there."""
    model.identity.check_documents(opened.manifest.identity, what=str(opened.folder))
    model.prepare(opened.documents.sample(), say=say)
    if model.identity.query == opened.manifest.identity.query:
        Canaries.read(opened.folder).check_queries(model, what=str(opened.folder))


def _tell(progress: Progress, before: int, total: int, done: int) -> None:
    progress("encoding", before + done, total)
