"""Opening what the user names: a model, with its remarks; an index, or a line that says what stands there instead."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biencoder.cli.terminal import TerminalProgress
from biencoder.errors import StorageError

if TYPE_CHECKING:
    from biencoder.cli.options import RunningOptions
    from biencoder.search import Searcher
    from biencoder.search.reranker import FirstStage, Reranker
    from biencoder.towers.bi_encoder import BiEncoder

MEASURES = "measures.json"


def load_model(name: str, *, running: RunningOptions, progress: TerminalProgress) -> BiEncoder:
    """Load a model and say what its checkpoint left open and was decided in its place.

    Raises:
        ModelError: where there is no such model, or it cannot be read.
    """
    progress.phase(f"loading {name}")
    from biencoder.towers.bi_encoder import BiEncoder

    model = BiEncoder.load(name, **running)
    for note in model.notes:
        progress.say(f"{name}: {note}")
    return model


def open_index(name: str, *, running: RunningOptions, progress: TerminalProgress) -> Searcher:
    """Open an index.

    Raises:
        StorageError: where there is none.
        CorruptError: where it is damaged.
        IdentityError: where the model in it is not the one that made its vectors.
    """
    check_index(name)
    progress.phase(f"opening {name} (the first time takes a while)")
    from biencoder.search import Searcher

    return Searcher.open(name, say=progress.say, **running)


def check_index(name: str) -> None:
    """Make sure that what the user names is an index, if it is there at all.

    Raises:
        StorageError: where something else stands there.
        CorruptError: where its manifest is damaged.
    """
    if Path(name).exists() and not is_index(name):
        raise StorageError(f"{name} is no index; make one: biencoder index MODEL CORPUS --out DIR")


def open_reranker(
    name: str,
    searcher: FirstStage,
    *,
    depth: int,
    running: RunningOptions,
    progress: TerminalProgress,
    hybrid: bool = False,
) -> Reranker:
    """Load a cross-encoder, and put it behind a first stage; say so where scores that it was measured with will be missing.

    Rerankers are run by torch, in bfloat16 where the models are to be run in int8.

    Raises:
        ArgumentError: where the depth is below 1.
        ModelError: where there is no such reranker.
    """
    progress.phase(f"loading {name}")
    from biencoder.search.reranker import Reranker
    from biencoder.towers.cross_encoder import CrossEncoder

    precision = "fast" if running["precision"] == "int8" else running["precision"]
    encoder = CrossEncoder.load(name, precision=precision)
    reranker, measured = Reranker(searcher, encoder, depth), encoder.first_stage
    if measured is not None and measured.weight and (hybrid or not reranker.weight):
        progress.say(f"{name} adds the scores of the first stage that it was trained for to its own; here it adds none")
    return reranker


def read_measures(run: Path) -> dict[str, Any]:
    """What a run folder says of its training: dev scores by step, the chosen step, pairs, losses.

    Raises:
        StorageError: where it cannot be read.
    """
    path = run / MEASURES
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} cannot be read ({error}); remove the folder {run} and fit again") from None
    return found


def is_index(name: str) -> bool:
    """Whether a folder is an index, whole or damaged.

    Raises:
        StorageError: where it holds vectors, which have to become an index first.
        CorruptError: where its manifest is damaged.
    """
    from biencoder.index.manifest import KIND
    from biencoder.storage.manifest import NAME, peek_manifest

    folder = Path(name)
    if not (folder / NAME).is_file():
        return False
    kind = peek_manifest(folder).kind
    if kind == "vectors":
        raise StorageError(f"{folder} holds vectors; make an index of them: biencoder index MODEL CORPUS --vectors {folder}")
    return kind == KIND
