"""What search asks of a model; `biencoder.towers.bi_encoder.BiEncoder` answers it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from biencoder.identity import Identity
from biencoder.index.base import Metric
from biencoder.scoring import FloatArray


class Model(Protocol):
    """Two towers: texts in, vectors out."""

    @property
    def dimension(self) -> int:
        """Length of the vectors."""

    @property
    def normalised(self) -> bool:
        """Whether the vectors have length 1."""

    @property
    def identity(self) -> Identity:
        """The model's three fingerprints."""

    def encode_queries(self, texts: Sequence[str], /) -> FloatArray:
        """Vectors of queries, shape (len(texts), dimension)."""

    def encode_documents(self, texts: Sequence[str], /) -> FloatArray:
        """Vectors of documents, shape (len(texts), dimension)."""

    def save(self, path: Path, /) -> None:
        """Write the model's folder."""


def metric_of(model: Model) -> Metric:
    """``cosine`` where the vectors have length 1, else ``dot``; an inner product both ways."""
    return "cosine" if model.normalised else "dot"
