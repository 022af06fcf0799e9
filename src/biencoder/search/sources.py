"""Documents with their rows, taken from where they are into a new folder: what updates and compaction copy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from biencoder.records import Document
from biencoder.scoring import FloatArray, RowArray
from biencoder.search.documents import DocumentStore, write_documents
from biencoder.search.layer import Layer
from biencoder.search.vectors import OWNERS, VectorsFolder
from biencoder.storage.vectors import blocks, open_vectors, write_blocks

_BLOCK = 16384
"""Rows copied at once."""


@dataclass(frozen=True, slots=True)
class Source:
    """Documents with their rows, some of which may be left out.

    Attributes:
        documents: by number.
        matrix: their rows.
        owners: the document of each row; None where each row is one.
        kept: true for each document that is taken.
    """

    documents: DocumentStore
    matrix: FloatArray
    owners: RowArray | None
    kept: NDArray[np.bool_]

    @classmethod
    def encoded(cls, store: DocumentStore, vectors: Path) -> Source:
        """All documents of a store with the vectors that `encode` wrote."""
        found = VectorsFolder(vectors)
        return cls(store, found.vectors(), found.owners(), np.ones(len(store), dtype=np.bool_))

    @classmethod
    def live(cls, layer: Layer, matrix: FloatArray) -> Source:
        """The documents of a layer that are not gone."""
        kept = np.ones(len(layer.documents), dtype=np.bool_) if layer.gone is None else ~layer.gone
        return cls(layer.documents, matrix, layer.owners, kept)

    @property
    def count(self) -> int:
        """Documents that are taken."""
        return int(self.kept.sum())

    def __iter__(self) -> Iterator[Document]:
        return (self.documents[number] for number in np.flatnonzero(self.kept).tolist())

    def row_kept(self) -> NDArray[np.bool_]:
        """True for each row that is taken."""
        return self.kept if self.owners is None else self.kept[self.owners]

    def rows(self) -> Iterator[FloatArray]:
        """The rows that are taken, block by block."""
        kept, start = self.row_kept(), 0
        for block in blocks(self.matrix, size=_BLOCK):
            yield block[kept[start : start + len(block)]]
            start += len(block)

    def renumbered(self, first: int) -> RowArray:
        """The document of each row that is taken, where theirs are numbered from ``first``."""
        numbers = np.cumsum(self.kept) - 1 + first
        owners = np.arange(len(self.kept)) if self.owners is None else self.owners
        return np.asarray(numbers[owners[self.row_kept()]], dtype=np.int64)


def write_sources(new: Path, sources: Sequence[Source], *, passages: bool) -> tuple[int, str, FloatArray]:
    """Write documents, rows and owners of several sources below each other; gives count, digest and the rows, mapped."""
    count, digest = write_documents(new, chain.from_iterable(sources))
    rows = sum(int(source.row_kept().sum()) for source in sources)
    shape = (rows, sources[0].matrix.shape[1])
    write_blocks(new, chain.from_iterable(source.rows() for source in sources), shape=shape)
    if passages:
        firsts = np.cumsum([0, *(source.count for source in sources)])
        np.save(new / OWNERS, np.concatenate([own.renumbered(int(at)) for own, at in zip(sources, firsts, strict=False)]))
    return count, digest, open_vectors(new)
