"""Fewer dimensions to search in: the first ones, or those in which the vectors differ most; a sample of rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np

from biencoder.scoring import FloatArray
from biencoder.storage.vectors import blocks

Reduction = Literal["pca", "truncate"]

_BLOCK = 8192
"""Rows read at once."""


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


def rotation(dimension: int) -> FloatArray:
    """A random rotation, always the same one: it leaves inner products and mixes what dimensions hold.

    >>> turned = rotation(3)
    >>> np.allclose(turned @ turned.T, np.eye(3), atol=1e-6)
    True
    """
    drawn = np.random.default_rng(0).standard_normal((dimension, dimension))
    return np.ascontiguousarray(np.linalg.qr(drawn)[0], dtype=np.float32)


def spread_sample(vectors: FloatArray, count: int) -> FloatArray:
    """At most so many rows, evenly spread over a matrix that may be mapped from a file; in their order."""
    if len(vectors) <= count:
        return np.ascontiguousarray(vectors)
    picked = np.linspace(0, len(vectors) - 1, count).astype(np.int64)
    parts: Iterator[FloatArray] = blocks(vectors, size=_BLOCK)
    bounds = np.searchsorted(picked, np.arange(0, len(vectors) + _BLOCK, _BLOCK))
    sample = np.empty((count, vectors.shape[1]), np.float32)  # filled in place: parts put together would be there twice
    for at, rows in enumerate(parts):
        sample[bounds[at] : bounds[at + 1]] = rows[picked[bounds[at] : bounds[at + 1]] - at * _BLOCK]
    return sample
