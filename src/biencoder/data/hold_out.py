"""Queries set aside for validation, so that nothing that they are asked about was seen in training."""

from __future__ import annotations

from collections.abc import Mapping

from biencoder.data.contents import Contents, Grades
from biencoder.data.near_duplicates import connected
from biencoder.data.splits import draw
from biencoder.data.values import ValueProblem, as_split
from biencoder.errors import ArgumentError
from biencoder.records import Query


def hold_out(contents: Contents, *, share: float, seed: int, into: str, source: str) -> Contents:
    """Move a share of a split's queries to a new split, disjoint by relevant document and by query text.

    Queries that share a relevant document, directly or through other queries, move together or stay together, and so do
    queries of the same text. Which groups move depends on the seed and the ids alone, not on the order of the file.

    Raises:
        ArgumentError: where the share is not between 0 and 1, the new split is there already, or no group is small enough.
    """
    if not 0 < share < 1:
        raise ArgumentError(f"share is {share}; it must lie between 0 and 1")
    try:
        into = as_split(into)
    except ValueProblem as error:
        raise ArgumentError(str(error)) from error
    if into in contents.grades:
        raise ArgumentError(f"the split {into!r} is there already; choose another name for what is held out")
    grades = contents.grades[source]
    moved = _choose(groups_of(grades, contents.queries), wanted=max(1, round(share * len(grades))), seed=seed)
    if not moved or len(moved) == len(grades):
        raise ArgumentError(
            f"the {len(grades)} queries of {source!r} cannot be parted: too many share relevant documents with each other; "
            "a greater share may work, or a split of another origin"
        )
    kept = {query: judged for query, judged in grades.items() if query not in moved}
    held = {query: judged for query, judged in grades.items() if query in moved}
    triples = {name: dict(part) for name, part in contents.triples.items()}
    if source in triples:
        whole = triples.pop(source)
        for name, queries in ((source, kept), (into, held)):
            part = {pair: triple for pair, triple in whole.items() if triple.query_id in queries}
            triples.update({name: part} if part else {})
    return Contents(contents.documents, contents.queries, {**contents.grades, source: kept, into: held}, triples)


def groups_of(grades: Grades, queries: Mapping[str, Query]) -> list[list[str]]:
    """Groups of query ids that are connected by a relevant document or by the same text.

    >>> groups_of({"a": {"1": 1, "2": 1}, "b": {"3": 1, "1": 0}, "c": {"2": 1}}, {n: Query(n, n) for n in "abc"})
    [['a', 'c'], ['b']]
    """
    holders: dict[tuple[str, str], int] = {}
    pairs: list[tuple[int, int]] = []
    for place, (query, judged) in enumerate(grades.items()):
        links = [("text", " ".join(queries[query].text.lower().split()))]
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
