"""The documents that candidates come from, by number, and which of them have the same text."""

from __future__ import annotations

import hashlib
import shutil
from array import array
from collections.abc import Container, Iterator, Mapping
from pathlib import Path

import numpy as np

from biencoder.data.documents import Documents
from biencoder.records import Document
from biencoder.scoring import RowArray
from biencoder.search.documents import DocumentStore, write_documents


def text_key(text: str) -> int:
    """A number for a text, the same in every process; two of a million texts share one with a probability below 1e-7.

    >>> text_key("aspirin") == text_key("aspirin"), text_key("aspirin") == text_key("Aspirin")
    (True, False)
    """
    data = text.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little", signed=True)


class Corpus:
    """Documents by number; of all of them, 24 bytes each are held in memory.

    Attributes:
        documents: read one by one.
        digest: of all ids and contents (`CorpusDigest`).
        keys: of each document's content (`text_key`).
    """

    def __init__(self, documents: DocumentStore, digest: str, notes: _Notes) -> None:
        self.documents = documents
        self.digest = digest
        self.keys: RowArray = np.frombuffer(notes.keys, dtype=np.int64)
        self._numbers = notes.numbers
        self._own = notes.own
        self._order = np.argsort(self.keys, kind="stable")
        self._sorted = self.keys[self._order]

    @classmethod
    def read(cls, documents: Documents, *, folder: Path, judged: Container[str], queries: Mapping[str, str]) -> Corpus:
        """Copy documents into a folder of files that go with this object.

        Args:
            documents: read once.
            folder: for the copy; its name is gone when this returns.
            judged: ids that `number` will be asked for.
            queries: id to text, for `own_document`.

        Raises:
            DataError: where an id stands twice.
        """
        notes = _Notes(judged, queries)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            _, digest = write_documents(folder, notes.taken(documents))
            return cls(DocumentStore(folder), digest, notes)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def __len__(self) -> int:
        return len(self.keys)

    def number(self, identifier: str) -> int:
        """The number of a judged document."""
        return self._numbers[identifier]

    def own_document(self, query_id: str) -> int | None:
        """The document that is the query itself: the same id and the same text (ArguAna, Quora)."""
        return self._own.get(query_id)

    def find(self, key: int) -> int | None:
        """The first document of a content, by its key."""
        place = int(np.searchsorted(self._sorted, key))
        return int(self._order[place]) if place < len(self) and self._sorted[place] == key else None

    def count(self, keys: RowArray) -> int:
        """How many documents have one of these contents, whose keys are distinct."""
        ends = np.searchsorted(self._sorted, keys, side="right")
        return int((ends - np.searchsorted(self._sorted, keys, side="left")).sum())


class _Notes:
    """What is noted of documents while they pass by."""

    def __init__(self, judged: Container[str], queries: Mapping[str, str]) -> None:
        self.keys = array("q")
        self.numbers: dict[str, int] = {}
        self.own: dict[str, int] = {}
        self._judged = judged
        self._queries = queries

    def taken(self, documents: Documents) -> Iterator[Document]:
        for number, document in enumerate(documents):
            self.keys.append(text_key(document.content))
            if document.id in self._judged:
                self.numbers[document.id] = number
            if document.id in self._queries and _same_text(self._queries[document.id], document):
                self.own[document.id] = number
            yield document


def _same_text(query: str, document: Document) -> bool:
    words = query.split()
    return words in (document.text.split(), document.content.split())
