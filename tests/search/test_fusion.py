from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from biencoder.errors import ArgumentError
from biencoder.records import Hit
from biencoder.search import reciprocal_rank_fusion

rankings = st.lists(st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=8), min_size=1, max_size=4)


def as_hits(ids: list[str], *, scale: float = 1.0) -> list[Hit]:
    return [Hit(place, name, scale / place) for place, name in enumerate(ids, start=1)]


def fused(lists: list[list[str]], *, k: int = 10) -> dict[str, float]:
    return {hit.id: hit.score for hit in reciprocal_rank_fusion([as_hits(ids) for ids in lists], k=k)}


def test_by_hand() -> None:
    found = reciprocal_rank_fusion([as_hits(["a", "b", "c"]), as_hits(["c", "a"])], k=2)
    assert [(hit.rank, hit.id) for hit in found] == [(1, "a"), (2, "c")]
    assert [hit.score for hit in found] == pytest.approx([1 / 61 + 1 / 62, 1 / 63 + 1 / 61])


def test_equal_scores_go_to_the_earlier_ranking() -> None:
    assert list(fused([["a", "b"], ["b", "a"]])) == ["a", "b"]
    assert list(fused([["b", "a"], ["a", "b"]])) == ["b", "a"]
    assert list(fused([["x"], ["y"]])) == ["x", "y"]


def test_the_first_holder_gives_title_and_text() -> None:
    one, other = Hit(1, "a", 0.5, "title", "text", {"year": 1}), Hit(1, "a", 9.0)
    assert reciprocal_rank_fusion([[one], [other]], k=1) == [Hit(1, "a", 2 / 61, "title", "text", {"year": 1})]


@given(rankings, st.floats(0.001, 1000), st.integers(1, 9))
def test_scores_do_not_matter_and_k_only_cuts(lists: list[list[str]], scale: float, k: int) -> None:
    scaled = [as_hits(ids, scale=scale) for ids in lists]
    cut = reciprocal_rank_fusion(scaled, k=k)
    assert [(hit.id, hit.score) for hit in cut] == list(fused(lists).items())[:k]
    assert [hit.rank for hit in cut] == list(range(1, len(cut) + 1))


@given(rankings, st.randoms(use_true_random=False))
def test_the_order_of_rankings_only_breaks_ties(lists: list[list[str]], chance: random.Random) -> None:
    shuffled = chance.sample(lists, len(lists))
    assert fused(lists) == fused(shuffled)


@given(rankings)
def test_one_ranking_keeps_its_order_and_scores_fall(lists: list[list[str]]) -> None:
    assert list(fused(lists[:1])) == lists[0]
    scores = list(fused(lists).values())
    assert scores == sorted(scores, reverse=True)


@given(rankings)
def test_a_second_place_in_one_ranking_counts_nothing(lists: list[list[str]]) -> None:
    assert fused([ids + ids[:1] for ids in lists]) == fused(lists)


def test_nothing_fused_is_nothing() -> None:
    assert reciprocal_rank_fusion([], k=3) == []
    assert reciprocal_rank_fusion([[], []], k=3) == []


def test_arguments_out_of_range() -> None:
    with pytest.raises(ArgumentError, match=r"^k is 0; it must be at least 1$"):
        reciprocal_rank_fusion([], k=0)
    with pytest.raises(ArgumentError, match=r"^constant is -1; it must be at least 0$"):
        reciprocal_rank_fusion([], k=1, constant=-1)
