"""What an evaluation rests on, in a few digits: scores over other queries, judgements or documents are not to be compared."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from biencoder.data.collection import Collection
from biencoder.search.documents import CorpusDigest


def basis_of(collection: Collection, split: str) -> dict[str, Any]:
    """A split's queries and judgements, and all documents, as counts and digests; the documents are read once.

    Raises:
        DataError: where there is no such split.

    >>> from biencoder.records import Document, Judgement, Query
    >>> judged = {"dev": [Judgement("q", "d")]}
    >>> one = Collection(documents=[Document("d", "text")], queries=[Query("q", "x")], judgements=judged)
    >>> {name: part["count"] for name, part in basis_of(one, "dev").items()}
    {'queries': 1, 'documents': 1}
    """
    judged = collection.judgements(split)
    asked = [[query.id, query.text, sorted(judged[query.id].items())] for query in collection.queries(split)]
    documents = CorpusDigest()
    for document in collection.documents:
        documents.add(document)
    return {
        "queries": {"count": len(asked), "sha256": hashlib.sha256(json.dumps(asked).encode()).hexdigest()},
        "documents": {"count": len(collection.documents), "sha256": documents.value()},
    }
