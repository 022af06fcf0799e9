"""Queries from the rows of a table."""

from __future__ import annotations

from biencoder.data.documents import check_strings, choose
from biencoder.data.tables import Table
from biencoder.data.values import ValueProblem, as_id, as_text, metadata_of
from biencoder.records import Query

ID_FIELDS = ("_id", "id", "query_id", "qid")
TEXT_FIELDS = ("text", "query", "question")


def read_queries(table: Table) -> dict[str, Query]:
    """Queries by id, in the order of the table.

    Ids stand in ``_id``, ``id``, ``query_id`` or ``qid``; texts in ``text``, ``query`` or ``question``.

    Raises:
        DataError: at the first row that is no query, and at an id that stands twice; names both places.
    """
    queries: dict[str, Query] = {}
    numbers: dict[str, int] = {}
    for number, row in table.rows():
        try:
            id_field = choose(row, None, ID_FIELDS, what="id")
            text_field = choose(row, None, TEXT_FIELDS, what="text")
            identifier = as_id(row.pop(id_field), field=id_field)
            text = as_text(row.pop(text_field), field=text_field)
            check_not_blank(identifier, text)
            if identifier in queries:
                first = f"{table.unit} {numbers[identifier]}"
                raise ValueProblem(f"the query id {identifier!r} stands on {first} already; ids must differ")
            queries[identifier] = Query(identifier, text, metadata_of(row, convert=not table.json_values))
            numbers[identifier] = number
        except ValueProblem as error:
            raise table.fault(number, str(error)) from error
    return queries


def check_query(query: object) -> Query:
    """Make sure that an object made in memory is a query that can be written and read again.

    Raises:
        ValueProblem: where it is not.
    """
    if not isinstance(query, Query):
        raise ValueProblem(f"found a {type(query).__name__}; expected a Query")
    check_strings(query, "id", "text")
    as_id(query.id, field="id")
    check_not_blank(query.id, query.text)
    return query


def check_not_blank(identifier: str, text: str) -> None:
    """Make sure that a query asks something.

    Raises:
        ValueProblem: where its text is empty or only space.
    """
    if not text or text.isspace():
        raise ValueProblem(f"the query {identifier!r} is empty; give it a text, or remove it and its judgements")
