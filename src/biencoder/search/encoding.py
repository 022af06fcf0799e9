"""Documents to vectors: streamed, durable window by window, continued after an interruption.

The work is done in a hidden folder beside the place (`.NAME.partial`) and moved there in one step:

1. each window of documents is encoded by one call, appended and flushed, and a mark says how far the corpus has come;
2. a later run with the same model and options replays the documents up to the mark without encoding them, and compares their
   digest; where the corpus has changed it begins again;
3. the whole folder is renamed to `done` and exchanged with what stood at the place.

The vectors of a window depend on that window alone, so that an interrupted run and an unbroken one end with the same bytes.
"""

from __future__ import annotations

import os
import shutil
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from biencoder.data.passages import PassageOptions, split_document
from biencoder.errors import ArgumentError, ModelError, StorageError
from biencoder.progress import Progress
from biencoder.records import Document
from biencoder.scoring import FloatArray
from biencoder.search.documents import CorpusDigest
from biencoder.search.model import Model, comparable, metric_of
from biencoder.search.vectors import KIND, OWNERS, VectorsFolder, VectorsManifest
from biencoder.storage.folder import check_replaceable, explain_os_errors, flush_tree, locked, put_in_place
from biencoder.storage.lines import LineWriter
from biencoder.storage.vectors import VectorWriter

if TYPE_CHECKING:
    from biencoder.data.documents import Documents

