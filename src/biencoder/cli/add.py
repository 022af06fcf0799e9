"""`biencoder add`: documents into an index that is there."""

from __future__ import annotations

from typing import Annotated

import typer

from biencoder.cli.opening import check_index, load_model
from biencoder.cli.options import (
    CorpusArgument,
    IndexArgument,
    Json,
    Precision,
    PrecisionName,
    Quiet,
    Runtime,
    RuntimeName,
    Threads,
    running_options,
)
from biencoder.cli.terminal import TerminalProgress, print_facts, print_json

EXAMPLE = "biencoder add scifact.index new.jsonl"


def command(
    index: IndexArgument,
    corpus: CorpusArgument,
    *,
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Encodes the documents; default: the one in the index.")
    ] = None,
    precision: Precision = PrecisionName.FAST,
    runtime: Runtime = RuntimeName.AUTO,
    threads: Threads = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Add documents to an index; one whose id is there already takes the other's place.

    They are found at once, by vectors and by keywords. `biencoder compact` makes one index of it all again.
    """
    check_index(index)
    with TerminalProgress(quiet=quiet) as progress:
        from biencoder.data.readers import read_documents
        from biencoder.search import add_documents
        from biencoder.search.layout import MODEL

        progress.phase(f"reading {corpus}")
        documents = read_documents(corpus)
        running = running_options(precision, runtime, threads)
        encoder = load_model(model or f"{index}/{MODEL}", running=running, progress=progress)
        done = add_documents(index, documents, model=encoder, progress=progress)
    if json:
        print_json({"path": index, "added": done.added, "replaced": done.replaced, "documents": done.documents})
        return
    print_facts(
        [
            ("added", f"{done.added + done.replaced:,}  ({done.replaced:,} of them in place of others)"),
            ("documents", f"{done.documents:,}"),
            ("folder", index),
        ]
    )
