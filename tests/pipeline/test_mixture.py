from __future__ import annotations

from pathlib import Path

import pytest
import torch

from biencoder.pipeline.gate import Gate
from biencoder.pipeline.mixture import best_mixture, towers_of
from biencoder.progress import Progress
from biencoder.towers.bi_encoder import BiEncoder
from biencoder.training.state import weights_of
from tests import tiny


class Marked(Gate):
    """Scores a model by how near its weights are to those of a wanted share."""

    def __init__(self, wanted: float, start: dict[str, torch.Tensor], end: dict[str, torch.Tensor]) -> None:
        nothing = {"split": "dev", "measure": "nDCG@10", "precision": "exact"}
        super().__init__(tiny.collection(), folder=Path(), progress=Progress(), **nothing)
        self.wanted = {name: start[name].lerp(weights, wanted) for name, weights in end.items()}

    def score(self, model: BiEncoder) -> float:
        found = weights_of(towers_of(model))
        return -sum(float((found[name] - weights).abs().sum()) for name, weights in self.wanted.items())


@pytest.mark.parametrize(("wanted", "chosen"), [(1.0, 1.0), (0.72, 0.7), (0.3, 0.4), (0.0, 0.4)])
def test_the_best_share_on_dev_stays_in_the_model(wanted: float, chosen: float) -> None:
    tower = tiny.tower()
    model = BiEncoder(tower, tower)
    start = weights_of(towers_of(model))
    with torch.no_grad():
        for weight in tower.parameters():
            weight.add_(0.5)
    end = weights_of(towers_of(model))
    scores = best_mixture(model, start, shares=(0.7, 0.4), gate=Marked(wanted, start, end))
    assert list(scores) == [1.0, 0.7, 0.4]
    assert max(scores, key=lambda share: scores[share]) == chosen
    for name, weights in weights_of(towers_of(model)).items():
        torch.testing.assert_close(weights, start[name].lerp(end[name], chosen))


def test_without_shares_nothing_changes() -> None:
    tower = tiny.tower()
    model = BiEncoder(tower, tower)
    before = weights_of(towers_of(model))
    assert list(best_mixture(model, before, shares=(), gate=Marked(1.0, before, before))) == [1.0]
    for name, weights in weights_of(towers_of(model)).items():
        assert torch.equal(weights, before[name])
