"""A small collection out of a large one, for decisions that are taken often."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from biencoder.data.collection import Collection
from biencoder.data.narrowing import draw_documents, draw_queries
from biencoder.records import Judgement, Query


def sample(
    collection: Collection,
    split: str,
    *,
    queries: int,
    documents: int,
    seed: int,
    wanted: AbstractSet[str] = frozenset(),
) -> Collection:
    """Some queries of a split, all documents judged for them, and others at random.

    Measures over the sample are higher than over the whole, since it has fewer wrong documents, but rank models alike. Which
    queries and documents are drawn depends on the seed and their ids alone.

    Args:
        collection: streamed once; the sampled documents are held in memory.
        split: whose queries.
        queries: at most so many.
        documents: so many in all, where the corpus has them; more only where more are judged.
        seed: of the draw.
        wanted: ids of documents that come first among the others.

    Raises:
        DataError: where there is no such split.

    >>> from biencoder.records import Document, Query
    >>> corpus = [Document(f"d{number}", f"text {number}") for number in range(9)]
    >>> whole = Collection(documents=corpus, queries=[Query("q", "x")], judgements={"dev": [Judgement("q", "d7")]})
    >>> small = sample(whole, "dev", queries=5, documents=3, seed=0)
    >>> len(small.documents), "d7" in {document.id for document in small.documents}
    (3, True)
    """
    chosen = sample_queries(collection, split, count=queries, seed=seed)
    grades = collection.judgements(split)
    judgements = [Judgement(query.id, document, grade) for query in chosen for document, grade in grades[query.id].items()]
    needed = {judgement.document_id for judgement in judgements}
    return Collection(
        documents=draw_documents(collection.documents, count=documents, needed=needed, seed=seed, wanted=wanted),
        queries=chosen,
        judgements={split: judgements},
    )


def sample_queries(collection: Collection, split: str, *, count: int, seed: int) -> list[Query]:
    """The queries of a split that `sample` draws, in file order.

    Raises:
        DataError: where there is no such split.
    """
    queries = collection.queries(split)
    kept = draw_queries((query.id for query in queries), count=count, seed=seed)
    return [query for query in queries if query.id in kept]
