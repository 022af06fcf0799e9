"""The checks that every search makes of what it is asked."""

from __future__ import annotations

from collections.abc import Sequence

from biencoder.errors import ArgumentError


def check_queries(queries: Sequence[str], *, k: int) -> None:
    """Make sure that there is something to search for.

    Raises:
        ArgumentError: where k is below 1, a query is empty, or one string was given in place of a list.

    >>> check_queries(["aspirin", "  "], k=10)
    Traceback (most recent call last):
    biencoder.errors.ArgumentError: query 2 of 2 is empty; give it at least one word
    """
    if k < 1:
        raise ArgumentError(f"k is {k}; it must be at least 1")
    if isinstance(queries, str):
        raise ArgumentError("one string was given in place of a list of queries; put it in a list, or call search")
    for number, query in enumerate(queries, start=1):
        if not isinstance(query, str):
            raise ArgumentError(f"query {number} of {len(queries)} is a {type(query).__name__}; a string was expected")
        if not query.strip():
            which = f"query {number} of {len(queries)}" if len(queries) > 1 else "the query"
            raise ArgumentError(f"{which} is empty; give it at least one word")
