"""The arithmetic of retrieval, obvious and slow: the oracle that every faster path is tested against.

Vectors are NumPy arrays with one row a text; ``n`` queries, ``m`` documents, ``d`` dimensions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from biencoder.errors import ArgumentError

FloatArray = NDArray[np.float32]
RowArray = NDArray[np.int64]


def normalise(vectors: FloatArray) -> FloatArray:
    """Scale each row to length 1; a row of zeros stays zero.

    Args:
        vectors: shape (n, d).

    >>> normalise(np.array([[3.0, 4.0], [0.0, 0.0]], dtype=np.float32)).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.where(lengths == 0, 1, lengths), dtype=np.float32)


def dot(queries: FloatArray, documents: FloatArray) -> FloatArray:
    """Inner products, shape (n, m).

    >>> dot(np.array([[1, 2]], dtype=np.float32), np.array([[3, 4], [0, 1]], dtype=np.float32)).tolist()
    [[11.0, 2.0]]
    """
    return np.asarray(queries @ documents.T, dtype=np.float32)


def cosine(queries: FloatArray, documents: FloatArray) -> FloatArray:
    """Cosines of the angles, shape (n, m).

    >>> cosine(np.array([[2, 0]], dtype=np.float32), np.array([[5, 0], [0, 1]], dtype=np.float32)).tolist()
    [[1.0, 0.0]]
    """
    return dot(normalise(queries), normalise(documents))


def max_sim(query: FloatArray, document: FloatArray) -> float:
    """Late interaction: each query token's best document token, summed (Khattab and Zaharia, ColBERT, 2020).

    Args:
        query: token vectors, shape (query tokens, d).
        document: token vectors, shape (document tokens, d).

    >>> max_sim(np.eye(2, dtype=np.float32), np.array([[1, 0], [0.5, 0.5]], dtype=np.float32))
    1.5
    """
    return float(dot(query, document).max(axis=1).sum())


def truncate(vectors: FloatArray, *, dim: int) -> FloatArray:
    """The first ``dim`` dimensions, scaled to length 1 again (Kusupati et al., Matryoshka representation learning, 2022).

    Raises:
        ArgumentError: where ``dim`` is not between 1 and d.

    >>> truncate(np.array([[3.0, 4.0, 9.0]], dtype=np.float32), dim=2).round(3).tolist()
    [[0.6000000238418579, 0.800000011920929]]
    """
    if not 1 <= dim <= vectors.shape[-1]:
        raise ArgumentError(f"dim is {dim}; it must be between 1 and the vectors' own {vectors.shape[-1]}")
    return normalise(vectors[..., :dim])


def top_k(scores: FloatArray, *, k: int) -> tuple[FloatArray, RowArray]:
    """The k best columns of each row, best first; of equal scores the lower column comes first.

    Args:
        scores: shape (n, m).
        k: how many; more than m gives m.

    Returns:
        Scores and columns, each of shape (n, min(k, m)).

    Raises:
        ArgumentError: where k is below 1.

    >>> values, columns = top_k(np.array([[0.1, 0.9, 0.9]], dtype=np.float32), k=2)
    >>> columns.tolist()
    [[1, 2]]
    """
    if k < 1:
        raise ArgumentError(f"k is {k}; it must be at least 1")
    columns = np.argsort(-scores, axis=1, kind="stable")[:, :k].astype(np.int64)
    return np.take_along_axis(scores, columns, axis=1), columns
