"""A collection whose parts are easy to name."""

from __future__ import annotations

from biencoder.data.collection import Collection
from biencoder.records import Document, Judgement, Query


def forty(split: str, *, test: range, reverse: bool = False) -> Collection:
    """Forty documents; ten queries of a split with two judgements each, one of them 0, and queries of test with one."""
    documents = [Document(f"d{number}", f"text {number}") for number in range(40)]
    queries = [Query(f"q{number}", f"query {number}") for number in range(15)]
    own = [Judgement(f"q{number}", f"d{2 * number + grade}", grade) for number in range(10) for grade in (0, 1)]
    tested = [Judgement(f"q{number}", f"d{number}") for number in test]
    step = -1 if reverse else 1
    return Collection(documents=documents[::step], queries=queries[::step], judgements={split: own, "test": tested})
