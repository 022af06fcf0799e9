"""From text to hits: encoding a corpus, building an index, searching it by vectors, by keywords and by both."""

from __future__ import annotations

from biencoder.search.building import build_index
from biencoder.search.compaction import compact_index
from biencoder.search.encoding import Encoded, encode
from biencoder.search.fusion import reciprocal_rank_fusion
from biencoder.search.keywords import KeywordOptions, KeywordSearcher
from biencoder.search.live import QdrantServer
from biencoder.search.model import Model
from biencoder.search.reranker import Reranker
from biencoder.search.searcher import Searcher
from biencoder.search.updated import Updated
from biencoder.search.updating import add_documents, delete_documents

__all__ = [
    "Encoded",
    "KeywordOptions",
    "KeywordSearcher",
    "Model",
    "QdrantServer",
    "Reranker",
    "Searcher",
    "Updated",
    "add_documents",
    "build_index",
    "compact_index",
    "delete_documents",
    "encode",
    "reciprocal_rank_fusion",
]
