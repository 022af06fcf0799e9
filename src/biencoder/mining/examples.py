"""The file that mining writes and training reads: a JSON object a line, one for each query-document pair."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from biencoder.data.tables import JsonTable
from biencoder.errors import DataError
from biencoder.records import Example

_Score = Annotated[float, Field(allow_inf_nan=False)]
_Rank = Annotated[int, Field(ge=1)]
_Text = Annotated[str, Field(min_length=1)]


class _Texts(BaseModel):
    """What training needs of a line."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    query: _Text
    positive: _Text
    negatives: list[_Text] = []
    scores: list[_Score] | None = None
    """A teacher's: the positive's, then one a negative."""

    @model_validator(mode="after")
    def _one_score_a_document(self) -> Self:
        if self.scores is not None and len(self.scores) != 1 + len(self.negatives):
            raise ValueError(
                f"{len(self.scores)} scores for a positive and {len(self.negatives)} negatives; one each is needed"
            )
        return self


class MinedPair(_Texts):
    """A line in full: the pair, its negatives by rank, behind the collection's own, and how all of them stand.

    A rank counts the documents before it that are not known to be relevant, plus one; it is None where the ranking ends
    before the document.
    """

    query_id: str
    positive_id: str
    positive_rank: _Rank | None
    positive_score: _Score
    source: str
    negative_ids: list[str]
    negative_ranks: list[_Rank | None]
    negative_scores: list[_Score]

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        if not len(self.negatives) == len(self.negative_ids) == len(self.negative_ranks) == len(self.negative_scores):
            raise ValueError("negatives, negative_ids, negative_ranks and negative_scores are not equally many")
        return self

    def line(self) -> bytes:
        """The pair as JSON, ids and figures before long texts."""
        record: dict[str, Any] = {
            "query_id": self.query_id,
            "query": self.query,
            "source": self.source,
            "positive_id": self.positive_id,
            "positive_rank": self.positive_rank,
            "positive_score": self.positive_score,
            "negative_ids": self.negative_ids,
            "negative_ranks": self.negative_ranks,
            "negative_scores": self.negative_scores,
        }
        if self.scores is not None:
            record["scores"] = self.scores
        record |= {"positive": self.positive, "negatives": self.negatives}
        return json.dumps(record, ensure_ascii=False).encode() + b"\n"


_Line = TypeVar("_Line", bound=_Texts)


def read_pairs(path: str | os.PathLike[str]) -> Iterator[MinedPair]:
    """The lines of a file that `mine` wrote, one after the other.

    Raises:
        DataError: at the first line that is none.
    """
    for _, pair in _read(Path(path), MinedPair):
        yield pair


def read_examples(path: str | os.PathLike[str]) -> list[Example]:
    """The examples of a file that `mine` wrote, or of any JSONL with ``query``, ``positive``, ``negatives`` and ``scores``.

    The positives of all lines of a query are each line's ``known_positives``. Equal texts are held in memory once.

    Raises:
        DataError: at the first line that is no example, or has a known positive of its query among its negatives.
    """
    texts: dict[str, str] = {}
    positives: dict[str, set[str]] = {}
    rows: list[tuple[int, Example]] = []
    for number, found in _read(Path(path), _Texts):
        query, positive, *negatives = (texts.setdefault(text, text) for text in (found.query, found.positive, *found.negatives))
        positives.setdefault(query, set()).add(positive)
        scores = None if found.scores is None else tuple(found.scores)
        rows.append((number, Example(query, positive, tuple(negatives), scores)))
    known = {query: frozenset(own) for query, own in positives.items()}
    for number, row in rows:
        if not known[row.query].isdisjoint(row.negatives):
            problem = "a negative is also a positive of the same query"
            raise DataError(problem, path=path, line=number, hint="remove one of the two, or mine again")
    return [Example(row.query, row.positive, row.negatives, row.scores, known[row.query]) for _, row in rows]


def _read(path: Path, kind: type[_Line]) -> Iterator[tuple[int, _Line]]:
    table = JsonTable(path)
    for number, row in table.rows():
        try:
            yield number, kind.model_validate(row)
        except ValidationError as error:
            raise table.fault(number, _explain(error), "expected a line that `biencoder mine` wrote") from None


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message
