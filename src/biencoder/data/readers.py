"""Documents and pairs from files, folders and catalogues: one function each, the format known by the name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from biencoder.data import huggingface, ir_names
from biencoder.data.beir import find_corpus
from biencoder.data.collection import Collection
from biencoder.data.documents import DocumentFields, Documents, TableDocuments
from biencoder.data.pairs import PairColumns
from biencoder.data.tables import SUFFIXES, JsonTable, is_table, open_table
from biencoder.data.text_folder import SUFFIXES as TEXT_SUFFIXES
from biencoder.data.text_folder import FolderDocuments
from biencoder.errors import ArgumentError, DataError


def read_documents(
    path: str | Path, *, id_field: str | None = None, title_field: str | None = None, text_field: str | None = None
) -> Documents:
    r"""A corpus, checked in one pass and then streamed as often as it is iterated.

    Args:
        path: one of

            - a file: JSONL, CSV or TSV (each plain or ``.gz``) or Parquet, a document a row;
            - a folder in BEIR layout: its corpus;
            - any other folder: its text and Markdown files, in all folders below too;
            - ``hf:NAME[:CONFIG][:SPLIT]``, a Hugging Face data set, or ``ir:NAME``, an ir_datasets name.
        id_field: the field that holds the ids; by default the first there is of _id, id, doc_id, docid. Where a file has
            none of them, a document's id is the number of its row, counted from 1.
        title_field: the field that holds the titles; by default title, if there is one.
        text_field: the field that holds the texts; by default the first there is of text, contents, content, body, passage.

    Raises:
        DataError: where it is none of them, or something in it is missing, malformed or double.
        MissingDependencyError: where an extra has to be installed for it.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "corpus.csv"
    >>> _ = file.write_text("id,body\nd1,Bread rises by yeast.\n")
    >>> list(read_documents(file))
    [Document(id='d1', text='Bread rises by yeast.', title='', metadata={})]
    """
    name, place = str(path), Path(path)
    fields = DocumentFields(id_field, title_field, text_field)
    if name.startswith(huggingface.PREFIX):
        return huggingface.huggingface_documents(name, fields)
    if name.startswith(ir_names.PREFIX):
        return ir_names.ir_documents(name, fields)
    if place.is_dir():
        return _read_folder(place, fields)
    if is_table(place):
        return TableDocuments(open_table(place), fields)
    problem = "not a corpus by its name" if place.exists() else "there is no such file or folder"
    hint = f"expected a file ({', '.join(SUFFIXES)}) or a folder with corpus.jsonl or {', '.join(TEXT_SUFFIXES)} files"
    raise DataError(problem, path=place, hint=hint)


def read_pairs(source: str | Path | Iterable[Mapping[str, Any]], *, columns: PairColumns | None = None) -> Collection:
    """A collection made of query-document pairs or triples; another name for :meth:`Collection.from_pairs`."""
    return Collection.from_pairs(source, columns=columns)


def _read_folder(folder: Path, fields: DocumentFields) -> Documents:
    corpus = find_corpus(folder)
    if corpus is not None:
        return TableDocuments(JsonTable(corpus), fields, need_ids=True)
    if fields != DocumentFields():
        raise ArgumentError(f"{folder} is a folder of texts, which have no fields; leave id, title and text field out")
    return FolderDocuments(folder)
