"""How a run keeps to its budget: a clock that goes on where the run was interrupted, and what each unit may still take."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from biencoder.pipeline.options import FitOptions
from biencoder.pipeline.plan import Plan, Unit, too_short
from biencoder.pipeline.story import SCHEDULE, folder_name, read_json
from biencoder.progress import Progress
from biencoder.run_folder import write_json

_NOTED_EVERY = 30.0
"""Seconds of which a kill loses count."""
_FIRST_SHARE = 0.1
"""Of its epochs that the first unit has, however late it is."""


class Schedule:
    """Time spent, and the epochs of each unit.

    The epochs are decided when a unit begins, and kept: an interrupted unit goes on with those that it began with.

    Args:
        plan: of the run.
        options: of the run.
        folder: of the run.
        began: when this call began, by the monotonic clock.
    """

    def __init__(self, plan: Plan, options: FitOptions, folder: Path, *, began: float) -> None:
        self._plan = plan
        self._options = options
        self._path = folder / SCHEDULE
        record = read_json(self._path) or {"seconds": 0.0, "epochs": {}}
        self._epochs: dict[str, float] = record["epochs"]
        self._began = began - float(record["seconds"])
        self._noted = time.monotonic()

    @property
    def minutes(self) -> float:
        """Spent on the run, in this call and those before it."""
        return (time.monotonic() - self._began) / 60

    @property
    def minutes_left(self) -> float:
        """Of the budget, what stands at the run's end taken off."""
        budget = self._options.budget
        return float("inf") if budget is None else budget - self._plan.other_minutes - self.minutes

    def note(self) -> None:
        """Make what is known durable."""
        write_json(self._path, {"seconds": round(self.minutes * 60, 1), "epochs": self._epochs})
        self._noted = time.monotonic()

    def tick(self) -> None:
        """Note it, where it was not noted for a while."""
        if time.monotonic() - self._noted >= _NOTED_EVERY:
            self.note()

    def epochs(self, number: int) -> float:
        """Of a unit of the plan that begins or goes on.

        Args:
            number: its place, counted from 1.

        Returns:
            As many as were planned, or what there is time for where the units before took longer; 0 where that is not worth it.
        """
        unit = self._plan.units[number - 1]
        key = folder_name(number, unit)
        if key not in self._epochs:
            self._epochs[key] = self._affordable(number, unit)
        self.note()
        return self._epochs[key]

    def allows(self, number: int, unit: Unit, *, minutes: float) -> bool:
        """Whether there is time for a unit that is not of the plan, or it has begun already."""
        key = folder_name(number, unit)
        if key not in self._epochs and minutes > self.minutes_left:
            return False
        self._epochs[key] = unit.epochs
        self.note()
        return True

    def _affordable(self, number: int, unit: Unit) -> float:
        if self._options.budget is None:
            return unit.epochs
        ahead = self._plan.units[number - 1 :]
        teacher = self._plan.teacher_minutes if self._teacher_ahead(number) else 0.0
        fixed = sum(one.fixed for one in ahead) + teacher
        growing = sum(one.minutes - one.fixed for one in ahead)
        share = min(1.0, max(0.0, (self.minutes_left - fixed) / max(growing, 1e-9)))
        if number == 1:
            share = max(share, _FIRST_SHARE)
        fewer = replace(unit, epochs=round(unit.epochs * share, 4))
        return 0.0 if number > 1 and too_short(fewer, self._options, wanted=unit.epochs) else fewer.epochs

    def _teacher_ahead(self, number: int) -> bool:
        """Whether the teacher is still to be trained: by the first unit that is done of those whose negatives are mined."""
        mined = [
            place for place, one in enumerate(self._plan.units, start=1) if self._options.stages[one.stage].negatives == "mined"
        ]
        done = (self._epochs.get(folder_name(place, self._plan.units[place - 1])) for place in mined if place < number)
        return any(place >= number for place in mined) and not any(done)


class Timed(Progress):
    """Tells another progress everything, and keeps the schedule's clock."""

    def __init__(self, progress: Progress, schedule: Schedule) -> None:
        self._progress = progress
        self._schedule = schedule

    def __call__(self, stage: str, done: int, total: int, facts: str = "") -> None:
        """Tell it, and note the time."""
        self._progress(stage, done, total, facts)
        self._schedule.tick()

    def say(self, message: str) -> None:
        """Tell it."""
        self._progress.say(message)
