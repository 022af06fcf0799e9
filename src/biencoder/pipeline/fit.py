"""`fit`: from a collection to a trained model in one call, with a gate behind every stage."""

from __future__ import annotations

import math
import os
import shutil
import statistics
import time
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

from biencoder.data.collection import Collection
from biencoder.data.training_split import asked_apart
from biencoder.evaluation import Evaluation, parse_measure
from biencoder.evaluation.basis import basis_of
from biencoder.pipeline import guards
from biencoder.pipeline.gate import Gate, told
from biencoder.pipeline.mixture import Mixture, best_mixture, towers_of
from biencoder.pipeline.options import FitOptions
from biencoder.pipeline.plan import Plan
from biencoder.pipeline.planning import make_plan
from biencoder.pipeline.schedule import Schedule, Timed
from biencoder.pipeline.speeds import measure_speeds
from biencoder.pipeline.story import PLAN, read_json
from biencoder.pipeline.task import Task, dev_sample, read_task
from biencoder.pipeline.teacher import Teaching, given_teacher
from biencoder.pipeline.units import Bench, UnitResult, run_unit
from biencoder.progress import Progress
from biencoder.run_folder import MEASURES, claim, write_json
from biencoder.storage.folder import explain_os_errors, locked
from biencoder.towers.bi_encoder import BiEncoder
from biencoder.towers.cross_encoder import CrossEncoder
from biencoder.towers.precision import (
    KERNELS_OF_TRAINING,
    Precision,
    arithmetic,
    bound_kernel_caches,
    keeps_kernels_of_training,
)
from biencoder.training.state import digest_of, weights_of

_LOOKED_AT = 500
"""Documents that guards look at."""


def fit(
    model: BiEncoder,
    collection: Collection,
    *,
    out: str | os.PathLike[str],
    options: FitOptions | None = None,
    progress: Progress | None = None,
) -> BiEncoder:
    """Take a model through the curriculum on a collection's own judgements.

    Stage by stage: in-batch negatives, BM25's, the model's own, and what a cross-encoder thinks of those. Behind each the dev
    split decides: a stage is kept if and only if its mean exceeds the best so far, so that the model returned is never worse on
    dev than the one that was given. The run folder tells the whole story (`biencoder.pipeline.story`). The same call over the
    same folder goes on where an interrupted one stopped, and over a finished one returns its model.

    Args:
        model: where training starts; it is changed in place.
        collection: its ``train`` split is trained on, its ``dev`` split decides; where it has none, one is held out; where it
            has no queries at all, they are made from the documents.
        out: the run folder.
        options: everything else.
        progress: is told what goes on.

    Returns:
        The model with the weights that were best on dev, those it was given included.

    Raises:
        DataError: where there is nothing to train on.
        ArgumentError: where an option cannot be used, or ``out`` holds another run.
        ModelError: where a teacher was named and cannot be read.
        StorageError: where the folder cannot be written.
    """
    bound_kernel_caches(training=True)  # before the plan encodes
    resolved, told_to = options or FitOptions(), progress or Progress()
    resolved = resolved.model_copy(update={"measure": parse_measure(resolved.measure).name})
    if resolved.separate and model.shared:
        model = model.separated()
    folder = Path(out).absolute()
    with explain_os_errors(folder), locked(folder):
        task = read_task(collection, resolved, told_to)
        finished = (folder / "model").is_dir()
        teacher = None if finished else given_teacher(resolved, model)  # before the folder is taken for these options
        claim(folder, _configuration(model, task, resolved))
        if finished:
            told_to.say(f"{folder} is finished: its model is taken as it is")
            return BiEncoder.load(folder / "model", precision=model.precision, runtime=model.runtime)
        _warn_of_few_kernels(model, resolved, told_to)
        # Throughout by torch, as the plan measures it: another runtime would have to export weights whenever they have changed.
        with model.run_by("torch", precision=resolved.training.precision):
            _Fit(model, task, resolved, folder, teacher, told_to).run()
    return model


def _warn_of_few_kernels(model: BiEncoder, options: FitOptions, progress: Progress) -> None:
    """Where this process has encoded before it trains."""
    device = model.document_tower.device
    bfloat16 = arithmetic(Precision.of(options.training.precision), device) == "bfloat16"
    if device.type == "cpu" and bfloat16 and not keeps_kernels_of_training():
        progress.say(
            "this process keeps too few prepared kernels for training, as torch was told before it encoded: it may take twice "
            "as long; call fit in a process of its own, or set "
            f"ONEDNN_PRIMITIVE_CACHE_CAPACITY={KERNELS_OF_TRAINING} before Python starts"
        )


def _configuration(model: BiEncoder, task: Task, options: FitOptions) -> dict[str, Any]:
    identity = model.identity
    return {
        "kind": "run",
        "version": 4,
        "options": options.model_dump(mode="json"),
        "start": {"document": identity.document, "query": identity.query, "shared": model.shared},
        "examples": {"pairs": len(task.examples), "sha256": digest_of(task.examples)},
        "dev": basis_of(task.collection, options.dev_split),
    }


