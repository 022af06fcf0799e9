"""The documents of an index: written once, read one by one by number, never all in memory."""

from __future__ import annotations

import hashlib
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from biencoder.errors import ArgumentError, CorruptError, DataError
from biencoder.records import Document, Hit
from biencoder.scoring import RowArray
from biencoder.storage.folder import explain_os_errors
from biencoder.storage.lines import Lines, LineWriter

FILES = ("documents.jsonl", "documents.offsets.npy", "ids.jsonl", "ids.offsets.npy", "ids.hashes.npy")
"""What `write_documents` writes."""
_HASHES = "ids.hashes.npy"
"""Hashes of the ids in ascending order, and whose they are."""

_SAMPLE = 32


class CorpusDigest:
    """SHA-256 over the ids and contents of documents, in order: everything of them that a vector depends on.

    >>> digest = CorpusDigest()
    >>> digest.add(Document(id="d1", text="aspirin"))
    >>> digest.value()[:12]
    '3897a8bc2a6f'
    """

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, document: Document) -> None:
        """Take in the next document."""
        for part in (document.id, document.content):
            data = part.encode("utf-8", "surrogatepass")
            self._hash.update(len(data).to_bytes(8, "little") + data)

    def value(self) -> str:
        """64 hexadecimal digits for the documents so far."""
        return self._hash.hexdigest()


class DocumentStore:
    """Documents by number, read from `documents.jsonl` when they are asked for; their ids alone from `ids.jsonl`.

    Raises:
        CorruptError: where the files do not belong together.

    >>> store = DocumentStore.temporary([Document(id="d1", text="aspirin"), Document(id="d2", text="ibuprofen")])
    >>> store[1].text, store.id(0), len(store)
    ('ibuprofen', 'd1', 2)
    >>> store.find("d2"), store.find("d3")
    (1, None)
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._documents = Lines(folder, "documents")
        self._ids = Lines(folder, "ids")
        try:
            self._hashes = np.load(folder / _HASHES, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise CorruptError(f"{folder / _HASHES} cannot be read ({error}); build the folder again") from None
        if self._hashes.shape != (2, len(self._ids)):
            raise CorruptError(f"{folder / _HASHES} is not of these {len(self._ids)} ids; build the folder again")

    @classmethod
    def temporary(cls, documents: Iterable[Document]) -> DocumentStore:
        """Keep documents in files that go with this object.

        Raises:
            DataError: as `write_documents`.
            StorageError: where the folder for temporary files is full.
        """
        with tempfile.TemporaryDirectory(prefix="biencoder-") as name:
            folder = Path(name)
            with explain_os_errors(folder):
                write_documents(folder, documents)
            return cls(folder)

    def __len__(self) -> int:
        return len(self._documents)

    def __getitem__(self, number: int) -> Document:
        record = self._documents[number]
        return Document(record["_id"], record["text"], record["title"], record["metadata"])

    def __iter__(self) -> Iterator[Document]:
        return (self[number] for number in range(len(self)))

    def sample(self, *, count: int = _SAMPLE) -> list[str]:
        """A few of the texts, from all over the corpus; by default as many as a runtime is chosen on, where that is open."""
        step = max(1, len(self) // count)
        return [self[number].content for number in range(0, len(self), step)[:count]]

    def id(self, number: int) -> str:
        """The id of one document, without reading its text."""
        return str(self._ids[number])

    def find(self, identifier: str) -> int | None:
        """The number of the document with this id, without reading them all; None where there is none."""
        wanted = _hash(identifier)
        place = int(np.searchsorted(self._hashes[0], wanted))
        while place < len(self) and self._hashes[0, place] == wanted:
            number = int(self._hashes[1, place])
            if self.id(number) == identifier:
                return number
            place += 1
        return None

    def hits(self, scores: Sequence[float], numbers: Sequence[int], *, texts: bool = True) -> list[Hit]:
        """Search results from scores and document numbers, best first.

        Args:
            scores: one a result.
            numbers: of the documents.
            texts: read title, text and metadata too; without them only ids are read.
        """
        ranked = enumerate(zip(scores, numbers, strict=True), start=1)
        if not texts:
            return [Hit(rank, self.id(number), score) for rank, (score, number) in ranked]
        return [_hit(rank, score, self[number]) for rank, (score, number) in ranked]


def write_documents(
    folder: Path, documents: Iterable[Document], *, progress: Callable[[int], None] | None = None
) -> tuple[int, str]:
    """Write `documents.jsonl` and `ids.jsonl` with their offsets, and `ids.hashes.npy` to find ids by.

    Memory: 32 bytes a document.

    Args:
        folder: an existing folder.
        documents: read once.
        progress: is told how many documents are written.

    Returns:
        How many there are, and their digest (`CorpusDigest`).

    Raises:
        ArgumentError: where there are none.
        DataError: where an id stands twice, or metadata is not made of JSON values.
    """
    digest = CorpusDigest()
    hashes = array("q")
    with LineWriter(folder, "documents") as lines, LineWriter(folder, "ids") as ids:
        for document in documents:
            _write(lines, document)
            ids.write(document.id)
            digest.add(document)
            hashes.append(_hash(document.id))
            if progress is not None:
                progress(len(hashes))
    if not hashes:
        raise ArgumentError("there are no documents; at least one is needed")
    unsorted = np.frombuffer(hashes, dtype=np.int64)
    order = np.argsort(unsorted, kind="stable")
    _check_unique(Lines(folder, "ids"), unsorted, order)
    np.save(folder / _HASHES, np.stack([unsorted[order], order]))
    return len(hashes), digest.value()


def _write(lines: LineWriter, document: Document) -> None:
    record = {
        "_id": document.id,
        "title": document.title,
        "text": document.text,
        "metadata": dict(document.metadata),
    }
    try:
        lines.write(record)
    except (TypeError, ValueError, RecursionError) as error:
        problem = f"the metadata of document {document.id!r} cannot be written as JSON ({error})"
        raise DataError(problem, hint="use plain values") from None


def _hash(identifier: str) -> int:
    """64 bits of an id, the same in every process, unlike Python's own."""
    digest = hashlib.blake2b(identifier.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def _check_unique(ids: Lines, hashes: RowArray, order: RowArray) -> None:
    suspects = order[1:][hashes[order[1:]] == hashes[order[:-1]]]
    if not len(suspects):
        return
    first_places: dict[str, int] = {}
    for number in np.flatnonzero(np.isin(hashes, hashes[suspects])).tolist():
        identifier = str(ids[number])
        first = first_places.setdefault(identifier, number)
        if first != number:
            raise DataError(f"the id {identifier!r} belongs to documents {first + 1} and {number + 1}; ids must differ")


def _hit(rank: int, score: float, document: Document) -> Hit:
    return Hit(rank, document.id, score, document.title, document.text, document.metadata)
