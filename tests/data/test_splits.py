"""Splits of groups."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from biencoder.data.splits import split_groups
from biencoder.errors import DataError


def test_shares_are_met_as_closely_as_whole_groups_allow() -> None:
    sizes = {f"g{number}": 1 + number % 7 for number in range(300)}
    total, held = sum(sizes.values()), Counter[str]()
    for name, split in split_groups(sizes, seed=3).items():
        held[split] += sizes[name]
    assert 0.12 <= held["test"] / total < 0.12 + 7 / total
    assert 0.08 <= held["dev"] / total < 0.08 + 7 / total


def test_large_groups_go_to_train() -> None:
    sizes = {f"g{number}": 5 for number in range(100)} | {"huge": 200, "large": 20}
    for seed in range(5):
        splits = split_groups(sizes, seed=seed)
        assert splits["huge"] == splits["large"] == "train"


def test_few_groups_of_one_size_are_not_all_large() -> None:
    splits = split_groups({f"g{number}": 10 for number in range(10)})
    assert Counter(splits.values()) == {"train": 7, "test": 2, "dev": 1}


@given(st.permutations([f"g{number}" for number in range(40)]), st.integers(0, 5))
def test_order_has_no_say_and_the_seed_has(names: list[str], seed: int) -> None:
    ordered = dict.fromkeys(sorted(names), 1)
    shuffled = dict.fromkeys(names, 1)
    assert split_groups(shuffled, seed=seed) == split_groups(ordered, seed=seed)
    assert split_groups(ordered, seed=seed) != split_groups(ordered, seed=seed + 1)


def test_a_fixed_draw() -> None:
    splits = split_groups({f"{letter}.py": 1 for letter in "abcdefghijklmnopqrstuvwxyz"}, seed=0)
    assert sorted(name for name, split in splits.items() if split == "test") == ["g.py", "j.py", "y.py", "z.py"]
    assert sorted(name for name, split in splits.items() if split == "dev") == ["l.py", "p.py", "x.py"]


@pytest.mark.parametrize(("count", "missing"), [(0, "dev"), (1, "dev"), (2, "train")])
def test_too_few_groups(count: int, missing: str) -> None:
    with pytest.raises(DataError) as caught:
        split_groups({f"g{number}": 3 for number in range(count)})
    assert str(caught.value) == (
        f"{count} groups of files hold {3 * count} queries, too few for a {missing} split; give more source files"
    )


def test_three_groups_will_do() -> None:
    assert sorted(split_groups({"a": 3, "b": 3, "c": 3}).values()) == ["dev", "test", "train"]
