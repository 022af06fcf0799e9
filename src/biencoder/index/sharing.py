"""Queries shared out among threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np

from biencoder.cores import available_cores
from biencoder.scoring import FloatArray, RowArray

_SHARED_FROM = 32
"""Fewer are not worth the threads."""


def share_out(
    queries: FloatArray, k: int, work: Callable[[FloatArray, tuple[FloatArray, RowArray]], None]
) -> tuple[FloatArray, RowArray]:
    """Search by work that lets other threads run, part by part, on as many threads as this process has cores.

    Args:
        queries: shape (m, d).
        k: how many results each has.
        work: is given some of the queries, and where their scores and rows go.

    Returns:
        Scores and rows, shape (m, k).

    >>> share_out(np.ones((3, 2), np.float32), 1, lambda part, found: found[1].fill(len(part)))[1].tolist()
    [[3], [3], [3]]
    """
    scores, rows = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)

    def some(part: slice) -> None:
        work(queries[part], (scores[part], rows[part]))

    threads = available_cores() if len(queries) >= _SHARED_FROM else 1
    if threads == 1:
        some(slice(None))
    else:
        bounds = np.linspace(0, len(queries), threads + 1).astype(int).tolist()
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(some, [slice(*pair) for pair in pairwise(bounds)]))
    return scores, rows
