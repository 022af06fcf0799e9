"""How searches from many threads scale, and batches of queries: queries a second.

    python benchmarks/ann_threads.py VECTORS [--rows 1000000] [--threads 1 2 4] [--rounds 5] [--out FILE]

VECTORS is what `ann_vectors.py` wrote. One index is shared by all threads, each of which asks one query at a time; a batch is
one call with all queries. Thread counts and the batch take turns, round after round; ratios are taken within a round.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from ann_tuning import reopened

from biencoder.cores import available_cores
from biencoder.index import VectorIndex, engine_class
from biencoder.storage.vectors import open_vectors

K = 10
SETTINGS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("hnsw", {"codes": "int8", "dimension": 192, "rescore": "float16", "ef_search": 80, "candidates": 80}),
    ("ivfsq", {"nprobe": 256}),
    ("ivfpq", {"bits": 4, "rescore": "int8", "nprobe": 120, "candidates": 80}),
    ("exact", {}),
)
"""For recall@10 0.95 at a million."""


def one_by_one(index: VectorIndex, queries: Any, threads: int) -> float:
    """Queries a second of so many threads together."""
    parts = [queries[start::threads] for start in range(threads)]

    def ask(part: Any) -> None:
        for query in part:
            index.search(query[None], k=K)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(ask, parts))  # the threads' first searches make what each keeps
        began = time.perf_counter()
        list(pool.map(ask, parts))
        return len(queries) / (time.perf_counter() - began)


def together(index: VectorIndex, queries: Any) -> float:
    began = time.perf_counter()
    index.search(queries, k=K)
    return len(queries) / (time.perf_counter() - began)


def measured(index: VectorIndex, queries: Any, given: argparse.Namespace) -> dict[str, list[float]]:
    ways: dict[str, Callable[[], float]] = {
        f"{threads} threads": lambda threads=threads: one_by_one(index, queries, threads)  # type: ignore[misc]
        for threads in given.threads
    }
    ways["batch"] = lambda: together(index, queries)
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(given.rounds):
        for name, way in ways.items():
            found[name].append(way())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vectors", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="JSON")
    given = parser.parse_args()
    matrix = open_vectors(given.vectors / "documents")[: given.rows]
    asked = np.load(given.vectors / "queries-test.npy")
    print(f"{len(matrix):,} vectors, {available_cores()} cores; queries a second, best of {given.rounds} rounds")
    results = {}
    with tempfile.TemporaryDirectory() as work:
        for engine, parameters in SETTINGS:
            built = engine_class(engine).build(matrix, metric="cosine", parameters=parameters)
            index = reopened(built, Path(work) / engine)
            rates = results[engine] = measured(index, asked[:40] if engine == "exact" else asked, given)
            first = rates[f"{given.threads[0]} threads"]
            for name, own in rates.items():
                ratios = sorted(rate / base for rate, base in zip(own, first, strict=True))
                spread = f"{statistics.median(ratios):.2f} x [{ratios[0]:.2f}, {ratios[-1]:.2f}]"
                print(f"{engine:<6} {name:<10} {max(own):10,.0f}/s  {spread}", flush=True)
    if given.out:
        given.out.write_text(json.dumps({"rows": len(matrix), "cores": available_cores(), "rates": results}, indent=1))


if __name__ == "__main__":
    main()
