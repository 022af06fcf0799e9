"""What a collection is made of, however it is stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from biencoder.data.documents import Documents
from biencoder.records import Query

Grades = dict[str, dict[str, int]]
"""Query id → document id → grade."""


@dataclass(frozen=True, slots=True)
class Triple:
    """A query with a relevant document and documents that are not relevant to it, by their ids.

    ``scores`` are a teacher's: the positive's first, then one a negative.
    """

    query_id: str
    positive_id: str
    negative_ids: tuple[str, ...] = ()
    scores: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class Contents:
    """Documents, queries by id in their order, grades by split, triples by split and (query id, positive id)."""

    documents: Documents
    queries: Mapping[str, Query] = field(default_factory=dict)
    grades: Mapping[str, Grades] = field(default_factory=dict)
    triples: Mapping[str, Mapping[tuple[str, str], Triple]] = field(default_factory=dict)


def ordered_splits(names: list[str]) -> tuple[str, ...]:
    """Train, dev, test, then the others by name.

    >>> ordered_splits(["test", "extra", "train"])
    ('train', 'test', 'extra')
    """
    usual = {"train": 0, "dev": 1, "test": 2}
    return tuple(sorted(names, key=lambda name: (usual.get(name, 3), name)))
