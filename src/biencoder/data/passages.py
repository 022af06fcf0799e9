"""Long documents in overlapping passages; a document scores as its best passage (MaxP; Dai and Callan, 2019)."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from biencoder.errors import ArgumentError
from biencoder.records import Document

_WORD = re.compile(r"\S+")


@dataclass(frozen=True, slots=True)
class PassageOptions:
    """How long passages are, and how much neighbours have in common, in words (what stands between white space).

    Args:
        size: words of a passage, the title not counted.
        overlap: words that a passage has in common with the one before it; below ``size``.

    Raises:
        ArgumentError: where they are out of range.
    """

    size: int
    overlap: int

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ArgumentError(f"the passage size is {self.size}; it must be at least 1 word")
        if not 0 <= self.overlap < self.size:
            raise ArgumentError(f"the passage overlap is {self.overlap}; it must be from 0 to {self.size - 1}, below the size")


def split_document(document: Document, options: PassageOptions) -> list[str]:
    """The passages of a document, each with the title in front, as :attr:`Document.content` has it.

    A passage keeps the white space inside it. All passages of a long document have ``options.size`` words: the last one ends
    with the document and overlaps more with its neighbour, rather than being a short remainder. A document of no more words
    than that is one passage, its content unchanged.

    >>> split_document(Document("d", "a b c d e f", title="T"), PassageOptions(size=4, overlap=1))
    ['T a b c d', 'T c d e f']
    """
    words = [match.span() for match in _WORD.finditer(document.text)]
    last = len(words) - options.size
    if last <= 0:
        return [document.content]
    starts = [*range(0, last, options.size - options.overlap), last]
    front = f"{document.title} " if document.title else ""
    return [front + document.text[words[start][0] : words[start + options.size - 1][1]] for start in starts]


def best_per_document(
    owners: NDArray[np.int64], scores: NDArray[np.float32], rows: NDArray[np.int64], *, k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The k best documents by their best passage, for one query.

    Args:
        owners: the document of every passage of the index, shape (passages,).
        scores: of the passages found, shape (n,), in any order.
        rows: which passages were found, shape (n,); -1 stands for none, as FAISS gives it.
        k: how many documents; fewer are returned where fewer are among the passages found.

    Returns:
        Scores and documents, best first, each of shape (at most k,); of equal scores the lower document comes first.

    Raises:
        ArgumentError: where k is below 1.

    >>> best_per_document(np.array([0, 0, 1]), np.array([0.9, 0.8, 0.5], dtype=np.float32), np.array([1, 0, 2]), k=2)
    (array([0.9, 0.5], dtype=float32), array([0, 1]))
    """
    if k < 1:
        raise ArgumentError(f"k is {k}; it must be at least 1")
    found = rows >= 0
    documents, values = owners[rows[found]], scores[found]
    order = np.lexsort((documents, -values))
    _, firsts = np.unique(documents[order], return_index=True)
    best = order[np.sort(firsts)[:k]]
    return values[best], documents[best]
