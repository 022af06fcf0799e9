"""The queries that are mined for, and what the collection says of each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from biencoder.data.collection import Collection
from biencoder.errors import DataError
from biencoder.mining.corpus import text_key


@dataclass(frozen=True, slots=True)
class Question:
    """A query with what is known of it, by document ids.

    Args:
        id: of the query.
        text: of the query.
        positives: relevant in the split that is mined for; a pair each.
        relevant: relevant in any split, for this query or for another of the same text: none of them is ever a negative.
        own_negatives: for each positive, the keys (`text_key`) of the negatives that the collection itself gives.
        scored: whether the collection gives scores of these.
    """

    id: str
    text: str
    positives: tuple[str, ...]
    relevant: tuple[str, ...]
    own_negatives: tuple[tuple[int, ...], ...]
    scored: bool = False


def read_questions(collection: Collection, split: str) -> list[Question]:
    """The queries of a split that have a relevant document, in file order.

    Raises:
        DataError: where there is no such split, or nothing in it is relevant.

    >>> from biencoder.records import Document, Judgement, Query
    >>> collection = Collection(
    ...     documents=[Document("d1", "Paris."), Document("d2", "Rome.")],
    ...     queries=[Query("q1", "capital of France"), Query("q2", "capital of France")],
    ...     judgements={"train": [Judgement("q1", "d1")], "test": [Judgement("q2", "d2"), Judgement("q1", "d2", 0)]},
    ... )
    >>> [(question.id, question.positives, question.relevant) for question in read_questions(collection, "train")]
    [('q1', ('d1',), ('d1', 'd2'))]
    """
    queries = collection.queries(split)
    relevant = _relevant_by_text(collection)
    judged = collection.judgements(split)
    examples = iter(collection.examples(split))  # one for each positive, in the same order
    questions = []
    for query in queries:
        positives = tuple(document for document, grade in judged[query.id].items() if grade > 0)
        own = [next(examples) for _ in positives]
        if not positives:
            continue
        negatives = tuple(tuple(text_key(text) for text in example.negatives) for example in own)
        scored = any(example.scores is not None for example in own)
        questions.append(Question(query.id, query.text, positives, relevant[query.text], negatives, scored))
    if not questions:
        problem = f"the split {split!r} has no relevant document to mine negatives for"
        raise DataError(problem, hint="grades above 0 are needed")
    return questions


def digest_of(questions: Iterable[Question]) -> str:
    """SHA-256 over everything in the questions, in order."""
    digest = hashlib.sha256()
    for question in questions:
        digest.update(json.dumps(asdict(question), sort_keys=True).encode() + b"\n")
    return digest.hexdigest()


def _relevant_by_text(collection: Collection) -> dict[str, tuple[str, ...]]:
    """Query text → ids of all documents that are relevant, in whatever split and under whatever query id; sorted."""
    texts = {query.id: query.text for query in collection.queries()}
    found: dict[str, set[str]] = {}
    for split in collection.splits:
        for query, grades in collection.judgements(split).items():
            found.setdefault(texts[query], set()).update(document for document, grade in grades.items() if grade > 0)
    return {text: tuple(sorted(documents)) for text, documents in found.items()}
