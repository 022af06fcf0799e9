"""Collections: documents, queries and judgements from every format that they come in, checked and streamed."""

from biencoder.data.collection import Collection
from biencoder.data.contents import Triple
from biencoder.data.documents import Documents
from biencoder.data.pairs import PairColumns
from biencoder.data.passages import PassageOptions, best_per_document, split_document
from biencoder.data.readers import read_documents, read_pairs

__all__ = [
    "Collection",
    "Documents",
    "PairColumns",
    "PassageOptions",
    "Triple",
    "best_per_document",
    "read_documents",
    "read_pairs",
    "split_document",
]
