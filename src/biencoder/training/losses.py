"""Losses: tensors in, scalar out.

``queries`` has one row a pair, shape (pairs, d); ``documents`` one row a distinct document of the batch, shape (columns, d).
`Targets` says which column is whose positive, which columns may not count as negatives, and what a teacher thinks of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

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
        teacher: a teacher's scores of the pair's own documents, NaN where it gave none, shape (pairs, columns); None where no
            pair has any.
    """

    columns: Tensor
    ignored: Tensor
    ignored_queries: Tensor
    explicit: Tensor
    teacher: Tensor | None = None

    def to(self, device: torch.device) -> Targets:
        """The same on another device."""
        return Targets(
            self.columns.to(device),
            self.ignored.to(device),
            self.ignored_queries.to(device),
            self.explicit.to(device),
            None if self.teacher is None else self.teacher.to(device),
        )

    def guided(self, scores: Tensor, *, margin: float) -> Targets:
        """The same, without the negatives that a guide takes for relevant (Solatorio, GISTEmbed, 2024).

        A document of another pair is left out where the guide's score comes within ``margin`` of the positive's or exceeds
        it; the negatives that the example itself brought stay.

        Args:
            scores: the guide's, shape (pairs, columns).
            margin: in the guide's scores.
        """
        positives = scores.gather(1, self.columns.unsqueeze(1))
        likely = (scores > positives - margin) & ~self.explicit
        likely.scatter_(1, self.columns.unsqueeze(1), value=False)
        return replace(self, ignored=self.ignored | likely, ignored_queries=self.ignored_queries | self._queries(likely))

    def _queries(self, likely: Tensor) -> Tensor:
        """The same pairs from the document's side."""
        return likely[:, self.columns].T.clone().fill_diagonal_(False)


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


def margin_mse(queries: Tensor, documents: Tensor, targets: Targets, *, temperature: float) -> Tensor:
    """Squared difference of student's and teacher's margins (Hofstätter et al., Margin-MSE, 2020).

    A margin is the positive's score minus a negative's. The student's scores are divided by the temperature, so that both
    margins are logits.

    Args:
        queries: shape (pairs, d).
        documents: shape (columns, d).
        targets: positives, and the teacher's scores; pairs without a scored negative do not count.
        temperature: divides the student's scores.

    Returns:
        A scalar, the mean over scored negatives; 0 where there are none.

    >>> none = torch.zeros(1, 2, dtype=torch.bool)
    >>> targets = Targets(torch.tensor([0]), none, none[:, :1], none, teacher=torch.tensor([[3.0, 1.0]]))
    >>> float(margin_mse(torch.tensor([[1.0, 0.0]]), torch.eye(2), targets, temperature=1.0))
    1.0
    """
    student, teacher = _scored(queries, documents, targets, temperature)
    place = targets.columns.unsqueeze(1)
    errors = (student.gather(1, place) - student) - (teacher.gather(1, place) - teacher)
    counted = torch.isfinite(errors.detach()).scatter(1, place, value=False)
    if not bool(counted.any()):
        return student.sum() * 0
    return errors[counted].square().mean()


def kl_distillation(
    queries: Tensor, documents: Tensor, targets: Targets, *, temperature: float, teacher_temperature: float = 1.0
) -> Tensor:
    """Divergence of the student's ranking from the teacher's (Hinton et al., 2015; listwise, as Ren et al., RocketQAv2, 2021).

    Both are distributions over the documents that the teacher scored for the pair: its positive and its own negatives.

    Args:
        queries: shape (pairs, d).
        documents: shape (columns, d).
        targets: positives, and the teacher's scores; pairs without a scored negative do not count.
        temperature: divides the student's scores.
        teacher_temperature: divides the teacher's; above 1 it speaks less decidedly.

    Returns:
        A scalar, the mean over pairs with scored negatives; 0 where there are none.

    >>> none = torch.zeros(1, 2, dtype=torch.bool)
    >>> targets = Targets(torch.tensor([0]), none, none[:, :1], none, teacher=torch.tensor([[1.0, 0.0]]))
    >>> float(kl_distillation(torch.tensor([[1.0, 0.0]]), torch.eye(2), targets, temperature=1.0))
    0.0
    """
    student, teacher = _scored(queries, documents, targets, temperature)
    known = torch.isfinite(teacher)
    rows = known.sum(dim=1) > 1
    if not bool(rows.any()):
        return student.sum() * 0
    wanted = (teacher / teacher_temperature).masked_fill(~known, float("-inf"))[rows].log_softmax(dim=1)
    found = student.masked_fill(~known, float("-inf"))[rows].log_softmax(dim=1)
    terms = wanted.exp() * (wanted - found)
    return torch.where(known[rows], terms, 0.0).sum(dim=1).mean()


def _scored(queries: Tensor, documents: Tensor, targets: Targets, temperature: float) -> tuple[Tensor, Tensor]:
    """The student's logits and the teacher's, NaN where it gave none."""
    student = (queries @ documents.T).float() / temperature
    teacher = targets.teacher if targets.teacher is not None else torch.full_like(student, float("nan"))
    return student, teacher.float()


def matryoshka(
    loss: Callable[[Tensor, Tensor], Tensor],
    queries: Tensor,
    documents: Tensor,
    *,
    dims: Sequence[int],
    weights: Sequence[float] | None = None,
    normalise: bool = True,
) -> Tensor:
    """A loss of the first dimensions, for each of several numbers of them (Kusupati et al., Matryoshka, 2022).

    Args:
        loss: takes queries and documents, gives a scalar.
        queries: shape (pairs, d).
        documents: shape (columns, d).
        dims: how many dimensions are kept, each at most d.
        weights: of each; None weighs all alike.
        normalise: scale what is kept to length 1 again, as search will.

    Returns:
        The weighted mean, so that the learning rate need not know how many there are.

    >>> total = lambda queries, documents: (queries @ documents.T).sum()
    >>> float(matryoshka(total, torch.tensor([[3.0, 4.0]]), torch.tensor([[1.0, 0.0]]), dims=[2, 1], normalise=False))
    3.0
    """
    shares = list(weights) if weights is not None else [1.0] * len(dims)
    parts = []
    for dim, share in zip(dims, shares, strict=True):
        kept = [vectors[:, :dim] for vectors in (queries, documents)]
        if normalise and dim < queries.shape[1]:
            kept = [functional.normalize(vectors, dim=-1) for vectors in kept]
        parts.append(share * loss(*kept))
    return torch.stack(parts).sum() / sum(shares)
