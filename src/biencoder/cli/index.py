"""`biencoder index`: an index that answers searches."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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

if TYPE_CHECKING:
    from biencoder.index.manifest import IndexManifest

EXAMPLE = "biencoder index runs/scifact data/scifact --out scifact.index"


class EngineName(StrEnum):
    """The names of `biencoder.index.engines.engine_names`, for the help text."""

    AUTO = "auto"
    EXACT = "exact"
    HNSW = "hnsw"
    IVFPQ = "ivfpq"
    IVFRABITQ = "ivfrabitq"


def command(  # noqa: PLR0913 - a command's options are its parameters
    model: ModelArgument,
    corpus: CorpusArgument,
    *,
    out: Annotated[Path, typer.Option(help="The index folder; one that stands there is replaced at the end, in one step.")],
    engine: Annotated[EngineName, typer.Option(help="auto: exact while that answers within a millisecond.")] = EngineName.AUTO,
    vectors: Annotated[Path | None, typer.Option(help="What encode wrote of the same documents.", metavar="DIR")] = None,
    passages: PassageSize = None,
    overlap: PassageOverlap = None,
    keywords: Annotated[bool, typer.Option(help="Build BM25 too, for search --hybrid.")] = True,
    precision: Precision = PrecisionName.FAST,
    runtime: Runtime = RuntimeName.AUTO,
    threads: Threads = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Build an index folder: vectors, documents, keywords and the model itself, so that search needs nothing else."""
    options = passage_options(passages, overlap)
    with TerminalProgress(quiet=quiet) as progress:
        from biencoder.data.readers import read_documents
        from biencoder.search import build_index

        progress.phase(f"reading {corpus}")
        documents = read_documents(corpus)
        encoder = load_model(model, running=running_options(precision, runtime, threads), progress=progress)
        progress.phase("encoding")
        searcher = build_index(
            encoder,
            documents,
            out=out,
            engine=engine.value,
            vectors=vectors,
            passages=options,
            keywords=keywords,
            progress=progress,
        )
    assert searcher.manifest is not None  # noqa: S101 - it was read from a folder
    _print(searcher.manifest, out, as_json=json)


def _print(manifest: IndexManifest, out: Path, *, as_json: bool) -> None:
    if as_json:
        names = ("engine", "reason", "count", "vectors", "dimension", "bytes_per_vector", "keywords")
        print_json({"path": str(out), **{name: getattr(manifest, name) for name in names}})
        return
    passages = f" in {manifest.vectors:,} passages" if manifest.passages else ""
    print_facts(
        [
            ("engine", f"{manifest.engine}  ({manifest.reason})"),
            ("documents", f"{manifest.count:,}{passages}"),
            ("vectors", f"{manifest.dimension} dimensions, {manifest.bytes_per_vector:,.0f} bytes each"),
            ("keywords", "BM25, for search --hybrid" if manifest.keywords else "none"),
            ("folder", str(out)),
        ]
    )
    print_next([["search", out], ["inspect", out]])
