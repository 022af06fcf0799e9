"""Nearest neighbours side by side: recall@10 against the time of a query, memory and build time, of ours and of peers.

    python benchmarks/ann.py VECTORS --out RESULTS [--rows 1000000] [--peer-python PYTHON] [--only ours --only hnswlib]
        [--recall 0.95] [--rounds 5] [--queries 2000] [--plot FILE.svg]

VECTORS is what `ann_vectors.py` wrote. Ours is chosen by `biencoder.index.tune` with the tuning queries; all are judged by the
test queries, which it has not seen. Each contender is a process of its own; the least effort that reaches the recall is looked
for, then all take turns, round after round, one query at a time on one thread; of each the best round counts, and ratios are
taken within a round. Recall is against exact search of the float32 vectors. PYTHON is the interpreter of an environment with
hnswlib, usearch, scann and scalable-vs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

K = 10
QUERIES = "queries.npy"
EFFORTS = (16, 24, 32, 40, 48, 56, 64, 72, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 512, 768)
PROBES = (4, 8, 12, 16, 20, 24, 32, 40, 48, 56, 64, 80, 96, 128, 160, 192, 256, 384)
TICKS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
LADDERS = {"faiss-ivfpq": PROBES, "scann": PROBES}
PEERS = ("faiss-hnsw", "faiss-ivfpq", "hnswlib", "usearch", "scann", "svs", "svs-lvq")


class Contender:
    """A process that builds and searches."""

    def __init__(self, name: str, command: list[str]) -> None:
        self.name = name
        self.efforts = LADDERS.get(name, EFFORTS)
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, **task: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self.name} ended with status {self._process.wait()}")
        found: dict[str, Any] = json.loads(answer)
        return found

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


def ours(folder: Path, vectors: Path, *, recall: float, memory: float | None, engine: str) -> dict[str, Any]:
    """Tune, save, and say what was chosen."""
    from biencoder.index import Goal, tune
    from biencoder.storage.vectors import open_vectors

    began = time.perf_counter()
    matrix = open_vectors(vectors.parent)
    asked = np.load(vectors.parent.parent / "queries-tuning.npy")
    goal = Goal(recall, memory=memory)
    tuned = tune(matrix, asked, goal=goal, metric="cosine", engine=engine, say=lambda message: print(message, flush=True))
    folder.mkdir(parents=True)
    tuned.index.save(folder)
    found = {"tuning_seconds": time.perf_counter() - began, **tuned.as_dict(), "engine": tuned.index.engine}
    (folder / "tuned.json").write_text(json.dumps(found))
    return found


def serve_ours(folder: Path) -> None:
    """The contender that is ours: as `ann_peer.py`, over a saved index."""
    sys.path.insert(0, str(Path(__file__).parent))
    import ann_peer

    from biencoder.index import engine_class
    from biencoder.index.designs import Design

    tuned = json.loads((folder / "tuned.json").read_text())
    before = ann_peer.resident()
    parameters = tuned["chosen"]["parameters"]
    index = engine_class(tuned["engine"]).load(folder, metric="cosine", parameters=parameters)
    name = Design(tuned["engine"]).effort  # None of exact search

    def search(query: Any, effort: int) -> Any:
        return index.search(query, k=K, parameters={name: effort} if name else {})[1][0]

    for line in sys.stdin:
        task = json.loads(line)
        found = {} if task["do"] == "build" else ann_peer.timed(search, task)
        print(json.dumps(found | {"bytes": ann_peer.resident() - before}), flush=True)


def frontier(one: Contender, truth: Any, work: Path, wanted: float) -> list[dict[str, Any]]:
    """Recall and times up the ladder, until the recall is well reached."""
    points = []
    for effort in one.efforts:
        out = work / "found.npz"
        found = one.ask(do="search", queries=str(work / QUERIES), effort=effort, k=K, out=str(out))
        recall = float(truth.shares(np.load(out)["rows"]).mean())
        points.append({"effort": effort, "recall": recall, "p50": found["p50"], "p99": found["p99"]})
        if recall >= wanted + 0.03:
            break
    return points


def run(given: argparse.Namespace, work: Path) -> dict[str, Any]:
    from biencoder.index.measuring import Truth
    from biencoder.storage.vectors import open_vectors

    matrix = open_vectors(given.vectors / "documents")[: given.rows]
    (work / "documents").mkdir()
    np.save(work / "documents" / "vectors.npy", matrix)
    asked = np.load(given.vectors / "queries-test.npy")[: given.queries]
    np.save(work / QUERIES, asked)
    np.save(work / "queries-tuning.npy", np.load(given.vectors / "queries-tuning.npy"))
    truth = Truth.of(np.asarray(matrix), asked, k=K)
    results: dict[str, Any] = {"rows": len(matrix), "queries": len(asked), "recall": given.recall, "contenders": {}}
    contenders = []
    settings = {"ours": None, "ours-lean": given.lean * len(matrix)}
    for name in given.only or [*settings, *PEERS]:
        if name in settings:
            built = ours(
                work / name,
                work / "documents" / "vectors.npy",
                recall=given.recall,
                memory=settings[name],
                engine=given.engine,
            )
            one = Contender(name, [sys.executable, __file__, "--serve", str(work / name)])
            facts = {"chosen": built["chosen"], "bytes_per_vector": built["chosen"]["bytes_per_vector"]}
            facts |= {"build_seconds": built["chosen"]["build_seconds"], "tuning_seconds": built["tuning_seconds"]}
        else:
            python = sys.executable if name.startswith("faiss") else given.peer_python
            if not python:
                continue
            one = Contender(name, [python, str(Path(__file__).with_name("ann_peer.py"))])
            built = one.ask(do="build", name=name, vectors=str(work / "documents" / "vectors.npy"), threads=given.threads)
            if "error" in built:
                print(f"{name} left out: {built['error']}", flush=True)
                one.end()
                continue
            facts = {"bytes_per_vector": built["bytes"] / len(matrix), "build_seconds": built["seconds"]}
        facts["frontier"] = frontier(one, truth, work, given.recall)
        results["contenders"][name] = facts
        contenders.append(one)
        print(name, json.dumps(facts), flush=True)
    rounds(contenders, results, work, given)
    for one in contenders:
        one.end()
    return results


def rounds(contenders: list[Contender], results: dict[str, Any], work: Path, given: argparse.Namespace) -> None:
    """All take turns at the least effort that reaches the recall."""
    for one in contenders:
        facts = results["contenders"][one.name]
        reaching = [point for point in facts["frontier"] if point["recall"] >= given.recall]
        facts["at"] = reaching[0] if reaching else None
        facts["rounds"] = []
    for _ in range(given.rounds):
        for one in contenders:
            facts = results["contenders"][one.name]
            if facts["at"] is not None:
                out = str(work / "found.npz")
                found = one.ask(do="search", queries=str(work / QUERIES), effort=facts["at"]["effort"], k=K, out=out)
                facts["rounds"].append({"p50": found["p50"], "p99": found["p99"]})


def table(results: dict[str, Any]) -> None:
    print(f"{results['rows']:,} vectors, {results['queries']:,} queries, recall@10 at least {results['recall']}")
    base = results["contenders"].get("faiss-hnsw", {}).get("rounds")
    for name, facts in results["contenders"].items():
        said = f"{name:<12} {facts['bytes_per_vector']:7,.0f} B/vector  built in {facts['build_seconds']:6,.0f} s"
        if facts["at"] is None:
            print(f"{said}  never reaches it; at most {max(point['recall'] for point in facts['frontier']):.4f}")
            continue
        best = min(one["p50"] for one in facts["rounds"]), min(one["p99"] for one in facts["rounds"])
        said += f"  recall {facts['at']['recall']:.4f}  p50 {best[0]:.3f} ms  p99 {best[1]:.3f} ms"
        if base:
            ratios = sorted(other["p50"] / own["p50"] for own, other in zip(facts["rounds"], base, strict=True))
            said += f"  {ratios[len(ratios) // 2]:.2f} x faiss-hnsw [{ratios[0]:.2f}, {ratios[-1]:.2f}]"
        print(said)


def draw(results: dict[str, Any], path: Path) -> None:
    import matplotlib.pyplot as plt

    plt.rcParams["svg.hashsalt"] = "biencoder"
    figure, axes = plt.subplots(figsize=(7, 4.6), layout="constrained")
    for name, facts in results["contenders"].items():
        points = facts["frontier"]
        axes.plot([one["recall"] for one in points], [one["p50"] for one in points], marker="o", markersize=3, label=name)
    axes.axvline(results["recall"], linestyle=":", color="grey")
    axes.set_yscale("log")
    axes.set_yticks(TICKS, [f"{tick:g}" for tick in TICKS])
    shown = [one["p50"] for facts in results["contenders"].values() for one in facts["frontier"] if one["recall"] >= 0.8]
    axes.set(ylim=(min(shown) * 0.8, max(shown) * 1.25))
    axes.set(xlabel="recall@10", ylabel="milliseconds a query (p50, one thread)", xlim=(0.8, 1.0))
    axes.set_title(f"{results['rows']:,} vectors of sentences, real queries", fontsize=10)
    axes.grid(alpha=0.3, which="both")
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vectors", type=Path, nargs="?")
    parser.add_argument("--out", type=Path, help="JSON")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--recall", type=float, default=0.95)
    parser.add_argument("--lean", type=float, default=260.0, help="bytes a vector of the memory-lean setting")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2, help="for building")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--peer-python", default="")
    parser.add_argument("--only", action="append", choices=["ours", "ours-lean", *PEERS])
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve_ours(given.serve)
        return
    with tempfile.TemporaryDirectory() as work:
        results = run(given, Path(work))
    table(results)
    if given.out:
        given.out.write_text(json.dumps(results, indent=1))
    if given.plot:
        draw(results, given.plot)


if __name__ == "__main__":
    main()
