from __future__ import annotations

import pytest

from biencoder.configuration import configure
from biencoder.errors import ArgumentError
from biencoder.mining import MiningOptions


def test_defaults() -> None:
    assert MiningOptions().model_dump() == {
        "source": "model",
        "first_rank": 1,
        "last_rank": 100,
        "negatives": 8,
        "pick": "random",
        "absolute_margin": None,
        "relative_margin": 0.05,
        "near_duplicate": 0.8,
        "denoise": 0.5,
        "seed": 0,
    }


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("first_rank=0", "first_rank is 0: input should be greater than or equal to 1"),
        ("first_rank=101", "last_rank is 100: it must be at least first_rank, which is 101"),
        ("negatives=0", "negatives is 0: input should be greater than or equal to 1"),
        ("relative_margin=1.0", "relative_margin is 1.0: input should be less than 1"),
        ("absolute_margin=-0.1", "absolute_margin is -0.1: input should be greater than or equal to 0"),
        ("near_duplicate=0", "near_duplicate is 0: input should be greater than 0"),
        ("denoise=2", "denoise is 2: input should be less than or equal to 1"),
        ("pick=easiest", "pick is 'easiest': input should be 'hardest' or 'random'"),
        ("source=dense", "source is 'dense': input should be 'bm25' or 'model'"),
        ("negative=3", "the key 'negative' is unknown; did you mean 'negatives'?"),
    ],
)
def test_values_out_of_range(setting: str, reason: str) -> None:
    with pytest.raises(ArgumentError) as error:
        configure(MiningOptions, settings=[setting])
    assert str(error.value).startswith(reason)


def test_none_in_words_turns_a_filter_off() -> None:
    names = ("absolute_margin", "relative_margin", "near_duplicate", "denoise")
    chosen = configure(MiningOptions, settings=[f"{name}=none" for name in names])
    assert [getattr(chosen, name) for name in names] == [None] * 4
