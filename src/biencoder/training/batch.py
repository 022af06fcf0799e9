"""A training batch: pairs in, distinct texts and `Targets` out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from biencoder.data.batches import distinct
from biencoder.records import Example
from biencoder.training.losses import Targets


@dataclass(frozen=True, slots=True)
class Batch:
    """The texts that are encoded, and who belongs to whom; a document that stands twice is one column."""

    queries: list[str]
    documents: list[str]
    targets: Targets


def make_batch(examples: Sequence[Example]) -> Batch:
    """Lay out the pairs of one step.

    A document that is a known positive of another query in the batch is never that query's negative: its score is left out of
    that query's sum. The batch stays a fixed number of randomly drawn pairs.

    Args:
        examples: the pairs, with their own negatives where they have some.

    >>> known = frozenset({"a", "b"})
    >>> batch = make_batch([Example("q", "a", known_positives=known), Example("q", "b", known_positives=known)])
    >>> batch.targets.ignored.tolist()
    [[False, True], [True, False]]
    """
    texts = [example.positive for example in examples]
    for example in examples:
        texts.extend(example.negatives)
    documents, positions = distinct(texts)
    places = {text: place for place, text in enumerate(documents)}
    known = _known_positives(examples)
    relevant = torch.zeros(len(examples), len(documents), dtype=torch.bool)
    explicit = torch.zeros_like(relevant)
    for row, example in enumerate(examples):
        relevant[row, [places[text] for text in known[example.query] if text in places]] = True
        explicit[row, [places[text] for text in example.negatives]] = True
    columns = torch.tensor(positions[: len(examples)])
    ignored = relevant.scatter(1, columns.unsqueeze(1), value=False)
    ignored_queries = relevant[:, columns].T.clone().fill_diagonal_(False)
    targets = Targets(columns, ignored, ignored_queries, explicit, _teacher_scores(examples, places))
    return Batch([example.query for example in examples], documents, targets)


def draw_negatives(examples: Sequence[Example], count: int | None, *, seed: int) -> list[Example]:
    """The examples with at most ``count`` of their own negatives each, drawn anew for every seed.

    Args:
        examples: with any number of negatives.
        count: how many may stay; None keeps all.
        seed: of the draw.

    >>> example = Example("q", "p", negatives=("a", "b", "c"), scores=(9.0, 1.0, 2.0, 3.0))
    >>> drawn = draw_negatives([example], 1, seed=0)[0]
    >>> drawn.negatives, drawn.scores
    (('c',), (9.0, 3.0))
    """
    chance = np.random.default_rng(seed)
    return [_with_some(example, count, chance) for example in examples]


def _with_some(example: Example, count: int | None, chance: np.random.Generator) -> Example:
    if count is None or len(example.negatives) <= count:
        return example
    kept = sorted(int(place) for place in chance.choice(len(example.negatives), size=count, replace=False))
    scores = example.scores
    if scores is not None:
        scores = (scores[0], *(scores[1 + place] for place in kept))
    return replace(example, negatives=tuple(example.negatives[place] for place in kept), scores=scores)


def _teacher_scores(examples: Sequence[Example], places: dict[str, int]) -> Tensor | None:
    """The teacher's scores at their columns, NaN elsewhere."""
    if all(example.scores is None for example in examples):
        return None
    found = torch.full((len(examples), len(places)), float("nan"))
    for row, example in enumerate(examples):
        if example.scores is not None:
            columns = [places[text] for text in (example.positive, *example.negatives)]
            found[row, columns] = torch.tensor(example.scores, dtype=torch.float32)
    return found


def _known_positives(examples: Sequence[Example]) -> dict[str, set[str]]:
    """What the examples of each query know together: pairs of one query may come without knowing of each other."""
    known: dict[str, set[str]] = {}
    for example in examples:
        known.setdefault(example.query, set()).update(example.known_positives, [example.positive])
    return known
