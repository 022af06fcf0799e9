"""A live index: documents in a Qdrant store, added, replaced, deleted and filtered while it is searched.

Each document is one point a passage, under an id that follows from the document's own, so that adding a document again puts it
in the place of the old one. A point's payload is the document's metadata, which filters look at, and the document itself in
fields whose names begin with an underscore.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from biencoder.data.passages import PassageOptions, split_document
from biencoder.errors import ArgumentError, DataError, LockedError
from biencoder.index.base import Metric, Parameters
from biencoder.index.fields import FieldKind, infer_fields
from biencoder.index.filter_tree import Among, And, Comparison, Filter
from biencoder.index.manifest import IndexManifest
from biencoder.index.points import Point, Points, Scored, StoreOptions
from biencoder.index.qdrant_embedded import EmbeddedPoints
from biencoder.index.qdrant_server import Cluster, ServerPoints
from biencoder.progress import Progress
from biencoder.records import Document, Hit
from biencoder.scoring import FloatArray, RowArray
from biencoder.search.documents import DocumentStore
from biencoder.search.layer import until_enough
from biencoder.search.layout import LIVE_FOLDER
from biencoder.search.model import Model, comparable, metric_of
from biencoder.search.updated import Updated
from biencoder.search.vectors import passages_of
from biencoder.storage.folder import locked

_Item = TypeVar("_Item")

_NAMES = uuid.UUID("5f0b1f5e-6e3c-4ab8-9f0b-2d1c6a4d7e10")
"""The name space of point ids."""
_ID, _TITLE, _TEXT, _PART = "_id", "_title", "_text", "_part"
_OWN = frozenset({_ID, _TITLE, _TEXT, _PART})
_WINDOW = 512
"""Documents encoded and made durable together."""
_IDS = 256
"""Ids looked up or deleted together."""


@dataclass(frozen=True, slots=True)
class QdrantServer:
    """A Qdrant server or cluster in place of the embedded engine; its API key is read from ``QDRANT_API_KEY``.

    Args:
        url: such as ``http://localhost:6333``.
        shard_number: parts of the collection, each on one node; None leaves it to the server.
        replication_factor: copies of each part.

    >>> QdrantServer("http://localhost:6333", shard_number=2).cluster.shard_number
    2
    """

    url: str
    shard_number: int | None = None
    replication_factor: int = 1

    @property
    def cluster(self) -> Cluster:
        """As the store takes it."""
        return Cluster(shard_number=self.shard_number, replication_factor=self.replication_factor)


class LiveDocuments:
    """The documents of a live index.

    Args:
        points: the store.
        passages: how documents are split, if they are.
        parameters: of searches that name none.
    """

    has_keywords = False
    """BM25 is for batch indexes."""

    def __init__(self, points: Points, *, passages: PassageOptions | None = None, parameters: Parameters | None = None) -> None:
        self.points = points
        self.passages = passages
        self.parameters = dict(parameters or {})

    @property
    def metric(self) -> Metric:
        """How vectors are compared."""
        return self.points.metric

    def prepare(self) -> None:
        """Nothing: a store is ready once it is open."""

    def __len__(self) -> int:
        """Documents that are there now."""
        return self.points.count() if self.passages is None else self.points.count(Comparison(_PART, "=", 0))

    def __iter__(self) -> Iterator[Document]:
        """The documents, in the order of their points' ids."""
        for point in self.points.scroll(None if self.passages is None else Comparison(_PART, "=", 0)):
            yield document_of(point.payload)

    def sample(self) -> list[str]:
        """A few of the texts; at least one, though there may be no document."""
        return [document.content for document in islice(self, 32)] or ["empty"]

    def search(
        self,
        vectors: FloatArray,
        queries: Sequence[str],
        *,
        k: int,
        hybrid: bool = False,  # noqa: ARG002 - has_keywords says that there is none
        where: Filter | None = None,
        texts: bool = True,
        parameters: Parameters | None = None,
    ) -> list[list[Hit]]:
        """The best documents of each query that match a filter; see `Searcher.search_many`."""
        del queries
        chosen = {**self.parameters, **(parameters or {})}
        if self.passages is None:
            found = self.points.search(vectors, k=k, where=where, parameters=chosen)
        else:
            found = self._best_parts(vectors, k, where, chosen)
        return [self._hits(own, texts=texts) for own in found]

    def _best_parts(self, vectors: FloatArray, k: int, where: Filter | None, parameters: Parameters) -> list[list[Scored]]:
        """Of each document its best passage: fetch more, doubling, until there are k documents."""

        def look(queries: list[int], fetch: int) -> list[list[Scored]]:
            parts = self.points.search(vectors[queries], k=fetch, where=where, parameters=parameters)
            return [_firsts(own)[:k] for own in parts]

        return until_enough(look, len(vectors), k=k, total=self.points.count(where), size=len)

    def _hits(self, found: Sequence[Scored], *, texts: bool) -> list[Hit]:
        if not texts:
            return [Hit(rank, one.payload[_ID], one.score) for rank, one in enumerate(found, start=1)]
        later = [one.payload[_ID] for one in found if one.payload[_PART]]
        whole = {point.payload[_ID]: point.payload for point in self.points.get([point_id(name, 0) for name in later])}
        hits = []
        for rank, one in enumerate(found, start=1):
            own = document_of(whole.get(one.payload[_ID], one.payload))
            hits.append(Hit(rank, own.id, one.score, own.title, own.text, own.metadata))
        return hits

    def fill(self, store: DocumentStore, matrix: FloatArray, owners: RowArray | None, *, progress: Progress) -> None:
        """Put a whole corpus with its rows into an empty store, and build the graph."""
        starts = np.arange(len(store) + 1) if owners is None else np.searchsorted(owners, np.arange(len(store) + 1))
        for window in _windows(range(len(store)), _WINDOW):
            points: list[Point] = []
            for number in window:
                points += points_of(store[number], matrix[starts[number] : starts[number + 1]])
            self.points.upsert(points)
            progress("documents", window[-1] + 1, len(store))
        progress("graph", 0, 1)
        self.points.optimize()
        self.points.flush()
        progress("graph", 1, 1)

    def add(self, model: Model, documents: Iterable[Document], *, progress: Progress) -> Updated:
        """Encode and add documents, in place of those with the same ids; what a call that fails has added, stays.

        Raises:
            ArgumentError: where there are no documents, or metadata cannot be kept.
            DataError: where an id stands twice, or metadata has a name that is the index's own.
        """
        store = DocumentStore.temporary(documents)
        self._declare(store, progress)
        replaced = 0
        for window in _windows(range(len(store)), _WINDOW):
            chosen = [store[number] for number in window]
            there = self._there([document.id for document in chosen])
            replaced += len(there)
            self._add_window(model, chosen, there)
            self.points.flush()
            progress("documents", window[-1] + 1, len(store))
        return Updated(added=len(store) - replaced, replaced=replaced, documents=len(self))

    def _declare(self, store: DocumentStore, progress: Progress) -> None:
        """Make what is new in the metadata something that filters can look at."""
        new = {name: kind for name, kind in fields_of(store).items() if name not in self.points.fields}
        if new:
            progress.say(f"new in the metadata: {', '.join(new)}; the graph is built again, so that filters on it are right")
            self.points.add_fields(new)

    def _add_window(self, model: Model, documents: Sequence[Document], there: set[str]) -> None:
        split = self.passages
        parts = [[document.content] if split is None else split_document(document, split) for document in documents]
        vectors = model.encode_documents([text for own in parts for text in own])
        rows = iter(comparable(vectors, model=model, metric=metric_of(model)))
        points: list[Point] = []
        for document, own in zip(documents, parts, strict=True):
            points += points_of(document, np.stack(list(islice(rows, len(own)))))
        self.points.upsert(points)
        if self.passages is not None:
            for document, own in zip(documents, parts, strict=True):
                if document.id in there:  # its older version may have had more passages
                    self.points.delete_where(And((Comparison(_ID, "=", document.id), Comparison(_PART, ">=", len(own)))))

    def delete(self, ids: Iterable[str]) -> Updated:
        """Take documents out, by id."""
        wanted = list(dict.fromkeys(ids))
        unknown: list[str] = []
        for some in _windows(wanted, _IDS):
            there = self._there(some)
            unknown += [name for name in some if name not in there]
            if there:
                self.points.delete_where(Among(_ID, tuple(there)))
        self.points.flush()
        return Updated(deleted=len(wanted) - len(unknown), unknown=tuple(unknown), documents=len(self))

    def _there(self, ids: Sequence[str]) -> set[str]:
        return {point.payload[_ID] for point in self.points.get([point_id(name, 0) for name in ids])}

    def close(self) -> None:
        """Let the store go."""
        self.points.close()


