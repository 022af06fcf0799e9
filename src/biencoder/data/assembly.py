"""Tables of documents, queries, judgements and triples put together, every reference checked."""

from __future__ import annotations

from collections.abc import Mapping

from biencoder.data.contents import Contents
from biencoder.data.documents import TableDocuments
from biencoder.data.judgements import JudgementTable, TripleTable
from biencoder.data.queries import read_queries
from biencoder.data.tables import Table
from biencoder.errors import DataError


def assemble(
    corpus: Table,
    queries: Table | None,
    judged: Mapping[str, JudgementTable],
    triples: Mapping[str, TripleTable] | None = None,
) -> Contents:
    """Check everything, in one pass over the corpus, keeping no document text.

    Raises:
        DataError: where something is malformed, double, or points nowhere.
    """
    triples = triples or {}
    references = (*judged.values(), *triples.values())
    if references and queries is None:
        raise DataError("there are judgements here, but no queries; add queries.jsonl", path=corpus.path)
    known = {} if queries is None else read_queries(queries)
    if queries is not None:
        for part in references:
            part.check_queries(known, place=queries.path)
    missing = {document for part in references for document in part.document_ids()}
    documents = TableDocuments(corpus, need_ids=True, expected=missing)
    for part in references:
        part.check_documents(missing, place=corpus.path)
    grades = {split: part.grades for split, part in judged.items()}
    for split, table in triples.items():
        table.check_pairs(grades.get(split, {}))
    return Contents(documents, known, grades, {split: table.triples for split, table in triples.items()})
