"""The plan of a run: its units, one round of a stage each, with their epochs and the minutes they are expected to take.

It is made once (`biencoder.pipeline.planning`) and kept in the run folder, so that a resumed run follows it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from biencoder.data.batches import PairSampler
from biencoder.pipeline.options import FitOptions
from biencoder.pipeline.speeds import Speeds

_LEAST_STEPS = 16
"""A unit of fewer optimizer steps is not worth its negatives and its evaluation."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One round of one stage.

    Attributes:
        name: the stage's, with the round where there are several; also the folder's, behind a number.
        stage: which row of the curriculum.
        round: counted from 1.
        pairs: of the training examples.
        epochs: over them.
        minutes: expected, negatives and dev evaluation included.
        fixed: of these, what does not depend on the epochs.
        rate: share of the stage's learning rate.
    """

    name: str
    stage: int
    round: int
    pairs: int
    epochs: float
    minutes: float
    fixed: float
    rate: float = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will do.

    Attributes:
        speeds: as measured.
        units: in order.
        dev_documents: over which dev queries search.
        mining_documents: among which negatives are looked for; None for the whole corpus.
        teacher_lists: training lists of the teacher; 0 where none is trained.
        teacher_minutes: for its training.
        other_minutes: the first dev evaluation, interpolation, the last comparison, with the teacher too.
        left_out: stages that the budget has no room for, with the reason.
    """

    speeds: Speeds
    units: tuple[Unit, ...]
    dev_documents: int
    mining_documents: int | None
    teacher_lists: int
    teacher_minutes: float
    other_minutes: float
    left_out: tuple[str, ...] = field(default=())

    @property
    def minutes(self) -> float:
        """Expected in all."""
        return sum(unit.minutes for unit in self.units) + self.teacher_minutes + self.other_minutes

    def as_dict(self) -> dict[str, Any]:
        """A JSON object."""
        return asdict(self)

    @classmethod
    def of(cls, record: dict[str, Any]) -> Plan:
        """Back from JSON."""
        units = tuple(Unit(**unit) for unit in record["units"])
        return cls(**{**record, "speeds": Speeds(**record["speeds"]), "units": units, "left_out": tuple(record["left_out"])})

    def lines(self) -> list[str]:
        """The plan as a person reads it."""
        found = [f"plan, about {self.minutes:.0f} minutes ({self.speeds.train:,.0f} tokens/s in training here):"]
        for number, unit in enumerate(self.units, start=1):
            found.append(f"  {number}. {unit.name:<14} {unit.pairs:>9,} pairs x {unit.epochs:.2f}  {unit.minutes:5.1f} min")
        if self.teacher_lists:
            found.append(f"     teacher        {self.teacher_lists:>9,} lists         {self.teacher_minutes:5.1f} min")
        found.append(f"     dev and the rest {'':>24}{self.other_minutes:5.1f} min")
        return [*found, *(f"  left out: {reason}" for reason in self.left_out)]


def steps(unit: Unit, options: FitOptions) -> float:
    """Optimizer steps of a unit."""
    training = options.stages[unit.stage].training_options(options.training)
    batches = PairSampler(count=max(2, unit.pairs), batch_size=training.batch_size, seed=0).steps_per_epoch
    return unit.epochs * batches


def too_short(unit: Unit, options: FitOptions, *, wanted: float) -> bool:
    """Whether a unit would have fewer steps than are worth its negatives and its evaluation.

    Args:
        unit: with the epochs that there is time for.
        options: of the run.
        wanted: epochs; a unit that wants no more than it has is long enough.
    """
    return steps(unit, options) < min(_LEAST_STEPS, steps(replace(unit, epochs=wanted), options))
