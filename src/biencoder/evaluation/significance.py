"""Is the difference between two systems more than chance? Tests and an interval over paired per-query differences.

The paired randomisation test assumes nothing of how the differences are distributed, and agrees with the t test where that
one is sound; both are what Smucker, Allan and Carterette recommend (A comparison of statistical significance tests for
information retrieval evaluation, CIKM 2007). Everything random has a seed, and memory is bounded by blocks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from biencoder.errors import ArgumentError

Differences = NDArray[np.float64]

_BLOCK_VALUES = 2**20  # random values alive at once: 8 MB


def randomisation_test(differences: Differences, *, permutations: int = 10_000, seed: int = 0) -> float:
    """Two-sided p-value of the paired randomisation test (Fisher, 1935; Smucker et al., 2007).

    If the systems were alike, each query's difference might as well have the other sign. The p-value is the share of
    random signs under which the mean is at least as far from 0 as the one observed. The observed signs count as one draw,
    so that it is never 0 (Phipson and Smyth, Permutation p-values should never be zero, 2010).

    Args:
        differences: one a query, shape (n,).
        permutations: how many random signs; the smallest p-value is 1 / (permutations + 1).
        seed: of the random numbers.

    Raises:
        ArgumentError: where there are no differences, or an argument is out of bounds.

    >>> randomisation_test(np.array([0.2, 0.1, 0.0]), permutations=99, seed=0)
    0.48
    """
    _check(differences, permutations, seed, what="permutations")
    moving = differences[differences != 0]  # a difference of 0 is the same under either sign
    if not len(moving):
        return 1.0
    generator = np.random.default_rng(seed)
    total = float(moving.sum())
    # Sums of the same numbers in another order differ in their last bits; such ties count as reached.
    threshold = abs(total) - 1e-12 * float(np.abs(moving).sum())
    reached = 0
    for rows in _block_sizes(permutations, len(moving)):
        octets = generator.integers(0, 256, (rows, (len(moving) + 7) // 8), dtype=np.uint8)
        flipped = np.unpackbits(octets, axis=1, count=len(moving)).astype(np.float64)
        reached += int((np.abs(total - 2 * (flipped @ moving)) >= threshold).sum())
    return (reached + 1) / (permutations + 1)


def t_test(differences: Differences) -> float:
    """Two-sided p-value of the paired t test (Student, 1908).

    Where all queries differ by the same amount the test statistic is infinite; the p-value is then the smallest number
    above 0, or 1 where that amount is 0.

    Args:
        differences: one a query, shape (n,).

    Raises:
        ArgumentError: where there are fewer than 2 differences.

    >>> round(t_test(np.array([1.0, 2.0, 3.0])), 4)
    0.0742
    """
    if len(differences) < 2:
        raise ArgumentError(f"the t test needs at least 2 queries and has {len(differences)}; use test='randomisation'")
    smallest = float(np.finfo(np.float64).tiny)
    largest = float(np.abs(differences).max())
    if float(np.ptp(differences)) <= 1e-12 * largest:
        return smallest if largest else 1.0
    from scipy import stats

    return max(float(stats.ttest_1samp(differences, 0.0).pvalue), smallest)


def bootstrap_interval(
    differences: Differences, *, confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Percentile interval of the mean difference (Efron, Bootstrap methods: another look at the jackknife, 1979).

    Args:
        differences: one a query, shape (n,).
        confidence: the share of resampled means inside the interval.
        resamples: how many times n queries are drawn with replacement.
        seed: of the random numbers.

    Raises:
        ArgumentError: where there are no differences, or an argument is out of bounds.

    >>> low, high = bootstrap_interval(np.array([0.0, 0.1, 0.2, 0.3]), seed=0)
    >>> round(low, 3), round(high, 3)
    (0.05, 0.25)
    """
    _check(differences, resamples, seed, what="resamples")
    if not 0 < confidence < 1:
        raise ArgumentError(f"confidence is {confidence}; it must be between 0 and 1, such as 0.95")
    generator = np.random.default_rng(seed)
    count = len(differences)
    means = np.concatenate(
        [differences[generator.integers(0, count, (rows, count))].mean(axis=1) for rows in _block_sizes(resamples, count)]
    )
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _block_sizes(rows: int, columns: int) -> list[int]:
    """Rows split so that no block holds more than about a million values."""
    size = max(1, _BLOCK_VALUES // columns)
    return [min(size, rows - start) for start in range(0, rows, size)]


def _check(differences: Differences, draws: int, seed: int, *, what: str) -> None:
    if not len(differences):
        raise ArgumentError("there are no queries to compare; give at least one")
    if draws < 1:
        raise ArgumentError(f"{what} is {draws}; it must be at least 1")
    if seed < 0:
        raise ArgumentError(f"seed is {seed}; it must be at least 0")
