"""How a plan is made: how long each unit will take, and how all fit into the budget.

A unit's time follows from measured speeds (tokens a second in training and in encoding) and counted tokens; what grows with its
epochs is told from what does not. Where the whole exceeds the budget, the stages have their first steps one after the other,
the easy before the hard, and share what time is left; what would have too little is given up.
"""

from __future__ import annotations

from dataclasses import replace

from biencoder.pipeline.options import FitOptions, StageOptions
from biencoder.pipeline.plan import Plan, Unit, steps, too_short
from biencoder.pipeline.speeds import Speeds

_HEADROOM = 0.9
"""Of the budget that is planned: machines are shared, and loading and writing take time too."""
_DEV_SHARE = 0.2
"""Of the budget that dev evaluations may take."""
_MINING_SHARE = 0.15
"""Of the budget that encoding the corpus for mining may take."""
JUDGED_QUERIES = 150
"""Dev queries that a teacher is judged by."""
JUDGED_DEPTH = 30
"""Results of the model that it reranks for that."""
_FIRST_STEPS = 128
"""That a stage's rounds each have before a later stage has any."""
_LEAST_EPOCHS_PAIRS = 9000
"""Pairs that a stage sees where that takes no more than three epochs: a hundred steps and more (docs/experiments.md)."""
_TEACHER = -1
"""Stands beside the stages' numbers where time is shared out."""
_LEAST_TEACHER = 0.3
"""Share of its wanted training below which a teacher is given up."""


def make_plan(
    options: FitOptions,
    speeds: Speeds,
    *,
    pairs: int,
    dev_queries: int,
    documents: int,
    own_negatives: float = 0.0,
    teacher_given: bool = False,
) -> Plan:
    """Size everything to the budget.

    Args:
        options: the curriculum and the budget.
        speeds: as measured.
        pairs: of training.
        dev_queries: of the sample.
        documents: of the corpus.
        own_negatives: that the collection brings, for a pair on average.
        teacher_given: a teacher need not be trained.
    """
    return _Planner(options, speeds, pairs, dev_queries, documents, own_negatives, teacher_given).plan()


