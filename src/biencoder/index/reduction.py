"""Fewer dimensions to search in: the first ones, or those in which the vectors differ most."""

from __future__ import annotations

from typing import Literal

import numpy as np

from biencoder.scoring import FloatArray

Reduction = Literal["pca", "truncate"]


def projection(sample: FloatArray, *, dimension: int, reduction: Reduction) -> FloatArray:
    """The matrix that takes vectors to fewer dimensions so that inner products change least.

    Args:
        sample: vectors like those to be searched, shape (n, d).
        dimension: wanted, at most d.
        reduction: ``truncate`` keeps the first components, for models with Matryoshka training (Kusupati et al., 2022);
            ``pca`` the directions of greatest second moment. Nothing is centred: a mean taken off would change the order of
            inner products.

    Returns:
        Shape (dimension, d), orthonormal rows; ``vectors @ projection.T`` are the short vectors.

    >>> projection(np.array([[0, 2, 0], [0, 1, 1]], dtype=np.float32), dimension=1, reduction="truncate").tolist()
    [[1.0, 0.0, 0.0]]
    >>> np.abs(projection(np.array([[0, 2, 0], [0, 2, 0]], dtype=np.float32), dimension=1, reduction="pca")).round(6).tolist()
    [[0.0, 1.0, 0.0]]
    """
    width = sample.shape[1]
    if reduction == "truncate":
        return np.eye(dimension, width, dtype=np.float32)
    exact = sample.astype(np.float64)
    _, directions = np.linalg.eigh(exact.T @ exact)
    return np.ascontiguousarray(directions[:, ::-1][:, :dimension].T, dtype=np.float32)
