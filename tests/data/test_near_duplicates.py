"""Near-duplicates against the definition."""

from __future__ import annotations

import re
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from biencoder.data.near_duplicates import connected, near_duplicates, resemble, shingles
from biencoder.errors import ArgumentError


def tokens_in_a_row(text: str, width: int) -> set[tuple[str, ...]]:
    tokens = re.findall(r"\w+|[^\w\s]", text)
    if not tokens:
        return set()
    if len(tokens) < width:
        return {tuple(tokens)}
    return {tuple(tokens[start : start + width]) for start in range(len(tokens) - width + 1)}


def resembling(texts: list[str], threshold: float, width: int) -> list[tuple[int, int]]:
    sets = [tokens_in_a_row(text, width) for text in texts]
    return [
        (i, j)
        for (i, one), (j, other) in combinations(enumerate(sets), 2)
        if one and other and len(one & other) / len(one | other) >= threshold
    ]


_texts = st.lists(st.lists(st.sampled_from(["a", "b", "c", "+", "(", " ", "\n"]), max_size=25).map(" ".join), max_size=12)


@given(_texts, st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 1.0]), st.integers(1, 6))
def test_exactly_the_pairs_of_the_definition(texts: list[str], threshold: float, width: int) -> None:
    assert near_duplicates(texts, threshold=threshold, width=width) == resembling(texts, threshold, width)


def test_one_changed_word_of_many_is_a_near_duplicate_and_white_space_is_nothing() -> None:
    body = " ".join(f"word{number}" for number in range(60))
    texts = [body, body.replace("word30", "other"), body.replace(" ", "\n  "), "something else altogether"]
    assert near_duplicates(texts, threshold=0.8) == [(0, 1), (0, 2), (1, 2)]
    assert near_duplicates(texts, threshold=0.9) == [(0, 2)]


def test_the_threshold_itself_counts() -> None:
    assert near_duplicates(["a b c d", "a b c e"], threshold=0.6, width=1) == [(0, 1)]
    assert near_duplicates(["a b c d", "a b c e"], threshold=0.61, width=1) == []


def test_texts_without_tokens_resemble_nothing() -> None:
    assert near_duplicates(["", " \n", ""], threshold=0.5) == []
    assert near_duplicates([]) == []


@pytest.mark.parametrize("threshold", [0, -0.1, 1.1])
def test_threshold_out_of_range(threshold: float) -> None:
    with pytest.raises(ArgumentError, match=re.escape(f"threshold is {threshold}; it must be above 0 and at most 1")):
        near_duplicates(["a"], threshold=threshold)


def test_width_out_of_range() -> None:
    with pytest.raises(ArgumentError, match="width is 0; it must be at least 1"):
        near_duplicates(["a"], width=0)
    with pytest.raises(ArgumentError, match="width is 0; it must be at least 1"):
        shingles("a", width=0)


@given(_texts, st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 1.0]), st.integers(1, 6))
def test_two_texts_at_a_time_are_the_same_pairs(texts: list[str], threshold: float, width: int) -> None:
    sets = [shingles(text, width=width) for text in texts]
    pairs = [(i, j) for (i, one), (j, other) in combinations(enumerate(sets), 2) if resemble(one, other, threshold=threshold)]
    assert pairs == resembling(texts, threshold, width)


def test_shingles_of_a_text_are_the_same_in_every_process() -> None:
    assert shingles("Paris is the capital", width=3).tolist() == [13443976238885423800, 14058041700510170835]


def test_connected_follows_chains() -> None:
    assert connected(6, [(5, 4), (4, 3), (1, 0)]) == [0, 0, 2, 3, 3, 3]
    assert connected(3, []) == [0, 1, 2]
    assert connected(0, []) == []


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=15))
def test_connected_is_the_transitive_closure(pairs: list[tuple[int, int]]) -> None:
    groups = [{item} for item in range(10)]
    for one, other in pairs:
        merged = next(group for group in groups if one in group) | next(group for group in groups if other in group)
        groups = [group for group in groups if not group & merged] + [merged]
    lowest = {item: min(group) for group in groups for item in group}
    assert connected(10, pairs) == [lowest[item] for item in range(10)]
