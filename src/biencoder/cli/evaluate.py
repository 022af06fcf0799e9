"""`biencoder evaluate`: how well a search answers queries with known answers, and against what."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from biencoder.cli.options import (
    CollectionArgument,
    Depth,
    Json,
    Precision,
    PrecisionName,
    Quiet,
    Rerank,
    Runtime,
    RuntimeName,
    Threads,
    running_options,
)
from biencoder.cli.terminal import TerminalProgress, print_json

if TYPE_CHECKING:
    from biencoder.evaluation import Comparison, Evaluation

EXAMPLE = "biencoder evaluate scifact.index data/scifact -m nDCG@10 -m Recall@100 --against bm25"

_WHAT = "An index, a model (searched exactly, in memory), bm25, a TREC run file, or what --out wrote (.json)."


def command(  # noqa: PLR0913 - a command's options are its parameters
    what: Annotated[str, typer.Argument(metavar="INDEX|MODEL", help=_WHAT, show_default=False)],
    collection: CollectionArgument,
    *,
    split: Annotated[str, typer.Option(help="Which judgements.")] = "test",
    queries: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Ask so many of them, drawn by --seed, where a search is slow.")
    ] = None,
    measures: Annotated[
        list[str] | None, typer.Option("--measure", "-m", help="Such as nDCG@10, MRR@10, Recall@100; may be repeated.")
    ] = None,
    against: Annotated[
        list[str] | None, typer.Option(metavar="OTHER", help="Compare with another of the same kinds; may be repeated.")
    ] = None,
    hybrid: Annotated[bool, typer.Option("--hybrid", help="Fuse the first with BM25 (not the others).")] = False,
    rerank: Rerank = None,
    depth: Depth = 100,
    run: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the hits as a TREC run.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE.json", help="Write means and the value of each query.")] = None,
    seed: Annotated[int, typer.Option(help="Of the paired test, the interval, and the draw of --queries.")] = 0,
    precision: Precision = PrecisionName.FAST,
    runtime: Runtime = RuntimeName.AUTO,
    threads: Threads = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure a search on queries with known answers.

    --rerank, like --hybrid, is for the first and not for the others: what it brings shows against the same without it.

    With --against, each measure comes with the difference, its 95% interval, the queries won, tied and lost, and a paired
    randomisation test.
    """
    with TerminalProgress(quiet=quiet) as progress:
        from biencoder.cli.contenders import Bench, Reranking
        from biencoder.data.collection import Collection
        from biencoder.evaluation import DEFAULT_MEASURES, compare, parse_measures

        names = [measure.name for measure in parse_measures(measures or list(DEFAULT_MEASURES))]
        progress.phase(f"reading {collection}")
        judged = Collection.read(collection)
        judged = judged if queries is None else judged.narrowed(split, queries=queries, seed=seed)
        judged.queries(split)
        bench = Bench(collection, judged, split, names, running_options(precision, runtime, threads), progress)
        found = bench.evaluate(what, hybrid=hybrid, reranker=None if rerank is None else Reranking(rerank, depth))
        _save(found, run, out)
        others = [bench.evaluate(other) for other in against or ()]
        progress.phase("comparing")
        pairs = [(other, [compare(found, other, measure=name, seed=seed) for name in names]) for other in others]
    if json:
        print_json(found.as_dict() | {"against": [_as_json(*pair) for pair in pairs]})
    else:
        _print(found, pairs)


def _save(found: Evaluation, run: Path | None, out: Path | None) -> None:
    """Before the others are measured, so that nothing is lost where one of them cannot be."""
    from biencoder.errors import ArgumentError
    from biencoder.evaluation import write_run

    if run is not None:
        if not found.run:
            raise ArgumentError(f"{found.retriever} keeps measures and no hits, so that there is nothing to write to {run}")
        write_run(found.run, run)
    if out is not None:
        found.write(out)


def _as_json(other: Evaluation, comparisons: list[Comparison]) -> dict[str, object]:
    return other.as_dict() | {"comparisons": [comparison.as_dict() for comparison in comparisons]}


def _print(found: Evaluation, pairs: list[tuple[Evaluation, list[Comparison]]]) -> None:
    from biencoder.evaluation import format_comparison, format_evaluation

    print(format_evaluation(found))
    for other, comparisons in pairs:
        print(f"\n{found.retriever} against {other.retriever}:")
        print(format_comparison(comparisons))
