"""One contender of `ann.py`, in a process of its own: builds an index, then searches when it is told to.

Reads a JSON object a line from standard input and answers each with one on standard output. Needs only the library that it
runs, so that it works with the interpreter of any environment.

    {"do": "build", "name": …, "vectors": FILE.npy, "threads": 2}      → {"seconds": …, "bytes": …}
    {"do": "search", "queries": FILE.npy, "effort": …, "k": 10, "out": FILE.npz}
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

Search = Callable[[Any, int], Any]
"""A query of shape (1, d) and an effort; gives the rows."""
K = 10


def resident() -> int:
    """Bytes of this process in memory, what is mapped and was touched included."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def faiss_hnsw(vectors: Any, threads: int) -> Search:
    faiss = import_module("faiss")

    faiss.omp_set_num_threads(threads)
    index = faiss.IndexHNSWFlat(vectors.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 128
    index.add(vectors)
    faiss.omp_set_num_threads(1)

    def search(query: Any, effort: int) -> Any:
        index.hnsw.efSearch = effort
        return index.search(query, K)[1][0]

    return search


def faiss_ivfpq(vectors: Any, threads: int) -> Search:
    faiss = import_module("faiss")

    faiss.omp_set_num_threads(threads)
    index = faiss.index_factory(vectors.shape[1], "IVF2048,PQ192x4fs,RFlat", faiss.METRIC_INNER_PRODUCT)
    index.train(vectors[:: max(1, len(vectors) // 200_000)].copy())
    index.add(vectors)
    index.k_factor = 10
    faiss.omp_set_num_threads(1)
    lists = faiss.extract_index_ivf(index)

    def search(query: Any, effort: int) -> Any:
        lists.nprobe = effort
        return index.search(query, K)[1][0]

    return search


def hnswlib_(vectors: Any, threads: int) -> Search:
    hnswlib = import_module("hnswlib")

    index = hnswlib.Index(space="ip", dim=vectors.shape[1])
    index.init_index(max_elements=len(vectors), M=16, ef_construction=200)
    index.set_num_threads(threads)
    index.add_items(vectors)

    def search(query: Any, effort: int) -> Any:
        index.set_ef(effort)
        return index.knn_query(query, k=K, num_threads=1)[0][0]

    return search


def usearch_(vectors: Any, threads: int) -> Search:
    index = import_module("usearch.index").Index(ndim=vectors.shape[1], metric="ip", dtype="f16")
    index.add(np.arange(len(vectors)), vectors, threads=threads)

    def search(query: Any, effort: int) -> Any:
        index.expansion_search = effort
        return index.search(query[0], K, threads=1).keys

    return search


def scann_(vectors: Any, threads: int) -> Search:
    scann = import_module("scann")

    lists = int(2 * len(vectors) ** 0.5)
    sample = min(len(vectors), 250_000)
    index = (
        scann.scann_ops_pybind.builder(vectors, K, "dot_product")
        .set_n_training_threads(threads)
        .tree(num_leaves=lists, num_leaves_to_search=100, training_sample_size=sample)
        .score_ah(2, anisotropic_quantization_threshold=0.2)
        .reorder(100)
        .build()
    )

    def search(query: Any, effort: int) -> Any:
        return index.search(query[0], final_num_neighbors=K, leaves_to_search=effort)[0]

    return search


def svs_(vectors: Any, threads: int) -> Search:
    return _vamana(import_module("svs"), vectors.astype(np.float16), threads)


def svs_lvq(vectors: Any, threads: int) -> Search:
    """With codes of 4 and 8 bits, which its wheel has for Intel's processors alone."""
    svs = import_module("svs")

    with tempfile.NamedTemporaryFile(suffix=".fvecs") as file:
        svs.write_vecs(vectors, file.name)
        rows = svs.VectorDataLoader(file.name, svs.DataType.float32, dims=vectors.shape[1])
        return _vamana(svs, svs.LVQLoader(rows, primary=4, residual=8), threads)


def _vamana(svs: Any, rows: Any, threads: int) -> Search:
    parameters = svs.VamanaBuildParameters(alpha=0.95, graph_max_degree=64, window_size=128)
    index = svs.Vamana.build(parameters, rows, svs.DistanceType.MIP, num_threads=threads)
    index.num_threads = 1

    def search(query: Any, effort: int) -> Any:
        if index.search_window_size != effort:
            index.search_window_size = effort
        return index.search(query, K)[0][0]

    return search


PEERS: dict[str, Callable[[Any, int], Search]] = {
    "faiss-hnsw": faiss_hnsw,
    "faiss-ivfpq": faiss_ivfpq,
    "hnswlib": hnswlib_,
    "usearch": usearch_,
    "scann": scann_,
    "svs": svs_,
    "svs-lvq": svs_lvq,
}


def timed(search: Search, task: dict[str, Any]) -> dict[str, Any]:
    queries = np.load(task["queries"])
    effort = task["effort"]
    for query in queries[:20]:
        search(query[None], effort)
    rows = np.full((len(queries), K), -1, np.int64)
    seconds = np.empty(len(queries))
    for number in range(len(queries)):
        query = queries[number : number + 1]
        began = time.perf_counter()
        found = search(query, effort)
        seconds[number] = time.perf_counter() - began
        rows[number, : len(found)] = found
    np.savez(task["out"], rows=rows, seconds=seconds)
    return {"p50": float(np.median(seconds)) * 1e3, "p99": float(np.percentile(seconds, 99)) * 1e3}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not stand among the answers
    search: Search | None = None
    for line in sys.stdin:
        task = json.loads(line)
        if task["do"] == "build":
            before = resident()
            vectors = np.ascontiguousarray(np.load(task["vectors"]))
            began = time.perf_counter()
            try:
                search = PEERS[task["name"]](vectors, task["threads"])
            except (ImportError, RuntimeError) as error:  # not installed, or not for this processor
                found: dict[str, Any] = {"error": str(error)}
            else:
                found = {"seconds": time.perf_counter() - began}
            del vectors
            found["bytes"] = resident() - before
        else:
            assert search is not None
            found = timed(search, task)
        answers.write(json.dumps(found) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
