"""Two evaluations side by side: the difference, who wins how often, and whether it is more than chance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from biencoder.errors import ArgumentError
from biencoder.evaluation.evaluation import Evaluation
from biencoder.evaluation.measures import parse_measure
from biencoder.evaluation.significance import bootstrap_interval, randomisation_test, t_test

Test = Literal["randomisation", "t"]

_TIE = 1e-9  # equal rankings of equal worth may differ in the last bits of a sum


@dataclass(frozen=True)
class Comparison:
    """How evaluation a differs from evaluation b in one measure.

    Attributes:
        measure: in the user's notation.
        queries: how many both have answered.
        mean_a: of the first.
        mean_b: of the second.
        difference: ``mean_a - mean_b``; positive where the first is better.
        wins: queries on which the first is better.
        ties: queries on which they are equal.
        losses: queries on which the second is better.
        p_value: two-sided.
        test: which one gave the p-value.
        permutations: of the randomisation test; 0 for the t test.
        interval: low and high end of the bootstrap interval of the difference.
        confidence: of the interval.
    """

    measure: str
    queries: int
    mean_a: float
    mean_b: float
    difference: float
    wins: int
    ties: int
    losses: int
    p_value: float
    test: Test
    permutations: int
    interval: tuple[float, float]
    confidence: float

    def as_dict(self) -> dict[str, Any]:
        """A JSON object."""
        return asdict(self) | {"interval": list(self.interval)}


def compare(
    a: Evaluation,
    b: Evaluation,
    *,
    measure: str,
    test: Test = "randomisation",
    permutations: int = 10_000,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Compare two evaluations over the same queries.

    Args:
        a: the first; the difference is positive where it is better.
        b: the second.
        measure: one that both evaluated, in the user's notation.
        test: the paired randomisation test or the paired t test.
        permutations: random signs of the randomisation test.
        resamples: of the bootstrap interval.
        confidence: of the interval.
        seed: of everything random.

    Raises:
        ArgumentError: where the queries are not the same, one lacks the measure, or an argument cannot be used.

    >>> from biencoder.evaluation.evaluation import evaluate_run
    >>> judged = {"q1": {"d": 1}, "q2": {"d": 1}}
    >>> good = evaluate_run({"q1": {"d": 1.0}, "q2": {"d": 1.0}}, judged, measures=["MRR@10"])
    >>> poor = evaluate_run({"q1": {"d": 1.0}}, judged, measures=["MRR@10"])
    >>> found = compare(good, poor, measure="MRR@10")
    >>> found.difference, found.wins, found.ties, found.losses, found.interval, found.p_value
    (0.5, 1, 1, 0, (0.0, 1.0), 1.0)
    """
    if test not in ("randomisation", "t"):
        raise ArgumentError(f"test is {test!r}; it must be 'randomisation' or 't'")
    values_a, values_b = a.values(measure), b.values(measure)
    _check_same_queries(values_a, values_b)
    differences = np.array([values_a[query] - values_b[query] for query in values_a], dtype=np.float64)
    differences[np.abs(differences) <= _TIE] = 0.0
    mean_a, mean_b = _mean(values_a), _mean(values_b)
    randomised = test == "randomisation"
    return Comparison(
        measure=parse_measure(measure).name,
        queries=len(differences),
        mean_a=mean_a,
        mean_b=mean_b,
        difference=mean_a - mean_b,
        wins=int((differences > 0).sum()),
        ties=int((differences == 0).sum()),
        losses=int((differences < 0).sum()),
        p_value=randomisation_test(differences, permutations=permutations, seed=seed) if randomised else t_test(differences),
        test=test,
        permutations=permutations if randomised else 0,
        interval=bootstrap_interval(differences, confidence=confidence, resamples=resamples, seed=seed),
        confidence=confidence,
    )


def format_comparison(comparisons: Sequence[Comparison]) -> str:
    """Comparisons as aligned lines of plain text, one a measure.

    >>> print(format_comparison([Comparison("nDCG@10", 603, 0.572, 0.489, 0.083, 312, 90, 201, 0.0001,
    ...     "randomisation", 10_000, (0.061, 0.105), 0.95)]))
    nDCG@10  0.5720 vs 0.4890  +0.0830 [+0.0610, +0.1050]  wins 312  ties 90  losses 201  p = 0.0001 (paired randomisation, 10,000 permutations)
    """  # noqa: E501 - an example cannot be wrapped
    rows = [_cells(comparison) for comparison in comparisons]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def format_p(p_value: float) -> str:
    """A p-value in four digits, and never as 0.

    >>> format_p(0.03125), format_p(0.00001)
    ('p = 0.0312', 'p < 0.0001')
    """
    return f"p = {p_value:.4f}" if p_value >= 0.00005 else "p < 0.0001"


def _cells(comparison: Comparison) -> list[str]:
    low, high = comparison.interval
    test = "paired t test" if comparison.test == "t" else f"paired randomisation, {comparison.permutations:,} permutations"
    return [
        comparison.measure,
        f"{comparison.mean_a:.4f} vs {comparison.mean_b:.4f}",
        f"{comparison.difference:+.4f} [{low:+.4f}, {high:+.4f}]",
        f"wins {comparison.wins}",
        f"ties {comparison.ties}",
        f"losses {comparison.losses}",
        f"{format_p(comparison.p_value)} ({test})",
    ]


def _mean(values: dict[str, float]) -> float:
    return math.fsum(values.values()) / len(values)


def _check_same_queries(a: dict[str, float], b: dict[str, float]) -> None:
    only_a = [query for query in a if query not in b]
    only_b = [query for query in b if query not in a]
    if only_a or only_b:
        example = (only_a or only_b)[0]
        raise ArgumentError(
            f"the evaluations cover different queries: {len(only_a)} are only in the first and {len(only_b)} only in the "
            f"second (such as {example!r}); evaluate both on the same split"
        )
