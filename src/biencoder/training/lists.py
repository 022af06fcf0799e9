"""What a reranker is trained on: lists of a query's positives and negatives, and the loss over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from biencoder.records import Example
from biencoder.towers.cross_encoder import Pair

ListLoss = Literal["lce", "listwise"]


@dataclass(frozen=True, slots=True)
class CandidateList:
    """One query with documents to tell apart."""

    query: str
    positives: tuple[str, ...]
    negatives: tuple[str, ...]

    @property
    def pairs(self) -> list[Pair]:
        """What is scored: the positives first."""
        return [(self.query, document) for document in (*self.positives, *self.negatives)]

    def drawn(self, negatives: int, chance: np.random.Generator) -> CandidateList:
        """At most so many of the negatives, and no more positives than that, so that a list stays short.

        >>> long = CandidateList("q", ("p",), ("a", "b", "c"))
        >>> long.drawn(2, np.random.default_rng(0)).negatives
        ('b', 'c')
        """
        kept = _some(self.positives, negatives, chance), _some(self.negatives, negatives, chance)
        return replace(self, positives=kept[0], negatives=kept[1])


def make_lists(examples: Sequence[Example], loss: ListLoss) -> list[CandidateList]:
    """Lists that have a negative, in the order of the examples.

    ``lce`` makes one of each example. ``listwise`` makes one of each query, from all of its examples.

    Args:
        examples: a negative that the examples of its query know to be relevant is left out.
        loss: what the lists are for.

    >>> examples = [Example("q", "a", ("x",)), Example("q", "b", ("y", "a")), Example("r", "c")]
    >>> [(one.positives, one.negatives) for one in make_lists(examples, "lce")]
    [(('a',), ('x',)), (('b',), ('y',))]
    >>> [(one.positives, one.negatives) for one in make_lists(examples, "listwise")]
    [(('a', 'b'), ('x', 'y'))]
    """
    known: dict[str, set[str]] = {}
    for example in examples:
        known.setdefault(example.query, set()).update(example.known_positives, [example.positive])
    groups: dict[object, list[Example]] = {}
    for number, example in enumerate(examples):
        groups.setdefault(number if loss == "lce" else example.query, []).append(example)
    made = []
    for group in groups.values():
        query = group[0].query
        positives = tuple(dict.fromkeys(example.positive for example in group))
        negatives = dict.fromkeys(text for example in group for text in example.negatives)
        made.append(CandidateList(query, positives, tuple(text for text in negatives if text not in known[query])))
    return [one for one in made if one.negatives]


def list_cross_entropy(scores: Tensor, lists: Sequence[CandidateList]) -> Tensor:
    """Softmax cross-entropy of each list, the positives sharing the target evenly; the sum over lists.

    With one positive, and negatives drawn from a retriever's top ranks, it is localised contrastive estimation (Gao, Dai and
    Callan, Rethink training of BERT rerankers in multi-stage retrieval pipeline, 2021); with all of a query's positives it is
    the top-one cross-entropy of ListNet (Cao, Qin, Liu, Tsai and Li, 2007).

    Args:
        scores: of all lists' pairs in order, shape (pairs,).
        lists: what was scored.

    Returns:
        A scalar.

    >>> round(float(list_cross_entropy(torch.zeros(4), [CandidateList("q", ("a",), ("b", "c", "d"))])), 4)
    1.3863
    """
    parts = torch.split(scores.float(), [len(one.positives) + len(one.negatives) for one in lists])
    losses = [-part.log_softmax(dim=0)[: len(one.positives)].mean() for part, one in zip(parts, lists, strict=True)]
    return torch.stack(losses).sum()


def _some(texts: tuple[str, ...], count: int, chance: np.random.Generator) -> tuple[str, ...]:
    if len(texts) <= count:
        return texts
    return tuple(texts[place] for place in sorted(chance.choice(len(texts), size=count, replace=False).tolist()))
