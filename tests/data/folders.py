"""A small BEIR folder that tests damage one file at a time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

HEADER = "query-id\tcorpus-id\tscore\n"

FILES: Mapping[str, str] = {
    "corpus.jsonl": '{"_id": "d1", "title": "Bread", "text": "rises by yeast."}\n{"_id": "d2", "text": "Paris"}\n',
    "queries.jsonl": '{"_id": "q1", "text": "why does dough rise"}\n{"_id": "q2", "text": "capital of France"}\n',
    "qrels/train.tsv": f"{HEADER}q1\td1\t1\n",
    "qrels/test.tsv": f"{HEADER}q2\td2\t2\nq2\td1\t0\n",
}


def beir_folder(place: Path, changes: Mapping[str, str | bytes | None] | None = None) -> Path:
    """Write the folder; ``changes`` replace files, or leave out those that are None."""
    for name, content in {**FILES, **(changes or {})}.items():
        if content is not None:
            path = place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
    return place
