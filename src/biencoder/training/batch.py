"""A training batch: pairs in, distinct texts and `Targets` out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

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
    return Batch([example.query for example in examples], documents, Targets(columns, ignored, ignored_queries, explicit))


def _known_positives(examples: Sequence[Example]) -> dict[str, set[str]]:
    """What the examples of each query know together: pairs of one query may come without knowing of each other."""
    known: dict[str, set[str]] = {}
    for example in examples:
        known.setdefault(example.query, set()).update(example.known_positives, [example.positive])
    return known
