"""What is left of nDCG@10 where vectors are cut, of models trained with and without Matryoshka losses.

    python benchmarks/matryoshka.py COLLECTION --model with=RUN --model without=RUN [--dimensions 256 128 64] [--split test]
        [--max-length 256] [--out FILE] [--plot FILE.svg]

Each model is a name and a folder that `fit` has written, or whatever else a model is found by. Documents and queries are
encoded once by each; the first dimensions are brought back to length 1 and searched exactly.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from biencoder import BiEncoder, Collection
from biencoder.evaluation import evaluate_run
from biencoder.scoring import FloatArray, dot, normalise, top_k

MEASURE = "nDCG@10"
DEPTH = 10
BLOCK = 256


class Encoded:
    """A collection's test side in one model's vectors."""

    def __init__(self, source: str, collection: Collection, split: str, max_length: int | None) -> None:
        model = BiEncoder.load(source, precision="fast", runtime="auto", max_length=max_length)
        self.judgements = collection.judgements(split)
        texts = {query.id: query.text for query in collection.queries(split)}
        self.queries = list(self.judgements)
        self.documents = [document.id for document in collection.documents]
        self.query_vectors = model.encode_queries([texts[query] for query in self.queries])
        self.document_vectors = model.encode_documents([document.content for document in collection.documents])

    def measure(self, dimension: int) -> dict[str, float]:
        """Of each query, with the first so many dimensions."""
        documents = normalise(self.document_vectors[:, :dimension].copy())
        run: dict[str, dict[str, float]] = {}
        for start in range(0, len(self.queries), BLOCK):
            asked: FloatArray = normalise(self.query_vectors[start : start + BLOCK, :dimension].copy())
            scores, rows = top_k(dot(asked, documents), k=DEPTH)
            for query, own, places in zip(self.queries[start : start + BLOCK], scores, rows, strict=True):
                run[query] = {self.documents[row]: float(score) for score, row in zip(own, places, strict=True)}
        return evaluate_run(run, self.judgements, measures=[MEASURE]).per_query[MEASURE]


def table(found: dict[str, dict[int, float]]) -> None:
    for name, means in found.items():
        whole = means[max(means)]
        told = "   ".join(f"{dimension}: {mean:.4f} ({mean / whole:.1%})" for dimension, mean in means.items())
        print(f"{name:<10} {told}")


def draw(found: dict[str, dict[int, float]], path: Path, title: str) -> None:
    import matplotlib.pyplot as plt

    plt.rcParams["svg.hashsalt"] = "biencoder"
    figure, axes = plt.subplots(figsize=(6.4, 4), layout="constrained")
    for name, means in found.items():
        axes.plot(list(means), list(means.values()), marker="o", label=name)
    dimensions = sorted({dimension for means in found.values() for dimension in means})
    axes.set_xscale("log", base=2)
    axes.set_xticks(dimensions, [str(dimension) for dimension in dimensions])
    axes.minorticks_off()
    axes.set(xlabel="dimensions kept", ylabel=MEASURE, title=title)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collection")
    parser.add_argument("--model", action="append", required=True, metavar="NAME=SOURCE")
    parser.add_argument("--dimensions", type=int, nargs="+", default=[256, 128, 64])
    parser.add_argument("--split", default="test")
    parser.add_argument("--max-length", type=int)
    parser.add_argument("--out", type=Path, help="JSON")
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args()
    collection = Collection.read(given.collection)
    found: dict[str, dict[int, float]] = {}
    for name, _, source in (one.partition("=") for one in given.model):
        encoded = Encoded(source, collection, given.split, given.max_length)
        whole = encoded.document_vectors.shape[1]
        values: dict[int, Any] = {dimension: encoded.measure(dimension) for dimension in (whole, *given.dimensions)}
        found[name] = {dimension: sum(own.values()) / len(own) for dimension, own in values.items()}
        table({name: found[name]})
    if given.out:
        given.out.write_text(json.dumps(found, indent=1))
    if given.plot:
        draw(found, given.plot, f"Vectors cut short, {Path(given.collection).name}")


if __name__ == "__main__":
    main()
