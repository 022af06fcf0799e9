"""Losses: tensors in, scalar out.

``queries`` has one row a pair, shape (pairs, d); ``documents`` one row a distinct document of the batch, shape (columns, d).
`Targets` says which column is whose positive, and which columns may not count as negatives.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Targets:
    """Who belongs to whom in a batch.

    Attributes:
        columns: the positive's column of each pair, shape (pairs,), integers.
        ignored: True where a column must not count as a pair's negative (another known positive of its query), shape
            (pairs, columns).
        ignored_queries: True where a pair's query must not count as a negative of another pair's document (the document is a
            known positive of it), shape (pairs, pairs): row the document's pair, column the query's pair.
        explicit: True where a column is a negative that the example itself brought, shape (pairs, columns).
    """

    columns: Tensor
    ignored: Tensor
    ignored_queries: Tensor
    explicit: Tensor

    def to(self, device: torch.device) -> Targets:
        """The same on another device."""
        moved = (tensor.to(device) for tensor in (self.columns, self.ignored, self.ignored_queries, self.explicit))
        return Targets(*moved)


def info_nce(queries: Tensor, documents: Tensor, targets: Targets, *, temperature: float, symmetric: bool = False) -> Tensor:
    """Cross-entropy of the positive against every other document of the batch (van den Oord et al., InfoNCE, 2018).

    Args:
        queries: shape (pairs, d).
        documents: shape (columns, d).
        targets: positives, and what may not serve as negative.
        temperature: divides the scores; 0.05 to 0.01 for unit vectors.
        symmetric: add the direction from document to query, each at half weight (Radford et al., CLIP, 2021).

    Returns:
        A scalar, the mean over pairs.

    >>> targets = Targets(torch.tensor([0, 1]), *(torch.zeros(2, 2, dtype=torch.bool) for _ in range(3)))
    >>> round(float(info_nce(torch.eye(2), torch.eye(2), targets, temperature=1.0)), 4)
    0.3133
    """
    scores = (queries @ documents.T).float() / temperature
    forward = functional.cross_entropy(scores.masked_fill(targets.ignored, float("-inf")), targets.columns)
    if not symmetric:
        return forward
    mirrored = (documents[targets.columns] @ queries.T).float() / temperature
    diagonal = torch.arange(len(queries), device=queries.device)
    backward = functional.cross_entropy(mirrored.masked_fill(targets.ignored_queries, float("-inf")), diagonal)
    return (forward + backward) / 2


def triplet(queries: Tensor, documents: Tensor, targets: Targets, *, margin: float) -> Tensor:
    """Hinge on the hardest negative (Schroff et al., FaceNet, 2015).

    The hardest of a pair's own negatives counts where its example brought some, else the hardest of the batch.

    Args:
        queries: shape (pairs, d).
        documents: shape (columns, d).
        targets: positives, and what may not serve as negative.
        margin: by how much the positive's score should exceed the negative's.

    Returns:
        A scalar, the mean over pairs that have a negative; 0 where none has one.

    >>> targets = Targets(torch.tensor([0, 1]), *(torch.zeros(2, 2, dtype=torch.bool) for _ in range(3)))
    >>> float(triplet(torch.eye(2), torch.eye(2), targets, margin=1.5))
    0.5
    """
    scores = (queries @ documents.T).float()
    positives = scores.gather(1, targets.columns.unsqueeze(1)).squeeze(1)
    barred = targets.ignored.clone()
    barred.scatter_(1, targets.columns.unsqueeze(1), value=True)
    own = targets.explicit & ~barred
    candidates = torch.where(own.any(dim=1, keepdim=True), own, ~barred)
    hardest = scores.masked_fill(~candidates, float("-inf")).amax(dim=1)
    with_negative = candidates.any(dim=1)
    if not bool(with_negative.any()):
        return scores.sum() * 0
    return functional.relu(margin - positives + hardest)[with_negative].mean()
