"""A corpus and a model into an index folder that is whole or absent.

The work is done in a hidden folder beside the place (`.NAME.partial`): `vectors` is what `encode` writes and is gone on with
after an interruption, `index` is written afresh by each run and exchanged with what stood at the place at the very end.
"""

from __future__ import annotations

import os
import random
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from biencoder.data.passages import PassageOptions
from biencoder.data.tuning_queries import made_queries
from biencoder.errors import ArgumentError
from biencoder.index.base import Parameters
from biencoder.index.engines import Choice, EngineOptions, choose_engine, engine_class
from biencoder.index.frontier import write_frontier
from biencoder.index.manifest import KIND, MEASURED, IndexManifest
from biencoder.index.tuning import MOST_QUERIES, Goal, Tuned, tune
from biencoder.progress import Progress
from biencoder.records import Document, Query
from biencoder.scoring import FloatArray
from biencoder.search.canaries import Canaries
from biencoder.search.documents import FILES as DOCUMENT_FILES
from biencoder.search.documents import DocumentStore, write_documents
from biencoder.search.encoding import encode
from biencoder.search.keywords import FOLDER as KEYWORDS
from biencoder.search.keywords import KeywordIndex
from biencoder.search.layout import ENGINE, LIVE, LIVE_FOLDER, MODEL
from biencoder.search.live import QdrantServer, create_live, held
from biencoder.search.model import Model, comparable, metric_of
from biencoder.search.searcher import Searcher
from biencoder.search.vectors import OWNERS, VectorsFolder
from biencoder.storage.folder import (
    check_replaceable,
    disk_bytes,
    explain_os_errors,
    flush_tree,
    folder_bytes,
    locked,
    put_in_place,
    remove_folder,
)
from biencoder.storage.vectors import write_vectors


def build_index(  # noqa: PLR0913 - each says another thing
    model: Model,
    documents: Iterable[Document],
    *,
    out: str | os.PathLike[str],
    engine: str | EngineOptions = "auto",
    vectors: str | os.PathLike[str] | None = None,
    passages: PassageOptions | None = None,
    keywords: bool = True,
    recall: float | Goal | None = None,
    queries: Sequence[str | Query] | None = None,
    server: QdrantServer | None = None,
    progress: Progress | None = None,
) -> Searcher:
    """Write an index folder that holds all that a search needs: vectors, documents, keywords and the model itself.

    Args:
        model: encodes the documents now and the queries later.
        documents: read once; may be larger than memory.
        out: the folder to write; an index that stands there is replaced in one step, at the end. What an interrupted call left
            beside it is gone on with.
        engine: ``auto`` or an engine's name, or one with parameters. With ``qdrant`` the index is a live one, whose documents
            lie in Qdrant's own store, are filtered by their metadata, and have no BM25.
        vectors: a folder that `encode` wrote from the same documents with this model's document side, instead of encoding.
        passages: split documents into overlapping passages; a document scores as its best one.
        keywords: build a BM25 index beside the vectors, for hybrid search.
        recall: to be reached, or a `Goal` that also names memory and latency to stay below; engine and parameters are then
            chosen by measuring (`biencoder.index.tuning`), and ``frontier.json`` in the folder says what was measured.
        queries: real ones to measure with, none of which should be in a test; by default some are made from titles and crops
            of documents.
        server: where the store of a live index lies, if it is not embedded.
        progress: is told the stage and how much of it is done, what is reused or resumed, and which engine was chosen.

    Returns:
        A searcher over the new index; its ``manifest`` tells what it is.

    Raises:
        ArgumentError: for an unknown engine or parameter, no documents, or a goal that nothing reaches, with what comes
            nearest.
        DataError: where an id stands twice, or ``vectors`` are those of another corpus.
        IdentityError: where ``vectors`` were made by another document side; names both.
        StorageError: where the place cannot be written, or holds something else.
        LockedError: where another process is writing the same folder.
    """
    wanted = EngineOptions(engine) if isinstance(engine, str) else engine
    wanted.check()
    goal = recall if recall is None or isinstance(recall, Goal) else Goal(recall)
    if goal is None and queries is not None:
        raise ArgumentError("queries are there to choose an index with; say which recall it shall reach, such as recall=0.95")
    if goal is not None and wanted.parameters:
        raise ArgumentError("a recall to reach chooses the parameters; give the one or the others")
    live = wanted.name == LIVE
    if server is not None and not live:
        raise ArgumentError(f"a server is for live indexes, and engine {wanted.name} is asked for; choose engine qdrant")
    target = Path(out).absolute()
    with explain_os_errors(target), locked(target):
        check_replaceable(target, kind=KIND)
        work = target.with_name(f".{target.name}.partial")
        new = work / "index"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        with _swept(work, new):
            builder = _Builder(model, work, new, progress or Progress())
            builder.write_documents(documents)
            builder.take_vectors(None if vectors is None else Path(vectors), passages)
            if keywords and not live:
                builder.write_keywords()
            builder.write_model()
            builder.write_canaries()
            if live:
                builder.write_live(wanted, goal, queries, server)
            else:
                builder.write_engine(wanted, goal, queries)
            flush_tree(new)
        with _nobody_else_has(target):
            put_in_place(new, target)
        remove_folder(work)
    return Searcher.open(target, model=model)


