"""An index folder's parts, opened while others may change it or put another in its place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from biencoder.errors import StorageError
from biencoder.index.manifest import IndexManifest
from biencoder.search.changes import Change, change_folders, with_changes
from biencoder.search.layer import Layer, open_layer
from biencoder.search.layers import Layers
from biencoder.search.layout import ENGINE, LIVE
from biencoder.search.live import LiveDocuments, open_live
from biencoder.storage.manifest import NAME

_ATTEMPTS = 20
"""Openings that others may disturb, one after the other, by changing the folder in the midst of them."""


@dataclass(frozen=True, slots=True)
class Opened:
    """An index folder at one moment.

    Attributes:
        folder: where it lies.
        manifest: of what was built.
        documents: what can be found: what was built, with its changes.
        state: what tells this moment from any other.
    """

    folder: Path
    manifest: IndexManifest
    documents: Layers | LiveDocuments
    state: tuple[object, ...]

    def is_current(self) -> bool:
        """Whether the folder is still as it was."""
        return self.state == _state(self.folder)

    def keep_index(self, before: Opened) -> None:
        """Where what was built is still the same, go on with the index that was open before, and what it has prepared."""
        if self.state[:2] == before.state[:2] and isinstance(self.documents, Layers) and isinstance(before.documents, Layers):
            self.documents.base.index = before.documents.base.index


def open_index(folder: Path) -> Opened:
    """Open an index folder as it is at one moment.

    Raises:
        StorageError: where the folder is no index.
        CorruptError: where it is damaged.
    """
    for _ in range(_ATTEMPTS):
        before = _state(folder)
        try:
            manifest = IndexManifest.read(folder)
            documents = _open_documents(folder, manifest)
        except (StorageError, OSError):
            if before == _state(folder):
                raise
        else:
            if before == _state(folder):
                return Opened(folder, manifest, documents, before)
            documents.close()
    raise StorageError(f"{folder}: it is changed again and again while it is opened; open it when less is written")


def _open_documents(folder: Path, manifest: IndexManifest) -> Layers | LiveDocuments:
    if manifest.engine == LIVE:
        return open_live(folder, manifest)
    return open_layers(folder, manifest)


def open_layers(folder: Path, manifest: IndexManifest) -> Layers:
    """A batch index: what was built, and its changes."""
    changes = [Change(path) for path in change_folders(folder)]
    return Layers(with_changes(open_base(folder, manifest), changes))


def _state(folder: Path) -> tuple[object, ...]:
    """The manifest's file, by its number and time, and the names of the changes."""
    try:
        found = (folder / NAME).stat()
    except OSError:
        return ()
    try:
        return found.st_ino, found.st_mtime_ns, *(path.name for path in change_folders(folder))
    except OSError:  # removed between two looks
        return found.st_ino, found.st_mtime_ns, None


def open_base(folder: Path, manifest: IndexManifest) -> Layer:
    """What was built, without what changed since.

    Raises:
        CorruptError: where the parts do not belong together.
    """
    return open_layer(folder, manifest, engine=folder / ENGINE)
