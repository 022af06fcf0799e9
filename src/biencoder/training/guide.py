"""A frozen model that says which in-batch negatives are likely to be relevant; every text is encoded once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from biencoder.data.batches import distinct
from biencoder.progress import Progress
from biencoder.records import Example
from biencoder.towers.bi_encoder import BiEncoder


class Guide:
    """Scores of a frozen model for any query and document of the examples.

    Vectors are held in half precision: 768 bytes a distinct text of 384 dimensions.

    Args:
        model: judges; often the model that training starts from.
        examples: all that will be trained on, negatives included.
        progress: is told how many texts are encoded.
    """

    def __init__(self, model: BiEncoder, examples: Sequence[Example], *, progress: Progress | None = None) -> None:
        told = progress or Progress()
        queries, _ = distinct([example.query for example in examples])
        documents, _ = distinct([text for example in examples for text in (example.positive, *example.negatives)])
        self.identity = model.checkpoint().identity()
        self._queries = {text: row for row, text in enumerate(queries)}
        self._documents = {text: row for row, text in enumerate(documents)}
        self._query_vectors = model.encode_queries(queries).astype(np.float16)
        encoded = model.encode_documents(documents, progress=lambda done: told("guide", done, len(documents)))
        self._document_vectors = encoded.astype(np.float16)

    def scores(self, queries: Sequence[str], documents: Sequence[str]) -> Tensor:
        """Inner products, shape (len(queries), len(documents)), float32."""
        left = self._query_vectors[_rows(self._queries, queries)].astype(np.float32)
        right = self._document_vectors[_rows(self._documents, documents)].astype(np.float32)
        return torch.from_numpy(left @ right.T)


def _rows(places: dict[str, int], texts: Iterable[str]) -> NDArray[np.int64]:
    return np.array([places[text] for text in texts], dtype=np.int64)