class _Builder:
    """Writes the parts of one index, one after the other; the manifest comes last, with the engine."""

    def __init__(self, model: Model, work: Path, new: Path, progress: Progress) -> None:
        self.model = model
        self.work = work
        self.new = new
        self.progress = progress
        self.identity = model.identity

    def write_documents(self, documents: Iterable[Document]) -> None:
        """The one pass over the documents; all else reads what it wrote."""
        total = len(documents) if isinstance(documents, Sized) else 0
        _, self.corpus = write_documents(self.new, documents, progress=_Counter(self.progress, "documents", total))
        self.store = DocumentStore(self.new)

    def take_vectors(self, given: Path | None, passages: PassageOptions | None) -> None:
        """Encode, or open and check what was given."""
        if given is None:
            place = self.work / "vectors"
            encode(self.model, self.store, out=place, passages=passages, progress=self.progress)
            self.vectors = VectorsFolder(place)
            return
        self.vectors = VectorsFolder(given)
        self.identity.check_documents(self.vectors.manifest.identity, what=str(given))
        if self.vectors.manifest.metric != metric_of(self.model):
            raise ArgumentError(
                f"{given} was encoded to be compared by {self.vectors.manifest.metric}, and the model given compares by "
                f"{metric_of(self.model)}; encode again"
            )
        found = self.vectors.manifest.passages
        if passages is not None and found != asdict(passages):
            raise ArgumentError(
                f"{given} was encoded with {_described(found)}, and {_described(asdict(passages))} are asked for; "
                "leave passages out, or encode again"
            )
        self.vectors.check_corpus((self.store.id(number) for number in range(len(self.store))), self.corpus)

    def write_keywords(self) -> None:
        """BM25 over the same documents."""
        texts = (document.content for document in self.store)
        index = KeywordIndex.build(texts, progress=_Counter(self.progress, "keywords", len(self.store)))
        index.save(self.new / KEYWORDS)

    def write_model(self) -> None:
        """The model's own folder; saved beside first, because saving leaves a lock file next to it."""
        shutil.rmtree(self.work / MODEL, ignore_errors=True)
        self.model.save(self.work / MODEL)
        (self.work / MODEL).rename(self.new / MODEL)

    def write_canaries(self) -> None:
        """A few texts with the vectors that this model gives them here and now."""
        self.model.prepare(self.store.sample(), say=self.progress.say)
        Canaries.take(self.model, self.store).write(self.new)

    def write_engine(self, wanted: EngineOptions, goal: Goal | None, queries: Sequence[str | Query] | None) -> None:
        """The searchable vectors, and the manifest."""
        matrix, owners = self.vectors.vectors(), self.vectors.owners()
        facts: dict[str, Any] = {}
        if goal is None:
            choice = choose_engine(wanted.name, rows=len(matrix), dimension=matrix.shape[1])
            self.progress.say(f"engine {choice.engine}: {choice.reason}")
            engine = engine_class(choice.engine).build(
                matrix,
                metric=metric_of(self.model),
                parameters=wanted.parameters,
                progress=partial(self.progress, "graph"),
            )
        else:
            tuned = self._tuned(matrix, wanted.name, goal, self._query_vectors(queries))
            engine, choice = tuned.index, Choice(tuned.index.engine, tuned.reason)
            facts = _measured(tuned, goal)
        folder = self.new / ENGINE
        folder.mkdir()
        engine.save(folder)
        if engine.stored_vectors() is None:
            write_vectors(self.new, matrix)  # searches leave them alone; whoever builds the engine anew needs them
        if owners is not None:
            np.save(self.new / OWNERS, owners)
        size = folder_bytes(folder)
        self._write_manifest(choice, len(engine), size, engine.parameters, facts | {"asked": wanted.name})

    def write_live(
        self, wanted: EngineOptions, goal: Goal | None, queries: Sequence[str | Query] | None, server: QdrantServer | None
    ) -> None:
        """A store with the documents in it, which lies beside the files that have checksums, since it changes."""
        from biencoder.index.qdrant_index import QdrantIndex, store_options

        matrix, parameters, choice, facts = self.vectors.vectors(), dict(wanted.parameters), Choice(LIVE, "asked for"), {}
        if goal is not None:
            tuned = self._tuned(matrix, LIVE, goal, self._query_vectors(queries))
            parameters, choice, facts = dict(tuned.index.parameters), Choice(LIVE, tuned.reason), _measured(tuned, goal)
        resolved = QdrantIndex.resolve(parameters, {**QdrantIndex.build_defaults, **QdrantIndex.search_defaults})
        place = self.work / LIVE_FOLDER
        shutil.rmtree(place, ignore_errors=True)
        there = None if server is None else (server, f"biencoder-{uuid.uuid4().hex[:12]}")
        live = create_live(
            place,
            self.store,
            dimension=matrix.shape[1],
            metric=metric_of(self.model),
            options=store_options(resolved),
            server=there,
        )
        with closing(live):
            live.fill(self.store, matrix, self.vectors.owners(), progress=self.progress)
        for name in DOCUMENT_FILES:
            (self.new / name).unlink()
        size = disk_bytes(place) if there is None else 0
        if there is not None:
            facts["server"] = {"url": there[0].url, "collection": there[1]}
        self._write_manifest(choice, len(matrix), size, resolved, {**facts, "asked": wanted.name})
        if there is None:
            place.rename(self.new / LIVE_FOLDER)

    def _tuned(self, matrix: FloatArray, engine: str, goal: Goal, queries: FloatArray) -> Tuned:
        """Engine and parameters chosen by measuring, and the frontier written down."""
        tuned = tune(
            matrix,
            queries,
            goal=goal,
            metric=metric_of(self.model),
            engine=engine,
            progress=partial(self.progress, "tuning"),
            say=self.progress.say,
        )
        self.progress.say(f"engine {tuned.index.engine}: {tuned.reason}; {tuned.point}")
        write_frontier(self.new, tuned, goal, say=self.progress.say)
        return tuned

    def _query_vectors(self, queries: Sequence[str | Query] | None) -> FloatArray:
        """Of at most as many queries as tuning looks at."""
        if queries is None:
            texts = made_queries(self.store)
            self.progress.say(
                f"tuning with {len(texts):,} queries made from titles and crops of documents, since there are no others; "
                "real ones can fare worse"
            )
        else:
            texts = [query.text if isinstance(query, Query) else query for query in queries]
            texts = random.Random(0).sample(texts, min(len(texts), MOST_QUERIES))  # noqa: S311 - a sample, not a secret
            self.progress.say(f"tuning with {len(texts):,} queries")
        return comparable(self.model.encode_queries(texts), model=self.model, metric=metric_of(self.model))

    def _write_manifest(self, choice: Choice, rows: int, size: int, parameters: Parameters, facts: Mapping[str, Any]) -> None:
        IndexManifest(
            engine=choice.engine,
            reason=choice.reason,
            metric=metric_of(self.model),
            dimension=self.vectors.manifest.dimension,
            count=len(self.store),
            vectors=rows,
            bytes_per_vector=round(size / rows, 1),
            identity=replace(self.identity, execution=self.vectors.manifest.identity.execution),
            corpus=self.corpus,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            biencoder=version("biencoder"),
            parameters=dict(parameters),
            keywords=(self.new / KEYWORDS).exists(),
            passages=self.vectors.manifest.passages,
            execution=self.vectors.manifest.execution,
            **facts,
        ).write(self.new)


