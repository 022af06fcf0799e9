"""A part of a collection that knows what the whole knows of it."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from biencoder.data.contents import Contents, Grades
from biencoder.data.documents import Documents
from biencoder.records import Document


def narrow(contents: Contents, *, split: str, queries: int, documents: int | None, seed: int) -> Contents:
    """Fewer queries of a split, and fewer documents, drawn by the seed and their ids.

    All documents that are judged for the queries are among them, and those that their triples name. What other splits say of
    the documents that are left stays known, and queries of the same text stay together, so that a relevant document is never
    taken for a negative.

    Args:
        contents: of the whole.
        split: whose queries are drawn.
        queries: so many, where there are as many, and those that ask the same in the same words.
        documents: so many in all, more only where more are needed; they are held in memory. None keeps all, where they are.
        seed: of the draw.
    """
    judged = contents.grades[split]
    texts = {contents.queries[query].text for query in draw_queries(judged, count=queries, seed=seed)}
    kept = {query for query in judged if contents.queries[query].text in texts}
    triples = {pair: triple for pair, triple in contents.triples.get(split, {}).items() if triple.query_id in kept}
    left: Documents = contents.documents
    there: AbstractSet[str] | None = None
    if documents is not None and documents < len(left):
        needed = {document for query in kept for document in judged[query]}
        needed |= {document for triple in triples.values() for document in triple.negative_ids}
        left = draw_documents(left, count=documents, needed=needed, seed=seed)
        there = {document.id for document in left}
    grades = {split: {query: own for query, own in judged.items() if query in kept}}
    for name, part in contents.grades.items():
        known = {} if name == split else _known(part, there)
        grades |= {name: known} if known else {}
    asked = {query for part in grades.values() for query in part}
    found = {name: query for name, query in contents.queries.items() if name in asked}
    return Contents(left, found, grades, {split: triples} if triples else {})


def draw_queries(names: Iterable[str], *, count: int, seed: int) -> set[str]:
    """At most so many ids of queries."""
    return set(heapq.nsmallest(count, names, key=lambda name: _draw(seed, name)))


def draw_documents(
    documents: Documents, *, count: int, needed: AbstractSet[str], seed: int, wanted: AbstractSet[str] = frozenset()
) -> list[Document]:
    """So many documents in their order: those that are needed, however many, then those that are wanted, then others."""
    others = (document.id for document in documents if document.id not in needed)
    more = heapq.nsmallest(max(0, count - len(needed)), others, key=lambda name: (name not in wanted, _draw(seed, name)))
    kept = needed | set(more)
    return [document for document in documents if document.id in kept]


def _draw(seed: int, name: str) -> bytes:
    """A key that puts names in random order: the same on every machine, another one for every seed."""
    return hashlib.sha256(f"{seed}:{name}".encode("utf-8", "surrogatepass")).digest()


def _known(grades: Grades, documents: AbstractSet[str] | None) -> Grades:
    """The judgements of these documents, None being all."""
    if documents is None:
        return grades
    found = {query: {name: grade for name, grade in own.items() if name in documents} for query, own in grades.items()}
    return {query: own for query, own in found.items() if own}
