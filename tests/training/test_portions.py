from __future__ import annotations

import pytest
import torch

from biencoder.training.portions import held_tokens, micro_batch_tokens, tokens_that_fit
from tests import tiny


def test_what_is_asked_for_counts_everywhere() -> None:
    assert micro_batch_tokens(77, torch.device("cuda")) == 77
    assert held_tokens(0, tiny.bert(), on_cpu=5) == 0


def test_a_gpu_takes_larger_micro_batches() -> None:
    assert micro_batch_tokens(None, torch.device("cuda")) > micro_batch_tokens(None, torch.device("cpu"))


def test_on_processors_the_caller_says_how_much_is_held() -> None:
    assert held_tokens(None, tiny.bert(), on_cpu=123) == 123


@pytest.mark.parametrize(("memory", "hidden", "tokens"), [(10**9, 32, 279_017), (10**9, 64, 139_508), (1, 32, 16_384)])
def test_what_fits_falls_with_the_size(memory: int, hidden: int, tokens: int) -> None:
    assert tokens_that_fit(memory, tiny.bert(hidden=hidden)) == tokens  # two layers, 56 bytes each and dimension