def _measured(tuned: Tuned, goal: Goal) -> dict[str, Any]:
    return {name: getattr(tuned.point, name) for name in MEASURED} | {"goal": str(goal)}


@contextmanager
def _nobody_else_has(target: Path) -> Iterator[None]:
    """Where an embedded live index is to be replaced, make sure that no process has it open meanwhile.

    Raises:
        LockedError: where one has.
    """
    if not (target / LIVE_FOLDER).is_dir():
        yield
        return
    with held(target):
        yield


@contextmanager
def _swept(work: Path, new: Path) -> Iterator[None]:
    """Where the block fails, keep the vectors that the next call can go on with, and nothing else."""
    try:
        yield
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        for name in (MODEL, LIVE_FOLDER):
            shutil.rmtree(work / name, ignore_errors=True)
        if not any(work.iterdir()):
            work.rmdir()
        raise


class _Counter:
    """Passes on a count now and then: a call a document would cost more than the work that it counts."""

    def __init__(self, progress: Progress, stage: str, total: int) -> None:
        self._progress = progress
        self._stage = stage
        self._total = total

    def __call__(self, done: int) -> None:
        if done % 1000 == 0 or done == self._total:
            self._progress(self._stage, done, max(done, self._total))


def _described(passages: dict[str, int] | None) -> str:
    if passages is None:
        return "whole documents"
    return f"passages of size {passages['size']} and overlap {passages['overlap']}"