def create_live(
    folder: Path,
    store: DocumentStore,
    *,
    dimension: int,
    metric: Metric,
    options: StoreOptions,
    server: tuple[QdrantServer, str] | None = None,
) -> LiveDocuments:
    """An empty live index that filters on what the documents' metadata holds.

    Args:
        folder: of the embedded store.
        store: the documents that will be put into it.
        dimension: of the vectors.
        metric: how they are compared.
        options: of the graph.
        server: with the collection's name, where it is not embedded.
    """
    fields = {**fields_of(store), _ID: FieldKind.KEYWORD, _PART: FieldKind.INTEGER}
    points: Points
    if server is None:
        points = EmbeddedPoints.create(folder, dimension=dimension, metric=metric, fields=fields, options=options)
    else:
        place, name = server
        points = ServerPoints.create(
            place.url, name, dimension=dimension, metric=metric, fields=fields, options=options, cluster=place.cluster
        )
    return LiveDocuments(points)


def open_live(folder: Path, manifest: IndexManifest) -> LiveDocuments:
    """Open the live index of a folder.

    Raises:
        LockedError: where the embedded engine has it open already; it serves one process at a time.
        StorageError: where it is not there, or the server does not answer.
    """
    parameters = {name: value for name, value in manifest.parameters.items() if name in Points.search_defaults}
    return LiveDocuments(_open_points(folder, manifest.server), passages=passages_of(manifest), parameters=parameters)


