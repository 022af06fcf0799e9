"""Canaries: a few texts with the vectors that they had when an index was built.

A model can have the right weights and still give other vectors: a broken kernel, another library version, a processor on which
a number format overflows. Encoding a few texts again shows it, in milliseconds.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from biencoder.errors import CorruptError, ModelError
from biencoder.scoring import FloatArray
from biencoder.search.documents import DocumentStore
from biencoder.search.model import Model

NAME = "canaries.json"

_COUNT = 4
_QUERY_WORDS, _DOCUMENT_WORDS = 8, 48
_FARTHEST = 0.15
"""Distance from the old vector, as a share of its length: cosine 0.989. 8-bit weights stay below 0.06, bfloat16 below 0.01."""


@dataclass(frozen=True, slots=True)
class Canaries:
    """Texts, and how they were encoded.

    Attributes:
        queries: encoded as queries.
        documents: encoded as documents.
        query_vectors: shape (len(queries), d).
        document_vectors: shape (len(documents), d).
    """

    queries: list[str]
    documents: list[str]
    query_vectors: FloatArray
    document_vectors: FloatArray

    @classmethod
    def take(cls, model: Model, store: DocumentStore) -> Canaries:
        """Of beginnings of documents from all over a corpus."""
        texts = [text.split() for text in store.sample(count=_COUNT)]
        queries = [" ".join(words[:_QUERY_WORDS]) for words in texts if words] or ["canary"]
        documents = [" ".join(words[:_DOCUMENT_WORDS]) for words in texts if words] or ["canary"]
        return cls(queries, documents, model.encode_queries(queries), model.encode_documents(documents))

    def write(self, folder: Path) -> None:
        """Write ``canaries.json``."""
        record = {
            "queries": self.queries,
            "documents": self.documents,
            "query_vectors": self.query_vectors.tolist(),
            "document_vectors": self.document_vectors.tolist(),
        }
        (folder / NAME).write_text(json.dumps(record), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Canaries:
        """Read what `write` wrote.

        Raises:
            CorruptError: where the file cannot be read.
        """
        try:
            record = json.loads((folder / NAME).read_text(encoding="utf-8"))
            for name in ("query_vectors", "document_vectors"):
                record[name] = np.array(record[name], dtype=np.float32)
            return cls(**record)
        except (OSError, ValueError, TypeError) as error:
            raise CorruptError(f"{folder / NAME} cannot be read ({error}); build the index again") from None

    def check_queries(self, model: Model, *, what: str) -> float:
        """Make sure that a model encodes queries as it did when the index was built.

        Returns:
            The greatest distance to an old vector, as a share of its length.

        Raises:
            ModelError: where it does not.
        """
        return _check(self.query_vectors, model.encode_queries(self.queries), "queries", what)

    def check_documents(self, model: Model, *, what: str) -> float:
        """Make sure of the same for documents; see `check_queries`."""
        return _check(self.document_vectors, model.encode_documents(self.documents), "documents", what)


def _check(before: FloatArray, now: FloatArray, kind: str, what: str) -> float:
    farthest = _distance(before, now)
    if not farthest <= _FARTHEST:  # NaN is not
        raise ModelError(
            f"{what}: this machine gives other vectors for {kind} than the one that built the index (they lie "
            f"{farthest:.2f} of their length apart, {_FARTHEST} at most was expected), though the weights are the same; "
            "try --precision exact --runtime torch, or build the index again"
        )
    return farthest


def _distance(before: FloatArray, now: FloatArray) -> float:
    if before.shape != now.shape:
        return float("inf")
    lengths = np.maximum(np.linalg.norm(before, axis=1), 1e-9)
    return float((np.linalg.norm(now - before, axis=1) / lengths).max())
