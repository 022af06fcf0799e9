"""Whether tuning keeps its word: recall on queries that it has not seen, and its cost beside the cheapest setting there is.

    python benchmarks/ann_tuning.py VECTORS --out RESULTS [--rows 200000] [--recall 0.95] [--queries 2000] [--rounds 5]
        [--engines auto hnsw ivfpq ivfrabitq ivfsq] [--designs "hnsw codes=int8" ...]

VECTORS is what `ann_vectors.py` wrote. Each engine, forced and free, is tuned with the tuning queries. Then every design that
tuning knows (or those of --designs) is built over all rows, and its cheapest setting that reaches the recall is looked for with
the *test* queries: what one would choose who knew them. What tuning chose and those settings then take turns, round after
round, one query at a time on one thread; of each the best round counts. Asked of tuning: recall on the test queries at least
the target minus two standard errors, and a time at most 15 % above the cheapest setting of the same choice of engines.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from biencoder.index import Goal, VectorIndex, engine_class, tune
from biencoder.index.base import Value
from biencoder.index.designs import Design, designs
from biencoder.index.measuring import Truth, latencies
from biencoder.index.tuning import built, measure
from biencoder.storage.folder import write_file
from biencoder.storage.vectors import open_vectors

K = 10
ENGINES = ("auto", "hnsw", "ivfpq", "ivfrabitq", "ivfsq")
MOST_ABOVE = 0.15
"""Of the cheapest setting's time."""


@dataclass
class Setting:
    """An index with the effort that a search spends, and its times."""

    name: str
    index: VectorIndex
    parameters: dict[str, Value]
    recall: float
    error: float
    """Standard error of the recall."""
    best_ms: float = float("inf")

    @classmethod
    def of(cls, name: str, index: VectorIndex, parameters: dict[str, Value], truth: Truth) -> Setting:
        own = {key: value for key, value in parameters.items() if key in index.search_defaults}
        recalls = truth.recalls(index, own)
        return cls(name, index, own, float(recalls.mean()), float(recalls.std(ddof=1) / len(recalls) ** 0.5))

    def time(self, queries: Any) -> None:
        took = latencies(self.index, queries, k=K, parameters=self.parameters)
        self.best_ms = min(self.best_ms, float(np.median(took)) * 1e3)

    def as_dict(self) -> dict[str, Any]:
        told = {"engine": self.index.engine, "parameters": {**self.index.parameters, **self.parameters}}
        return {"name": self.name, **told, "recall": self.recall, "standard_error": self.error, "p50_ms": self.best_ms}


def reopened(index: VectorIndex, folder: Path) -> VectorIndex:
    """The same index mapped from its file, as a search would have it."""
    folder.mkdir(parents=True)
    index.save(folder)
    return engine_class(index.engine).load(folder, metric="cosine", parameters=index.parameters)


def chosen(engine: str, matrix: Any, asked: Any, truth: Truth, goal: Goal, work: Path) -> Setting:
    """What tuning chooses."""
    print(f"tuning {engine}", file=sys.stderr, flush=True)
    tuned = tune(matrix, asked, goal=goal, metric="cosine", engine=engine)
    return Setting.of(engine, reopened(tuned.index, work / "chosen" / engine), dict(tuned.index.parameters), truth)


def known(design: Design, truth: Truth, goal: Goal, work: Path) -> list[Setting]:
    """A design's settings that reach the recall with the queries by which they are judged; none where none does."""
    trial = built(design, truth, "cosine")
    points = [point for point in measure(trial, design, goal) if point.recall >= goal.recall]
    print(f"{design}: {', '.join(str(point) for point in points) or 'does not reach it'}", file=sys.stderr, flush=True)
    if not points:
        return []
    index = reopened(trial.index, work / "known" / str(design).replace(" ", "_"))
    fastest = min(points, key=lambda point: point.p50_ms)
    return [Setting.of(str(design), index, fastest.parameters, truth)]


def run(given: argparse.Namespace, work: Path) -> dict[str, Any]:
    matrix = open_vectors(given.vectors / "documents")
    if given.rows < len(matrix):
        matrix = matrix[np.sort(np.random.default_rng(0).choice(len(matrix), given.rows, replace=False))]
    tuning, test = (np.load(given.vectors / f"queries-{name}.npy") for name in ("tuning", "test"))
    truth, goal = Truth.of(matrix, test[: given.queries], k=K), Goal(given.recall, k=K)
    ours = [chosen(engine, matrix, tuning, truth, goal, work) for engine in given.engines]
    entered = [one for one in designs("auto", dimension=matrix.shape[1]) if not given.designs or str(one) in given.designs]
    others = [setting for design in entered for setting in known(design, truth, goal, work)]
    for number in range(given.rounds):
        print(f"round {number + 1} of {given.rounds}", file=sys.stderr, flush=True)
        for setting in [*ours, *others]:
            setting.time(truth.queries)
    found = [{**own.as_dict(), "cheapest": cheapest(own, others).as_dict()} for own in ours]
    told = {"rows": len(matrix), "queries": len(truth.queries), "tuning_queries": len(tuning), "recall": given.recall}
    return {**told, "chosen": found, "settings": [setting.as_dict() for setting in others]}


def cheapest(own: Setting, others: list[Setting]) -> Setting:
    """Among the settings that the same choice of engines has."""
    return min((one for one in others if own.name in {"auto", one.index.engine}), key=lambda one: one.best_ms)


def told(one: dict[str, Any]) -> str:
    """Engine and parameters in a few words."""
    return f"{one['engine']} " + " ".join(f"{name}={value}" for name, value in one["parameters"].items())


def judged(one: dict[str, Any], best: dict[str, Any]) -> str:
    """A time beside that of the cheapest setting."""
    if one["engine"] == "exact":
        return "exact search within a millisecond, taken by rule"
    above = one["p50_ms"] / best["p50_ms"] - 1
    return f"{above:+.0%} of the cheapest, {'within' if above <= MOST_ABOVE else 'ABOVE'} {MOST_ABOVE:.0%}"


def table(results: dict[str, Any]) -> None:
    print(f"{results['rows']:,} vectors, {results['queries']:,} unseen queries, recall@{K} {results['recall']} asked for")
    for one in results["chosen"]:
        best, least = one["cheapest"], results["recall"] - 2 * one["standard_error"]
        reached = f"{'reaches' if one['recall'] >= least else 'BELOW'} {least:.4f}"
        cost = judged(one, best)
        print(f"{one['name']:<10} {told(one)}")
        recall = f"recall {one['recall']:.4f} ± {one['standard_error']:.4f} ({reached})"
        print(f"           {recall}  p50 {one['p50_ms']:.3f} ms ({cost})")
        print(f"           cheapest: {told(best)}: recall {best['recall']:.4f}, p50 {best['p50_ms']:.3f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vectors", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="JSON")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--recall", type=float, default=0.95)
    parser.add_argument("--queries", type=int, default=2000, help="unseen ones")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=ENGINES)
    parser.add_argument("--designs", nargs="+", help="as tuning names them; all by default")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        results = run(given, Path(work))
    write_file(given.out, json.dumps(results, indent=1).encode())
    table(results)


if __name__ == "__main__":
    main()