def _open_points(folder: Path, server: Mapping[str, str] | None) -> Points:
    if server is not None:
        return ServerPoints.open(server["url"], server["collection"])
    with _explained(folder):
        return EmbeddedPoints.open(folder / LIVE_FOLDER)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep everybody from an index's embedded store while the block runs.

    Raises:
        LockedError: where somebody has it open.
    """
    with _explained(folder), locked(folder / LIVE_FOLDER):
        yield


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except LockedError:
        raise LockedError(
            f"{folder} is open already; Qdrant's embedded engine serves one process at a time: close the other, or build the "
            "index in a Qdrant server (index --qdrant URL)"
        ) from None


def fields_of(documents: Iterable[Document]) -> dict[str, FieldKind]:
    """What of the documents' metadata can be filtered on.

    Raises:
        DataError: where metadata has a name that is the index's own.
    """

    def checked() -> Iterator[Any]:
        for document in documents:
            taken = sorted(_OWN.intersection(document.metadata))
            if taken:
                raise DataError(
                    f"the metadata of document {document.id!r} has a field {taken[0]!r}, which a live index keeps for itself",
                    hint="give it another name",
                )
            yield document.metadata

    return infer_fields(checked())


def _firsts(parts: Sequence[Scored]) -> list[Scored]:
    """Of each document its first passage."""
    best: dict[str, Scored] = {}
    for part in parts:
        best.setdefault(part.payload[_ID], part)
    return list(best.values())


def _windows(items: Sequence[_Item], size: int) -> Iterator[Sequence[_Item]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def point_id(identifier: str, part: int) -> str:
    """The id of a document's passage, the same everywhere.

    >>> point_id("d1", 0) == point_id("d1", 0) != point_id("d1", 1)
    True
    """
    return str(uuid.uuid5(_NAMES, f"{part}:{identifier}"))


def points_of(document: Document, rows: FloatArray) -> list[Point]:
    """A document's points, one a row; the first carries its title and text."""
    if not len(rows):
        raise ArgumentError(f"document {document.id!r} has no vector")
    found = []
    for part, row in enumerate(rows):
        payload = {**document.metadata, _ID: document.id, _PART: part}
        if not part:
            payload |= {_TITLE: document.title, _TEXT: document.text}
        found.append(Point(point_id(document.id, part), row, payload))
    return found


def document_of(payload: Any) -> Document:
    """The document that a point's payload holds."""
    metadata = {name: value for name, value in payload.items() if name not in _OWN}
    return Document(payload[_ID], payload.get(_TEXT, ""), payload.get(_TITLE, ""), metadata)
