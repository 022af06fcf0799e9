"""Weights between two models, of which dev decides how much of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from biencoder.pipeline.gate import Gate
from biencoder.towers.bi_encoder import BiEncoder
from biencoder.training.state import put_weights, weights_of


def towers_of(model: BiEncoder) -> nn.ModuleDict:
    """Both towers as one module, shared weights once."""
    return nn.ModuleDict({"document": model.document_tower, "query": model.query_tower})


def best_mixture(model: BiEncoder, start: Mapping[str, Tensor], *, shares: Sequence[float], gate: Gate) -> dict[float, float]:
    """Try weights between a start's and the model's, and leave the model with those that are best on dev.

    Fine-tuned weights drawn back towards where they came from keep more of what they knew, and on few examples also fit the
    task better (Wortsman et al., WiSE-FT, 2022).

    Args:
        model: with its trained weights; changed in place.
        start: the weights that training started from.
        shares: of the trained weights, each between 0 and 1; all of them are tried beside the whole.
        gate: measures on dev.

    Returns:
        The dev score of each share, 1.0 first; of equal scores the first counts.
    """
    towers = towers_of(model)
    trained = weights_of(towers)
    scores = {1.0: gate.score(model)}
    chosen = trained
    for share in shares:
        mixed = {name: start[name].lerp(weights, share) for name, weights in trained.items()}
        put_weights(towers, mixed)
        score = gate.score(model)
        if score > max(scores.values()):
            chosen = mixed
        scores[share] = score
    put_weights(towers, chosen)
    return scores
