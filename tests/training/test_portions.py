from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from biencoder.training.options import TrainingOptions
from biencoder.training.portions import Portions, tokens_that_fit
from tests import tiny


def test_what_is_asked_for_counts() -> None:
    asked = TrainingOptions(token_budget=77, graph_tokens=0)
    assert Portions.of(asked, tiny.bert(), held_on_cpu=5) == Portions(micro_batch=77, held=0)


def test_on_processors_the_caller_says_how_much_is_held() -> None:
    assert Portions.of(TrainingOptions(), tiny.bert(), held_on_cpu=123) == Portions(micro_batch=1024, held=123)


class OnGpu:
    """A backbone that says that it lies on a GPU."""

    def __init__(self, hidden: int, layers: int) -> None:
        self.config = tiny.bert().config
        self.config.hidden_size, self.config.num_hidden_layers = hidden, layers

    def parameters(self) -> Any:
        return iter([type("Weight", (), {"device": torch.device("cuda")})()])


@pytest.mark.parametrize(
    ("gigabytes", "hidden", "layers", "expected"),
    [
        (80, 384, 6, Portions(micro_batch=16_384, held=310_019)),
        (16, 384, 6, Portions(micro_batch=16_384, held=62_003)),
        (16, 1024, 24, Portions(micro_batch=5_812, held=5_812)),  # a large backbone: no more than fits
        (1, 1024, 24, Portions(micro_batch=1_024, held=363)),
    ],
)
def test_on_a_gpu_half_of_the_memory_is_taken(
    monkeypatch: pytest.MonkeyPatch, gigabytes: int, hidden: int, layers: int, expected: Portions
) -> None:
    card = type("Card", (), {"total_memory": gigabytes * 10**9})()
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: card)
    backbone: PreTrainedModel = OnGpu(hidden, layers)  # type: ignore[assignment]
    assert Portions.of(TrainingOptions(), backbone, held_on_cpu=5) == expected


@pytest.mark.parametrize(("memory", "hidden", "tokens"), [(10**9, 32, 279_017), (10**9, 64, 139_508), (1, 32, 0)])
def test_what_fits_falls_with_the_size(memory: int, hidden: int, tokens: int) -> None:
    assert tokens_that_fit(memory, tiny.bert(hidden=hidden)) == tokens  # two layers, 56 bytes each and dimension
