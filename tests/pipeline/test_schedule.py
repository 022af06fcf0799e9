from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from biencoder.pipeline import FitOptions
from biencoder.pipeline.plan import Plan, Unit
from biencoder.pipeline.schedule import Schedule, Timed
from biencoder.pipeline.speeds import Speeds
from biencoder.progress import Progress

STAGES = [
    {"name": "easy"},
    {"name": "mined", "negatives": "mined", "rounds": 2},
    {"name": "last", "negatives": "bm25"},
]
UNITS = (
    Unit("easy", 0, 1, 6400, 1.0, 10.0, 2.0),  # 100 steps
    Unit("mined-1", 1, 1, 6400, 0.5, 8.0, 4.0),
    Unit("mined-2", 1, 2, 6400, 0.5, 8.0, 4.0),
    Unit("last", 2, 1, 6400, 1.0, 10.0, 2.0),
)
PLAN = Plan(Speeds(1, 1, 1, 1, 1), UNITS, 100, None, 50, 6.0, 3.0)  # 45 minutes in all


class Clock:
    """Time that passes when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.now = 1000.0
        self.folder = folder
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

    def schedule(self, budget: float | None = 50, *, plan: Plan = PLAN) -> Schedule:
        options = FitOptions.model_validate({"stages": STAGES, "budget": budget})
        return Schedule(plan, options, self.folder, began=self.now)

    def pass_by(self, minutes: float) -> None:
        self.now += 60 * minutes


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Clock:
    return Clock(monkeypatch, tmp_path)


def record(clock: Clock) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((clock.folder / "schedule.json").read_text())
    return found


def test_whoever_keeps_to_the_plan_has_all_that_was_planned(clock: Clock) -> None:
    kept = clock.schedule(budget=45)
    for number, unit in enumerate(UNITS, start=1):
        assert kept.epochs(number) == unit.epochs
        clock.pass_by(unit.minutes + (6.0 if number == 2 else 0.0))  # the teacher is trained before what is mined first
    assert kept.minutes == pytest.approx(42)
    assert kept.minutes_left == pytest.approx(0)


def test_who_is_late_has_fewer_epochs_of_what_grows_with_them(clock: Clock) -> None:
    late = clock.schedule(budget=45)
    assert late.epochs(1) == 1.0
    clock.pass_by(14)  # four more than planned: 12 of the 16 minutes ahead are left beside what is fixed
    assert late.epochs(2) == 0.375
    clock.pass_by(13)  # 7, and 6 for the teacher
    assert late.epochs(3) == pytest.approx(0.5 * 9 / 12)


def test_what_would_be_too_short_is_given_up(clock: Clock) -> None:
    late = clock.schedule(budget=45)
    clock.pass_by(37)
    assert late.epochs(4) == 0.375  # 3 of 8 minutes: 38 steps
    other = clock.schedule(budget=45, plan=PLAN)
    assert other.epochs(4) == 0.375  # it has begun, and stays as it is
    assert other.epochs(3) == 0.0


def test_a_teacher_is_still_to_be_trained_where_what_it_would_have_served_first_was_left_out(clock: Clock) -> None:
    late = clock.schedule(budget=45)
    clock.pass_by(26.5)  # 15.5 are left, of which 16 are fixed or the teacher's
    assert late.epochs(2) == 0.0
    clock.pass_by(-3)
    assert late.epochs(3) == pytest.approx(0.5 * (18.5 - 12) / 12, abs=1e-4)  # 6 for the teacher
    other = clock.schedule(budget=45, plan=PLAN)
    assert other.epochs(3) == late.epochs(3)


def test_units_of_the_same_name_are_two(clock: Clock) -> None:
    twins = Plan(PLAN.speeds, (UNITS[0], UNITS[0]), 100, None, 0, 0.0, 3.0)
    kept = clock.schedule(budget=23, plan=twins)
    assert kept.epochs(1) == 1.0
    clock.pass_by(14)
    assert kept.epochs(2) == 0.5


def test_a_budget_that_is_used_up_still_begins(clock: Clock) -> None:
    late = clock.schedule(budget=45)
    clock.pass_by(100)
    assert [late.epochs(number) for number in (1, 2, 3, 4)] == [0.1, 0.0, 0.0, 0.0]


def test_no_budget(clock: Clock) -> None:
    free = clock.schedule(budget=None)
    clock.pass_by(10_000)
    assert [free.epochs(number) for number in (1, 2, 3, 4)] == [1.0, 0.5, 0.5, 1.0]
    assert free.minutes_left == float("inf")
    assert free.allows(5, UNITS[0], minutes=10_000)


def test_a_later_call_goes_on_with_clock_and_epochs(clock: Clock) -> None:
    first = clock.schedule(budget=45)
    first.epochs(1)
    clock.pass_by(14)
    first.epochs(2)
    clock.pass_by(5)
    first.note()
    clock.pass_by(600)  # nobody works at it
    later = clock.schedule(budget=45)
    assert later.minutes == pytest.approx(19)
    assert [later.epochs(1), later.epochs(2)] == [1.0, 0.375]  # though less time is left than when it began
    assert record(clock) == {"seconds": 19 * 60.0, "epochs": {"01-easy": 1.0, "02-mined-1": 0.375}}


def test_second_tries_while_there_is_time(clock: Clock) -> None:
    kept = clock.schedule(budget=50)
    clock.pass_by(40)
    one, two = (Unit(f"{name}-again", 0, 1, 6400, 1.0, 10.0, 2.0) for name in ("easy", "last"))
    assert kept.allows(5, one, minutes=7)
    assert not kept.allows(6, two, minutes=7.1)
    clock.pass_by(5)
    kept.note()
    later = clock.schedule(budget=50)
    assert later.allows(5, one, minutes=7)  # it has begun
    assert not later.allows(6, two, minutes=3)


def test_a_kill_loses_half_a_minute_of_the_clock(clock: Clock) -> None:
    told: list[object] = []

    class Notes(Progress):
        def __call__(self, stage: str, done: int, total: int, facts: str = "") -> None:
            told.append((stage, done, total, facts))

        def say(self, message: str) -> None:
            told.append(message)

    kept = clock.schedule()
    kept.note()
    timed = Timed(Notes(), kept)
    timed.say("hello")
    for done in range(4):
        timed("training", done, 4, "loss 1")
        clock.now += 20
    assert told == ["hello", *(("training", done, 4, "loss 1") for done in range(4))]
    assert record(clock)["seconds"] == 40
