"""`biencoder encode`: the vectors of a corpus."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from biencoder.cli.opening import load_model
from biencoder.cli.options import (
    CorpusArgument,
    Json,
    ModelArgument,
    PassageOverlap,
    PassageSize,
    Precision,
    PrecisionName,
    Quiet,
    Runtime,
    RuntimeName,
    Threads,
    passage_options,
    running_options,
)
from biencoder.cli.terminal import TerminalProgress, print_facts, print_json, print_next

EXAMPLE = "biencoder encode runs/scifact data/scifact --out scifact.vectors"


def command(  # noqa: PLR0913 - a command's options are its parameters
    model: ModelArgument,
    corpus: CorpusArgument,
    *,
    out: Annotated[Path, typer.Option(help="The vectors folder. The same command goes on with what was interrupted.")],
    passages: PassageSize = None,
    overlap: PassageOverlap = None,
    precision: Precision = PrecisionName.FAST,
    runtime: Runtime = RuntimeName.AUTO,
    threads: Threads = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the vectors of a corpus, resumable, in bounded memory.

    `biencoder index --vectors DIR` takes them; `vectors.npy` in the folder opens in NumPy.
    """
    options = passage_options(passages, overlap)
    with TerminalProgress(quiet=quiet) as progress:
        from biencoder.data.readers import read_documents
        from biencoder.search import encode

        progress.phase(f"reading {corpus}")
        documents = read_documents(corpus)
        encoder = load_model(model, running=running_options(precision, runtime, threads), progress=progress)
        progress.phase("encoding")
        done = encode(encoder, documents, out=out, passages=options, progress=progress)
    if json:
        facts = {"count": done.count, "vectors": done.vectors, "dimension": encoder.dimension, "fresh": done.fresh}
        print_json({"path": str(out), **facts})
        return
    print_facts(
        [
            ("documents", f"{done.count:,}  ({done.fresh:,} encoded now)"),
            ("vectors", f"{done.vectors:,} of {encoder.dimension} dimensions"),
            ("folder", str(out)),
        ]
    )
    print_next([["index", model, corpus, "--vectors", out, "--out", out.with_suffix(".index")]])
