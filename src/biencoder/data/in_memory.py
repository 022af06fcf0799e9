"""A collection made of records in memory, held to the same rules as one that is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sized
from functools import partial

from biencoder.data.contents import Contents, Grades
from biencoder.data.documents import Documents, check_corpus, check_document
from biencoder.data.judgements import as_grade
from biencoder.data.queries import check_query
from biencoder.data.values import ValueProblem, as_split
from biencoder.errors import ArgumentError, DataError
from biencoder.records import Document, Judgement, Query


def contents_from_memory(
    documents: Documents, queries: Iterable[Query], judgements: Mapping[str, Iterable[Judgement]]
) -> Contents:
    """Check records and bring them into order.

    Raises:
        ArgumentError: where the documents can be iterated only once.
        DataError: where a record is malformed or double, or a judgement points nowhere.
    """
    if not isinstance(documents, Sized) or isinstance(documents, Iterator):
        raise ArgumentError("documents can be iterated only once; give something sized that can be read again, such as a list")
    known = _queries(queries)
    grades = {_split_name(split): _grades(split, part, known) for split, part in judgements.items()}
    missing = {document for part in grades.values() for judged in part.values() for document in judged}
    count = check_corpus(partial(_numbered, documents), fault=_fault, unit="document", expected=missing)
    if not count:
        raise DataError("there are no documents; a collection needs at least one")
    if missing:
        raise DataError(f"the document {min(missing)!r} is judged, but not among the documents; add it")
    return Contents(documents, known, grades)


def _fault(number: int, problem: str) -> DataError:
    return DataError(f"document {number}: {problem}")


def _numbered(documents: Documents) -> Iterator[tuple[int, Document]]:
    for number, document in enumerate(documents, start=1):
        try:
            yield number, check_document(document)
        except ValueProblem as error:
            raise _fault(number, str(error)) from error


def _queries(queries: Iterable[Query]) -> dict[str, Query]:
    known: dict[str, Query] = {}
    for number, query in enumerate(queries, start=1):
        try:
            check_query(query)
        except ValueProblem as error:
            raise DataError(f"query {number}: {error}") from error
        if query.id in known:
            raise DataError(f"query {number}: the query id {query.id!r} stands further up already; ids must differ")
        known[query.id] = query
    return known


def _split_name(split: str) -> str:
    try:
        return as_split(split)
    except ValueProblem as error:
        raise DataError(str(error)) from error


def _grades(split: str, judgements: Iterable[Judgement], queries: Mapping[str, Query]) -> Grades:
    grades: Grades = {}
    for judgement in judgements:
        if judgement.query_id not in queries:
            raise DataError(f"the query {judgement.query_id!r} is judged in {split!r}, but not among the queries; add it")
        try:
            grade = as_grade(judgement.grade, field="grade")
        except ValueProblem as error:
            raise DataError(str(error)) from error
        before = grades.setdefault(judgement.query_id, {}).setdefault(judgement.document_id, grade)
        if before != grade:
            pair = f"query {judgement.query_id!r} and document {judgement.document_id!r}"
            raise DataError(f"{pair} are judged both {before} and {grade} in {split!r}; keep one of the two")
    if not grades:
        raise DataError(f"the split {split!r} has no judgements; add some or leave it out")
    return grades
