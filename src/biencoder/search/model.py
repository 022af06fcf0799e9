"""What search asks of a model; `biencoder.towers.bi_encoder.BiEncoder` answers it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from biencoder.identity import Identity
from biencoder.index.base import Metric
from biencoder.scoring import FloatArray, normalise


class Model(Protocol):
    """Two towers: texts in, vectors out."""

    @property
    def dimension(self) -> int:
        """Length of the vectors."""

    @property
    def normalised(self) -> bool:
        """Whether the vectors have length 1."""

    @property
    def similarity(self) -> str:
        """``cosine`` or ``dot``: how the vectors are meant to be compared."""

    @property
    def identity(self) -> Identity:
        """The model's three fingerprints."""

    def encode_queries(self, texts: Sequence[str], /) -> FloatArray:
        """Vectors of queries, shape (len(texts), dimension)."""

    def encode_documents(self, texts: Sequence[str], /, *, progress: Callable[[int], None] | None = None) -> FloatArray:
        """Vectors of documents, shape (len(texts), dimension); ``progress`` is told how many texts are done."""

    def encode_document_windows(
        self, windows: Iterator[Sequence[str]], /, *, progress: Callable[[int], None] | None = None
    ) -> Iterator[FloatArray]:
        """Vectors of documents, window by window, in order; the next window is read while one is encoded."""

    def prepare(self, texts: Sequence[str], /, *, say: Callable[[str], None] | None = None) -> None:
        """Make ready to encode documents like these; ``say`` is told what was decided, if anything was open."""

    @property
    def execution(self) -> dict[str, str]:
        """How the model is run: runtime, version, number format, device."""

    def save(self, path: Path, /) -> None:
        """Write the model's folder."""


def metric_of(model: Model) -> Metric:
    """How the model's vectors are compared; an inner product both ways, of vectors of length 1 where it is ``cosine``."""
    return "cosine" if model.normalised or model.similarity == "cosine" else "dot"


def comparable(vectors: FloatArray, *, model: Model, metric: Metric) -> FloatArray:
    """A model's vectors as an index of this metric holds them: scaled to length 1 where it compares by cosine."""
    return normalise(vectors) if metric == "cosine" and not model.normalised else vectors
