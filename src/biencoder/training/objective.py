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
        self._dims = sorted({*options.matryoshka, dimension})
        self._weights = options.matryoshka_weights or (1.0,) * len(self._dims)
        if self._dims[-1] > dimension:
            raise ArgumentError(f"matryoshka names {self._dims[-1]} dimensions; the vectors have {dimension}")
        if len(self._weights) != len(self._dims):
            raise ArgumentError(
                f"there are {len(self._weights)} matryoshka_weights for {len(self._dims)} dimensions "
                f"({', '.join(map(str, self._dims))}); give one for each, or none"
            )

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
