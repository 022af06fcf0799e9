"""`biencoder search`: ask an index."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from biencoder.cli.hits import hit_lines
from biencoder.cli.opening import open_index, open_reranker
from biencoder.cli.options import (
    Depth,
    IndexArgument,
    Json,
    Precision,
    PrecisionName,
    Rerank,
    Runtime,
    RuntimeName,
    Threads,
    running_options,
)
from biencoder.cli.terminal import TerminalProgress, print_json
from biencoder.errors import DataError
from biencoder.records import Hit

if TYPE_CHECKING:
    from biencoder.index.filters import Filter
    from biencoder.search import Reranker, Searcher

EXAMPLE = 'biencoder search scifact.index "does aspirin lower cancer risk?" -k 5'


def command(  # noqa: PLR0913 - a command's options are its parameters
    index: IndexArgument,
    query: Annotated[str | None, typer.Argument(metavar="QUERY", help="Without it, queries are read line by line.")] = None,
    *,
    k: Annotated[int, typer.Option("-k", help="How many hits.")] = 10,
    hybrid: Annotated[bool, typer.Option("--hybrid", help="Fuse with BM25 by reciprocal rank.")] = False,
    where: Annotated[
        str | None,
        typer.Option("--filter", metavar="TEXT", help="On metadata, in a live index: year >= 2020 and lang in (en, de)."),
    ] = None,
    rerank: Rerank = None,
    depth: Depth = 100,
    precision: Precision = PrecisionName.FAST,
    runtime: Runtime = RuntimeName.AUTO,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Search an index.

    Without a query it asks for one after the other; an empty line or Ctrl-D ends. Where standard input is not a terminal, each
    of its lines is a query, and --json prints one list a line.
    """
    with TerminalProgress() as progress:
        from biencoder.index.filters import parse_filter
        from biencoder.search.queries import check_queries

        check_queries([] if query is None else [query], k=k)
        chosen = None if where is None else parse_filter(where)
        running = running_options(precision, runtime, threads)
        searcher = open_index(index, running=running, progress=progress)
        reranker = None
        if rerank is not None:
            reranker = open_reranker(rerank, searcher, depth=depth, running=running, progress=progress, hybrid=hybrid)
    with searcher:
        asked = _Asked(reranker or searcher, len(searcher), k, hybrid, chosen, json)
        if query is not None:
            asked.answer(query)
        elif sys.stdin.isatty():
            _converse(asked)
        else:
            for line in _piped():
                asked.answer(line, one_of_many=True)


@dataclass(frozen=True, slots=True)
class _Asked:
    """How the queries are to be answered."""

    searcher: Searcher | Reranker
    documents: int
    k: int
    hybrid: bool
    where: Filter | None
    json: bool

    def answer(self, query: str, *, one_of_many: bool = False) -> None:
        """Search and print; of many answers, each is told apart by its query, or its line of JSON."""
        hits = self.searcher.search(query, k=self.k, hybrid=self.hybrid, where=self.where)
        if self.json:
            print_json([_as_json(hit) for hit in hits], indent=None if one_of_many else 2)
            return
        width = shutil.get_terminal_size().columns
        if one_of_many:
            print("» " + " ".join(query.split())[: width - 2])
        for line in hit_lines(query, hits, width=width):
            print(line)
        if one_of_many:
            print(flush=True)


def _converse(asked: _Asked) -> None:
    with suppress(ImportError):
        import readline  # noqa: F401 - gives the prompt its editing and history
    print(f"{asked.documents:,} documents; an empty line or Ctrl-D ends", file=sys.stderr)
    while True:
        try:
            query = input("search> ").strip()
        except EOFError:
            print(file=sys.stderr)
            return
        if not query:
            return
        asked.answer(query)


def _piped() -> Iterator[str]:
    """The lines of standard input; empty ones are fine at its end alone, so that no query is dropped unseen."""
    empty = 0
    number = 0
    try:
        for number, line in enumerate(sys.stdin, start=1):
            if not line.strip():
                empty = empty or number
                continue
            if empty:
                raise DataError("the query is empty", path="standard input", line=empty, hint="give one query a line")
            yield line.strip()
    except UnicodeDecodeError:
        raise DataError("a query is not UTF-8", path="standard input", line=number + 1, hint="send UTF-8") from None


def _as_json(hit: Hit) -> dict[str, object]:
    return {
        "rank": hit.rank,
        "id": hit.id,
        "score": hit.score,
        "title": hit.title,
        "text": hit.text,
        "metadata": dict(hit.metadata),
    }
