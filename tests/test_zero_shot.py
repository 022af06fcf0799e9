"""The whole of loading, encoding, searching and measuring, against a figure that others have published."""

from __future__ import annotations

from pathlib import Path

import pytest

from biencoder.data.collection import Collection
from biencoder.evaluation import evaluate
from biencoder.search import Searcher
from biencoder.towers.bi_encoder import BiEncoder

PUBLISHED = 0.645
"""nDCG@10 of all-MiniLM-L6-v2 on SciFact's test split (MTEB; Muennighoff et al., 2023)."""


@pytest.mark.collections
@pytest.mark.slow
def test_all_minilm_on_scifact(real_model: BiEncoder, collections_folder: Path) -> None:
    collection = Collection.read(collections_folder / "scifact")
    model = BiEncoder(real_model.query_tower, real_model.document_tower, similarity=real_model.similarity, precision="fast")
    found = evaluate(Searcher.in_memory(model, collection.documents), collection, split="test", measures="nDCG@10")
    assert found.queries == 300
    assert found.measures["nDCG@10"] == pytest.approx(PUBLISHED, abs=0.003)
