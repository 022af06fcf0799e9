from __future__ import annotations

import pytest
from torch import nn

from biencoder.towers.bi_encoder import BiEncoder
from biencoder.training.optimisation import adamw, dropout_set, linear_schedule, seed_of


@pytest.mark.parametrize(("given", "hidden"), [(None, 0.1), (0.3, 0.3)])
def test_dropout(tiny_model: BiEncoder, given: float | None, hidden: float) -> None:
    def shares() -> list[tuple[bool, float]]:
        modules = tiny_model.query_tower.backbone.named_modules()
        return [(".self." in name, module.p) for name, module in modules if isinstance(module, nn.Dropout)]

    with dropout_set(tiny_model.query_tower, hidden=given, attention=0.2):
        assert set(shares()) == {(True, 0.2), (False, hidden)}
    assert set(shares()) == {(True, 0.1), (False, 0.1)}
    assert len(shares()) == 7


def test_schedule() -> None:
    rates = [linear_schedule(step, 10, warmup=0.4) for step in range(10)]
    assert rates == pytest.approx([1 / 5, 2 / 5, 3 / 5, 4 / 5, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])
    assert [linear_schedule(step, 4, warmup=0.0) for step in range(4)] == [1.0, 0.75, 0.5, 0.25]
    assert [linear_schedule(step, 4, warmup=1.0) for step in range(4)] == pytest.approx([0.2, 0.4, 0.6, 0.8])


def test_biases_and_norms_do_not_decay(tiny_model: BiEncoder) -> None:
    groups = adamw(tiny_model.document_tower, learning_rate=1e-3, weight_decay=0.25).param_groups
    assert [group["weight_decay"] for group in groups] == [0.25, 0.0]
    assert [group["lr"] for group in groups] == [1e-3, 1e-3]
    assert {parameter.ndim for parameter in groups[0]["params"]} == {2}
    assert {parameter.ndim for parameter in groups[1]["params"]} == {1}
    assert sum(len(group["params"]) for group in groups) == len(list(tiny_model.document_tower.parameters()))


def test_every_step_of_every_seed_draws_anew() -> None:
    assert len({seed_of(seed, step) for seed in range(20) for step in range(500)}) == 20 * 500
