from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from biencoder.errors import ArgumentError
from biencoder.evaluation import Comparison, Evaluation, compare, evaluate_run, format_comparison


def evaluation(values: dict[str, float], measure: str = "nDCG@10") -> Evaluation:
    mean = sum(values.values()) / len(values)
    return Evaluation({measure: mean}, {measure: values}, len(values), {}, "test")


def numbered(values: list[float]) -> Evaluation:
    return evaluation({f"q{number}": value for number, value in enumerate(values)})


def test_difference_wins_ties_and_losses() -> None:
    found = compare(numbered([1.0, 0.5, 0.5, 0.0]), numbered([0.5, 0.25, 0.5, 1.0]), measure="ndcg@10")
    assert (found.measure, found.queries) == ("nDCG@10", 4)
    assert (found.mean_a, found.mean_b, found.difference) == (0.5, 0.5625, -0.0625)
    assert (found.wins, found.ties, found.losses) == (2, 1, 1)
    assert (found.test, found.permutations, found.confidence) == ("randomisation", 10_000, 0.95)
    assert found.p_value == 1.0  # every sign moves the mean at least as far from 0
    # Of the 256 equally likely resamples 1 has the mean -1 and 4 have -0.6875: together 2.0 %; the next brings 2.5 %.
    assert found.interval[0] in (-0.6875, -0.625)


def test_queries_are_paired_by_id_not_by_order() -> None:
    found = compare(evaluation({"x": 1.0, "y": 0.0}), evaluation({"y": 0.0, "x": 1.0}), measure="nDCG@10")
    assert (found.wins, found.ties, found.losses) == (0, 2, 0)


def test_identical_runs() -> None:
    same = evaluate_run({"q1": {"a": 1.0}}, {"q1": {"a": 1}, "q2": {"a": 1}})
    for test in ("randomisation", "t"):
        found = compare(same, same, measure="nDCG@10", test=test)
        assert (found.difference, found.p_value, found.interval) == (0.0, 1.0, (0.0, 0.0))
        assert (found.wins, found.ties, found.losses) == (0, 2, 0)


def test_a_difference_in_the_last_bit_is_a_tie() -> None:
    found = compare(numbered([0.1 + 0.2, 0.5]), numbered([0.3, 0.5]), measure="nDCG@10")
    assert (found.wins, found.ties, found.losses, found.p_value) == (0, 2, 0, 1.0)


def test_a_clear_difference() -> None:
    generator = np.random.default_rng(0)
    poor = generator.random(300) * 0.5
    good = poor + generator.normal(0.1, 0.1, 300)
    found = compare(numbered(good.tolist()), numbered(poor.tolist()), measure="nDCG@10")
    assert found.p_value == 1 / 10_001
    assert found.difference == pytest.approx(0.1, abs=0.02)
    assert found.interval[0] < found.difference < found.interval[1]
    assert found.interval == pytest.approx((found.difference - 0.0113, found.difference + 0.0113), abs=0.002)


def test_t_test() -> None:
    a, b = [0.9, 0.4, 0.7, 0.1], [0.5, 0.5, 0.6, 0.0]
    found = compare(numbered(a), numbered(b), measure="nDCG@10", test="t")
    assert found.p_value == pytest.approx(stats.ttest_rel(a, b).pvalue)
    assert (found.test, found.permutations) == ("t", 0)


pairs = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=30)


@given(pairs, st.integers(0, 9))
@settings(max_examples=50)
def test_swapping_the_evaluations_mirrors_the_comparison(values: list[tuple[float, float]], seed: int) -> None:
    a, b = numbered([value for value, _ in values]), numbered([value for _, value in values])
    one = compare(a, b, measure="nDCG@10", permutations=200, resamples=200, seed=seed)
    other = compare(b, a, measure="nDCG@10", permutations=200, resamples=200, seed=seed)
    assert (one.wins, one.ties, one.losses) == (other.losses, other.ties, other.wins)
    assert one.wins + one.ties + one.losses == one.queries == len(values)
    assert one.difference == -other.difference
    assert one.p_value == other.p_value
    assert one.interval == pytest.approx((-other.interval[1], -other.interval[0]), abs=1e-12)


