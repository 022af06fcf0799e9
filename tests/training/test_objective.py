from __future__ import annotations

from typing import Any

import pytest
import torch

from biencoder.errors import ArgumentError
from biencoder.records import Example
from biencoder.training.batch import make_batch
from biencoder.training.losses import info_nce, kl_distillation, margin_mse, triplet
from biencoder.training.objective import Objective
from tests.training.tasks import options

TARGETS = make_batch([Example("q", "a", ("c",), (2.0, 1.0)), Example("r", "b")]).targets
QUERIES, DOCUMENTS = (
    torch.nn.functional.normalize(torch.randn(rows, 4, generator=torch.Generator().manual_seed(rows)), dim=-1)
    for rows in (2, 3)
)


def found(**changes: Any) -> float:
    return float(Objective(options(**changes), dimension=4, normalise=True)(QUERIES, DOCUMENTS, TARGETS))


def test_each_loss() -> None:
    pair = (QUERIES, DOCUMENTS, TARGETS)
    contrastive = float(info_nce(*pair, temperature=0.1))
    assert found(temperature=0.1) == pytest.approx(contrastive)
    assert found(temperature=0.1, symmetric=True) == pytest.approx(float(info_nce(*pair, temperature=0.1, symmetric=True)))
    assert found(loss="triplet", margin=0.3) == pytest.approx(float(triplet(*pair, margin=0.3)))
    kl = float(kl_distillation(*pair, temperature=0.1, teacher_temperature=2.0))
    assert found(loss="kl", temperature=0.1, teacher_temperature=2, contrastive_weight=0) == pytest.approx(kl)
    assert found(loss="kl", temperature=0.1, teacher_temperature=2, contrastive_weight=0.5) == pytest.approx(
        kl + 0.5 * contrastive
    )
    margins = float(margin_mse(*pair, temperature=0.1))
    assert found(loss="margin_mse", temperature=0.1, contrastive_weight=0) == pytest.approx(margins)


def test_under_matryoshka() -> None:
    def cut(tensor: torch.Tensor, dim: int) -> torch.Tensor:
        return torch.nn.functional.normalize(tensor[:, :dim], dim=-1)

    parts = [float(info_nce(cut(QUERIES, dim), cut(DOCUMENTS, dim), TARGETS, temperature=0.1)) for dim in (1, 2, 4)]
    assert found(temperature=0.1, matryoshka=(2, 1)) == pytest.approx(sum(parts) / 3, rel=1e-5)
    weighted = found(temperature=0.1, matryoshka=(1, 2), matryoshka_weights=(1, 2, 5))
    assert weighted == pytest.approx((parts[0] + 2 * parts[1] + 5 * parts[2]) / 8, rel=1e-5)
    assert found(temperature=0.1, matryoshka=(2, 1), matryoshka_weights=(2, 1, 5)) == weighted  # each its own, in any order
    assert found(temperature=0.1, matryoshka=(4,)) == pytest.approx(parts[2], rel=1e-5)


def test_dimensions_that_cannot_be() -> None:
    with pytest.raises(ArgumentError, match=r"^matryoshka names 5 dimensions; the vectors have 4$"):
        found(matryoshka=(5,))
    message = r"^there are 2 matryoshka_weights for 3 dimensions \(1, 2, 4\); give one for each, or none$"
    with pytest.raises(ArgumentError, match=message):
        found(matryoshka=(1, 2), matryoshka_weights=(1, 1))
