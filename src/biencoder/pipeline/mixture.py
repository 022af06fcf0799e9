"""Weights between two models, of which dev decides how much of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from biencoder.pipeline.gate import Gate
from biencoder.towers.bi_encoder import BiEncoder
from biencoder.training.state import put_weights, weights_of


def towers_of(model: BiEncoder) -> nn.ModuleDict:
    """Both towers as one module, shared weights once."""
    return nn.ModuleDict({"document": model.document_tower, "query": model.query_tower})


@dataclass(frozen=True, slots=True)
class Mixture:
    """What was tried.

    Attributes:
        share: of the trained weights in those that the model was left with.
        scores: on dev, of each share, 1.0 first.
    """

    share: float
    scores: dict[float, float]


def best_mixture(
    model: BiEncoder, start: Mapping[str, Tensor], *, shares: Sequence[float], gate: Gate, surely: bool = False
) -> Mixture:
    """Try weights between a start's and the model's, and leave the model with those that are best on dev.

    Fine-tuned weights drawn back towards where they came from keep more of what they knew, and on few examples also fit the
    task better (Wortsman et al., WiSE-FT, 2022).

    Args:
        model: with its trained weights; changed in place.
        start: the weights that training started from.
        shares: of the trained weights, each between 0 and 1; all of them are tried beside the whole.
        gate: measures on dev.
        surely: a mixture is taken only where it is better by more than the standard error of the paired difference (Breiman
            et al., 1984): the best of several by less is often the luckiest.

    Returns:
        The share that was taken, of equal scores the first, and all scores.
    """
    towers = towers_of(model)
    trained = weights_of(towers)
    whole = best = gate.evaluate(model)
    scores = {1.0: gate.mean(whole)}
    taken, chosen = 1.0, trained
    for share in shares:
        mixed = {name: start[name].lerp(weights, share) for name, weights in trained.items()}
        put_weights(towers, mixed)
        found = gate.evaluate(model)
        scores[share] = gate.mean(found)
        if gate.mean(found) > gate.mean(best) and (not surely or gate.surely_better(found, whole)):
            taken, chosen, best = share, mixed, found
    put_weights(towers, chosen)
    return Mixture(taken, scores)
