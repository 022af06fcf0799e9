"""How an index grows: building, memory, disk and the time of a query, from ten thousand vectors to ten million.

    python benchmarks/ann_growth.py --vectors VECTORS --out RESULTS [--designs hnsw ivfpq ivfsq] [--recall 0.95]
        [--sizes 10000 100000 1000000 10000000] [--queries 1000] [--rounds 5] [--threads 1] [--keep]

VECTORS is what `ann_vectors.py` wrote. Up to what it holds, a size is a random part of it; beyond, vectors are made: every real
one again and again with Gaussian noise, at a cosine of 0.9 to what it was. Made vectors show what building costs; recall means
little over them, since their neighbours are noise.

The designs are what tuning prefers at a million: `hnsw` for speed, `ivfpq` for the time of building, `ivfsq` for memory. Each
size of each is built by a process of its own, saved, and opened again from its file by another, which looks for the fastest
setting that reaches the recall with the tuning queries; recall is of the test queries. Then ours and exact search take turns,
one query at a time on one thread; of each the best round counts. Every part of every size is kept in RESULTS and not done
again; vectors and indexes go when a size is done. Table and plot are of all that RESULTS holds.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from biencoder.index import VectorIndex, engine_class
from biencoder.index.designs import Design
from biencoder.index.measuring import Trial, Truth, latencies
from biencoder.index.tuning import Goal, measure
from biencoder.scoring import FloatArray
from biencoder.storage.folder import folder_bytes, write_file, writing
from biencoder.storage.vectors import VectorWriter, open_vectors

K = 10
DESIGNS = {
    "hnsw": Design("hnsw", {"codes": "int8", "rescore": "float16"}),
    "ivfpq": Design("ivfpq", {"bits": 4, "rescore": "int8"}),
    "ivfsq": Design("ivfsq"),
}
SEED = 0
COSINE = 0.9
"""Of a made vector to the real one that it comes from."""
BLOCK = 16384
FEW_QUERIES = 256
"""Over made vectors: as many as exact search answers with one pass through the file."""
PARTS = ("truth", "build", "search", "times")
OWN_PARTS = PARTS[1:]
"""Those of one design."""
GB = 1e9
MEMORY = ("RssAnon", "VmHWM")


def write_rows(folder: Path, real: FloatArray, size: int) -> None:
    """A matrix of so many rows, block by block; goes on where it was interrupted."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {"rows": size, "real": len(real), "seed": SEED, "cosine": COSINE}
    writer = VectorWriter(folder, dimension=real.shape[1], state=state)
    for block in (drawn if size <= len(real) else made)(real, size, writer.count):
        writer.append(block)
    writer.finish()


def drawn(real: FloatArray, size: int, start: int) -> Iterator[FloatArray]:
    """A random part of what is real, in its order."""
    rows = np.sort(np.random.default_rng(SEED).choice(len(real), size, replace=False))
    for at in range(start, size, BLOCK):
        yield real[rows[at : at + BLOCK]]


def made(real: FloatArray, size: int, start: int) -> Iterator[FloatArray]:
    """All real rows, then all again, each time with other noise."""
    scale = ((1 / COSINE**2 - 1) / real.shape[1]) ** 0.5  # of each component, so that the noise is as long as the angle needs
    for at in range(start, size, BLOCK):
        rows = np.arange(at, min(at + BLOCK, size)) % len(real)
        noise = np.random.default_rng((SEED, at)).standard_normal((len(rows), real.shape[1]), dtype=np.float32)
        block = real[rows] + np.float32(scale) * noise
        yield block / np.linalg.norm(block, axis=1, keepdims=True)


