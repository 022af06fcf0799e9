"""One unit of the curriculum: negatives, training, and the gate that keeps it or rolls it back."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from biencoder.data.collection import Collection
from biencoder.errors import DivergedError
from biencoder.evaluation import Evaluation
from biencoder.mining import Teacher, mine, read_examples
from biencoder.pipeline.gate import Gate, told
from biencoder.pipeline.guards import check_loss
from biencoder.pipeline.mixture import best_mixture, towers_of
from biencoder.pipeline.options import FitOptions, StageOptions
from biencoder.pipeline.plan import Unit
from biencoder.pipeline.story import RESULT, folder_name, read_json
from biencoder.progress import Progress
from biencoder.records import Example
from biencoder.run_folder import EXAMPLES, write_examples, write_json
from biencoder.towers.bi_encoder import BiEncoder
from biencoder.training.guide import Guide
from biencoder.training.options import TAUGHT, TrainingOptions
from biencoder.training.state import put_weights, weights_of
from biencoder.training.trainer import TrainingResult, train

NO_TEACHER = "there is no teacher that ranks better than the model"
NO_SCORES = "its loss learns from a teacher's scores, and no pair has any"


@dataclass(frozen=True, slots=True)
class UnitResult:
    """What a unit did, as `result.json` in its folder says.

    Attributes:
        name: the unit's.
        negatives: in-batch, bm25 or mined.
        loss: of its training.
        pairs: trained on.
        before: the measure on dev before it.
        after: at its best step.
        kept: whether the gate let it through.
        steps: optimizer steps done.
        chosen_step: that step; 0 where nothing was better than before.
        share: of the trained weights in those that were kept; the rest is of those from before.
        p_value: of the paired test between both; None where nothing was kept.
        seconds: of the whole unit.
        pairs_per_second: of its training.
        way: how the towers computed.
        losses: of each step.
        dev: the measure by step.
        remarks: what its guards found, and why it was rolled back or left out.
    """

    name: str
    negatives: str
    loss: str
    pairs: int
    before: float
    after: float = 0.0
    kept: bool = False
    steps: int = 0
    chosen_step: int = 0
    share: float = 1.0
    p_value: float | None = None
    seconds: float = 0.0
    pairs_per_second: float = 0.0
    way: str = ""
    losses: list[float] = field(default_factory=list)
    dev: dict[str, float] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Bench:
    """What all units work with.

    Attributes:
        folder: of the run.
        mining: what negatives are looked for in; its training queries are those of the pairs, or some of them.
        examples: the training pairs, with such negatives as the collection brings.
        queries: of training.
        gate: decides.
        options: of the run.
        dimension: of the model's vectors.
        progress: is told what goes on.
        teacher: gives the teacher, where there is one that is better than the model.
    """

    folder: Path
    mining: Collection
    examples: list[Example]
    queries: int
    gate: Gate
    options: FitOptions
    dimension: int
    progress: Progress
    teacher: Callable[[BiEncoder], Teacher | None]


def run_unit(bench: Bench, unit: Unit, *, number: int, model: BiEncoder, epochs: float) -> UnitResult:
    """Do one unit, or take what an earlier call has done; the model ends with the better weights.

    Args:
        bench: what all units work with.
        unit: from the plan.
        number: its place, counted from 1.
        model: changed in place.
        epochs: over its examples, which may be fewer than planned.
    """
    folder = bench.folder / "units" / folder_name(number, unit)
    found = read_json(folder / RESULT)
    if found is None:
        folder.mkdir(parents=True, exist_ok=True)
        result = _do(bench, unit, number, folder, model, epochs)
        if result.kept:
            model.save(folder / "model")
        write_json(folder / RESULT, asdict(result))
    else:
        result = UnitResult(**found)
        if result.kept:
            take_weights(model, BiEncoder.load(folder / "model"))
    shutil.rmtree(folder / "training", ignore_errors=True)  # checkpoints: four times the model's size, of no more use
    return result


def take_weights(model: BiEncoder, other: BiEncoder) -> None:
    """Give a model another one's weights, in place."""
    put_weights(towers_of(model), weights_of(towers_of(other)))


def _do(bench: Bench, unit: Unit, number: int, folder: Path, model: BiEncoder, epochs: float) -> UnitResult:
    stage, measure = bench.options.stages[unit.stage], bench.gate.measure
    before = bench.gate.evaluate(model)
    teacher = bench.teacher(model) if stage.negatives == "mined" else None  # its time is counted by itself
    began = time.monotonic()
    training = _training(bench, stage, unit, number)
    examples = [] if stage.teacher and teacher is None else _examples(bench, stage, training, folder, model, teacher, epochs)
    done = UnitResult(
        name=unit.name, negatives=stage.negatives, loss=training.loss, pairs=len(examples), before=before.measures[measure]
    )
    untaught = training.loss in TAUGHT and not any(example.scores for example in examples)
    if not examples or untaught:
        reason = NO_TEACHER if stage.teacher and teacher is None else NO_SCORES
        bench.progress.say(f"{unit.name} is left out: {reason}")
        return replace(done, after=done.before, remarks=[reason])
    # The same steps, whether all pairs have negatives or only those that there is time for.
    training = training.model_copy(update={"epochs": round(epochs * len(bench.examples) / len(examples), 4)})
    bench.progress.say(f"{unit.name}: {len(examples):,} pairs, {training.loss}, learning rate {training.learning_rate:g}")
    start = weights_of(towers_of(model))
    try:
        trained = _trained(bench, model, examples, training, folder)
    except DivergedError as error:
        put_weights(towers_of(model), start)
        bench.progress.say(f"{unit.name} is rolled back: {error}")
        done = replace(done, after=done.before, steps=error.step, remarks=[str(error)])
    else:
        done = _judged(bench, done, model, trained, start, before, rate=training.learning_rate)
    return replace(done, seconds=round(time.monotonic() - began, 1))


