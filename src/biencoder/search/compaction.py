"""An index and its changes made into one index again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path

from biencoder.errors import ArgumentError
from biencoder.index.base import VectorIndex
from biencoder.index.engines import Choice, choose_engine, engine_class
from biencoder.index.manifest import IndexManifest
from biencoder.progress import Progress
from biencoder.scoring import FloatArray
from biencoder.search.canaries import NAME as CANARIES
from biencoder.search.changes import change_folders
from biencoder.search.documents import DocumentStore
from biencoder.search.keywords import FOLDER as KEYWORDS
from biencoder.search.keywords import KeywordIndex
from biencoder.search.layer import Layer
from biencoder.search.layout import ENGINE, LIVE, MODEL
from biencoder.search.live import open_live
from biencoder.search.opening import open_layers
from biencoder.search.sources import Source, write_sources
from biencoder.storage.folder import explain_os_errors, flush_tree, folder_bytes, locked, put_in_place
from biencoder.storage.vectors import open_vectors


def compact_index(path: str | os.PathLike[str], *, progress: Progress | None = None) -> int:
    """Build an index anew out of itself: what was added moves in, what was deleted goes, and searches look in one place again.

    Nothing is encoded. The engine and its parameters stay, unless the library chose them and would now choose another; what
    tuning measured is forgotten, since it was measured on other documents. Readers keep what they have open, and the new index
    takes the old one's place in one step.

    Args:
        path: the index folder.
        progress: is told what is done.

    Returns:
        The documents in it.

    Raises:
        ArgumentError: where no document is left.
        StorageError: where the folder is no index, or cannot be written.
        LockedError: where another process is writing it.
    """
    target = Path(path).absolute()
    told = progress or Progress()
    with explain_os_errors(target), locked(target):
        manifest = IndexManifest.read(target)
        if manifest.engine == LIVE:
            return _optimise(target, manifest)
        layers = open_layers(target, manifest)
        if not change_folders(target):
            told.say("nothing has changed since the index was built")
            return len(layers)
        if not len(layers):
            raise ArgumentError(f"{target}: no document is left; add some, or remove the folder")
        new = target.with_name(f".{target.name}.compacted")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        try:
            sources = [Source.live(layer, stored_vectors(layer, place)) for layer, place in _places(layers.layers, target)]
            _write(new, target, [own for own in sources if own.count], manifest, told)
            put_in_place(new, target)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
        return len(layers)


def _optimise(folder: Path, manifest: IndexManifest) -> int:
    """A live index needs no compaction; its store builds the graph over what is new."""
    with closing(open_live(folder, manifest)) as live:
        live.points.optimize()
        return len(live)


def stored_vectors(layer: Layer, folder: Path) -> FloatArray:
    """The vectors of a layer as they were encoded: the engine keeps them, or the folder does."""
    found = layer.index.stored_vectors()
    return open_vectors(folder) if found is None else found


def _places(layers: Sequence[Layer], target: Path) -> list[tuple[Layer, Path]]:
    changes = [layer.documents.folder for layer in layers[1:]]
    return list(zip(layers, [target, *changes], strict=True))


def _write(new: Path, old: Path, sources: Sequence[Source], manifest: IndexManifest, progress: Progress) -> None:
    count, digest, matrix = write_sources(new, sources, passages=manifest.passages is not None)
    if manifest.keywords:
        KeywordIndex.build(document.content for document in DocumentStore(new)).save(new / KEYWORDS)
    shutil.copytree(old / MODEL, new / MODEL)
    shutil.copy2(old / CANARIES, new / CANARIES)
    choice = _choice(manifest, matrix)
    parameters = manifest.parameters if choice.engine == manifest.engine else {}
    index = engine_class(choice.engine).build(
        matrix, metric=manifest.metric, parameters=parameters, progress=partial(progress, "graph")
    )
    _save_engine(new, index)
    replace(
        manifest,
        engine=choice.engine,
        reason=choice.reason,
        count=count,
        vectors=len(index),
        bytes_per_vector=round(folder_bytes(new / ENGINE) / len(index), 1),
        corpus=digest,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        biencoder=version("biencoder"),
        parameters=index.parameters,
        recall=None,
        recall_worst_decile=None,
        p50_ms=None,
        p99_ms=None,
        build_seconds=None,
    ).write(new)
    flush_tree(new)


def _choice(manifest: IndexManifest, matrix: FloatArray) -> Choice:
    if manifest.asked == "auto" and manifest.goal is None:
        return choose_engine("auto", rows=len(matrix), dimension=matrix.shape[1])
    return Choice(manifest.engine, manifest.reason)


def _save_engine(new: Path, index: VectorIndex) -> None:
    """The engine's files; the rows beside them stay where the engine has only codes of them."""
    (new / ENGINE).mkdir()
    index.save(new / ENGINE)
    if index.stored_vectors() is not None:
        (new / "vectors.npy").unlink()
