from __future__ import annotations

import math
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from biencoder.data.batches import PairSampler, distinct, length_sorted_batches, padded_width
from biencoder.errors import ArgumentError

LENGTHS = st.lists(st.integers(1, 50), max_size=60)


@given(lengths=LENGTHS, budget=st.integers(1, 200))
def test_every_text_runs_once(lengths: list[int], budget: int) -> None:
    batches = length_sorted_batches(lengths, token_budget=budget)
    assert sorted(position for batch in batches for position in batch) == list(range(len(lengths)))


@given(lengths=LENGTHS, budget=st.integers(1, 200))
def test_batches_are_sorted_full_and_within_the_budget(lengths: list[int], budget: int) -> None:
    batches = length_sorted_batches(lengths, token_budget=budget)
    in_order = [lengths[position] for batch in batches for position in batch]
    assert in_order == sorted(lengths, reverse=True)
    for batch in batches:
        assert len(batch) == 1 or lengths[batch[0]] * len(batch) <= budget
    for one, _ in pairwise(batches):
        assert lengths[one[0]] * (len(one) + 1) > budget


@given(lengths=LENGTHS, budget=st.integers(1, 200), multiple=st.integers(1, 16))
def test_lengths_count_as_multiples(lengths: list[int], budget: int, multiple: int) -> None:
    batches = length_sorted_batches(lengths, token_budget=budget, multiple=multiple)
    rounded = length_sorted_batches([math.ceil(length / multiple) * multiple for length in lengths], token_budget=budget)
    assert list(map(len, batches)) == list(map(len, rounded))


@given(lengths=st.lists(st.integers(1, 50), min_size=1), multiple=st.integers(1, 16), limit=st.integers(50, 60))
def test_rows_are_padded_to_a_multiple_within_the_limit(lengths: list[int], multiple: int, limit: int) -> None:
    width = padded_width(lengths, multiple=multiple, limit=limit)
    assert max(lengths) <= width <= limit
    assert width == limit or (width % multiple == 0 and width - max(lengths) < multiple)


@given(lengths=LENGTHS)
def test_equal_lengths_keep_their_order(lengths: list[int]) -> None:
    order = [position for batch in length_sorted_batches(lengths, token_budget=64) for position in batch]
    for one, other in pairwise(order):
        assert lengths[one] > lengths[other] or one < other


SAMPLERS = st.tuples(st.integers(2, 60), st.integers(2, 70), st.integers(0, 2**31 - 1))


@given(sampler=SAMPLERS, epoch=st.integers(0, 1000))
def test_an_epoch_draws_no_pair_twice(sampler: tuple[int, int, int], epoch: int) -> None:
    count, size, seed = sampler
    own = PairSampler(count=count, batch_size=size, seed=seed)
    steps = [own.batch(epoch * own.steps_per_epoch + step) for step in range(own.steps_per_epoch)]
    drawn = [position for batch in steps for position in batch]
    assert {len(batch) for batch in steps} == {min(size, count)}
    assert len(set(drawn)) == len(drawn)
    assert set(drawn) <= set(range(count))
    assert count - len(drawn) < own.batch_size


@given(sampler=SAMPLERS)
def test_a_batch_depends_on_seed_and_step_alone(sampler: tuple[int, int, int]) -> None:
    count, size, seed = sampler
    walked = list(islice(PairSampler(count=count, batch_size=size, seed=seed), 7))
    assert [PairSampler(count=count, batch_size=size, seed=seed).batch(step) for step in range(7)] == walked


def test_epochs_and_seeds_differ() -> None:
    sampler = PairSampler(count=100, batch_size=100, seed=0)
    orders = [sampler.batch(0), sampler.batch(1), PairSampler(count=100, batch_size=100, seed=1).batch(0), list(range(100))]
    assert len({tuple(order) for order in orders}) == 4
    assert {tuple(sorted(order)) for order in orders} == {tuple(range(100))}


def test_every_pair_is_drawn_in_time() -> None:
    sampler = PairSampler(count=10, batch_size=7, seed=3)  # three of ten are left out of each epoch
    assert {position for batch in islice(sampler, 20) for position in batch} == set(range(10))


def test_too_little() -> None:
    with pytest.raises(ArgumentError, match=r"^batch_size is 1; in-batch negatives need at least 2 pairs in a batch$"):
        PairSampler(count=5, batch_size=1, seed=0)
    expected = "^1 training pairs; at least 2 are needed, since each pair's negatives are the others'$"
    with pytest.raises(ArgumentError, match=expected):
        PairSampler(count=1, batch_size=2, seed=0)


@given(texts=st.lists(st.sampled_from("abcde"), max_size=20))
def test_distinct(texts: list[str]) -> None:
    once, places = distinct(texts)
    assert [once[place] for place in places] == texts
    assert once == list(dict.fromkeys(texts))
