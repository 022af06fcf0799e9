"""The loss that options ask for, as one function of vectors and targets."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from biencoder.errors import ArgumentError
from biencoder.training.losses import Targets, info_nce, kl_distillation, margin_mse, matryoshka, triplet
from biencoder.training.options import TrainingOptions


class Objective:
    """A loss, under Matryoshka where options say so.

    Args:
        options: which loss, with what.
        dimension: of the vectors.
        normalise: whether vectors have length 1, also where they are cut.

    Raises:
        ArgumentError: where a Matryoshka dimension is more than the vectors have, or the weights are not as many.
    """

    def __init__(self, options: TrainingOptions, *, dimension: int, normalise: bool) -> None:
        self._options = options
        self._normalise = normalise
        dims = [*(named for named in dict.fromkeys(options.matryoshka) if named != dimension), dimension]
        weights = options.matryoshka_weights or (1.0,) * len(dims)
        if max(dims) > dimension:
            raise ArgumentError(f"matryoshka names {max(dims)} dimensions; the vectors have {dimension}")
        if len(weights) != len(dims):
            raise ArgumentError(
                f"there are {len(weights)} matryoshka_weights for {len(dims)} dimensions "
                f"({', '.join(map(str, dims))}); give one for each, or none"
            )
        self._dims, self._weights = zip(*sorted(zip(dims, weights, strict=True)), strict=True)

    def __call__(self, queries: Tensor, documents: Tensor, targets: Targets) -> Tensor:
        """The loss of one batch, a scalar.

        Args:
            queries: shape (pairs, d).
            documents: shape (columns, d).
            targets: who belongs to whom.
        """
        loss = partial(self._at_one_dimension, targets=targets)
        if len(self._dims) == 1:
            return loss(queries, documents)
        return matryoshka(loss, queries, documents, dims=self._dims, weights=self._weights, normalise=self._normalise)

    def _at_one_dimension(self, queries: Tensor, documents: Tensor, *, targets: Targets) -> Tensor:
        options, temperature = self._options, self._options.temperature
        if options.loss == "triplet":
            return triplet(queries, documents, targets, margin=options.margin)
        contrastive = partial(info_nce, queries, documents, targets, temperature=temperature, symmetric=options.symmetric)
        if options.loss == "info_nce":
            return contrastive()
        if options.loss == "margin_mse":
            taught = margin_mse(queries, documents, targets, temperature=temperature)
        else:
            hardness = options.teacher_temperature
            taught = kl_distillation(queries, documents, targets, temperature=temperature, teacher_temperature=hardness)
        return taught + options.contrastive_weight * contrastive() if options.contrastive_weight else taught
