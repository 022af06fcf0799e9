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
from biencoder.cli.quantities import milliseconds, size_in_bytes
from biencoder.cli.terminal import TerminalProgress, print_facts, print_json, print_next

if TYPE_CHECKING:
    from biencoder.index.manifest import IndexManifest
    from biencoder.index.tuning import Goal
    from biencoder.search import QdrantServer

EXAMPLE = "biencoder index runs/scifact data/scifact --out scifact.index"


class EngineName(StrEnum):
    """The names of `biencoder.index.engines.engine_names`, for the help text."""

    AUTO = "auto"
    EXACT = "exact"
    HNSW = "hnsw"
    IVFPQ = "ivfpq"
    IVFRABITQ = "ivfrabitq"
    IVFSQ = "ivfsq"
    QDRANT = "qdrant"


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
    recall: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Measure, and take the fastest setting with this recall@10."),
    ] = None,
    memory: Annotated[str | None, typer.Option(metavar="SIZE", help="With --recall: at most so much: 2GB.")] = None,
    latency: Annotated[str | None, typer.Option(metavar="TIME", help="With --recall: p50 at most so much: 1ms.")] = None,
    queries: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Real ones to measure with, one a line; default: the collection's, but for its test split."
        ),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A parameter of the engine; may be repeated.")
    ] = None,
    qdrant: Annotated[
        str | None, typer.Option(metavar="URL", help="With --engine qdrant: a server; its key is read from QDRANT_API_KEY.")
    ] = None,
    shards: Annotated[int | None, typer.Option(min=1, metavar="N", help="With --qdrant: parts of the collection.")] = None,
    replicas: Annotated[int | None, typer.Option(min=1, metavar="N", help="With --qdrant: copies of each part.")] = None,
    precision: Precision = PrecisionName.FAST,
    runtime: Runtime = RuntimeName.AUTO,
    threads: Threads = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Build an index folder: vectors, documents, keywords and the model itself, so that search needs nothing else."""
    options = passage_options(passages, overlap)
    goal = _goal(recall, memory, latency, queries)
    server = _server(qdrant, shards, replicas)
    with TerminalProgress(quiet=quiet) as progress:
        from biencoder.data.readers import read_documents
        from biencoder.index.engines import EngineOptions
        from biencoder.search import build_index

        progress.phase(f"reading {corpus}")
        documents = read_documents(corpus)
        asked = None if goal is None else _queries(queries, corpus, progress)
        encoder = load_model(model, running=running_options(precision, runtime, threads), progress=progress)
        progress.phase("encoding")
        searcher = build_index(
            encoder,
            documents,
            out=out,
            engine=EngineOptions(engine.value, _parameters(settings)),
            vectors=vectors,
            passages=options,
            keywords=keywords,
            recall=goal,
            queries=asked,
            server=server,
            progress=progress,
        )
    searcher.close()
    assert searcher.manifest is not None  # noqa: S101 - it was read from a folder
    _print(searcher.manifest, out, as_json=json)


def _goal(recall: float | None, memory: str | None, latency: str | None, queries: Path | None) -> Goal | None:
    """What was asked for, together."""
    if recall is None:
        given = [name for name, value in (("memory", memory), ("latency", latency), ("queries", queries)) if value is not None]
        if given:
            raise typer.BadParameter(f"--{given[0]} belongs to --recall, which is not given")
        return None
    from biencoder.index.tuning import Goal

    return Goal(
        recall,
        memory=None if memory is None else size_in_bytes(memory),
        latency_ms=None if latency is None else milliseconds(latency),
    )


def _server(url: str | None, shards: int | None, replicas: int | None) -> QdrantServer | None:
    """Where a live index lies, if it is not embedded."""
    if url is None:
        if shards is not None or replicas is not None:
            raise typer.BadParameter(f"--{'replicas' if shards is None else 'shards'} belongs to --qdrant, which is not given")
        return None
    from biencoder.search import QdrantServer

    return QdrantServer(url, shard_number=shards, replication_factor=replicas or 1)


def _queries(file: Path | None, corpus: str, progress: TerminalProgress) -> list[str] | None:
    """Queries to measure with; None where they have to be made."""
    from biencoder.data.tuning_queries import collection_queries, read_query_file

    if file is not None:
        return read_query_file(file)
    found, splits = collection_queries(corpus)
    if found:
        progress.say(f"queries of {', '.join(splits)} are there to choose an index with")
    return found or None


def _parameters(settings: list[str] | None) -> dict[str, int | str]:
    """``--set`` options."""
    found: dict[str, int | str] = {}
    for setting in settings or []:
        name, equals, value = setting.partition("=")
        if not equals:
            raise typer.BadParameter(f"--set {setting}: KEY=VALUE was expected")
        found[name] = int(value) if value.removeprefix("-").isdecimal() else value
    return found


def _print(manifest: IndexManifest, out: Path, *, as_json: bool) -> None:
    from biencoder.index.manifest import MEASURED

    if as_json:
        names = ("engine", "reason", "parameters", "count", "vectors", "dimension", "bytes_per_vector", "keywords")
        tuned = () if manifest.goal is None else ("goal", *MEASURED)
        print_json({"path": str(out), **{name: getattr(manifest, name) for name in (*names, *tuned)}})
        return
    passages = f" in {manifest.vectors:,} passages" if manifest.passages else ""
    print_facts(
        [
            ("engine", f"{manifest.engine}  ({manifest.reason})"),
            ("documents", f"{manifest.count:,}{passages}"),
            ("vectors", f"{manifest.dimension} dimensions, {manifest.bytes_per_vector:,.0f} bytes each"),
            *_measured(manifest),
            ("keywords", "BM25, for search --hybrid" if manifest.keywords else "none"),
            *_place(manifest),
            ("folder", str(out)),
        ]
    )
    print_next([["search", out], ["inspect", out]])


def _place(manifest: IndexManifest) -> list[tuple[str, str]]:
    """Where a live index lies, if it is not embedded."""
    return (
        [] if manifest.server is None else [("server", f"{manifest.server['url']}, collection {manifest.server['collection']}")]
    )


def _measured(manifest: IndexManifest) -> list[tuple[str, str]]:
    """What tuning measured, where there was some."""
    if manifest.goal is None:
        return []
    parameters = ", ".join(f"{name} {value}" for name, value in manifest.parameters.items())
    return [
        ("asked for", manifest.goal),
        ("recall", f"{manifest.recall:.4f}  (the worst tenth of the queries: {manifest.recall_worst_decile:.4f})"),
        ("latency", f"p50 {manifest.p50_ms:.2f} ms, p99 {manifest.p99_ms:.2f} ms, one query at a time on one thread"),
        *([("parameters", parameters)] if parameters else []),
        ("built in", f"{manifest.build_seconds:,.1f} s"),
    ]