class Size:
    """One size's folder and what is in it of one design."""

    def __init__(self, given: argparse.Namespace, rows: int, name: str) -> None:
        self.given = given
        self.rows = rows
        self.name = name
        self.design = DESIGNS[name]
        self.folder: Path = given.out / str(rows)
        self.index = self.folder / name / "index"
        self.real = open_vectors(given.vectors / "documents")
        self.is_real = rows <= len(self.real)
        self.vectors = given.vectors / "documents" if rows == len(self.real) else self.folder / "vectors"

    def queries(self, name: str) -> FloatArray:
        count = self.given.queries if self.is_real else min(FEW_QUERIES, self.given.queries)
        found: FloatArray = np.load(self.given.vectors / f"queries-{name}.npy")[:count]
        return found

    def truth(self, name: str) -> Truth:
        return Truth(open_vectors(self.vectors), self.queries(name), K, np.load(self.folder / f"least-{name}.npy"))

    def open(self, effort: dict[str, Any] | None = None) -> VectorIndex:
        parameters = {**self.design.parameters, **(effort or {})}
        engine = engine_class(self.design.engine)
        resolved = engine.resolve(parameters, {**engine.build_defaults, **engine.search_defaults})
        return engine.load(self.index, metric="cosine", parameters=resolved)

    def part(self, name: str) -> Path:
        return self.folder / (self.name if name in OWN_PARTS else "") / f"{name}.json"

    def found(self, name: str) -> dict[str, Any]:
        """A part's results; empty where it is not done."""
        found: dict[str, Any] = json.loads(self.part(name).read_text()) if self.part(name).exists() else {}
        return found

    def is_settled(self) -> bool:
        """Whether nothing is left to do: all is measured, or nothing reaches the recall."""
        return self.part(PARTS[-1]).exists() or "at_most" in self.found("search")


def truth(size: Size) -> dict[str, Any]:
    """How high a row must score to be among the nearest, by exact search."""
    began = time.perf_counter()
    asked = [size.queries(name) for name in ("tuning", "test")]
    least = Truth.of(open_vectors(size.vectors), np.concatenate(asked), k=K).least
    np.save(size.folder / "least-tuning.npy", least[: len(asked[0])])
    np.save(size.folder / "least-test.npy", least[len(asked[0]) :])
    return {"queries": len(asked[1]), "seconds": time.perf_counter() - began}


def build(size: Size) -> dict[str, Any]:
    """Build and save; what went before the first rows were added is called training."""
    matrix = open_vectors(size.vectors)
    marks: list[tuple[int, float]] = []
    began, spent = time.perf_counter(), time.process_time()
    index = engine_class(size.design.engine).build(
        matrix,
        metric="cosine",
        parameters=size.design.parameters,
        progress=lambda done, total: marks.append((done, time.perf_counter() - began)),  # noqa: ARG005 - as it is called
    )
    seconds, spent = time.perf_counter() - began, time.process_time() - spent
    (first, at), (last, end) = marks[0], marks[-1]
    adding = min(seconds, (end - at) * last / (last - first)) if last > first else 0.0
    began = time.perf_counter()
    with writing(size.index) as folder:
        index.save(folder)
    return {
        "threads": size.given.threads,
        "seconds": seconds,
        "cpu_seconds": spent,
        "training_seconds": seconds - adding,
        "adding_seconds": adding,
        "saving_seconds": time.perf_counter() - began,
        "bytes_per_vector": folder_bytes(size.index) / size.rows,
    }


