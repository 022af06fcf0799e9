from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from biencoder.records import Example
from biencoder.training.lists import CandidateList, list_cross_entropy, make_lists


def slow(scores: list[float], lists: list[CandidateList]) -> float:
    """The loss by nested loops over what each list's softmax gives its positives."""
    total, start = 0.0, 0
    for one in lists:
        own = scores[start : start + len(one.pairs)]
        start += len(one.pairs)
        whole = sum(math.exp(score) for score in own)
        for place in range(len(one.positives)):
            total -= math.log(math.exp(own[place]) / whole) / len(one.positives)
    return total


SIZES = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 6)), min_size=1, max_size=5)


@given(sizes=SIZES, data=st.data())
def test_the_loss_against_slow_loops(sizes: list[tuple[int, int]], data: st.DataObject) -> None:
    lists = [CandidateList("q", ("p",) * positives, ("n",) * negatives) for positives, negatives in sizes]
    count = sum(map(sum, sizes))
    scores = data.draw(st.lists(st.floats(-20, 20), min_size=count, max_size=count))
    found = float(list_cross_entropy(torch.tensor(scores, dtype=torch.float32), lists))
    assert found == pytest.approx(slow(scores, lists), rel=1e-4, abs=1e-5)


def test_the_loss_by_hand() -> None:
    scores = torch.tensor([2.0, 0.0, 1.0, 1.0, 0.0])
    lists = [CandidateList("q", ("a",), ("b",)), CandidateList("r", ("c", "d"), ("e",))]
    first = math.log(1 + math.exp(-2))
    second = math.log(2 * math.e + 1) - 1
    assert float(list_cross_entropy(scores, lists)) == pytest.approx(first + second)


def test_huge_scores_have_a_finite_loss_and_gradient() -> None:
    scores = torch.tensor([-1e4, 1e4, -1e4], requires_grad=True)
    loss = list_cross_entropy(scores, [CandidateList("q", ("a",), ("b", "c"))])
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == pytest.approx(2e4)
    assert scores.grad is not None
    assert scores.grad.tolist() == [-1.0, 1.0, 0.0]


def test_pairs_begin_with_the_positives() -> None:
    assert CandidateList("q", ("a", "b"), ("c",)).pairs == [("q", "a"), ("q", "b"), ("q", "c")]


def test_lists_leave_out_what_is_known_to_be_relevant_and_what_stands_twice() -> None:
    examples = [
        Example("q", "a", ("b", "x", "x", "z"), known_positives=frozenset({"a", "z"})),
        Example("q", "b", ("a",)),
        Example("r", "a", ("x",)),
    ]
    assert make_lists(examples, "lce") == [CandidateList("q", ("a",), ("x",)), CandidateList("r", ("a",), ("x",))]
    assert make_lists(examples, "listwise") == [CandidateList("q", ("a", "b"), ("x",)), CandidateList("r", ("a",), ("x",))]


def test_listwise_joins_the_examples_of_a_query() -> None:
    examples = [Example("q", "a", ("x", "y")), Example("r", "c", ("z",)), Example("q", "b", ("y", "w"))]
    assert make_lists(examples, "listwise") == [
        CandidateList("q", ("a", "b"), ("x", "y", "w")),
        CandidateList("r", ("c",), ("z",)),
    ]


def test_negatives_are_drawn_without_repetition_and_all_come_up() -> None:
    one = CandidateList("q", ("p",), tuple("abcdefgh"))
    seen: set[str] = set()
    for seed in range(30):
        drawn = one.drawn(3, np.random.default_rng(seed))
        assert len(set(drawn.negatives)) == 3
        assert drawn.positives == ("p",)
        seen |= set(drawn.negatives)
    assert seen == set("abcdefgh")
    assert one.drawn(8, np.random.default_rng(0)) == one


def test_a_list_of_many_positives_stays_short() -> None:
    drawn = CandidateList("q", tuple("abcdefgh"), tuple("uvwxyz")).drawn(3, np.random.default_rng(0))
    assert (len(drawn.positives), len(drawn.negatives)) == (3, 3)
