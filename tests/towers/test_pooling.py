from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from biencoder.towers.pooling import POOLERS, Pooling

Rows = NDArray[np.float32]
BY_HAND: dict[Pooling, Callable[[Rows], Rows]] = {
    Pooling.CLS: lambda rows: rows[0],
    Pooling.MEAN: lambda rows: rows.mean(axis=0),
    Pooling.MAX: lambda rows: rows.max(axis=0),
    Pooling.LAST: lambda rows: rows[-1],
}


@pytest.mark.parametrize("pooling", list(Pooling))
@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5), seed=st.integers(0, 2**16), padding=st.floats(-1e6, 1e6))
def test_against_one_text_at_a_time(pooling: Pooling, lengths: list[int], seed: int, padding: float) -> None:
    states = np.random.default_rng(seed).normal(size=(len(lengths), max(lengths), 3)).astype(np.float32)
    mask = np.arange(max(lengths))[None, :] < np.array(lengths)[:, None]
    expected = np.stack([BY_HAND[pooling](row[:length]) for row, length in zip(states, lengths, strict=True)])
    states[~mask] = padding
    found = POOLERS[pooling](torch.from_numpy(states), torch.from_numpy(mask.astype(np.int64)))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("pooling", list(Pooling))
def test_half_precision_is_pooled_in_float32(pooling: Pooling) -> None:
    states = torch.ones(1, 300, 2, dtype=torch.bfloat16)
    found = POOLERS[pooling](states, torch.ones(1, 300, dtype=torch.int64))
    assert found.dtype == torch.float32
    assert found.tolist() == [[1.0, 1.0]]