class _Fit:
    """One run under way."""

    def __init__(
        self,
        model: BiEncoder,
        task: Task,
        options: FitOptions,
        folder: Path,
        given: CrossEncoder | None,
        progress: Progress,
    ) -> None:
        self.model = model
        self.task = task
        self.options = options
        self.folder = folder
        self.given = given
        self.progress = progress
        self.start = weights_of(towers_of(model))
        self.remarks: list[str] = []
        self.left_out: list[str] = []
        self.began = time.monotonic()

    def run(self) -> None:
        """From the plan to the chosen model."""
        plan = self.plan()
        for line in plan.lines():
            self.progress.say(line)
        self.schedule = Schedule(plan, self.options, self.folder, began=self.began)
        self.progress = Timed(self.progress, self.schedule)
        try:
            self.follow(plan)
        finally:
            self.schedule.note()

    def follow(self, plan: Plan) -> None:
        """The plan, from the first dev evaluation to the chosen model."""
        dev = dev_sample(self.task, self.options, documents=plan.dev_documents)
        self.gate = Gate(
            dev,
            split=self.options.dev_split,
            measure=self.options.measure,
            folder=self.folder / "dev",
            precision=self.options.training.precision,
            progress=self.progress,
        )
        mining = self.mining_collection(plan)
        self.teaching = Teaching(
            mining, plan, self.gate, self.options, self.folder / "teacher", self.progress, given=self.given
        )
        before = self.gate.evaluate(self.model)
        self.look_before()
        units = self.units(plan, mining)
        chosen = self.interpolate(units)
        after = self.gate.evaluate(self.model)
        self.look_after(units)
        comparison = self.gate.compare(after, before)
        self.progress.say(f"{self.options.measure} on dev, start and end: {told(comparison)}")
        fresh = self.of_new_documents(before, after)
        gap = self.behind_the_reranker()
        self.write_story(units, comparison.as_dict(), fresh, chosen, gap, plan)
        self.model.save(self.folder / "model")  # with it, the run is finished
        for name in ("vectors", ".vectors.partial"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        if not self.options.keep_models:
            for path in (self.folder / "units").glob("*/model"):
                shutil.rmtree(path, ignore_errors=True)

    def plan(self) -> Plan:
        """The plan that an earlier call has made, or one made now."""
        found = read_json(self.folder / PLAN)
        if found is not None:
            return Plan.of(found)
        self.progress.say("measuring how fast this machine trains")
        plan = make_plan(
            self.options,
            measure_speeds(self.model, self.task.examples, self.options),
            pairs=len(self.task.examples),
            dev_queries=min(self.options.dev_queries, len(self.task.collection.queries(self.options.dev_split))),
            documents=len(self.task.collection.documents),
            own_negatives=statistics.fmean(len(example.negatives) for example in self.task.examples),
            teacher_given=self.given is not None,
        )
        write_json(self.folder / PLAN, plan.as_dict())
        return plan

    def units(self, plan: Plan, mining: Collection) -> list[UnitResult]:
        """All units in order; a stage's next round is left out where the round before did not help."""
        bench = Bench(
            folder=self.folder,
            mining=mining,
            examples=self.task.examples,
            queries=len(self.task.collection.queries(self.options.train_split)),
            gate=self.gate,
            options=self.options,
            dimension=self.model.dimension,
            progress=self.progress,
            teacher=self.teaching.teacher,
        )
        done: list[UnitResult] = []
        given_up: set[int] = set()
        for number, unit in enumerate(plan.units, start=1):
            if unit.stage in given_up:
                self.leave_out(unit.name, "the round before it did not help")
                continue
            epochs = self.schedule.epochs(number)
            if not epochs:
                self.leave_out(unit.name, "no time is left for it")
                continue
            done.append(run_unit(bench, unit, number=number, model=self.model, epochs=epochs))
            if not done[-1].kept:
                given_up.add(unit.stage)
        return done + self.second_tries(bench, plan, done)

    def leave_out(self, name: str, reason: str) -> None:
        """Say and keep why a unit of the plan was not done."""
        self.progress.say(f"{name} is left out: {reason}")
        self.left_out.append(f"{name}: {reason}")

    def second_tries(self, bench: Bench, plan: Plan, done: list[UnitResult]) -> list[UnitResult]:
        """What was rolled back, the hardest first, once more with smaller steps, as far as there is time."""
        planned = {unit.name: unit for unit in plan.units}
        found: list[UnitResult] = []
        for result in reversed([result for result in done if result.steps and not result.kept]):
            unit = planned[result.name]
            if self.options.again is None:
                continue
            again = replace(unit, name=f"{unit.name}-again", rate=self.options.again)
            number = len(plan.units) + len(found) + 1
            if self.schedule.allows(number, again, minutes=max(unit.minutes, result.seconds / 60)):
                found.append(run_unit(bench, again, number=number, model=self.model, epochs=again.epochs))
        return found

    def mining_collection(self, plan: Plan) -> Collection:
        """What negatives are looked for in, with as many queries as the units, or the teacher, will see."""
        mines = [unit for unit in plan.units if self.options.stages[unit.stage].negatives != "in-batch"]
        if not mines:
            return self.task.collection
        if plan.mining_documents is not None:
            self.progress.say(f"negatives are looked for among {plan.mining_documents:,} documents: there is no time for all")
        share = max(plan.teacher_lists / len(self.task.examples), sum(unit.epochs for unit in mines))
        split = self.options.train_split
        batch = max(self.options.stages[unit.stage].training_options(self.options.training).batch_size for unit in mines)
        queries = max(batch, math.ceil(share * len(self.task.collection.queries(split))))
        return self.task.collection.narrowed(
            split, queries=queries, documents=plan.mining_documents, seed=self.options.training.seed
        )

    def interpolate(self, units: list[UnitResult]) -> Mixture:
        """Try weights between the run's start and its end, and take them where they are surely better on dev."""
        shares = self.options.interpolate if any(unit.kept for unit in units) else ()
        mixture = best_mixture(self.model, self.start, shares=shares, gate=self.gate, surely=True)
        if mixture.share != 1.0:
            self.progress.say(f"weights of {mixture.share:.0%} trained and {1 - mixture.share:.0%} start are better, and kept")
        return mixture

    def look_before(self) -> None:
        """The guards that need no training."""
        self.texts = [document.content for document in islice(self.task.collection.documents, _LOOKED_AT)]
        self.cosine = guards.mean_cosine(self.model, self.texts)
        self.warn(
            *guards.leaked_queries(self.task.collection, self.options),
            *guards.check_separation(self.model, self.task.examples),
            *guards.check_pooling(self.model, self.gate),
            *guards.check_truncation(self.model, self.gate, self.texts),
        )

    def look_after(self, units: list[UnitResult]) -> None:
        """The guards that look at what was trained."""
        self.warn(
            *guards.check_negatives([unit.negatives for unit in units if unit.steps]),
            *guards.check_collapse(guards.mean_cosine(self.model, self.texts), before=self.cosine),
        )

    def warn(self, *found: str) -> None:
        """Say and keep what guards found."""
        for remark in found:
            self.progress.say(f"warning: {remark}")
        self.remarks += found

    def of_new_documents(self, before: Evaluation, after: Evaluation) -> dict[str, float] | None:
        """How the dev queries fare that ask for documents that no training query asks for; None where all do, or none."""
        measure, split = self.options.measure, self.options.dev_split
        fresh = asked_apart(self.task.collection, train=self.options.train_split, dev=split)
        own = [query for query in after.per_query[measure] if query in fresh]
        if not own or len(own) == len(after.per_query[measure]):
            return None
        means = [statistics.fmean(one.per_query[measure][query] for query in own) for one in (before, after)]
        self.progress.say(
            f"of these queries {len(own)} ask for documents that no training query asks for: {means[0]:.4f} → {means[1]:.4f}"
        )
        return {"queries": len(own), "before": means[0], "after": means[1]}

    def behind_the_reranker(self) -> dict[str, float] | None:
        """How far the towers stay behind the cross-encoder that reranks their own results."""
        found = self.teaching.reranked(self.model)
        if found is None:
            return None
        own, reranked = found
        said = f"{self.options.measure} on dev of this model {own:.4f}, reranked {reranked:.4f}"
        if reranked > own:
            self.progress.say(f"{said}: what a cross-encoder sees and two towers cannot; search --rerank brings it")
        else:
            self.progress.say(f"{said}: the cross-encoder has nothing to add")
        return {"model": own, "reranked": reranked}

    def write_story(
        self,
        units: list[UnitResult],
        comparison: dict[str, Any],
        fresh: dict[str, float] | None,
        mixture: Mixture,
        gap: dict[str, float] | None,
        plan: Plan,
    ) -> None:
        """`measures.json`: everything that was measured, in one file."""
        story = {
            "measure": self.options.measure,
            "before": comparison["mean_b"],
            "after": comparison["mean_a"],
            "kept": comparison["mean_a"] > comparison["mean_b"],
            "comparison": comparison,
            "new_documents": fresh,
            "dev_queries": len(self.gate.dev.queries(self.options.dev_split)),
            "dev_documents": len(self.gate.dev.documents),
            "held_out": self.task.held_out,
            "made_up": self.task.made_up,
            "pairs": len(self.task.examples),
            "units": [asdict(unit) for unit in units],
            "left_out": [*plan.left_out, *self.left_out],
            "interpolation": {str(share): score for share, score in mixture.scores.items()},
            "share": mixture.share,
            "teacher": self.teaching.facts,
            "reranker": gap,
            "warnings": self.remarks,
            "minutes": round(self.schedule.minutes, 1),
        }
        write_json(self.folder / MEASURES, story)