class _Planner:
    """The arithmetic of `make_plan`."""

    def __init__(
        self,
        options: FitOptions,
        speeds: Speeds,
        pairs: int,
        dev_queries: int,
        documents: int,
        own_negatives: float,
        teacher_given: bool,
    ) -> None:
        self.options = options
        self.speeds = speeds
        self.pairs = pairs
        self.dev_queries = dev_queries
        self.documents = documents
        self.own_negatives = own_negatives
        self.teacher_given = teacher_given
        self.budget = float("inf") if options.budget is None else options.budget * _HEADROOM
        self.left_out: list[str] = []
        self.rounds = {number: stage.rounds for number, stage in enumerate(options.stages)}

    def plan(self) -> Plan:
        """Units at their wanted size, cut where they must be."""
        stages = [(number, stage) for number, stage in enumerate(self.options.stages)]
        wants_teacher = self.options.teacher != "none" and any(stage.negatives == "mined" for _, stage in stages)
        if not wants_teacher:
            self._leave_out_taught(stages, "there is no teacher")
        plan = self._sized(stages, teacher=wants_teacher)
        if wants_teacher and not self.teacher_given and plan.teacher_lists < int(_LEAST_TEACHER * self._teacher_lists()):
            self._leave_out_taught(stages, "the budget has no room for a teacher")
            plan = self._sized(stages, teacher=False)
        if plan.teacher_lists and self._short(plan):
            self._leave_out_taught(stages, "the budget has no room for a teacher")
            plan = self._sized(stages, teacher=False)
        while (len(stages) > 1 or self.rounds[stages[0][0]] > 1) and self._short(plan):
            has_teacher = plan.teacher_lists > 0 or (wants_teacher and self.teacher_given)
            self._give_up(stages, teacher=has_teacher)
            plan = self._sized(stages, teacher=has_teacher and any(one.negatives == "mined" for _, one in stages))
        return replace(plan, left_out=tuple(self.left_out))

    def _leave_out_taught(self, stages: list[tuple[int, StageOptions]], reason: str) -> None:
        for number, stage in list(stages):
            if stage.teacher and len(stages) > 1:
                stages.remove((number, stage))
                self.left_out.append(f"{stage.name}: {reason}")

    def _give_up(self, stages: list[tuple[int, StageOptions]], *, teacher: bool) -> None:
        """One thing less: rounds; then BM25's negatives, where that leaves room for the model's own; then what is last."""
        for number, stage in reversed(stages):
            if self.rounds[number] > 1:
                self.left_out.append(f"{stage.name}: the budget has room for one round, not {self.rounds[number]}")
                self.rounds[number] = 1
                return
        harder = [(number, stage) for number, stage in stages if stage.negatives != "bm25"]
        enough = 1 < len(harder) < len(stages) and not self._short(self._sized(harder, teacher=teacher))
        place = next(at for at, (_, stage) in enumerate(stages) if stage.negatives == "bm25") if enough else -1
        _, stage = stages.pop(place)
        self.left_out = [reason for reason in self.left_out if not reason.startswith(f"{stage.name}: ")]
        self.left_out.append(f"{stage.name}: the budget has no room for it")

    def _short(self, plan: Plan) -> bool:
        over = self.options.budget is not None and plan.minutes > self.options.budget
        wanted = [round(self._epochs(unit.stage), 4) for unit in plan.units]
        return over or any(
            too_short(unit, self.options, wanted=epochs) for unit, epochs in zip(plan.units, wanted, strict=True)
        )

    def _epochs(self, number: int) -> float:
        """As asked for; else one, and up to three where there are few pairs; shared by a stage's rounds."""
        stage = self.options.stages[number]
        epochs = stage.training_options(self.options.training).epochs
        if not stage.names("epochs") and "epochs" not in self.options.training.model_fields_set:
            epochs = min(3.0, max(1.0, _LEAST_EPOCHS_PAIRS / max(1, self.pairs)))
        return epochs / self.rounds[number]

    def _sized(self, stages: list[tuple[int, StageOptions]], *, teacher: bool) -> Plan:
        evaluations = 2 + len(self.options.interpolate) + sum(self.rounds[number] * self._looks(one) for number, one in stages)
        dev_documents = self._dev_documents(evaluations)
        a_look = self._encoding_minutes(dev_documents) + self._minutes(self.dev_queries * self.speeds.query, self.speeds.encode)
        rounds = sum(self.rounds[number] for number, stage in stages if stage.negatives != "in-batch")
        mining_documents = self._mining_documents(max(1, rounds))
        encoding = self._encoding_minutes(mining_documents or self.documents)
        judging = a_look + self._judging_minutes() if teacher else 0.0
        lists = self._teacher_lists() if teacher and not self.teacher_given else 0
        teaching = self._teaching_minutes(lists)
        units = [unit for number, stage in stages for unit in self._units(number, stage, a_look, encoding, judging)]
        growing = [self._growing_minutes(unit, teacher=teacher) for unit in units]
        other = a_look * (2 + len(self.options.interpolate)) + judging
        room = self.budget - sum(unit.fixed for unit in units) - other
        shares = self._shares(units, growing, max(0.0, room), teaching)
        taught = shares.get(_TEACHER, 0.0)
        return Plan(
            speeds=self.speeds,
            units=self._with_positives(
                [self._scaled(unit, shares[unit.stage], teacher=teacher) for unit in units], mining_documents
            ),
            dev_documents=dev_documents,
            mining_documents=mining_documents,
            teacher_lists=round(lists * taught),
            teacher_minutes=round(teaching * taught, 2),
            other_minutes=round(other, 2),
        )

    def _units(self, number: int, stage: StageOptions, a_look: float, encoding: float, judging: float) -> list[Unit]:
        """A stage's rounds with the epochs that they want, and the minutes that these do not change."""
        fixed = a_look * self._looks(stage)
        if stage.negatives != "in-batch":
            fixed += encoding
        if stage.negatives == "mined":
            fixed += judging
        rounds = self.rounds[number]
        names = [stage.name] if rounds == 1 else [f"{stage.name}-{at + 1}" for at in range(rounds)]
        epochs = self._epochs(number)
        return [Unit(name, number, at, self.pairs, epochs, 0.0, fixed) for at, name in enumerate(names, start=1)]

    def _shares(self, units: list[Unit], growing: list[float], room: float, teaching: float) -> dict[int, float]:
        """How much of what they want the stages and the teacher have, by stage.

        Args:
            units: in order, at their wanted size.
            growing: minutes of each that grow with its epochs.
            room: minutes for all.
            teaching: minutes that the teacher wants.
        """
        wanted: dict[int, float] = {}
        least: dict[int, float] = {}
        for unit, minutes in zip(units, growing, strict=True):
            if self.options.stages[unit.stage].negatives == "mined" and _TEACHER not in wanted:
                wanted[_TEACHER], least[_TEACHER] = teaching, _LEAST_TEACHER  # it denoises what is mined, so it comes before
            wanted[unit.stage] = wanted.get(unit.stage, 0.0) + minutes
            least[unit.stage] = min(1.0, _FIRST_STEPS / steps(unit, self.options))
        given: dict[int, float] = {}
        for one, minutes in wanted.items():
            given[one] = min(least[one] * minutes, room)
            room -= given[one]
        rest = min(1.0, room / max(sum(wanted.values()) - sum(given.values()), 1e-9))
        return {one: (own + (wanted[one] - own) * rest) / max(wanted[one], 1e-9) for one, own in given.items()}

    def _scaled(self, unit: Unit, share: float, *, teacher: bool) -> Unit:
        scaled = replace(unit, epochs=max(0.0001, round(unit.epochs * share, 4)))
        return replace(scaled, minutes=unit.fixed + self._growing_minutes(scaled, teacher=teacher))

    def _with_positives(self, units: list[Unit], mining_documents: int | None) -> tuple[Unit, ...]:
        """Units with the time to encode their positives, where these are more documents than negatives are looked for in."""
        hard = [unit for unit in units if self.options.stages[unit.stage].negatives != "in-batch"]
        needed = min(self.pairs, sum(self.pairs * min(1.0, unit.epochs) for unit in hard))
        more = 0.0 if mining_documents is None else self._encoding_minutes(max(0.0, needed - mining_documents))
        added = [more if unit in hard else 0.0 for unit in units]
        return tuple(
            replace(unit, minutes=round(unit.minutes + own, 2), fixed=round(unit.fixed + own, 2))
            for unit, own in zip(units, added, strict=True)
        )

    def _growing_minutes(self, unit: Unit, *, teacher: bool) -> float:
        """What a unit takes the more, the more epochs it has: steps, and a teacher's reading of each pair once."""
        stage = self.options.stages[unit.stage]
        training = stage.training_options(self.options.training)
        mined = stage.mining_options(seed=0).negatives
        brought = self.own_negatives if stage.negatives == "in-batch" else mined
        negatives = brought if training.negatives is None else min(training.negatives, brought)
        tokens = self.speeds.query + (1 + negatives) * self.speeds.document
        minutes = self._minutes(unit.pairs * unit.epochs * tokens, self.speeds.train)
        if teacher and stage.negatives == "mined":
            read = (1 + mined) * (self.speeds.query + self.speeds.document_whole)
            minutes += self._minutes(unit.pairs * min(1.0, unit.epochs) * read, self.speeds.encode)
        return minutes

    def _looks(self, stage: StageOptions) -> int:
        """Dev evaluations of one of its units."""
        return stage.training_options(self.options.training).evaluations + len(self.options.interpolate)

    def _encoding_minutes(self, documents: float) -> float:
        return self._minutes(documents * self.speeds.document_whole, self.speeds.encode)

    def _judging_minutes(self) -> float:
        pairs = min(JUDGED_QUERIES, self.dev_queries) * JUDGED_DEPTH
        return self._minutes(pairs * (self.speeds.query + self.speeds.document_whole), self.speeds.encode)

    def _minutes(self, tokens: float, speed: float) -> float:
        return tokens / speed / 60

    def _teacher_lists(self) -> int:
        return round(self.options.reranker_options().epochs * self.pairs)

    def _teaching_minutes(self, lists: int) -> float:
        documents = 1 + self.options.reranker_options().negatives
        return self._minutes(lists * documents * (self.speeds.query + self.speeds.document_whole), self.speeds.train)

    def _dev_documents(self, evaluations: int) -> int:
        wanted = min(self.options.dev_documents, self.documents)
        room = _DEV_SHARE * self.budget * 60 * self.speeds.encode / evaluations / self.speeds.document_whole
        return int(max(min(wanted, 500), min(wanted, room)))

    def _mining_documents(self, rounds: int) -> int | None:
        room = _MINING_SHARE * self.budget * 60 * self.speeds.encode / rounds / self.speeds.document_whole
        room = max(1000.0, room)
        return None if room >= self.documents else int(room)
