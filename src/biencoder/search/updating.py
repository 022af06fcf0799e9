"""Documents added to an index folder, and taken out of it, found and missed at once by whoever opens or refreshes it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from biencoder.errors import ArgumentError
from biencoder.index.engines import choose_engine, engine_class
from biencoder.index.manifest import IndexManifest
from biencoder.progress import Progress
from biencoder.scoring import RowArray
from biencoder.search.canaries import Canaries
from biencoder.search.changes import (
    Change,
    ChangeManifest,
    change_folders,
    last_change,
    new_change,
    remove_covered,
    save_engine,
    with_changes,
    write_change_manifest,
    write_removals,
)
from biencoder.search.documents import DocumentStore, write_documents
from biencoder.search.encoding import encode
from biencoder.search.keywords import FOLDER as KEYWORDS
from biencoder.search.layers import Layers
from biencoder.search.layout import LIVE, MODEL
from biencoder.search.live import LiveDocuments, open_live
from biencoder.search.model import Model
from biencoder.search.opening import open_base
from biencoder.search.sources import Source, write_sources
from biencoder.search.updated import Updated
from biencoder.search.vectors import passages_of
from biencoder.storage.folder import explain_os_errors, flush_directory, flush_tree, locked, remove_folder
from biencoder.storage.vectors import open_vectors

if TYPE_CHECKING:
    from biencoder.data.documents import Documents
    from biencoder.records import Document

_GROWTH = 2
"""A change takes those before it into its own while they are at most so many times as large as what it holds by then."""


def add_documents(
    path: str | os.PathLike[str], documents: Documents, *, model: Model | None = None, progress: Progress | None = None
) -> Updated:
    """Add documents to an index; one whose id is there already takes the other's place.

    When this returns, they are on the disk, and every search that opens or refreshes the index finds them, by vectors and by
    keywords. An interrupted call adds nothing, and the same call goes on with its encoding.

    Args:
        path: the index folder.
        documents: may be larger than memory; read more than once, so not a generator.
        model: encodes them; by default the one that lies in the index.
        progress: is told what is done.

    Raises:
        ArgumentError: where there are no documents.
        DataError: where an id stands twice.
        IdentityError: where the model's document side is not the one that made the index.
        ModelError: where it gives other vectors than it gave then.
        StorageError: where the folder is no index, or cannot be written.
        LockedError: where another process is writing it.
    """
    target = Path(path).absolute()
    told = progress or Progress()
    with explain_os_errors(target), locked(target):
        manifest = IndexManifest.read(target)
        own = model or _own_model(target)
        own.identity.check_documents(manifest.identity, what=str(target))
        if manifest.engine == LIVE:
            with closing(open_live(target, manifest)) as live:
                return add_live(live, documents, folder=target, model=own, progress=told)
        update = _Update(target, manifest, told)
        check_encoding(own, update.layers, folder=target, progress=told)
        work = target.with_name(f".{target.name}.added")
        work.mkdir(exist_ok=True)
        count, _ = write_documents(work, documents)
        store = DocumentStore(work)
        encode(own, store, out=work / "vectors", passages=passages_of(manifest), progress=told)
        replaced = update.write([store.id(number) for number in range(count)], Source.encoded(store, work / "vectors"))
        remove_folder(work)
        return Updated(added=count - replaced, replaced=replaced, documents=update.documents + count - replaced)


def delete_documents(path: str | os.PathLike[str], ids: Iterable[str], *, progress: Progress | None = None) -> Updated:
    """Take documents out of an index; ids that are not there are told, and do no harm.

    When this returns, it is on the disk. The documents' bytes go with `compact_index`.

    Raises:
        StorageError: where the folder is no index, or cannot be written.
        LockedError: where another process is writing it.
    """
    if isinstance(ids, str):
        raise ArgumentError("one string was given in place of ids; put it in a list")
    target = Path(path).absolute()
    with explain_os_errors(target), locked(target):
        manifest = IndexManifest.read(target)
        if manifest.engine == LIVE:
            with closing(open_live(target, manifest)) as live:
                return live.delete(ids)
        update = _Update(target, manifest, progress or Progress())
        wanted = list(dict.fromkeys(ids))
        unknown = tuple(identifier for identifier in wanted if update.layers.find(identifier) is None)
        deleted = update.write(wanted, None) if len(unknown) < len(wanted) else 0
        return Updated(deleted=deleted, unknown=unknown, documents=update.documents - deleted)


def add_live(live: LiveDocuments, documents: Iterable[Document], *, folder: Path, model: Model, progress: Progress) -> Updated:
    """Add documents to an open live index; see `add_documents`."""
    check_encoding(model, live, folder=folder, progress=progress)
    return live.add(model, documents, progress=progress)


def check_encoding(model: Model, there: Layers | LiveDocuments, *, folder: Path, progress: Progress) -> None:
    """Make the model ready, and make sure that it encodes documents as it did when the index was built.

    Raises:
        ModelError: where it does not.
    """
    model.prepare(there.sample(), say=progress.say)
    Canaries.read(folder).check_documents(model, what=str(folder))


def _own_model(folder: Path) -> Model:
    from biencoder.towers.bi_encoder import BiEncoder

    return BiEncoder.load(folder / MODEL)


class _Update:
    """One change being written, under the index's lock."""

    def __init__(self, folder: Path, manifest: IndexManifest, progress: Progress) -> None:
        self.folder = folder
        self.progress = progress
        self.manifest = manifest
        self.changes = [Change(path) for path in change_folders(folder)]
        self.layers = Layers(with_changes(open_base(folder, manifest), self.changes))
        self.documents = len(self.layers)

    def write(self, ids: Sequence[str], source: Source | None) -> int:
        """Make a change of documents that come or go, with small ones before it taken in.

        Args:
            ids: of documents that are gone, because they are deleted or replaced.
            source: documents that are added, if any.

        Returns:
            How many documents are gone.
        """
        merged = self._merged(len(ids))
        first_own = len(self.changes) - len(merged)
        own_layers = sum(change.manifest.count > 0 for change in self.changes[:first_own])
        gone, replaced, count = self._removals(ids, 1 + own_layers)
        gone = np.unique(np.concatenate([gone, *(change.gone() for change in merged)]))
        replaced += [one for change in merged for one in change.replaced() if self._is_before(one, 1 + own_layers)]
        taken = self.layers.layers[1 + own_layers :]
        paths = [change.path for change in merged if change.manifest.count]
        sources = [Source.live(layer, open_vectors(path)) for layer, path in zip(taken, paths, strict=True)]
        sources += [] if source is None else [source]
        self._commit([own for own in sources if own.count], gone, list(dict.fromkeys(replaced)), merged)
        return count

    def _merged(self, size: int) -> list[Change]:
        """The last changes that are small enough to be taken in."""
        taken = 0
        for change in reversed(self.changes):
            own = change.size
            if own > _GROWTH * size:
                break
            size += own
            taken += 1
        return self.changes[len(self.changes) - taken :]

    def _removals(self, ids: Sequence[str], own: int) -> tuple[RowArray, list[str], int]:
        """Which documents of the build and of changes that stay are gone; those of layers from ``own`` on are marked."""
        gone: list[int] = []
        replaced: list[str] = []
        count = 0
        for identifier in ids:
            found = self.layers.find(identifier)
            if found is None:
                continue
            place, number = found
            count += 1
            if place == 0:
                gone.append(number)
            elif place < own:
                replaced.append(identifier)
            self.layers.layers[place].drop(number)
        return np.array(gone, dtype=np.int64), replaced, count

    def _is_before(self, identifier: str, own: int) -> bool:
        return any(layer.documents.find(identifier) is not None for layer in self.layers.layers[1:own])

    def _commit(self, sources: Sequence[Source], gone: RowArray, replaced: Sequence[str], merged: Sequence[Change]) -> None:
        new = new_change(self.folder)
        write_removals(new, gone=gone, replaced=replaced)
        first = merged[0].manifest.first if merged else 0
        last = last_change([change.path for change in self.changes]) + 1
        manifest = ChangeManifest(first or last, last, metric=self.manifest.metric, gone=len(gone))
        if sources:
            manifest = self._write_documents(new, sources, manifest)
        place = write_change_manifest(new, manifest)
        flush_tree(new)
        new.rename(place)
        flush_directory(place.parent)  # with this, the change is acknowledged
        flush_directory(self.folder)
        remove_covered(self.folder)

    def _write_documents(self, new: Path, sources: Sequence[Source], manifest: ChangeManifest) -> ChangeManifest:
        count, _, matrix = write_sources(new, sources, passages=self.manifest.passages is not None)
        choice = choose_engine("auto", rows=len(matrix), dimension=matrix.shape[1])
        index = engine_class(choice.engine).build(matrix, metric=self.manifest.metric, progress=partial(self.progress, "graph"))
        save_engine(new, index)
        keywords = self.layers.base.keywords
        if keywords is not None:
            keywords.build_beside(document.content for document in DocumentStore(new)).save(new / KEYWORDS)
        return replace(manifest, count=count, vectors=len(index), engine=index.engine, parameters=index.parameters)
