"""What changed since an index was built, in its folder `changes`: one folder a change, whole or absent.

A change holds documents that were added, with their vectors and keywords, and says which earlier ones are gone. Its folder is
written beside its place, flushed and renamed; with that the change is acknowledged. Folders are named by the numbers of the
changes in them, `first-last`: a later change takes small ones before it into its own, so that there are never many
(the logarithmic method of Bentley and Saxe, 1980), and a folder whose numbers another one covers counts no more.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from biencoder.errors import CorruptError
from biencoder.index.base import Metric, Value, VectorIndex
from biencoder.scoring import RowArray
from biencoder.search.layer import Layer, open_layer
from biencoder.search.layout import ENGINE
from biencoder.storage.lines import Lines, LineWriter
from biencoder.storage.manifest import read_manifest, write_manifest

FOLDER = "changes"
"""Where changes lie in an index folder."""
KIND = "changes"
VERSION = 1

_GONE = "gone.npy"
_REPLACED = "replaced"
_NAME = re.compile(r"(\d{8})-(\d{8})")


@dataclass(frozen=True, slots=True)
class ChangeManifest:
    """The facts of a change.

    Args:
        first: number of the first change in it.
        last: number of the last.
        metric: ``cosine`` or ``dot``.
        gone: documents of the build that it takes away.
        count: documents that it holds.
        vectors: rows of them.
        engine: that searches its rows; empty where it has none.
        parameters: of the engine.
    """

    first: int
    last: int
    metric: Metric
    gone: int
    count: int = 0
    vectors: int = 0
    engine: str = ""
    parameters: dict[str, Value] = field(default_factory=dict)


class Change:
    """An open change.

    Raises:
        StorageError: where the folder is none.
        CorruptError: where it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        fields = read_manifest(path, kind=KIND, version=VERSION).fields
        try:
            self.manifest = ChangeManifest(**fields)
        except TypeError as error:
            raise CorruptError(f"{path}: the manifest's fields are not those of a change ({error})") from None

    @property
    def size(self) -> int:
        """Documents added and taken away."""
        return self.manifest.count + self.manifest.gone + len(self.replaced())

    def gone(self) -> RowArray:
        """Numbers of the build's documents that it takes away."""
        found: RowArray = np.load(self.path / _GONE, allow_pickle=False)
        return found

    def replaced(self) -> Lines:
        """Ids of documents of earlier changes that it takes away."""
        return Lines(self.path, _REPLACED)

    def layer(self) -> Layer | None:
        """The documents that it adds; None where it only takes away."""
        if not self.manifest.count:
            return None
        # Exact search reads the vectors themselves, which lie in the folder for whoever takes the change in.
        engine = self.path if self.manifest.engine == "exact" else self.path / ENGINE
        return open_layer(self.path, self.manifest, engine=engine)


def change_folders(index: Path) -> list[Path]:
    """The changes of an index folder that count, in order."""
    place = index / FOLDER
    names = sorted(path.name for path in place.iterdir() if _NAME.fullmatch(path.name)) if place.is_dir() else []
    spans = sorted((_span(name) for name in names), key=lambda span: (span[0], -span[1]))
    kept: list[tuple[int, int]] = []
    for first, last in spans:
        if not kept or last > kept[-1][1]:
            kept.append((first, last))
    return [place / _name(first, last) for first, last in kept]


def last_change(folders: Sequence[Path]) -> int:
    """The number of the last change, 0 where there is none."""
    return _span(folders[-1].name)[1] if folders else 0


def _span(name: str) -> tuple[int, int]:
    first, last = name.split("-")
    return int(first), int(last)


def _name(first: int, last: int) -> str:
    return f"{first:08d}-{last:08d}"


def new_change(index: Path) -> Path:
    """An empty folder to write a change into; what killed writers left is removed. Only to be called under the index's lock."""
    place = index / FOLDER
    place.mkdir(exist_ok=True)
    new = place / ".new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    return new


def write_removals(new: Path, *, gone: RowArray, replaced: Sequence[str]) -> None:
    """Write which documents a change takes away: numbers of the build's, ids of those of earlier changes."""
    np.save(new / _GONE, gone)
    with LineWriter(new, _REPLACED) as lines:
        for identifier in replaced:
            lines.write(identifier)


def write_change_manifest(new: Path, manifest: ChangeManifest) -> Path:
    """Write the manifest into a folder that is complete but for it; gives the name that the folder shall have."""
    write_manifest(new, kind=KIND, version=VERSION, fields=asdict(manifest))
    return new.with_name(_name(manifest.first, manifest.last))


def remove_covered(index: Path) -> None:
    """Remove changes that a later one has taken into itself. Only to be called under the index's lock."""
    place = index / FOLDER
    counting = {path.name for path in change_folders(index)}
    for path in place.iterdir():
        if _NAME.fullmatch(path.name) and path.name not in counting:
            shutil.rmtree(path, ignore_errors=True)


def with_changes(base: Layer, changes: Sequence[Change]) -> list[Layer]:
    """The build and its changes as layers, each knowing which of its documents are gone."""
    layers = [base]
    for change in changes:
        if len(gone := change.gone()):
            base.drop(gone)
        for identifier in change.replaced():
            for layer in layers[1:]:
                number = layer.find(identifier)
                if number is not None:
                    layer.drop(number)
        added = change.layer()
        if added is not None:
            layers.append(added)
    return layers


def save_engine(new: Path, index: VectorIndex) -> None:
    """Write the engine of a change, whose vectors lie in its folder already."""
    if index.engine != "exact":
        (new / ENGINE).mkdir()
        index.save(new / ENGINE)
