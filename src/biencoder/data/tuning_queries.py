"""Queries to choose an index with: a file's, a collection's outside its test split, or made from the documents."""

from __future__ import annotations

import json
from pathlib import Path

from biencoder.data.beir import find_corpus
from biencoder.data.collection import Collection
from biencoder.data.documents import Documents
from biencoder.data.lines import numbered_lines, require_file
from biencoder.data.self_supervised import self_supervised
from biencoder.errors import DataError

MADE = 2000
"""Queries made at most."""


def read_query_file(path: Path) -> list[str]:
    """Queries of a file: a line each, or in ``.jsonl`` the field ``text`` or ``query`` of each line.

    Raises:
        DataError: naming file and line, where a line holds no query, or the file none.
    """
    jsonl = path.name.removesuffix(".gz").endswith(".jsonl")
    found = []
    for number, line in numbered_lines(require_file(path)):
        if not line.strip():
            continue
        found.append(_query(line, path, number) if jsonl else line.strip())
    if not found:
        raise DataError("there are no queries in it", path=path, hint="one a line was expected")
    return found


def collection_queries(source: str) -> tuple[list[str], list[str]]:
    """The queries that a collection has outside its test split, and the splits they are of; none where it is but a corpus.

    Args:
        source: what `read_documents` reads.
    """
    place = Path(source)
    if not place.is_dir() or not find_corpus(place) or not any(place.glob("queries.jsonl*")):
        return [], []
    collection = Collection.read(place)
    splits = [split for split in collection.splits if split != "test"]
    texts = dict.fromkeys(query.text for split in splits for query in collection.queries(split))
    return list(texts), splits


def made_queries(documents: Documents) -> list[str]:
    """Titles and crops of documents, where there are no queries.

    Raises:
        DataError: where no document is long enough.
    """
    return [query.text for query in self_supervised(documents, split="tuning", seed=0, most=MADE).queries()]


def _query(line: str, path: Path, number: int) -> str:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DataError(f"this is not JSON ({error})", path=path, line=number) from None
    text = (row.get("text") or row.get("query")) if isinstance(row, dict) else None
    if not isinstance(text, str) or not text.strip():
        raise DataError("there is no query", path=path, line=number, hint='{"text": "…"} was expected')
    return text