def test_the_same_measure_under_another_name() -> None:
    judged = {"q": {"a": 1}}
    a = evaluate_run({"q": {"a": 1.0}}, judged, measures=["MRR@10"])
    b = evaluate_run({"q": {"b": 2.0, "a": 1.0}}, judged, measures=["RR@10"])
    found = compare(a, b, measure="MRR@10")
    assert (found.measure, found.mean_a, found.mean_b) == ("MRR@10", 1.0, 0.5)


@pytest.mark.parametrize(
    ("a", "b", "options", "message"),
    [
        (
            {"q1": 1.0, "q2": 1.0, "q3": 1.0},
            {"q1": 1.0, "q4": 1.0},
            {},
            (
                "the evaluations cover different queries: 2 are only in the first and 1 only in the second (such as 'q2'); "
                "evaluate both on the same split"
            ),
        ),
        (
            {"q1": 1.0},
            {"q1": 1.0, "q4": 1.0},
            {},
            (
                "the evaluations cover different queries: 0 are only in the first and 1 only in the second (such as 'q4'); "
                "evaluate both on the same split"
            ),
        ),
        ({"q": 1.0}, {"q": 1.0}, {"measure": "P@5"}, "P@5 was not evaluated; there is nDCG@10"),
        ({"q": 1.0}, {"q": 1.0}, {"test": "wilcoxon"}, "test is 'wilcoxon'; it must be 'randomisation' or 't'"),
        ({"q": 1.0}, {"q": 1.0}, {"permutations": 0}, "permutations is 0; it must be at least 1"),
        ({"q": 1.0}, {"q": 1.0}, {"resamples": 0}, "resamples is 0; it must be at least 1"),
        (
            {"q": 1.0},
            {"q": 1.0},
            {"test": "t"},
            "the t test needs at least 2 queries and has 1; use test='randomisation'",
        ),
    ],
)
def test_messages(a: dict[str, float], b: dict[str, float], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        compare(evaluation(a), evaluation(b), **{"measure": "nDCG@10", **options})
    assert str(caught.value) == message


def test_json() -> None:
    found = compare(numbered([1.0, 0.5]), numbered([1.0, 0.5]), measure="nDCG@10", permutations=10)
    assert json.loads(json.dumps(found.as_dict())) == {
        "measure": "nDCG@10",
        "queries": 2,
        "mean_a": 0.75,
        "mean_b": 0.75,
        "difference": 0.0,
        "wins": 0,
        "ties": 2,
        "losses": 0,
        "p_value": 1.0,
        "test": "randomisation",
        "permutations": 10,
        "interval": [0.0, 0.0],
        "confidence": 0.95,
    }


def test_printed_lines_are_aligned() -> None:
    lines = [
        Comparison("nDCG@10", 603, 0.572, 0.489, 0.083, 312, 90, 201, 1e-9, "t", 0, (0.061, 0.105), 0.95),
        Comparison("P@5", 603, 0.2, 0.25, -0.05, 9, 590, 4, 0.03, "randomisation", 10_000, (-0.1, 0.0), 0.95),
    ]
    assert format_comparison(lines) == (
        "nDCG@10  0.5720 vs 0.4890  +0.0830 [+0.0610, +0.1050]  wins 312  ties 90   losses 201  "
        "p < 0.0001 (paired t test)\n"
        "P@5      0.2000 vs 0.2500  -0.0500 [-0.1000, +0.0000]  wins 9    ties 590  losses 4    "
        "p = 0.0300 (paired randomisation, 10,000 permutations)"
    )
    assert format_comparison([]) == ""
