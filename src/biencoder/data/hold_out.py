"""Queries set aside for validation: any of them, or so that nothing that they are asked about was seen in training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from biencoder.data.contents import Contents, Grades
from biencoder.data.near_duplicates import connected
from biencoder.data.splits import draw
from biencoder.data.values import ValueProblem, as_split
from biencoder.errors import ArgumentError
from biencoder.records import Query

Apart = Literal["query", "document"]
"""What the two sides must not share: the text of a query, or a relevant document either."""


def hold_out(contents: Contents, *, share: float, seed: int, into: str, source: str, apart: Apart) -> Contents:
    """Move a share of a split's queries to a new split.

    Queries of the same text move together or stay together. Where the sides are to be apart by document, so do queries that
    share a relevant document, directly or through other queries. Which groups move depends on the seed and the ids alone, not
    on the order of the file.

    Raises:
        ArgumentError: where the share is not between 0 and 1, the new split is there already, there is no such ``apart``, or no
            group is small enough, or all are.
    """
    if apart not in get_args(Apart):
        raise ArgumentError(f"apart is {apart!r}; choose one of {', '.join(get_args(Apart))}")
    if not 0 < share < 1:
        raise ArgumentError(f"share is {share}; it must lie between 0 and 1")
    try:
        into = as_split(into)
    except ValueProblem as error:
        raise ArgumentError(str(error)) from error
    if into in contents.grades:
        raise ArgumentError(f"the split {into!r} is there already; choose another name for what is held out")
    grades = contents.grades[source]
    groups = groups_of(grades, contents.queries, apart=apart)
    moved = _choose(groups, wanted=max(1, round(share * len(grades))), seed=seed)
    if not moved or len(moved) == len(grades):
        raise ArgumentError(f"the {len(grades)} queries of {source!r} cannot be parted: {_hindrance(len(grades), apart)}")
    kept = {query: judged for query, judged in grades.items() if query not in moved}
    held = {query: judged for query, judged in grades.items() if query in moved}
    triples = {name: dict(part) for name, part in contents.triples.items()}
    if source in triples:
        whole = triples.pop(source)
        for name, queries in ((source, kept), (into, held)):
            part = {pair: triple for pair, triple in whole.items() if triple.query_id in queries}
            triples.update({name: part} if part else {})
    return Contents(contents.documents, contents.queries, {**contents.grades, source: kept, into: held}, triples)


def _hindrance(queries: int, apart: Apart) -> str:
    """Why queries cannot be parted, and what to do."""
    if queries < 2:
        return "two at least are needed; add some, or a split of another origin"
    if apart == "document":
        return (
            "too many share relevant documents with each other; a greater share may work, or to hold them apart by query "
            "alone, or a split of another origin"
        )
    return "too many share their text; a greater share may work, or a split of another origin"


def groups_of(grades: Grades, queries: Mapping[str, Query], *, apart: Apart) -> list[list[str]]:
    """Groups of query ids that are connected by the same text, or by a relevant document where these must not be shared.

    >>> judged = {"a": {"1": 1, "2": 1}, "b": {"3": 1, "1": 0}, "c": {"2": 1}}
    >>> groups_of(judged, {n: Query(n, n) for n in "abc"}, apart="document")
    [['a', 'c'], ['b']]
    >>> groups_of(judged, {n: Query(n, n) for n in "abc"}, apart="query")
    [['a'], ['b'], ['c']]
    """
    holders: dict[tuple[str, str], int] = {}
    pairs: list[tuple[int, int]] = []
    for place, (query, judged) in enumerate(grades.items()):
        links = [("text", " ".join(queries[query].text.lower().split()))]
        if apart == "document":
            links += [("document", document) for document, grade in judged.items() if grade > 0]
        pairs += [(place, holders.setdefault(link, place)) for link in links]
    groups: dict[int, list[str]] = {}
    for query, root in zip(grades, connected(len(grades), pairs), strict=True):
        groups.setdefault(root, []).append(query)
    return list(groups.values())


def _choose(groups: list[list[str]], *, wanted: int, seed: int) -> set[str]:
    """Take groups in an order drawn by the seed, as long as they fit."""
    chosen: set[str] = set()
    for group in sorted(groups, key=lambda group: draw(seed, min(group))):
        if len(chosen) + len(group) <= wanted:
            chosen.update(group)
    return chosen
