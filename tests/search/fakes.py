"""A model without weights: hashed bags of words as unit vectors, the same on every machine."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from biencoder.identity import Identity, fingerprint
from biencoder.progress import Progress
from biencoder.records import Document
from biencoder.scoring import FloatArray, normalise
from biencoder.storage.folder import writing

WORDS = ("aspirin", "heart", "cancer", "lung", "liver", "virus", "fever", "trial", "dose", "cell", "gene", "brain", "sleep")


class FakeModel:
    """Counts what it encodes; ``name`` decides its fingerprint and its vectors."""

    def __init__(self, name: str = "a", *, dimension: int = 32, normalised: bool = True, delay: float = 0.0) -> None:
        self.name = name
        self.dimension = dimension
        self.normalised = normalised
        self.similarity = "cosine" if normalised else "dot"
        self.delay = delay
        self.calls: list[int] = []

    @property
    def identity(self) -> Identity:
        return Identity(fingerprint({"document": self.name}), fingerprint({"query": self.name}), "fake")

    def encode_queries(self, texts: Sequence[str]) -> FloatArray:
        return self._encode(texts)

    def encode_documents(self, texts: Sequence[str], *, progress: Callable[[int], None] | None = None) -> FloatArray:
        self.calls.append(len(texts))
        time.sleep(self.delay)
        if progress is not None:
            progress(len(texts))
        return self._encode(texts)

    def encode_document_windows(
        self, windows: Iterator[Sequence[str]], *, progress: Callable[[int], None] | None = None
    ) -> Iterator[FloatArray]:
        before = 0
        for texts in windows:
            yield self.encode_documents(texts, progress=partial(_told, progress, before))
            before += len(texts)

    def prepare(self, texts: Sequence[str], *, say: Callable[[str], None] | None = None) -> None:
        del texts, say

    @property
    def execution(self) -> dict[str, str]:
        return {"runtime": "fake"}

    def save(self, path: Path) -> None:
        with writing(path) as folder:
            (folder / "config.json").write_text(f'{{"name": "{self.name}"}}', encoding="utf-8")

    def _encode(self, texts: Sequence[str]) -> FloatArray:
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in text.lower().split():
                vectors[row, zlib.crc32(f"{self.name} {word}".encode()) % self.dimension] += 1
        return normalise(vectors) if self.normalised else vectors


def _told(progress: Callable[[int], None] | None, before: int, done: int) -> None:
    if progress is not None:
        progress(before + done)


class Notes(Progress):
    """Remembers what a long task told."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, int, int]] = []
        self.said: list[str] = []

    def __call__(self, stage: str, done: int, total: int, facts: str = "") -> None:  # noqa: ARG002
        self.steps.append((stage, done, total))

    def say(self, message: str) -> None:
        self.said.append(message)


def corpus(count: int, *, seed: int = 0, words: int = 6) -> list[Document]:
    """Documents of random words, no two with the same id."""
    generator = np.random.default_rng(seed)
    drawn = generator.integers(len(WORDS), size=(count, words))
    return [
        Document(f"d{row}", " ".join(WORDS[word] for word in own), f"title{row}", {"row": row})
        for row, own in enumerate(drawn.tolist())
    ]


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path in it."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
