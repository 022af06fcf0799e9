"""A folder of document vectors: what `encode` writes and `build_index` takes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from biencoder.data.passages import PassageOptions
from biencoder.errors import CorruptError, DataError
from biencoder.identity import Identity
from biencoder.index.base import Metric
from biencoder.scoring import FloatArray, RowArray
from biencoder.storage.lines import Lines
from biencoder.storage.manifest import read_manifest, write_manifest
from biencoder.storage.vectors import open_vectors

KIND = "vectors"
VERSION = 1
OWNERS = "owners.npy"


@dataclass(frozen=True, slots=True)
class VectorsManifest:
    """The facts of a vectors folder.

    Args:
        metric: ``cosine`` or ``dot``.
        dimension: of each vector.
        count: documents.
        vectors: rows; more than ``count`` where documents were split into passages.
        identity: the model that made them.
        corpus: SHA-256 over the documents' ids and contents, in order.
        window: documents that were encoded together; a vector's last bits can depend on it.
        passages: how documents were split (``size`` and ``overlap``), if they were.
        execution: how the model was run: runtime, version, number format, device.
    """

    metric: Metric
    dimension: int
    count: int
    vectors: int
    identity: Identity
    corpus: str
    window: int
    passages: dict[str, int] | None = None
    execution: dict[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write ``manifest.json`` into a folder that is complete but for it."""
        write_manifest(folder, kind=KIND, version=VERSION, fields=asdict(self))


class HasPassages(Protocol):
    """A manifest that says how documents were split."""

    @property
    def passages(self) -> dict[str, int] | None:
        """Size and overlap."""


class VectorsFolder:
    """An open vectors folder.

    Raises:
        StorageError: where the folder is none of this kind.
        CorruptError: where it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest = _typed(read_manifest(path, kind=KIND, version=VERSION).fields, path)
        self.ids = Lines(path, "ids")

    def vectors(self) -> FloatArray:
        """The matrix, mapped from its file, shape (manifest.vectors, manifest.dimension)."""
        found = open_vectors(self.path)
        expected = (self.manifest.vectors, self.manifest.dimension)
        if found.shape != expected:
            raise CorruptError(f"{self.path} holds vectors of shape {found.shape}; its manifest says {expected}")
        return found

    def owners(self) -> RowArray | None:
        """The document number of each row, where documents were split."""
        return open_owners(self.path) if self.manifest.passages else None

    def check_corpus(self, ids: Iterable[str], digest: str) -> None:
        """Make sure that these are the vectors of a corpus.

        Args:
            ids: of the corpus, in order; read only where something differs.
            digest: of the corpus.

        Raises:
            DataError: naming the first document that differs.
        """
        if digest == self.manifest.corpus:
            return
        number = 0
        for number, identifier in enumerate(ids, start=1):
            if number > len(self.ids):
                raise self._differs(f"document {number} of the corpus is {identifier!r}, and the vectors end before it")
            own = self.ids[number - 1]
            if own != identifier:
                raise self._differs(f"document {number} of the corpus is {identifier!r}, of the vectors {own!r}")
        if number < len(self.ids):
            raise self._differs(f"the corpus ends with document {number}, and the vectors go on to {len(self.ids)}")
        raise self._differs("the ids agree, but a title or text has changed since")

    def _differs(self, what: str) -> DataError:
        return DataError(f"the vectors are not those of this corpus: {what}", path=self.path, hint="encode the corpus again")


def passages_of(manifest: HasPassages) -> PassageOptions | None:
    """How a folder's documents were split, if they were."""
    return None if manifest.passages is None else PassageOptions(**manifest.passages)


def open_owners(folder: Path) -> RowArray:
    """Map the document numbers of an index's or vectors folder's rows."""
    path = folder / OWNERS
    try:
        owners: RowArray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise CorruptError(f"{path} cannot be read ({error}); build the folder again") from None
    return np.asarray(owners)


def _typed(fields: dict[str, Any], path: Path) -> VectorsManifest:
    try:
        return VectorsManifest(**{**fields, "identity": Identity(**fields["identity"])})
    except (KeyError, TypeError) as error:
        raise CorruptError(f"{path}: the manifest's fields are not those of vectors ({error}); encode again") from None