def _trained(
    bench: Bench, model: BiEncoder, examples: list[Example], training: TrainingOptions, folder: Path
) -> TrainingResult:
    guide = None if training.guide_margin is None else Guide(model, examples, progress=bench.progress)
    return train(
        model,
        examples,
        training,
        folder=folder / "training",
        validate=bench.gate.score,
        start_competes=False,  # the gate lets it, after the trained weights were mixed with it
        guide=guide,
        progress=bench.progress,
    )


def _judged(
    bench: Bench,
    done: UnitResult,
    model: BiEncoder,
    trained: TrainingResult,
    start: dict[str, Tensor],
    before: Evaluation,
    *,
    rate: float,
) -> UnitResult:
    """What the gate says of a training: kept with its test, or rolled back with its best score."""
    mixture = best_mixture(model, start, shares=bench.options.interpolate, gate=bench.gate)
    share, after = mixture.share, mixture.scores[mixture.share]
    kept = after > done.before
    remarks = check_loss(trained.losses, rate=rate)
    for remark in remarks:
        bench.progress.say(f"warning: {done.name}: {remark}")
    p_value = None
    if kept:
        comparison = bench.gate.compare(bench.gate.evaluate(model), before)
        p_value = comparison.p_value
        mixed = "" if share == 1.0 else f", {share:.0%} of it"
        bench.progress.say(f"{done.name} is kept{mixed}: {bench.gate.measure} on dev {told(comparison)}")
    else:
        put_weights(towers_of(model), start)
        remarks.append(f"{bench.gate.measure} on dev was {after:.4f} at best, and {done.before:.4f} before")
        bench.progress.say(f"{done.name} is rolled back: {remarks[-1]}")
    return replace(
        done,
        steps=len(trained.losses),
        kept=kept,
        after=after if kept else done.before,
        chosen_step=trained.chosen_step if kept else 0,
        share=share if kept else 0.0,
        p_value=p_value,
        pairs_per_second=round(trained.pairs_per_second, 2),
        way=str(trained.way),
        losses=[round(loss, 5) for loss in trained.losses],
        dev={"0": done.before} | {str(step): score for step, score in sorted(trained.scores.items())},
        remarks=remarks,
    )


def _training(bench: Bench, stage: StageOptions, unit: Unit, number: int) -> TrainingOptions:
    """The stage's options with what the unit says, a seed of its own, and Matryoshka dimensions where nobody speaks of them."""
    training = stage.training_options(bench.options.training)
    changes: dict[str, Any] = {"learning_rate": training.learning_rate * unit.rate}
    if not stage.names("seed"):  # or units of half an epoch would all see the same half
        changes["seed"] = training.seed + number - 1
    said = stage.names("matryoshka") or "matryoshka" in bench.options.training.model_fields_set
    if bench.options.matryoshka and not said:
        changes["matryoshka"] = matryoshka_dimensions(bench.dimension)
    return training.model_copy(update=changes)


def matryoshka_dimensions(dimension: int) -> tuple[int, ...]:
    """The powers of two from 64 up to below the full dimension.

    >>> matryoshka_dimensions(384)
    (64, 128, 256)
    """
    return tuple(2**power for power in range(6, 16) if 2**power < dimension)


def _examples(
    bench: Bench,
    stage: StageOptions,
    training: TrainingOptions,
    folder: Path,
    model: BiEncoder,
    teacher: Teacher | None,
    epochs: float,
) -> list[Example]:
    """The stage's examples, and their file for whoever wants to read what the model is trained on."""
    path = folder / EXAMPLES
    if stage.negatives == "in-batch":
        if not path.exists():
            write_examples(path, bench.examples)
        return bench.examples
    split = bench.options.train_split
    mining = bench.mining
    if epochs < 1:  # negatives for the pairs that there is time for
        queries = max(training.batch_size, math.ceil(epochs * bench.queries))
        mining = mining.narrowed(split, queries=queries, seed=training.seed)
    mine(
        model,
        mining,
        out=path,
        split=split,
        options=stage.mining_options(seed=bench.options.training.seed),
        teacher=teacher,
        vectors=bench.folder / "vectors",
        progress=bench.progress,
    )
    return read_examples(path)
