from __future__ import annotations

from pathlib import Path

import pytest
import torch

from biencoder.evaluation import Evaluation
from biencoder.pipeline.gate import Gate
from biencoder.pipeline.mixture import best_mixture, towers_of
from biencoder.progress import Progress
from biencoder.towers.bi_encoder import BiEncoder
from biencoder.training.state import put_weights, weights_of
from tests import tiny


class Marked(Gate):
    """Scores a model by how near its weights are to those of a wanted share."""

    def __init__(
        self, wanted: float, start: dict[str, torch.Tensor], end: dict[str, torch.Tensor], *, spread: float = 0.0
    ) -> None:
        nothing = {"split": "dev", "measure": "nDCG@10", "precision": "exact"}
        super().__init__(tiny.collection(), folder=Path(), progress=Progress(), **nothing)
        self.spread = spread
        self.wanted = {name: start[name].lerp(weights, wanted) for name, weights in end.items()}

    def evaluate(self, model: BiEncoder) -> Evaluation:
        found = weights_of(towers_of(model))
        near = -sum(float((found[name] - weights).abs().sum()) for name, weights in self.wanted.items())
        values = {str(query): near * (1 + self.spread * (-1) ** query) for query in range(100)}
        return Evaluation({"nDCG@10": near}, {"nDCG@10": values}, queries=100, run={}, split="dev")


Weights = dict[str, torch.Tensor]


def moved() -> tuple[BiEncoder, Weights, Weights]:
    """A model whose weights have moved, from where, and whereto."""
    tower = tiny.tower()
    model = BiEncoder(tower, tower)
    start = weights_of(towers_of(model))
    with torch.no_grad():
        for weight in tower.parameters():
            weight.add_(0.5)
    end = weights_of(towers_of(model))
    return model, start, end


@pytest.mark.parametrize(("wanted", "chosen"), [(1.0, 1.0), (0.72, 0.7), (0.3, 0.4), (0.0, 0.4)])
def test_the_best_share_on_dev_stays_in_the_model(wanted: float, chosen: float) -> None:
    model, start, end = moved()
    found = best_mixture(model, start, shares=(0.7, 0.4), gate=Marked(wanted, start, end))
    assert list(found.scores) == [1.0, 0.7, 0.4]
    assert max(found.scores, key=lambda share: found.scores[share]) == found.share == chosen
    for name, weights in weights_of(towers_of(model)).items():
        torch.testing.assert_close(weights, start[name].lerp(end[name], chosen))


@pytest.mark.parametrize(("spread", "chosen"), [(0.0, 0.7), (5.0, 0.7), (20.0, 1.0)])
def test_a_mixture_that_chance_may_have_made_better_is_not_taken(spread: float, chosen: float) -> None:
    model, start, end = moved()
    gate = Marked(0.7, start, end, spread=spread)  # the difference has a standard error of a tenth of the spread
    assert best_mixture(model, start, shares=(0.7,), gate=gate, surely=True).share == chosen
    put_weights(towers_of(model), end)
    assert best_mixture(model, start, shares=(0.7,), gate=gate).share == 0.7


def test_without_shares_nothing_changes() -> None:
    tower = tiny.tower()
    model = BiEncoder(tower, tower)
    before = weights_of(towers_of(model))
    found = best_mixture(model, before, shares=(), gate=Marked(1.0, before, before))
    assert (found.share, list(found.scores)) == (1.0, [1.0])
    for name, weights in weights_of(towers_of(model)).items():
        assert torch.equal(weights, before[name])
