"""What each code can give at most: recall@10 where all lists are probed; and the bytes of a vector, ids and centres included.

    python benchmarks/ann_codes.py VECTORS [--rows 1000000] [--queries 500] [--out FILE]

VECTORS is what `ann_vectors.py` wrote. Nothing is rescored: below its ceiling a code needs whole vectors beside it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from biencoder.index.designs import Design
from biencoder.index.measuring import Truth
from biencoder.index.tuning import built
from biencoder.storage.vectors import open_vectors

K = 10
CODES = (
    Design("ivfpq", {"bits": 4, "rescore": "none"}),
    Design("ivfpq", {"bits": 8, "rescore": "none"}),
    *(Design("ivfrabitq", {"bits": bits}) for bits in (1, 3, 4, 5)),
    Design("ivfrabitq", {"bits": 5, "dimension": 352}),
    Design("ivfsq"),
    Design("ivfsq", {"dimension": 256}),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vectors", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--out", type=Path, help="JSON")
    given = parser.parse_args()
    matrix = open_vectors(given.vectors / "documents")[: given.rows]
    truth = Truth.of(matrix, np.load(given.vectors / "queries-test.npy")[: given.queries], k=K)
    found = []
    print(f"{len(matrix):,} vectors, {len(truth.queries):,} queries, all lists probed")
    for design in CODES:
        trial = built(design, truth, "cosine")
        ceiling = trial.recall({"nprobe": len(matrix)})
        found.append({"design": str(design), "bytes_per_vector": trial.bytes_per_vector, "recall": ceiling})
        told = f"{design!s:<40} {trial.bytes_per_vector:5.0f} B/vector  at most {ceiling:.4f}"
        print(f"{told}  built in {trial.build_seconds:.0f} s", flush=True)
    if given.out:
        given.out.write_text(json.dumps({"rows": len(matrix), "codes": found}, indent=1))


if __name__ == "__main__":
    main()