def search(size: Size) -> dict[str, Any]:
    """The fastest setting that reaches the recall."""
    began = time.perf_counter()
    index = size.open()
    opening = time.perf_counter() - began
    points = measure(Trial(index, size.truth("tuning"), 0.0, 0.0), size.design, Goal(size.given.recall, k=K))
    reaching = [point for point in points if point.recall >= size.given.recall]
    if not reaching:
        return {"opening_seconds": opening, "at_most": max(point.recall for point in points)}
    best = min(reaching, key=lambda point: point.p50_ms)
    names = (str(size.design.effort), "candidates")
    effort = {name: best.parameters[name] for name in names if name in best.parameters}
    recalls = np.sort(size.truth("test").recalls(index, effort))
    return {
        "opening_seconds": opening,
        "effort": effort,
        "recall_tuning": best.recall,
        "recall": float(recalls.mean()),
        "recall_worst_decile": float(recalls[: max(1, len(recalls) // 10)].mean()),
    }


def times(size: Size) -> dict[str, Any]:
    """Ours and exact search in turns; a round of ours is run once before it counts, since exact search empties the caches."""
    effort = size.found("search")["effort"]
    ours, exact = size.open(effort), engine_class("exact").load(size.vectors, metric="cosine", parameters={})
    asked = size.queries("test")
    some = asked[: max(3, min(300, 30_000_000 // size.rows))]
    rounds: list[dict[str, float]] = []
    for _ in range(size.given.rounds if size.is_real else min(3, size.given.rounds)):
        latencies(ours, asked, k=K, parameters=effort)
        own = latencies(ours, asked, k=K, parameters=effort) * 1e3
        before = resource.getrusage(resource.RUSAGE_SELF).ru_majflt
        whole = latencies(exact, some, k=K, parameters={}) * 1e3
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_majflt - before
        found = {"p50": np.median(own), "p99": np.percentile(own, 99), "exact_p50": np.median(whole), "exact_faults": faults}
        rounds.append({name: float(value) for name, value in found.items()})
    best = {name: min(one[name] for one in rounds) for name in ("p50", "p99", "exact_p50")}
    return {**best, "exact_queries": len(some), "rounds": rounds}


STEPS: dict[str, Callable[[Size], dict[str, Any]]] = {"truth": truth, "build": build, "search": search, "times": times}


def memory(process: int) -> tuple[int, int]:
    """Bytes that are a process's own, and the most that it had in memory, what it has mapped from files included."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    found = {name: int(value.split()[0]) * 1024 for name, _, value in (line.partition(":") for line in lines) if name in MEMORY}
    return found.get("RssAnon", 0), found.get("VmHWM", 0)  # none where it has just ended


def watched(command: list[str], threads: int) -> dict[str, Any]:
    """What a process answers, and the peaks of its memory."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": str(threads)})
    own = resident = 0
    while process.poll() is None:
        found = memory(process.pid)
        own, resident = max(own, found[0]), max(resident, found[1])
        time.sleep(0.02)
    if process.returncode:
        raise SystemExit(f"failed: {' '.join(command)}")
    assert process.stdout is not None
    answer: dict[str, Any] = json.loads(process.stdout.read())
    return answer | {"peak_bytes": own, "peak_resident_bytes": resident}


def done(size: Size, name: str) -> dict[str, Any]:
    """A part's results, found or worked out by a process of its own."""
    if not size.part(name).exists():
        command = [sys.executable, __file__, *sys.argv[1:], "--part", name, "--rows", str(size.rows), "--design", size.name]
        answer = watched(command, size.given.threads if name == "build" else 1)
        write_file(size.part(name), json.dumps(answer, indent=1).encode())
    found = size.found(name)
    print(f"{size.rows:,} {size.name} {name}: {json.dumps(found)}", file=sys.stderr)
    return found


def work_out(given: argparse.Namespace, rows: int) -> None:
    """All designs of a size."""
    sizes = [Size(given, rows, name) for name in given.designs]
    if all(size.is_settled() for size in sizes):
        return
    first = sizes[0]
    first.folder.mkdir(parents=True, exist_ok=True)
    if first.vectors.parent == first.folder:
        write_rows(first.vectors, np.asarray(first.real), rows)
    for size in sizes:
        size.index.parent.mkdir(exist_ok=True)
        for name in PARTS:
            if not size.is_settled():
                done(size, name)
        if not given.keep:
            shutil.rmtree(size.index, ignore_errors=True)
    if not given.keep:
        shutil.rmtree(first.folder / "vectors", ignore_errors=True)


def gathered(given: argparse.Namespace) -> list[dict[str, Any]]:
    """What the folder holds of whole sizes, design by design."""
    found = []
    for name in DESIGNS:
        rows = sorted(int(folder.name) for folder in given.out.iterdir() if folder.name.isdigit())
        for size in (Size(given, count, name) for count in rows):
            parts = {part: size.found(part) for part in PARTS}
            if all(parts.values()):
                found.append({"design": name, "rows": size.rows, "real": size.is_real, **parts})
            elif "at_most" in parts["search"]:
                print(f"{size.rows:,} vectors: {size.design} reaches recall@{K} {parts['search']['at_most']:.4f} at most")
    return found


def table(sizes: list[dict[str, Any]]) -> None:
    header = (
        "vectors", "design", "train", "add", "µs a vector", "own memory", "B a vector", "effort", "candidates", "recall@10",
        "p50", "p99", "exact p50", "× faster",
    )  # fmt: skip
    print("| " + " | ".join(header) + " |\n|" + "---|" * len(header))
    for one in sizes:
        built, found, timed = one["build"], one["search"], one["times"]
        effort = str(DESIGNS[one["design"]].effort)
        cells = (
            f"{one['rows']:,}{'' if one['real'] else ' (made)'}",
            f"`{one['design']}`",
            f"{built['training_seconds']:,.1f} s",
            f"{built['adding_seconds']:,.1f} s",
            f"{built['seconds'] / one['rows'] * 1e6:.0f}",
            f"{built['peak_bytes'] / GB:.2f} GB",
            f"{built['bytes_per_vector']:.0f}",
            f"{effort} {found['effort'][effort]}",
            str(found["effort"].get("candidates", "")),
            f"{found['recall']:.4f}",
            f"{timed['p50']:.3f} ms",
            f"{timed['p99']:.3f} ms",
            f"{timed['exact_p50']:,.2f} ms",
            f"{timed['exact_p50'] / timed['p50']:,.0f}",
        )
        print("| " + " | ".join(cells) + " |")


def lines(sizes: list[dict[str, Any]]) -> dict[str, list[tuple[int, float, bool]]]:
    """Rows, milliseconds, and whether the rows are real, of exact search and each design."""
    exact: dict[int, tuple[float, bool]] = {}
    found: dict[str, list[tuple[int, float, bool]]] = {"exact": []}
    for one in sizes:
        rows, timed = one["rows"], one["times"]
        exact[rows] = min(timed["exact_p50"], exact.get(rows, (math.inf, True))[0]), one["real"]
        found.setdefault(one["design"], []).append((rows, timed["p50"], one["real"]))
    found["exact"] = [(rows, *exact[rows]) for rows in sorted(exact)]
    return found


def draw(sizes: list[dict[str, Any]], path: Path) -> None:
    import matplotlib.pyplot as plt
    from matplotlib.ticker import StrMethodFormatter

    plt.rcParams["svg.hashsalt"] = "biencoder"
    figure, axes = plt.subplots(figsize=(7, 4.6), layout="constrained")
    told = {"exact": ((-6, 7), "right"), "hnsw": ((0, -16), "center")}  # the others' numbers would lie upon each other
    for name, points in lines(sizes).items():
        (line,) = axes.plot([rows for rows, _, _ in points], [value for _, value, _ in points], marker="o", label=name)
        colour = line.get_color()
        unreal = [(rows, value) for rows, value, real in points if not real]
        axes.scatter([at for at, _ in unreal], [of for _, of in unreal], facecolors="white", edgecolors=colour, zorder=3)
        for rows, value, _ in points if name in told else ():
            place, side = told[name]
            text = f"{value:.2f} ms" if value < 10 else f"{value:,.0f} ms"
            axes.annotate(text, (rows, value), place, textcoords="offset points", ha=side, color=colour)
    axes.set(xscale="log", yscale="log", xlabel="vectors", ylabel="milliseconds a query (p50, one thread)")
    hollow = "" if all(one["real"] for one in sizes) else "; hollow: vectors made of real ones and noise"
    axes.set_title(f"Time of a query as the index grows{hollow}", fontsize=10)
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axes.minorticks_off()
    axes.margins(0.15)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder of the results; one that was begun is gone on with")
    parser.add_argument("--designs", choices=list(DESIGNS), nargs="+", default=list(DESIGNS))
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000, 10_000_000])
    parser.add_argument("--recall", type=float, default=0.95)
    parser.add_argument("--queries", type=int, default=1000, help="for choosing the effort, and as many for judging it")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="for building")
    parser.add_argument("--keep", action="store_true", help="vectors and indexes of sizes that are done")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--design", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        print(json.dumps(STEPS[given.part](Size(given, given.rows, given.design))))
        return
    for rows in given.sizes:
        work_out(given, rows)
    sizes = gathered(given)
    found = {"k": K, "recall": given.recall, "made_cosine": COSINE, "sizes": sizes}
    write_file(given.out / "growth.json", json.dumps(found, indent=1).encode())
    if not all(one["real"] for one in sizes):
        print(f"made: real vectors again with noise, at a cosine of {COSINE} to what they were; recall means little over them")
    table(sizes)
    draw(sizes, given.out / "growth.svg")


if __name__ == "__main__":
    main()
