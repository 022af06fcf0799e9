"""Judgements and triples from the rows of tables: what points at queries and documents, and whether they are there."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from biencoder.data.contents import Grades, Triple
from biencoder.data.tables import Row, Table
from biencoder.data.values import ValueProblem, as_id, kind
from biencoder.records import Query

QRELS_HEADER = ("query-id", "corpus-id", "score")

_GRADE = re.compile(r"-?[0-9]{1,9}")


class References(ABC):
    """Rows that name a query and documents."""

    def __init__(self, table: Table) -> None:
        self.table = table
        for number, row in table.rows():
            try:
                self._add(row)
            except ValueProblem as error:
                raise table.fault(number, str(error)) from error

    @abstractmethod
    def targets(self) -> Iterator[tuple[str, Sequence[str]]]:
        """A query id and document ids of every distinct row."""

    def document_ids(self) -> Iterator[str]:
        """Every document id that is named, perhaps several times."""
        for _, documents in self.targets():
            yield from documents

    def check_queries(self, queries: Mapping[str, Query], *, place: object) -> None:
        """Make sure that every query named exists.

        Raises:
            DataError: names the first row that points nowhere.
        """
        missing = {query for query, _ in self.targets() if query not in queries}
        self._point_out(missing, what="query", place=place)

    def check_documents(self, missing: set[str], *, place: object) -> None:
        """Make sure that no document named is among the ``missing`` ones.

        Raises:
            DataError: names the first row that points nowhere.
        """
        self._point_out(missing, what="document", place=place)

    def _point_out(self, missing: set[str], *, what: str, place: object) -> None:
        if not missing:
            return
        for number, row in self.table.rows():
            query, documents = self._parse(row)[:2]
            for identifier in (query,) if what == "query" else documents:
                if identifier in missing:
                    raise self.table.fault(number, f"the {what} {identifier!r} is not in {place}", "add it or remove this row")

    @abstractmethod
    def _parse(self, row: Row) -> tuple[str, Sequence[str], Any]:
        """Query id, document ids, and what is said of them."""

    @abstractmethod
    def _add(self, row: Row) -> None: ...


class JudgementTable(References):
    """Graded judgements; a row may stand twice where it says the same both times.

    Args:
        table: rows with a query id, a document id and a whole number.
        fields: the names of the three.
    """

    def __init__(self, table: Table, fields: tuple[str, str, str] = QRELS_HEADER) -> None:
        self.grades: Grades = {}
        self._fields = fields
        super().__init__(table)

    def targets(self) -> Iterator[tuple[str, Sequence[str]]]:
        """A query id and document ids of every distinct row."""
        return ((query, tuple(documents)) for query, documents in self.grades.items())

    def _parse(self, row: Row) -> tuple[str, Sequence[str], int]:
        query, document, grade = self._fields
        for field in self._fields:
            if field not in row:
                raise ValueProblem(f"the field {field!r} is missing; the fields here are {', '.join(map(repr, row))}")
        return as_id(row[query], field=query), (as_id(row[document], field=document),), as_grade(row[grade], field=grade)

    def _add(self, row: Row) -> None:
        query, (document,), grade = self._parse(row)
        before = self.grades.setdefault(query, {}).setdefault(document, grade)
        if before != grade:
            first = next(number for number, other in self.table.rows() if self._parse(other)[:2] == (query, (document,)))
            raise ValueProblem(
                f"query {query!r} and document {document!r} are judged {grade} here, but {before} on "
                f"{self.table.unit} {first}; keep one of the two"
            )


class TripleTable(References):
    """Explicit negatives and scores, by ids: rows of ``query_id``, ``positive_id``, ``negative_ids`` and ``scores``."""

    def __init__(self, table: Table) -> None:
        self.triples: dict[tuple[str, str], Triple] = {}
        super().__init__(table)

    def targets(self) -> Iterator[tuple[str, Sequence[str]]]:
        """A query id and document ids of every distinct row."""
        return ((triple.query_id, (triple.positive_id, *triple.negative_ids)) for triple in self.triples.values())

    def check_pairs(self, grades: Grades) -> None:
        """Make sure that every positive is judged relevant in the same split.

        Raises:
            DataError: names the first row whose positive is not.
        """
        if all(grades.get(query, {}).get(document, 0) > 0 for query, document in self.triples):
            return
        for number, row in self.table.rows():
            query, (document, *_), _ = self._parse(row)
            if grades.get(query, {}).get(document, 0) <= 0:
                problem = f"document {document!r} is not judged relevant for query {query!r} in this split"
                raise self.table.fault(number, problem, "add the judgement or remove this row")

    def _parse(self, row: Row) -> tuple[str, Sequence[str], tuple[float, ...] | None]:
        query = as_id(row.get("query_id"), field="query_id")
        positive = as_id(row.get("positive_id"), field="positive_id")
        negatives = row.get("negative_ids", [])
        if not isinstance(negatives, list):
            raise ValueProblem(f"the field 'negative_ids' is {kind(negatives)}; expected a list of ids")
        documents = (positive, *(as_id(negative, field="negative_ids") for negative in negatives))
        return query, documents, as_scores(row.get("scores"), count=len(documents), field="scores")

    def _add(self, row: Row) -> None:
        query, (positive, *negatives), scores = self._parse(row)
        if (query, positive) in self.triples:
            raise ValueProblem(f"query {query!r} and positive {positive!r} stand further up already; keep one row")
        self.triples[query, positive] = Triple(query, positive, tuple(negatives), scores)


def as_grade(value: object, *, field: str) -> int:
    """A grade: a whole number of at most nine digits.

    Raises:
        ValueProblem: at anything else.

    >>> as_grade("-1", field="score"), as_grade(2.0, field="score")
    (-1, 2)
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not _GRADE.fullmatch(str(value)):
        raise ValueProblem(f"the field {field!r} is {value!r}; a grade is a whole number, above 0 where relevant")
    return int(str(value))


def as_scores(value: object, *, count: int, field: str) -> tuple[float, ...] | None:
    """A teacher's scores: the positive's, then one a negative; None where there are none.

    Raises:
        ValueProblem: where there is not one finite number a document.

    >>> as_scores([3, 0.5], count=2, field="scores")
    (3.0, 0.5)
    """
    if value is None:
        return None
    if not isinstance(value, (list, tuple)) or not _all_finite(value):
        raise ValueProblem(f"the field {field!r} is not a list of finite numbers")
    if len(value) != count:
        raise ValueProblem(f"found {len(value)} scores; expected {count}: the positive's, then one for each negative")
    return tuple(float(score) for score in value)


def _all_finite(values: Iterable[object]) -> bool:
    return all(isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) for value in values)
