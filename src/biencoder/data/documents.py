"""A corpus that can be streamed many times: the protocol, the checks, and documents from the rows of a table."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol

import numpy as np

from biencoder.data.tables import Row, Table
from biencoder.data.values import ValueProblem, as_id, as_text, check_unicode, kind, metadata_of
from biencoder.errors import ArgumentError, DataError
from biencoder.records import Document

ID_FIELDS = ("_id", "id", "doc_id", "docid")
TITLE_FIELD = "title"
TEXT_FIELDS = ("text", "contents", "content", "body", "passage")


class Documents(Protocol):
    """A corpus that can be streamed many times and may be larger than memory; a list of documents is one."""

    def __iter__(self) -> Iterator[Document]: ...

    def __len__(self) -> int: ...


@dataclass(frozen=True, slots=True)
class DocumentFields:
    """Which fields of a row make the document; None stands for the first of the usual names that the first row has.

    Ids: ``_id``, ``id``, ``doc_id``, ``docid``. Titles: ``title``. Texts: ``text``, ``contents``, ``content``, ``body``,
    ``passage``. All other fields become metadata.

    Raises:
        ArgumentError: where one field is named for two things.
    """

    id: str | None = None
    title: str | None = None
    text: str | None = None

    def __post_init__(self) -> None:
        given = [name for name in (self.id, self.title, self.text) if name is not None]
        if len(set(given)) < len(given):
            raise ArgumentError("id, title and text are three different fields; one name was given twice")


class TableDocuments:
    """The documents in a table, read anew each time that they are iterated.

    Where no field holds ids at all, a document's id is the number of its row, counted from 1.

    Args:
        table: where the rows come from.
        fields: which fields to read.
        need_ids: refuse a table without ids, because judgements refer to them.
        expected: ids that must be there; those that are found are removed from the set.

    Raises:
        DataError: at the first row that is no document, and at an id that stands twice.
    """

    def __init__(
        self,
        table: Table,
        fields: DocumentFields | None = None,
        *,
        need_ids: bool = False,
        expected: set[str] | None = None,
    ) -> None:
        self.table = table
        self._fields = fields or DocumentFields()
        self._need_ids = need_ids
        self._count = check_corpus(self.numbered, fault=table.fault, unit=table.unit, expected=expected)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Document]:
        return (document for _, document in self.numbered())

    def numbered(self) -> Iterator[tuple[int, Document]]:
        """Every document with the number of its row."""
        rows = self.table.rows()
        first = next(rows)
        names = self._names(*first)
        number = first[0]
        try:
            for index, (number, row) in enumerate(chain([first], rows), start=1):
                identifier = _row_id(row, index) if names.id is None else as_id(_take(row, names.id), field=names.id)
                yield number, self._document(identifier, row, names)
        except ValueProblem as error:
            raise self.table.fault(number, str(error)) from error

    def _document(self, identifier: str, row: Row, names: DocumentFields) -> Document:
        """One document; what is left of the row when title and text are taken out is metadata."""
        text = as_text(_take(row, names.text), field=str(names.text))
        title = as_text(row.pop(names.title, None), field=names.title) if names.title is not None else ""
        check_not_empty(title, text)
        return Document(identifier, text, title, metadata_of(row, convert=not self.table.json_values) if row else row)

    def _names(self, number: int, row: Row) -> DocumentFields:
        """Settle the names of the fields by the first row."""
        try:
            text = choose(row, self._fields.text, TEXT_FIELDS, what="text", option="text_field")
            title = TITLE_FIELD if text != TITLE_FIELD else None
            if self._fields.title is not None:
                title = choose(row, self._fields.title, (), what="title")
            identifier = None
            if self._need_ids or self._fields.id is not None or row.keys() & set(ID_FIELDS):
                identifier = choose(row, self._fields.id, ID_FIELDS, what="id")
        except ValueProblem as error:
            raise self.table.fault(number, str(error)) from error
        return DocumentFields(identifier, title, text)


def check_not_empty(title: str, text: str) -> None:
    """Make sure that a document says something.

    Raises:
        ValueProblem: where both its title and its text are empty or only space.
    """
    if (not text or text.isspace()) and (not title or title.isspace()):
        raise ValueProblem("the document is empty: it has neither title nor text; give it a text or remove it")


def choose(row: Row, given: str | None, usual: tuple[str, ...], *, what: str, option: str = "") -> str:
    """The name of the field to read: the one that was given, or the first of the usual ones that the row has.

    Args:
        row: the row that decides.
        given: the name that the user gave.
        usual: the names to try where there is none given.
        what: what the field holds, for the message.
        option: how the user can give the name, for the message.

    Raises:
        ValueProblem: where the row has no such field.

    >>> choose({"id": 1, "body": "b"}, None, ("text", "body"), what="text")
    'body'
    """
    wanted = usual if given is None else (given,)
    for name in wanted:
        if name in row:
            return name
    names = " or ".join(map(repr, wanted))
    advice = f", or its name in {option}" if option and given is None else ""
    here = ", ".join(map(repr, row)) or "none"
    raise ValueProblem(f"there is no {what}: expected a field {names}{advice}; the fields here are {here}")


def check_corpus(
    numbered: Callable[[], Iterable[tuple[int, Document]]],
    *,
    fault: Callable[[int, str], DataError],
    unit: str,
    expected: set[str] | None = None,
) -> int:
    """Read a corpus once, to know that every document can be read and that no id stands twice.

    Memory: 8 bytes a document. Ids of equal hash are looked at in a second pass.

    Args:
        numbered: gives the documents with their numbers, anew at each call.
        fault: makes the error for a number.
        unit: what the numbers count, for the message.
        expected: ids that must be there; those that are found are removed from the set.

    Returns:
        How many documents there are.

    Raises:
        DataError: where an id stands twice; names both places.
    """
    missing: set[str] = set() if expected is None else expected
    hashes = array("q")
    for _, document in numbered():
        hashes.append(hash(document.id))
        missing.discard(document.id)
    suspects = _repeated(hashes)
    if suspects:
        seen: dict[str, int] = {}
        for number, document in numbered():
            if hash(document.id) in suspects:
                first = seen.setdefault(document.id, number)
                if first != number:
                    raise fault(number, f"the id {document.id!r} stands on {unit} {first} already; ids must differ")
    return len(hashes)


def check_document(document: object) -> Document:
    """Make sure that an object made in memory is a document that can be written and read again.

    Raises:
        ValueProblem: where it is not.
    """
    if not isinstance(document, Document):
        raise ValueProblem(f"found a {type(document).__name__}; expected a Document")
    check_strings(document, "id", "title", "text")
    as_id(document.id, field="id")
    check_not_empty(document.title, document.text)
    return document


def check_strings(record: object, *fields: str) -> None:
    """Make sure that fields of a record made in memory are strings of whole characters.

    Raises:
        ValueProblem: where one is not.
    """
    for field in fields:
        value = getattr(record, field)
        if not isinstance(value, str):
            raise ValueProblem(f"the {field} is {kind(value)}; expected a string")
        if not value.isascii():
            check_unicode(value)


def _repeated(hashes: array[int]) -> set[int]:
    """The values that stand more than once."""
    if not hashes:
        return set()
    ordered = np.frombuffer(hashes, dtype=np.int64)
    ordered.sort()
    return {int(value) for value in ordered[1:][ordered[1:] == ordered[:-1]]}


def _row_id(row: Row, index: int) -> str:
    late = next((name for name in ID_FIELDS if name in row), None)
    if late is not None:
        raise ValueProblem(f"here is a field {late!r}, but the first row has no id; give every row one, or none")
    return str(index)


def _take(row: Row, name: str | None) -> Any:
    """Remove a field that every row must have."""
    if name not in row:
        raise ValueProblem(f"the field {name!r} is missing; every document needs it")
    return row.pop(name)
