"""An index chosen by evidence: what reaches a recall soonest, measured with real query vectors against exact search.

Designs race on samples of the vectors, and the better half goes on to a larger one (successive halving, Karnin et al., 2013),
until the finalists are built over all. For each, the least effort is looked for that reaches the recall.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from biencoder.errors import ArgumentError
from biencoder.index.base import Metric, Value, VectorIndex
from biencoder.index.designs import Design, designs
from biencoder.index.engines import engine_class
from biencoder.index.exact import ExactIndex
from biencoder.index.measuring import Point, Trial, Truth, latencies
from biencoder.index.reduction import spread_sample
from biencoder.scoring import FloatArray
from biencoder.storage.folder import folder_bytes

Say = Callable[[str], None]
TuningProgress = Callable[[int, int, str], None]
"""Is told how many indexes were built and measured, how many there will be, and which one is under way."""

_QUICK_MS = 1.0
"""Exact search that takes no longer is taken: it loses nothing."""
MOST_QUERIES = 2000
"""Queries that recall is measured on."""
_TIMED = 300
"""Queries that times are measured on."""
_SAMPLES = (20_000, 100_000)
"""Rows of the rounds before the last."""
_FINALISTS = 2
_CERTAINLY_BEYOND = 1.1
"""Times the memory that there is, reckoned from a sample."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What an index has to reach.

    Args:
        recall: mean share of the nearest k rows found, against exact search of the whole vectors.
        k: how many count.
        memory: bytes of all vectors together, or None.
        latency_ms: median of one query at a time on one thread, or None.
    """

    recall: float
    k: int = 10
    memory: float | None = None
    latency_ms: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.recall <= 1:
            raise ArgumentError(f"recall is {self.recall}; a share above 0 and at most 1 was expected")

    def met_by(self, point: Point, *, rows: int) -> bool:
        """Whether a point reaches it, at this size."""
        return (
            point.recall >= self.recall
            and (self.memory is None or point.bytes_at(rows) <= self.memory)
            and (self.latency_ms is None or point.p50_ms <= self.latency_ms)
        )

    def __str__(self) -> str:
        parts = [f"recall@{self.k} {self.recall:g}"]
        parts += [] if self.memory is None else [f"at most {self.memory:,.0f} bytes"]
        parts += [] if self.latency_ms is None else [f"p50 at most {self.latency_ms:g} ms"]
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Tuned:
    """What tuning chose.

    Attributes:
        index: over all vectors; its search parameters are those that were chosen.
        reason: in a line.
        point: what was measured of it, over all rows.
        frontier: all that was measured, with the rows of each.
    """

    index: VectorIndex
    reason: str
    point: Point
    frontier: list[Point]

    def as_dict(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "reason": self.reason,
            "chosen": self.point.as_dict(),
            "frontier": [point.as_dict() for point in self.frontier],
        }


def tune(
    vectors: FloatArray,
    queries: FloatArray,
    *,
    goal: Goal,
    metric: Metric,
    engine: str = "auto",
    seed: int = 0,
    progress: TuningProgress | None = None,
    say: Say | None = None,
) -> Tuned:
    """Find the setting that reaches a goal in the least time a query.

    Args:
        vectors: shape (n, d), float32; may be mapped from a file.
        queries: vectors of real queries, shape (m, d); of more than 2,000 a sample is taken.
        goal: recall, and what else is asked for.
        metric: ``cosine`` or ``dot``.
        engine: one alone, or ``auto``.
        seed: of the samples.
        progress: is told how far it is.
        say: is told each round's best.

    Returns:
        The index and what was measured.

    Raises:
        ArgumentError: where nothing reaches the goal; the message shows what comes nearest.
    """
    drawn = np.random.default_rng(seed).permutation(len(queries))[:MOST_QUERIES]
    asked = np.ascontiguousarray(queries[np.sort(drawn)])
    if not len(asked):
        raise ArgumentError("there are no queries to tune with; at least one is needed")
    if engine in {"auto", "exact"}:
        index = ExactIndex.build(vectors, metric=metric)
        quick = _exact(index, asked, goal)
        if engine == "exact" or quick.p50_ms <= _QUICK_MS:
            why = f"exact search takes {quick.p50_ms:.2f} ms a query here and loses nothing"
            return Tuned(index, why, _checked(quick, [quick], goal, len(vectors)), [quick])
    race = _Race(vectors, asked, goal, metric, progress or _silent, say or _unsaid)
    return race.run(designs(engine, dimension=vectors.shape[1]))


@dataclass(slots=True)
class _Race:
    """Designs against each other."""

    vectors: FloatArray
    queries: FloatArray
    goal: Goal
    metric: Metric
    progress: TuningProgress
    say: Say
    frontier: list[Point] = field(default_factory=list)
    done: int = 0
    total: int = 0
    best: tuple[tuple[float, ...], VectorIndex] | None = None

    def run(self, entered: list[Design]) -> Tuned:
        sizes = [size for size in _SAMPLES if size < len(self.vectors) / 2]
        finalists = _FINALISTS if sizes else len(entered)
        running, self.total = entered, _expected(len(entered), len(sizes), finalists)
        for number, size in enumerate(sizes, start=1):
            ranked = self._round(spread_sample(self.vectors, size), running)
            running = self._going_on(ranked)
            self.total = self.done + _expected(len(running), len(sizes) - number, finalists)
            self.say(f"of {len(ranked)} designs over {size:,} vectors the best: {ranked[0][1]}")
        best = self._round(self.vectors, running[:finalists])[0][1]
        for design in running[finalists:]:  # what was good on a sample need not be so on the whole
            if self.goal.met_by(best, rows=len(self.vectors)):
                break
            self.total += 1
            best = min(best, self._round(self.vectors, [design])[0][1], key=self._order)
        point = _checked(best, self.frontier, self.goal, len(self.vectors))
        assert self.best is not None  # noqa: S101 - the last round has measured one at least
        index = self.best[1]
        index.parameters = dict(point.parameters)
        return Tuned(index, f"the fastest of {len(entered)} designs for {self.goal}", point, self.frontier)

    def _going_on(self, ranked: Sequence[tuple[Design, Point]]) -> list[Design]:
        """The better half, without those that will never fit into the memory, where any will."""
        better = ranked[: max(_FINALISTS, len(ranked) // 2)]
        fitting = [design for design, point in better if self._share_of_memory(point) <= _CERTAINLY_BEYOND]
        return fitting or [design for design, _ in better]

    def _share_of_memory(self, point: Point) -> float:
        """What all vectors would take of the memory that there is; 0 where there is no ceiling."""
        return point.bytes_at(len(self.vectors)) / self.goal.memory if self.goal.memory else 0.0

    def _round(self, rows: FloatArray, running: Sequence[Design]) -> list[tuple[Design, Point]]:
        """Each design's best point, the best design first."""
        truth = Truth.of(rows, self.queries, k=self.goal.k)
        found = []
        for design in running:
            self.progress(self.done, self.total, str(design))
            trial = built(design, truth, self.metric)
            points = measure(trial, design, self.goal)
            self.frontier += points
            best = min(points, key=self._order)
            found.append((design, best))
            if len(rows) == len(self.vectors) and (self.best is None or self._order(best) < self.best[0]):
                self.best = self._order(best), trial.index
            self.done += 1
        self.progress(self.done, self.total, "")
        return sorted(found, key=lambda entry: self._order(entry[1]))

    def _order(self, point: Point) -> tuple[float, ...]:
        """What reaches the goal comes first, and of it the fastest; else what comes nearest."""
        short = max(0.0, self.goal.recall - point.recall)
        return (max(0.0, self._share_of_memory(point) - 1.0), short, point.p50_ms)


