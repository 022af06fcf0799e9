"""Collections of the ir_datasets catalogue (MacAvaney et al., 2021), by ``ir:NAME``, such as ``ir:beir/scifact/test``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from biencoder.data.assembly import assemble
from biencoder.data.contents import Contents
from biencoder.data.documents import TEXT_FIELDS, DocumentFields, TableDocuments
from biencoder.data.judgements import JudgementTable
from biencoder.data.tables import RowsTable, one_line
from biencoder.errors import DataError, require

PREFIX = "ir:"

_QRELS_FIELDS = ("query_id", "doc_id", "relevance")
_SPLITS = ("train", "dev", "test")


def ir_documents(name: str, fields: DocumentFields) -> TableDocuments:
    """The documents of a catalogue entry.

    A document without a field of one of the usual names is what the catalogue calls its default text.

    Raises:
        DataError: where there is no such entry, it has no documents, or cannot be fetched.
        MissingDependencyError: where ``ir_datasets`` is not installed.
    """
    return TableDocuments(_table(_load(name), "docs", name=name, default_text=fields.text is None), fields)


def ir_collection(name: str) -> Contents:
    """Documents, queries and judgements of a catalogue entry.

    An entry with judgements makes one split, called train, dev or test where its name ends so, and otherwise test. An entry
    without them, such as ``beir/scifact``, is read with its entries ``/train``, ``/dev`` and ``/test``.

    Raises:
        DataError: where there is no such entry, it has no judgements, or something in it points nowhere.
        MissingDependencyError: where ``ir_datasets`` is not installed.
    """
    entry = _load(name)
    last = name.rpartition("/")[2]
    parts = {last if last in _SPLITS else "test": entry} if entry.has_qrels() else _children(name)
    if not parts:
        raise DataError("this entry has no judgements", path=name, hint="its documents alone can be indexed")
    judged = {
        split: JudgementTable(_table(part, "qrels", name=f"{name}, judgements of {split}"), _QRELS_FIELDS)
        for split, part in parts.items()
    }
    queries = RowsTable(partial(_queries, entry, parts), name=f"{name}, queries")
    return assemble(_table(entry, "docs", name=name), queries, judged)


def _load(name: str) -> Any:
    ir_datasets = require("ir_datasets", extra="ir-datasets")
    try:
        return ir_datasets.load(name.removeprefix(PREFIX))
    except KeyError as error:
        hint = "the names are listed at https://ir-datasets.com"
        raise DataError("there is no such entry in ir_datasets", path=name, hint=hint) from error


def _children(name: str) -> dict[str, Any]:
    names = set(require("ir_datasets", extra="ir-datasets").registry)
    found = {split: f"{name.removeprefix(PREFIX)}/{split}" for split in _SPLITS}
    return {split: _load(child) for split, child in found.items() if child in names and _load(child).has_qrels()}


def _table(entry: Any, what: str, *, name: str, default_text: bool = True) -> RowsTable:
    """The rows of ``docs`` or ``qrels``."""
    if not getattr(entry, f"has_{what}")():
        raise DataError(f"this entry has no {what}", path=name)
    read = partial(_rows, getattr(entry, f"{what}_iter"), name=name, default_text=default_text)
    return RowsTable(read, name=name)


def _rows(iterate: Callable[[], Any], *, name: str, default_text: bool = True) -> Iterator[dict[str, Any]]:
    try:
        for record in iterate():
            yield _with_default_text(record) if default_text else record._asdict()
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"this entry cannot be read ({one_line(error)})", path=name) from error


def _with_default_text(record: Any) -> dict[str, Any]:
    """The fields of a record, and its default text where no field has a usual name.

    The default text holds the title, which therefore goes to the metadata, so that no word is read twice.
    """
    row: dict[str, Any] = record._asdict()
    if hasattr(record, "default_text") and not row.keys() & set(TEXT_FIELDS):
        if "title" in row:
            row["metadata"] = {"title": row.pop("title")}
        row["text"] = record.default_text()
    return row


def _queries(entry: Any, parts: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The queries of the entry itself, or of its parts; one that stands in two parts is given once."""
    seen: dict[str, Any] = {}
    for source in [entry] if entry.has_queries() else parts.values():
        for row in _rows(source.queries_iter, name="queries"):
            if seen.setdefault(row.get("query_id", ""), row) is row or seen[row["query_id"]] != row:
                yield row
