"""The small frozen types that travel between the layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Document:
    """One unit of the corpus, the thing that search returns.

    >>> Document(id="d1", title="Aspirin", text="An anti-inflammatory drug.").content
    'Aspirin An anti-inflammatory drug.'
    """

    id: str
    text: str
    title: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def content(self) -> str:
        """What a tower or BM25 reads: the title, a space, the text."""
        return f"{self.title} {self.text}" if self.title else self.text


@dataclass(frozen=True, slots=True)
class Query:
    """A question put to the search."""

    id: str
    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Judgement:
    """How relevant a document is for a query; a grade of 0 or less means not relevant."""

    query_id: str
    document_id: str
    grade: int = 1


@dataclass(frozen=True, slots=True)
class Example:
    """What training reads: a query, a relevant document, perhaps hard negatives with a teacher's scores.

    ``known_positives`` are the texts of every document known to be relevant for the query, the positive included: none of
    them may serve as its negative. ``scores`` are a teacher's: the positive's first, then one a negative.
    """

    query: str
    positive: str
    negatives: tuple[str, ...] = ()
    scores: tuple[float, ...] | None = None
    known_positives: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class FirstStageWeight:
    """How much the score of a first stage counts beside a cross-encoder's, and which first stage that was measured with.

    ``first_stage`` is what `biencoder.search.reranker.first_stage_of` says of it.
    """

    weight: float
    first_stage: str


@dataclass(frozen=True, slots=True)
class Hit:
    """One search result; ``rank`` counts from 1 and a higher ``score`` is better."""

    rank: int
    id: str
    score: float
    title: str = ""
    text: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