def _expected(entered: int, rounds: int, finalists: int) -> int:
    """Indexes to be built in so many more rounds over samples and the last, where a finalist reaches the goal."""
    total = 0
    for _ in range(rounds):
        total += entered
        entered = max(_FINALISTS, entered // 2)
    return total + min(entered, finalists)


def built(design: Design, truth: Truth, metric: Metric) -> Trial:
    """Build a design over the rows of a truth."""
    began = time.perf_counter()
    index = engine_class(design.engine).build(truth.vectors, metric=metric, parameters=design.parameters)
    seconds = time.perf_counter() - began
    with tempfile.TemporaryDirectory() as folder:
        index.save(Path(folder))
        size = folder_bytes(Path(folder)) / len(index)
    return Trial(index, truth, round(size, 1), seconds)


def measure(trial: Trial, design: Design, goal: Goal) -> list[Point]:
    """For each number of candidates the least effort that reaches the recall, timed; and the nearest where none does."""
    settings: list[dict[str, Value]] = []
    for candidates in design.candidates(goal.k):
        fixed: dict[str, Value] = {} if candidates is None else {"candidates": candidates}
        least = least_effort(trial, design, fixed, goal.recall)
        if least is not None:
            settings.append(least)
            if len(settings) > 1 and settings[-1].get(str(design.effort)) == settings[-2].get(str(design.effort)):
                break  # more candidates save no effort
    if not settings:
        most: dict[str, Value] = {str(design.effort): design.efforts[-1]}
        candidates = design.candidates(goal.k)[-1]
        settings = [most if candidates is None else {**most, "candidates": candidates}]
    return [trial.point(setting, timed=_TIMED) for setting in settings]


def least_effort(trial: Trial, design: Design, fixed: dict[str, Value], recall: float) -> dict[str, Value] | None:
    """The first of the efforts that reaches a recall; None where the last does not.

    It is looked for upwards, in growing strides, since great efforts take long; then by bisection.
    """
    name, efforts = str(design.effort), design.efforts
    last = len(efforts) - 1

    def reaches(place: int) -> bool:
        return trial.recall({**fixed, name: efforts[place]}) >= recall

    low, high, stride = 0, 4, 4
    while not reaches(min(high, last)):
        if high >= last:
            return None
        low, high, stride = high + 1, high + 2 * stride, 2 * stride
    high = min(high, last)
    while low < high:
        middle = (low + high) // 2
        if reaches(middle):
            high = middle
        else:
            low = middle + 1
    return {**fixed, name: efforts[high]}


def _exact(index: ExactIndex, queries: FloatArray, goal: Goal) -> Point:
    times = latencies(index, queries[: _TIMED if len(index) < 10**5 else 10], k=goal.k, parameters={})
    p50, p99 = float(np.median(times)) * 1000, float(np.percentile(times, 99)) * 1000
    return Point(
        "exact", {}, len(index), 1.0, 1.0, round(p50, 4), round(p99, 4), index.dimension * 4.0, index.dimension * 4.0, 0.0
    )


def _checked(best: Point, points: Sequence[Point], goal: Goal, rows: int) -> Point:
    if not goal.met_by(best, rows=rows):
        whole = [point for point in points if point.rows == rows]
        nearest = best if best in whole else min(whole, key=lambda point: -point.recall)
        raise ArgumentError(f"nothing was found that reaches {goal}; the nearest is {nearest}: ask for less")
    return best


def _silent(done: int, total: int, design: str) -> None:  # noqa: ARG001 - the signature of TuningProgress
    return


def _unsaid(message: str) -> None:  # noqa: ARG001 - the signature of Say
    return
