from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats

from biencoder.errors import ArgumentError
from biencoder.evaluation.significance import Differences, bootstrap_interval, randomisation_test, t_test

differences_of = arrays.arrays(
    np.float64, st.integers(1, 40), elements=st.sampled_from([-1.0, -0.5, -0.25, -0.1, 0.0, 0.1, 0.3, 0.5, 1.0])
)


def exact_p_value(differences: Differences) -> float:
    """All 2^n signs, one by one."""
    count = len(differences)
    signs = np.array([[1 if code >> bit & 1 else -1 for bit in range(count)] for code in range(2**count)])
    sums = np.abs(signs @ differences)
    return float((sums >= abs(differences.sum()) - 1e-9).mean())


@pytest.mark.parametrize("seed", range(4))
def test_randomisation_agrees_with_every_sign_tried(seed: int) -> None:
    differences = np.random.default_rng(seed).choice([-0.3, 0.0, 0.1, 0.5, 0.7], 11)
    exact = exact_p_value(differences)
    standard_error = np.sqrt(exact * (1 - exact) / 20_000)
    assert randomisation_test(differences, permutations=20_000) == pytest.approx(exact, abs=4 * standard_error + 1e-4)


def test_randomisation_agrees_with_scipy() -> None:
    differences = np.random.default_rng(5).normal(0.05, 0.3, 150)
    theirs = stats.permutation_test(
        (differences,),
        lambda values, axis: np.abs(np.mean(values, axis=axis)),
        permutation_type="samples",
        vectorized=True,
        alternative="greater",
        n_resamples=5000,
        rng=np.random.default_rng(1),
    )
    assert randomisation_test(differences, permutations=5000) == pytest.approx(theirs.pvalue, abs=0.02)


def test_equal_differences_tie_with_the_observation_despite_rounding() -> None:
    # Exactly 2 of the 2^4 signs reach the mean of four tenths, though their sums differ in the last bit.
    p_value = randomisation_test(np.full(4, 0.1), permutations=20_000)
    assert p_value == pytest.approx(2 / 16, abs=0.01)


def test_a_p_value_is_never_0() -> None:
    assert randomisation_test(np.full(500, 0.5), permutations=999) == 1 / 1000
    assert 0 < t_test(np.full(500, 0.5)) < 1e-300
    assert 0 < t_test(1.0 + np.random.default_rng(0).normal(0, 1e-6, 500)) < 1e-300


def test_no_difference_at_all() -> None:
    same = np.zeros(20)
    assert randomisation_test(same) == 1.0
    assert t_test(same) == 1.0
    assert bootstrap_interval(same) == (0.0, 0.0)


@given(differences_of, st.integers(0, 3))
@settings(max_examples=50)
def test_swapping_the_systems_mirrors_the_result(differences: Differences, seed: int) -> None:
    p_value = randomisation_test(differences, permutations=300, seed=seed)
    assert 1 / 301 <= p_value <= 1
    assert randomisation_test(-differences, permutations=300, seed=seed) == p_value
    low, high = bootstrap_interval(differences, resamples=300, seed=seed)
    assert differences.min() - 1e-12 <= low <= high <= differences.max() + 1e-12  # a mean of equals is rounded
    assert bootstrap_interval(-differences, resamples=300, seed=seed) == pytest.approx((-high, -low), abs=1e-12)
    if len(differences) > 1:
        assert t_test(-differences) == t_test(differences)


def test_t_test_agrees_with_scipy_on_pairs() -> None:
    generator = np.random.default_rng(2)
    a, b = generator.random(60), generator.random(60)
    assert t_test(a - b) == pytest.approx(stats.ttest_rel(a, b).pvalue)


def test_t_test_where_all_queries_differ_alike_up_to_rounding() -> None:
    assert t_test(np.array([0.1 + 0.2, 0.3, 0.3])) == np.finfo(np.float64).tiny


def test_bootstrap_is_scipys_percentile_interval() -> None:
    differences = np.random.default_rng(3).normal(0.1, 0.2, 120)
    theirs = stats.bootstrap(
        (differences,),
        np.mean,
        n_resamples=2000,
        confidence_level=0.9,
        method="percentile",
        rng=np.random.default_rng(7),
    ).confidence_interval
    ours = bootstrap_interval(differences, confidence=0.9, resamples=2000, seed=7)
    assert ours == pytest.approx((theirs.low, theirs.high))


def test_bootstrap_has_the_width_of_the_normal_interval() -> None:
    differences = np.random.default_rng(4).normal(0.1, 0.2, 2000)
    low, high = bootstrap_interval(differences)
    half = 1.96 * differences.std() / np.sqrt(2000)
    assert low == pytest.approx(differences.mean() - half, abs=0.05 * half)
    assert high == pytest.approx(differences.mean() + half, abs=0.05 * half)


def test_the_seed_decides() -> None:
    differences = np.random.default_rng(6).normal(0.02, 0.2, 200)
    assert randomisation_test(differences, seed=1) == randomisation_test(differences, seed=1)
    assert randomisation_test(differences, seed=1) != randomisation_test(differences, seed=2)
    assert bootstrap_interval(differences, seed=1) == bootstrap_interval(differences, seed=1)
    assert bootstrap_interval(differences, seed=1) != bootstrap_interval(differences, seed=2)


def test_ten_thousand_queries_in_bounded_time_and_memory() -> None:
    differences = np.random.default_rng(0).normal(0.01, 0.3, 10_000)
    tracemalloc.start()
    started = time.process_time()
    randomisation_test(differences)
    bootstrap_interval(differences)
    seconds = time.process_time() - started
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40e6
    assert seconds < 5  # about 0.7 on an idle core


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: randomisation_test(np.array([])), "there are no queries to compare; give at least one"),
        (lambda: bootstrap_interval(np.array([])), "there are no queries to compare; give at least one"),
        (lambda: randomisation_test(np.ones(3), permutations=0), "permutations is 0; it must be at least 1"),
        (lambda: bootstrap_interval(np.ones(3), resamples=-5), "resamples is -5; it must be at least 1"),
        (lambda: randomisation_test(np.ones(3), seed=-1), "seed is -1; it must be at least 0"),
        (
            lambda: bootstrap_interval(np.ones(3), confidence=95),
            "confidence is 95; it must be between 0 and 1, such as 0.95",
        ),
        (lambda: t_test(np.ones(1)), "the t test needs at least 2 queries and has 1; use test='randomisation'"),
    ],
)
def test_messages(call: object, message: str) -> None:
    assert callable(call)
    with pytest.raises(ArgumentError) as caught:
        call()
    assert str(caught.value) == message