WINDOW = 4096
"""Documents encoded and made durable together: enough for length-sorted batches, little to lose."""
_SAMPLE = 512
"""Documents at the beginning that a runtime is chosen on, where that is open."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """What `encode` has done.

    Args:
        path: the vectors folder.
        count: documents in it.
        vectors: rows in it.
        fresh: documents that this call encoded: ``count``, less where it resumed, 0 where all was there already.
    """

    path: Path
    count: int
    vectors: int
    fresh: int


def encode(
    model: Model,
    documents: Documents,
    *,
    out: str | os.PathLike[str],
    passages: PassageOptions | None = None,
    window: int = WINDOW,
    progress: Progress | None = None,
) -> Encoded:
    """Write the vectors of a corpus as a folder, in memory that does not grow with the corpus.

    Args:
        model: gives the vectors.
        documents: may be larger than memory; read more than once, so not a generator.
        out: the folder to write; a vectors folder that stands there is reused where it is what this call would write, else
            replaced. What an interrupted call left beside it is gone on with.
        passages: split documents into overlapping passages, a vector each.
        window: documents encoded and made durable together.
        progress: is told documents done and in all, and what is reused, resumed or begun again.

    Raises:
        ArgumentError: where there are no documents, or the window is below 1.
        StorageError: where the place cannot be written, or holds something else.
        LockedError: where another process is writing the same folder.
        ModelError: where the model's vectors cannot be used.
    """
    if window < 1:
        raise ArgumentError(f"window is {window}; it must be at least 1")
    if isinstance(documents, Iterator):
        raise ArgumentError("documents can be read only once here; give a list or a collection's documents, not a generator")
    if not len(documents):
        raise ArgumentError("there are no documents; at least one is needed")
    target = Path(out).absolute()
    told = progress or Progress()
    model.prepare([document.content for document in islice(iter(documents), _SAMPLE)], say=told.say)
    job = _Job(model, documents, passages, window, told)
    with explain_os_errors(target), locked(target):
        check_replaceable(target, kind=KIND)
        work = target.with_name(f".{target.name}.partial")
        finished = job.find_finished([target, work / "done"])
        fresh = 0
        if finished is None:
            fresh = job.run(work)
            finished = work / "done"
        if finished != target:
            put_in_place(finished, target)
        shutil.rmtree(work, ignore_errors=True)
    manifest = VectorsFolder(target).manifest
    return Encoded(target, manifest.count, manifest.vectors, fresh)


class _CorpusChangedError(Exception):
    """The documents before the mark are not those that were encoded."""


class _Job:
    """One corpus to be encoded by one model with one set of options."""

    def __init__(
        self,
        model: Model,
        documents: Documents,
        passages: PassageOptions | None,
        window: int,
        progress: Progress,
    ) -> None:
        self.model = model
        self.documents = documents
        self.passages = passages
        self.window = window
        self.progress = progress
        self.identity = model.identity
        self.metric = metric_of(model)

    @property
    def state(self) -> dict[str, Any]:
        """All that decides the bytes of the vectors, but for the documents."""
        return {
            "document": self.identity.document,
            "execution": self.identity.execution,
            "metric": self.metric,
            "passages": asdict(self.passages) if self.passages else None,
            "window": self.window,
        }

    def find_finished(self, folders: Sequence[Path]) -> Path | None:
        """The first folder that already is what this job would write."""
        digest = None
        for folder in folders:
            try:
                manifest = VectorsFolder(folder).manifest
            except (StorageError, OSError):  # absent or damaged: it is written anew
                continue
            if self.state != _state_of(manifest):
                continue
            digest = digest or self._digest()
            if manifest.corpus == digest:
                self.progress.say(f"reused the vectors of {manifest.count:,} documents")
                return folder
        return None

    def run(self, work: Path) -> int:
        """Write ``work/done``, going on where an earlier run stopped; gives the number of documents encoded now."""
        shutil.rmtree(work / "done", ignore_errors=True)
        new = work / "vectors"
        new.mkdir(parents=True, exist_ok=True)
        try:
            fresh, manifest = self._stream(new)
        except _CorpusChangedError:
            self.progress.say("the documents have changed since the interrupted run: encoding them all again")
            shutil.rmtree(work)
            new.mkdir(parents=True)
            fresh, manifest = self._stream(new)
        manifest.write(new)
        flush_tree(new)
        new.rename(work / "done")
        return fresh

    def _stream(self, new: Path) -> tuple[int, VectorsManifest]:
        writer = VectorWriter(new, dimension=self.model.dimension, state=self.state)
        mark = writer.mark or {"windows": 0, "documents": 0, "digest": ""}
        if mark["documents"]:
            self.progress.say(f"resumed behind {mark['documents']:,} documents")
        reading = _Reading(self, mark)
        try:
            with LineWriter(new, "ids") as ids:
                windows = reading.windows(ids)
                for vectors in self.model.encode_document_windows(windows, progress=reading.told):
                    window = reading.encoding.popleft()
                    writer.append(self._checked(vectors, window), mark=window.mark)
                    self.progress("encoding", window.mark["documents"], len(self.documents))
            if reading.count < mark["documents"]:
                raise _CorpusChangedError
            writer.finish()
        finally:
            writer.close()
        if self.passages:
            np.save(new / OWNERS, np.frombuffer(reading.owners, dtype=np.int64))
        manifest = self._manifest(reading.count, writer.count, reading.digest.value())
        return reading.count - mark["documents"], manifest

    def split(self, document: Document) -> list[str]:
        """The texts of a document that are encoded."""
        if self.passages is None:
            return [document.content]
        return split_document(document, self.passages)

    def _checked(self, vectors: FloatArray, window: _Window) -> FloatArray:
        if vectors.shape != (window.texts, self.model.dimension):
            raise ModelError(
                f"the model gave vectors of shape {vectors.shape} for {window.texts} texts; "
                f"({window.texts}, {self.model.dimension}) was expected"
            )
        if not np.isfinite(vectors).all():
            raise ModelError(
                f"the model gave a vector that is not finite among documents {window.first!r} to {window.last!r}; "
                "its weights are damaged, or its precision too low"
            )
        return comparable(vectors, model=self.model, metric=self.metric)

    def _digest(self) -> str:
        digest = CorpusDigest()
        for document in self.documents:
            digest.add(document)
        return digest.value()

    def _manifest(self, count: int, vectors: int, corpus: str) -> VectorsManifest:
        return VectorsManifest(
            metric=self.metric,
            dimension=self.model.dimension,
            count=count,
            vectors=vectors,
            identity=self.identity,
            corpus=corpus,
            window=self.window,
            passages=asdict(self.passages) if self.passages else None,
            execution=self.model.execution,
        )


@dataclass(frozen=True, slots=True)
class _Window:
    """Documents that are encoded together: how many texts, the first and last id, and the mark behind them."""

    texts: int
    first: str
    last: str
    mark: dict[str, Any]


class _Reading:
    """One pass over the documents; runs a window ahead of the encoding."""

    def __init__(self, job: _Job, mark: dict[str, Any]) -> None:
        self._job = job
        self._mark = mark
        self._told = (int(mark["documents"]), 0)  # documents and texts of the windows that are done
        self.digest = CorpusDigest()
        self.owners = array("q")
        self.count = 0
        self.encoding: deque[_Window] = deque()

    def windows(self, ids: LineWriter) -> Iterator[list[str]]:
        """The texts of each window that is not encoded yet; those before the mark are read and compared with it."""
        mark = self._mark
        for number, batch in enumerate(_windows(self._job.documents, self._job.window), start=1):
            texts = self._take(batch, ids)
            here = {"windows": number, "documents": self.count, "digest": self.digest.value()}
            if number > mark["windows"]:
                self.encoding.append(_Window(len(texts), batch[0].id, batch[-1].id, here))
                yield texts
            elif number == mark["windows"] and here != mark:
                raise _CorpusChangedError

    def _take(self, batch: list[Document], ids: LineWriter) -> list[str]:
        """Note a window's documents and give the texts to encode."""
        texts: list[str] = []
        for number, document in enumerate(batch, start=self.count):
            ids.write(document.id)
            self.digest.add(document)
            parts = self._job.split(document)
            texts.extend(parts)
            if self._job.passages:
                self.owners.extend([number] * len(parts))
        self.count += len(batch)
        return texts

    def told(self, done: int) -> None:
        """Turn texts done, of all windows, into documents done; a whole window is told once it is durable."""
        before, texts = self._told
        window = self.encoding[0]
        if done - texts >= window.texts:
            self._told = (window.mark["documents"], done)
            return
        documents = window.mark["documents"] - before
        self._job.progress("encoding", before + (done - texts) * documents // window.texts, len(self._job.documents))


def _state_of(manifest: VectorsManifest) -> dict[str, Any]:
    return {
        "document": manifest.identity.document,
        "execution": manifest.identity.execution,
        "metric": manifest.metric,
        "passages": manifest.passages,
        "window": manifest.window,
    }


def _windows(documents: Documents, size: int) -> Iterator[list[Document]]:
    stream = iter(documents)
    while batch := list(islice(stream, size)):
        yield batch
