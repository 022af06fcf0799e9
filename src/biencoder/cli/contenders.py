"""Whatever can be evaluated, by what the user calls it: an index, a model, BM25, a run file, a saved evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from biencoder.cli.opening import is_index, load_model, open_index, open_reranker
from biencoder.cli.terminal import TerminalProgress
from biencoder.errors import ArgumentError
from biencoder.records import Hit

if TYPE_CHECKING:
    from biencoder.cli.options import RunningOptions
    from biencoder.data.collection import Collection
    from biencoder.evaluation import Evaluation, Retriever
    from biencoder.search import Searcher

BM25 = "bm25"

_BLOCK = 256
_RERANKED = 8
"""Queries searched at once; reranking one takes about a second, and the bar should move."""


@dataclass(frozen=True, slots=True)
class Reranking:
    """A cross-encoder, by its name, and how many hits of a query it looks at."""

    model: str
    depth: int


@dataclass(frozen=True, slots=True)
class Bench:
    """One collection and split, on which each contender is measured alike."""

    name: str
    collection: Collection
    split: str
    measures: Sequence[str]
    running: RunningOptions
    progress: TerminalProgress

    def evaluate(self, contender: str, *, hybrid: bool = False, reranker: Reranking | None = None) -> Evaluation:
        """Measure a contender.

        Args:
            contender: an index, a model, ``bm25``, a TREC run file, or what ``evaluate --out`` wrote.
            hybrid: fuse an index's or a model's hits with BM25.
            reranker: put the hits of an index, a model or BM25 in order anew.

        Raises:
            ArgumentError: where hybrid search is asked of what is no index and no model, or reranking of a file.
            BiencoderError: where the contender cannot be read.
        """
        if contender == BM25 or Path(contender).is_file():
            if hybrid:
                raise ArgumentError(f"--hybrid fuses an index or a model with BM25, and {contender} is neither")
            if contender == BM25:
                return self._search(BM25, self._keywords(), reranker)
            if reranker is not None:
                raise ArgumentError(
                    f"--rerank reads the texts of hits, and {contender} keeps none; give an index, a model or bm25"
                )
            return self._saved(Path(contender))
        searcher = self._open(contender, hybrid=hybrid)
        if hybrid:
            return self._search(f"{contender}, hybrid", _Hybrid(searcher), reranker)
        return self._search(contender, searcher, reranker)

    def _open(self, contender: str, *, hybrid: bool) -> Searcher:
        if is_index(contender):
            searcher = open_index(contender, running=self.running, progress=self.progress)
            self._check_size(contender, len(searcher))
            return searcher
        from biencoder.search import Searcher

        model = load_model(contender, running=self.running, progress=self.progress)
        return Searcher.in_memory(model, self.collection.documents, keywords=hybrid, progress=self.progress)

    def _check_size(self, contender: str, found: int) -> None:
        expected = len(self.collection.documents)
        if found != expected:
            self.progress.say(
                f"{contender} holds {found:,} documents and {self.name} {expected:,}: a relevant one that is not indexed "
                "counts as not found"
            )

    def _keywords(self) -> Retriever:
        from biencoder.search import KeywordSearcher

        self.progress.phase("indexing keywords")
        return KeywordSearcher.build(self.collection.documents)

    def _search(self, name: str, retriever: Retriever, reranker: Reranking | None) -> Evaluation:
        from biencoder.evaluation import evaluate

        if reranker is not None:
            name = f"{name}, reranked by {reranker.model}"
            model, depth = reranker.model, reranker.depth
            retriever = open_reranker(model, retriever, depth=depth, running=self.running, progress=self.progress)
        return evaluate(
            retriever,
            self.collection,
            split=self.split,
            measures=self.measures,
            block_size=_BLOCK if reranker is None else _RERANKED,
            progress=partial(self.progress, "searching" if reranker is None else "reranking"),
            collection_name=self.name,
            retriever_name=name,
        )

    def _saved(self, path: Path) -> Evaluation:
        from biencoder.evaluation import Evaluation, evaluate_run, read_run

        if path.suffix == ".json":
            return replace(Evaluation.read(path), retriever=str(path))
        run = read_run(path)
        found = evaluate_run(run, self.collection.judgements(self.split), measures=self.measures, split=self.split)
        return replace(found, retriever=str(path), collection=self.name)


class _Hybrid:
    """A searcher whose every search is fused with BM25."""

    def __init__(self, searcher: Searcher) -> None:
        self._searcher = searcher

    def search_many(self, queries: Sequence[str], *, k: int) -> list[list[Hit]]:
        return self._searcher.search_many(queries, k=k, hybrid=True)
