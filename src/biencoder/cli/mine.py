"""`biencoder mine`: hard negatives, and a teacher's scores, as examples."""

from __future__ import annotations

import re
import shutil
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from biencoder.cli.opening import load_model
from biencoder.cli.options import (
    CollectionArgument,
    Json,
    ModelArgument,
    Precision,
    PrecisionName,
    Quiet,
    Runtime,
    RuntimeName,
    Threads,
    running_options,
)
from biencoder.cli.pairs import pair_lines
from biencoder.cli.terminal import TerminalProgress, print_facts, print_json, print_next

if TYPE_CHECKING:
    from biencoder.mining import Mined, MinedPair, Teacher

EXAMPLE = "biencoder mine runs/scifact data/scifact --out negatives.jsonl --show 5"

_RANKS = re.compile(r"([0-9]+)-([0-9]+)")


class SourceName(StrEnum):
    """What candidates may come from."""

    MODEL = "model"
    BM25 = "bm25"


def command(  # noqa: PLR0913 - a command's options are its parameters
    model: ModelArgument,
    collection: CollectionArgument,
    *,
    out: Annotated[
        Path, typer.Option(metavar="FILE.jsonl", help="The examples. The same command goes on with what was interrupted.")
    ],
    source: Annotated[
        SourceName | None, typer.Option(help="What ranks the candidates: the model (the default) or BM25; the model scores.")
    ] = None,
    split: Annotated[str, typer.Option(help="Whose pairs.")] = "train",
    ranks: Annotated[
        str | None, typer.Option(metavar="FIRST-LAST", help="The ranks that candidates come from; 1-100 unless given.")
    ] = None,
    negatives: Annotated[int | None, typer.Option(metavar="N", help="Kept for each pair, at most; 8 unless given.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="An option, such as relative_margin=0.1; may be repeated."),
    ] = None,
    teacher: Annotated[
        str | None, typer.Option(metavar="MODEL", help="A cross-encoder that scores the pairs and refuses false negatives.")
    ] = None,
    vectors: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep the documents' vectors here, and take them from here.")
    ] = None,
    show: Annotated[int, typer.Option(metavar="N", min=0, help="Print so many pairs with their texts.")] = 0,
    precision: Precision = PrecisionName.FAST,
    runtime: Runtime = RuntimeName.AUTO,
    threads: Threads = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find hard negatives for training: documents that rank high for a query and are not known to answer it.

    Writes a line for each query-document pair, with ranks and scores, which is a file of pairs too. Once the model has been
    trained on it, the same command mines anew.
    """
    chosen = [*(settings or []), *_settings(source, ranks, negatives)]
    with TerminalProgress(quiet=quiet) as progress:
        from biencoder.configuration import configure
        from biencoder.data.collection import Collection
        from biencoder.mining import MiningOptions, mine

        options = configure(MiningOptions, settings=chosen)
        progress.phase(f"reading {collection}")
        judged = Collection.read(collection)
        encoder = load_model(model, running=running_options(precision, runtime, threads), progress=progress)
        cross = None if teacher is None else _load_teacher(teacher, precision, progress)
        progress.phase("preparing")
        done = mine(encoder, judged, out=out, split=split, options=options, teacher=cross, vectors=vectors, progress=progress)
    shown = _some(out, done.pairs, show)
    if json:
        _print_json(done, out, shown)
    else:
        _print(done, model=model, out=out, shown=shown)


def _settings(source: SourceName | None, ranks: str | None, negatives: int | None) -> list[str]:
    """The options that have a name of their own, as settings; they win over those given by --set."""
    found = []
    if source is not None:
        found.append(f"source={source.value}")
    if ranks is not None:
        window = _RANKS.fullmatch(ranks)
        if window is None:
            raise typer.BadParameter(f"--ranks is {ranks!r}; FIRST-LAST was expected, such as 30-100")
        found += [f"first_rank={int(window[1])}", f"last_rank={int(window[2])}"]
    if negatives is not None:
        found.append(f"negatives={negatives}")
    return found


def _load_teacher(name: str, precision: PrecisionName, progress: TerminalProgress) -> Teacher:
    """Load a cross-encoder; it is run by torch, in bfloat16 where the model is to be run in int8."""
    progress.phase(f"loading {name}")
    from biencoder.towers.cross_encoder import CrossEncoder

    return CrossEncoder.load(name, precision="fast" if precision is PrecisionName.INT8 else precision.value)


def _some(path: Path, pairs: int, count: int) -> list[MinedPair]:
    """So many pairs of a mined file, from all over."""
    if not count:
        return []
    from biencoder.mining import read_pairs

    wanted = {place * pairs // count for place in range(count)}
    return [pair for place, pair in enumerate(read_pairs(path)) if place in wanted]


def _print_json(done: Mined, out: Path, shown: list[MinedPair]) -> None:
    facts = {
        "path": str(out),
        "pairs": done.pairs,
        "negatives": done.negatives,
        "dropped": done.dropped,
        "without_negatives": done.without_negatives,
        "fresh": done.fresh,
    }
    print_json(facts | ({"shown": [pair.model_dump() for pair in shown]} if shown else {}))


def _print(done: Mined, *, model: str, out: Path, shown: list[MinedPair]) -> None:
    width = shutil.get_terminal_size().columns
    for pair in shown:
        print("\n".join([*pair_lines(pair, width=width), ""]))
    none = f"  ({done.without_negatives:,} pairs have none)" if done.without_negatives else ""
    print_facts(
        [
            ("pairs", f"{done.pairs:,}  ({done.fresh:,} mined now)"),
            ("negatives", f"{done.negatives:,}, {done.negatives / done.pairs:.1f} a pair{none}"),
            ("left out", ", ".join(f"{reason} {count:,}" for reason, count in done.dropped.items())),
            ("file", str(out)),
        ]
    )
    print_next([["fit", out, "--model", model, "--out", out.with_suffix(".run")]])
