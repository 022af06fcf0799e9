"""Queries shared out among threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np

from biencoder.cores import available_cores

_SHARED_FROM = 32
"""Fewer are not worth the threads."""


def share_out(count: int, work: Callable[[slice], None]) -> None:
    """Do work that lets other threads run, part by part, on as many threads as this process has cores.

    Args:
        count: of what is to be done.
        work: is told which part.

    >>> done = []
    >>> share_out(3, done.append)
    >>> done
    [slice(0, 3, None)]
    """
    threads = available_cores() if count >= _SHARED_FROM else 1
    if threads == 1:
        work(slice(0, count))
        return
    bounds = np.linspace(0, count, threads + 1).astype(int).tolist()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, [slice(*pair) for pair in pairwise(bounds)]))
