"""How well a retriever answers the judged queries of a collection."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from biencoder.errors import ArgumentError, DataError
from biencoder.evaluation.measures import DEFAULT_MEASURES, Measure, parse_measure, parse_measures, per_query_values
from biencoder.evaluation.runs import Run, ranked, strictly_decreasing
from biencoder.records import Hit, Query
from biencoder.storage.folder import explain_os_errors, write_file

Judgements = Mapping[str, Mapping[str, int]]
"""Query id to document id to grade."""


class Retriever(Protocol):
    """Whatever answers queries: a dense searcher, BM25, a fusion of both."""

    def search_many(self, queries: Sequence[str], *, k: int) -> list[list[Hit]]:
        """For each query its k best documents, best first; fewer where the corpus has fewer."""
        ...


class JudgedCollection(Protocol):
    """What evaluation needs of a collection."""

    def queries(self, split: str, /) -> Iterable[Query]:
        """The queries of a split."""
        ...

    def judgements(self, split: str, /) -> Judgements:
        """The grades of a split."""
        ...


@dataclass(frozen=True)
class Evaluation:
    """Measures of one retriever, in the mean and for each query.

    Attributes:
        measures: the measure, as written by the user, to its mean over all judged queries.
        per_query: the measure to query id to value.
        queries: how many queries are judged.
        run: query id to document id to score, strictly decreasing with the rank; empty where read from a file.
        split: the part of the collection.
        collection: its name, if one was given.
        retriever: the retriever's name, if one was given.

    >>> evaluation = evaluate_run({"q": {"a": 2.0, "b": 1.0}}, {"q": {"b": 1}}, measures=["MRR@10"], split="test")
    >>> evaluation.as_dict()
    {'measures': {'MRR@10': 0.5}, 'queries': 1, 'split': 'test', 'collection': '', 'retriever': ''}
    """

    measures: dict[str, float]
    per_query: dict[str, dict[str, float]]
    queries: int
    run: Run = field(repr=False)
    split: str
    collection: str = ""
    retriever: str = ""

    def as_dict(self) -> dict[str, Any]:
        """A JSON object of the means, without the values of each query."""
        return {
            "measures": dict(self.measures),
            "queries": self.queries,
            "split": self.split,
            "collection": self.collection,
            "retriever": self.retriever,
        }

    def values(self, measure: str) -> dict[str, float]:
        """Query id to value of one measure, in whatever notation it is asked for.

        Raises:
            ArgumentError: where the measure is unknown or was not evaluated.

        >>> evaluate_run({"q": {"a": 1.0}}, {"q": {"a": 1}}, measures=["MRR@10"]).values("rr@10")
        {'q': 1.0}
        """
        wanted = parse_measure(measure)
        for name, values in self.per_query.items():
            if parse_measure(name).formula == wanted.formula:
                return values
        raise ArgumentError(f"{wanted.name} was not evaluated; there is {', '.join(self.per_query)}")

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write means and per-query values as JSON; the run has a format of its own (`write_run`).

        Raises:
            StorageError: where the file cannot be written.
        """
        target = Path(path)
        data = json.dumps(self.as_dict() | {"per_query": self.per_query}, indent=1)
        with explain_os_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            write_file(target, data.encode())

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Evaluation:
        """Read what `write` wrote; the run is empty.

        Raises:
            DataError: where the file is not an evaluation, or contradicts itself.
            StorageError: where the file cannot be read.
        """
        from pydantic import TypeAdapter, ValidationError

        with explain_os_errors(Path(path)):
            data = Path(path).read_bytes()
        try:
            content = TypeAdapter(_EvaluationFile).validate_json(data, strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise DataError(
                f"{place + ': ' if place else ''}{first['msg']}",
                path=path,
                hint="expected what Evaluation.write or `biencoder evaluate` wrote",
            ) from error
        _check_file(content, path)
        return cls(
            measures=content.measures,
            per_query=content.per_query,
            queries=content.queries,
            run={},
            split=content.split,
            collection=content.collection,
            retriever=content.retriever,
        )


@dataclass(frozen=True)
class _EvaluationFile:
    measures: dict[str, float]
    queries: int
    split: str
    collection: str
    retriever: str
    per_query: dict[str, dict[str, float]]


def evaluate(
    retriever: Retriever,
    collection: JudgedCollection,
    *,
    split: str = "test",
    measures: str | Sequence[str] = DEFAULT_MEASURES,
    block_size: int = 256,
    progress: Callable[[int, int], None] | None = None,
    collection_name: str = "",
    retriever_name: str = "",
) -> Evaluation:
    """Search for every judged query of a split and measure the hits.

    As many hits are asked for as the deepest measure looks at, and one more, since a query's own document is left out: the
    hit whose id and text are both the query's (ArguAna, Quora). The same id with another text is another thing that happens
    to have that number, and stays.

    Args:
        retriever: answers the queries.
        collection: holds queries and judgements.
        split: which of them.
        measures: in the notation of `biencoder.evaluation.measures`.
        block_size: queries searched at once.
        progress: called after each block with the queries done and all.
        collection_name: kept in the result.
        retriever_name: kept in the result.

    Raises:
        ArgumentError: where a measure cannot be used, or the retriever breaks its contract.
        DataError: where the split has no judgements, or a judged query is missing.

    >>> from types import SimpleNamespace
    >>> collection = SimpleNamespace(
    ...     queries=lambda split: [Query("q1", "aspirin")], judgements=lambda split: {"q1": {"d2": 1}}
    ... )
    >>> answers = [Hit(1, "d1", 0.9), Hit(2, "d2", 0.8)]
    >>> retriever = SimpleNamespace(search_many=lambda queries, *, k: [answers[:k] for query in queries])
    >>> evaluate(retriever, collection, measures=["MRR@10"]).measures
    {'MRR@10': 0.5}
    """
    parsed = parse_measures(measures)
    if block_size < 1:
        raise ArgumentError(f"block_size is {block_size}; it must be at least 1")
    judgements = collection.judgements(split)
    queries = _judged_queries(collection.queries(split), judgements, split)
    depth = max(measure.depth for measure in parsed)
    run: Run = {}
    for start in range(0, len(queries), block_size):
        block = queries[start : start + block_size]
        answers = retriever.search_many([query.text for query in block], k=depth + 1)
        if len(answers) != len(block):
            raise ArgumentError(f"the retriever answered {len(answers)} of {len(block)} queries; it must answer each")
        run |= {query.id: _scores(query, hits, depth) for query, hits in zip(block, answers, strict=True)}
        if progress:
            progress(len(run), len(queries))
    measured = _measure(run, judgements, parsed)
    return replace(measured, split=split, collection=collection_name, retriever=retriever_name)


def evaluate_run(
    run: Mapping[str, Mapping[str, float]],
    judgements: Judgements,
    *,
    measures: str | Sequence[str] = DEFAULT_MEASURES,
    split: str = "",
) -> Evaluation:
    """Measure a run made elsewhere, as from `read_run`.

    A judged query that the run lacks counts as 0; a query that is not judged is left out, as in trec_eval. A run says
    nothing of texts, so that a query's own document stays in.

    Args:
        run: query id to document id to score; of equal scores the document that stands first ranks first.
        judgements: query id to document id to grade.
        measures: in the notation of `biencoder.evaluation.measures`.
        split: kept in the result.

    Raises:
        ArgumentError: where a measure or a score cannot be used.
        DataError: where there are no judgements, or the run answers none of the judged queries.

    >>> evaluate_run({"q1": {"d1": 0.9}}, {"q1": {"d1": 1}, "q2": {"d1": 1}}, measures=["Recall@10"]).measures
    {'Recall@10': 0.5}
    """
    parsed = parse_measures(measures)
    _check_judged(judgements, split)
    answered = {query: run[query] for query in judgements if query in run}
    if not answered:
        raise DataError(
            f"the run answers none of the {len(judgements)} judged queries (such as {next(iter(judgements))!r})",
            hint="run and judgements must be of the same collection and split",
        )
    return replace(_measure(ranked(answered), judgements, parsed), split=split)


def format_evaluation(evaluation: Evaluation) -> str:
    """The means as aligned lines of plain text.

    >>> print(format_evaluation(evaluate_run({"q": {"a": 1.0}}, {"q": {"a": 1}}, measures=["P@5", "nDCG@10"])))
    P@5      0.2000
    nDCG@10  1.0000
    1 query
    """
    width = max(len(name) for name in evaluation.measures)
    lines = [f"{name:<{width}}  {value:.4f}" for name, value in evaluation.measures.items()]
    parts = [
        evaluation.retriever,
        f"{evaluation.queries:,} {'query' if evaluation.queries == 1 else 'queries'}",
        evaluation.split and f"split {evaluation.split}",
        evaluation.collection,
    ]
    return "\n".join([*lines, ", ".join(part for part in parts if part)])


def _measure(run: Run, judgements: Judgements, measures: Sequence[Measure]) -> Evaluation:
    per_query = per_query_values(run, judgements, measures=measures)
    return Evaluation(
        measures={name: math.fsum(values.values()) / len(values) for name, values in per_query.items()},
        per_query=per_query,
        queries=len(judgements),
        run=run,
        split="",
    )


def _judged_queries(queries: Iterable[Query], judgements: Judgements, split: str) -> list[Query]:
    _check_judged(judgements, split)
    by_id = {query.id: query for query in queries if query.id in judgements}
    missing = [query for query in judgements if query not in by_id]
    if missing:
        raise DataError(
            f"split {split!r} has judgements for {len(missing)} queries that are missing (such as {missing[0]!r})",
            hint="every judged query needs its text",
        )
    return list(by_id.values())


def _check_judged(judgements: Judgements, split: str) -> None:
    if not judgements:
        where = f"split {split!r} has" if split else "there are"
        raise DataError(f"{where} no judgements", hint="measures need queries with known answers")


def _scores(query: Query, hits: Sequence[Hit], depth: int) -> dict[str, float]:
    """Document id to score of the hits that count."""
    kept = [hit for hit in hits if not _is_own_document(query, hit)][:depth]
    try:
        scores = dict(zip((hit.id for hit in kept), strictly_decreasing([hit.score for hit in kept]), strict=True))
    except ArgumentError as error:
        raise ArgumentError(f"the retriever's hits for query {query.id!r} cannot be used: {error}") from error
    if len(scores) != len(kept):
        raise ArgumentError(f"the retriever gave a document twice for query {query.id!r}; each may come once")
    return scores


def _is_own_document(query: Query, hit: Hit) -> bool:
    if hit.id != query.id:
        return False
    text = query.text.split()
    return text in (hit.text.split(), f"{hit.title} {hit.text}".split())


def _check_file(content: _EvaluationFile, path: object) -> None:
    if not content.measures or content.measures.keys() != content.per_query.keys():
        raise DataError("'measures' and 'per_query' must hold the same measures", path=path)
    for name, values in content.per_query.items():
        try:
            parse_measure(name)
        except ArgumentError as error:
            raise DataError(str(error), path=path) from error
        if len(values) != content.queries:
            raise DataError(f"{name} has {len(values)} values, but 'queries' is {content.queries}", path=path)
        if not all(math.isfinite(value) for value in (content.measures[name], *values.values())):
            raise DataError(f"{name} holds a value that is not a finite number", path=path)
