"""Which of a pair's candidates become its negatives.

Candidates are looked at one by one in the order in which they would be taken (by rank, or drawn at random), until enough have
passed; so the near duplicates and the teacher, which cost most, are asked about few more than are kept. The teacher is asked
in rounds, each about all pairs of a block together: the candidates on trial, then those that stand in for what it has refused.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from biencoder.mining.options import MiningOptions
from biencoder.mining.teacher import TeacherScores

MARGIN, NEAR_DUPLICATE, TEACHER = "margin", "near duplicate", "teacher"
"""The reasons for which a candidate is left out, as they are counted."""


@dataclass(slots=True)
class Selection:
    """The negatives of one query-document pair, while they are chosen; documents are given by number.

    Args:
        query: its text.
        positive: the pair's document.
        own: negatives that the collection gives, kept whatever is thought of them.
        queue: candidates in the order in which they are looked at, the next one last.
        wanted: how many are to be kept, beside ``own``.
        is_near: whether a candidate is a near duplicate of a known positive.
        kept: those that have passed.
    """

    query: str
    positive: int
    own: Sequence[int]
    queue: list[int]
    wanted: int
    is_near: Callable[[int], bool]
    kept: list[int] = field(default_factory=list)
    _trial: list[int] = field(default_factory=list)

    def take(self, dropped: Counter[str]) -> None:
        """Put candidates on trial, as many as are still wanted."""
        while self.queue and len(self.kept) + len(self._trial) < self.wanted:
            candidate = self.queue.pop()
            if self.is_near(candidate):
                dropped[NEAR_DUPLICATE] += 1
            else:
                self._trial.append(candidate)

    def asked(self) -> Iterable[tuple[str, int]]:
        """The pairs whose teacher's scores `settle` needs, and those that the finished example carries."""
        return ((self.query, number) for number in (self.positive, *self.own, *self._trial))

    def settle(self, teacher: TeacherScores | None, *, denoise: float | None, dropped: Counter[str]) -> bool:
        """Keep those on trial that the teacher does not take for better than the positive.

        Returns:
            Whether another round is needed.
        """
        for candidate in self._trial:
            if teacher is not None and self._is_better(candidate, teacher, denoise):
                dropped[TEACHER] += 1
            else:
                self.kept.append(candidate)
        self._trial.clear()
        return bool(self.queue) and len(self.kept) < self.wanted

    def _is_better(self, candidate: int, teacher: TeacherScores, denoise: float | None) -> bool:
        if denoise is None:
            return False
        difference = teacher[self.query, candidate] - teacher[self.query, self.positive]
        return difference >= logit(denoise)


def choose(
    selections: Sequence[Selection], teacher: TeacherScores | None, *, denoise: float | None, dropped: Counter[str]
) -> None:
    """Choose the negatives of all pairs of a block.

    Args:
        selections: one a pair; their ``kept`` is filled.
        teacher: None keeps whatever is no near duplicate.
        denoise: the chance of being better than the positive from which the teacher refuses a candidate.
        dropped: counts what is left out, by reason.
    """
    waiting = list(selections)
    while waiting:
        for selection in waiting:
            selection.take(dropped)
        if teacher is not None:
            teacher.fetch(pair for selection in waiting for pair in selection.asked())
        waiting = [selection for selection in waiting if selection.settle(teacher, denoise=denoise, dropped=dropped)]


def queue_of(candidates: Sequence[int], options: MiningOptions, *, query_id: str, positive_id: str) -> list[int]:
    """Candidates in the order in which they are looked at, the next one last.

    A random order depends on the seed and the pair's ids alone, so that a resumed run draws as an unbroken one does.

    Args:
        candidates: those that are within the margins, best rank first.
        options: ``pick`` and ``seed``.
        query_id: of the pair.
        positive_id: of the pair.

    >>> queue_of([5, 3, 8], MiningOptions(pick="hardest"), query_id="q", positive_id="d")
    [8, 3, 5]
    """
    if options.pick == "hardest":
        return list(reversed(candidates))
    chance = random.Random(f"{options.seed}\n{query_id}\n{positive_id}")  # noqa: S311 - a draw, not a secret
    return sorted(candidates, key=lambda _: chance.random())


def logit(chance: float) -> float:
    """The log-odds of a chance.

    >>> logit(0.5), logit(1.0)
    (0.0, inf)
    """
    return math.inf if chance == 1 else math.log(chance / (1 - chance))
