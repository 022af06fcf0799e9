"""The usual mistakes of training a bi-encoder, looked for in the user's own data; a finding is one line with its evidence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from biencoder.data.collection import Collection
from biencoder.pipeline.gate import Gate
from biencoder.pipeline.options import FitOptions
from biencoder.records import Example
from biencoder.towers.backbone import longest_input
from biencoder.towers.bi_encoder import BiEncoder

_COLLAPSED = 0.85
"""Mean cosine between random documents from which they are hard to tell apart."""
_ROSE = 1.3
"""A loss that ends so much above its least has gone astray."""
_SMOOTHED = 20
_ALIKE = 0.5
"""Share of the queries' words that documents use too, from which both are one language."""
_WORTH_TELLING = 0.02
"""Share of truncated texts below which nothing is said."""


def leaked_queries(collection: Collection, options: FitOptions) -> list[str]:
    """Queries of other splits that stand in train, letter case and white space aside."""

    def plain(split: str) -> dict[str, str]:
        return {query.id: " ".join(query.text.lower().split()) for query in collection.queries(split)}

    trained = set(plain(options.train_split).values())
    found = []
    for split in collection.splits:
        if split == options.train_split:
            continue
        both = [name for name, text in plain(split).items() if text in trained]
        if both:
            many = "1 query" if len(both) == 1 else f"{len(both)} queries"
            found.append(
                f"{many} of {split} also in {options.train_split}, word for word (such as {both[0]!r}): its figures say little "
                "of new queries; take them out of one of the two"
            )
    return found


def truncated_texts(model: BiEncoder, documents: Sequence[str]) -> tuple[float, int]:
    """The share of documents that the tower cuts, and the tokens it could take."""
    tower = model.document_tower
    longest = longest_input(tower.backbone, tower.tokenizer, tokenizer_limit=False)
    longest = max(tower.settings.max_length, longest)
    limit = tower.settings.max_length
    cut = sum(len(row) > limit for row in tower.twin(replace(tower.settings, max_length=limit + 1)).tokenise(documents))
    return cut / max(1, len(documents)), longest


def check_truncation(model: BiEncoder, gate: Gate, documents: Sequence[str]) -> list[str]:
    """How many documents are cut, and what dev says with twice the length, where the backbone takes it."""
    share, longest = truncated_texts(model, documents)
    if share < _WORTH_TELLING:
        return []
    limit = model.document_tower.settings.max_length
    said = f"{share:.0%} of the documents are longer than the {limit} tokens that the model reads"
    wider = min(longest, 2 * limit)
    if wider <= limit:
        return [f"{said}, and the backbone takes no more; passages (index --passages) would keep the rest"]
    other = model.adjusted(max_length=wider)
    before, after = gate.evaluate(model).measures[gate.measure], gate.evaluate(other).measures[gate.measure]
    advice = f"; BiEncoder.load(..., max_length={wider}) reads them" if after > before else ""
    return [f"{said}; with {wider} {gate.measure} on dev is {after:.4f}, with {limit} {before:.4f}{advice}"]


def check_pooling(model: BiEncoder, gate: Gate) -> list[str]:
    """Both poolings on dev, where the one asked for is not the checkpoint's."""
    own = model.checkpoint_pooling
    asked = model.document_tower.settings.pooling
    if own is None or own == asked:
        return []
    other = model.adjusted(pooling=own)
    here, there = gate.evaluate(model).measures[gate.measure], gate.evaluate(other).measures[gate.measure]
    found = (
        f"pooling {asked} was asked for, and the checkpoint was made with {own}: {gate.measure} on dev {here:.4f} with {asked}"
    )
    return [f"{found}, {there:.4f} with {own}" + ("; leave --pooling out" if there > here else "")]


def check_separation(model: BiEncoder, examples: Sequence[Example]) -> list[str]:
    """Towers that are split though both sides use the same words."""
    if model.shared:
        return []
    queries, documents = _words(one.query for one in examples), _words(one.positive for one in examples)
    share = len(queries & documents) / max(1, len(queries))
    if share < _ALIKE:
        return []
    found = f"the towers are split, though {share:.0%} of the words of the queries are words of the documents"
    return [f"{found}: shared weights learn from both sides and usually win; compare without it"]


def check_negatives(stages: Sequence[str]) -> list[str]:
    """Training on the batch's random negatives alone."""
    if not stages or any(kind != "in-batch" for kind in stages):
        return []
    return ["only in-batch negatives were used: they are random and soon too easy; the stages bm25 and mined bring hard ones"]


def mean_cosine(model: BiEncoder, documents: Sequence[str]) -> float:
    """Mean cosine between different documents."""
    vectors = model.encode_documents(list(documents)).astype(np.float64)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    count = len(vectors)
    together = float(np.square(vectors.sum(axis=0)).sum())
    return (together - count) / max(1, count * (count - 1))


def check_collapse(cosine: float, *, before: float) -> list[str]:
    """Vectors that have come to point one way."""
    if cosine < _COLLAPSED or cosine < before + 0.05:
        return []
    found = f"the vectors are collapsing: random documents have a mean cosine of {cosine:.2f} ({before:.2f} at the start)"
    return [f"{found}; lower the learning rate"]


def check_loss(losses: Sequence[float], *, rate: float) -> list[str]:
    """A loss that rises."""
    width = min(_SMOOTHED, max(1, len(losses) // 3))
    if len(losses) < 3:
        return []
    smooth = np.convolve(losses, np.full(width, 1 / width), mode="valid")
    if smooth[-1] <= _ROSE * smooth.min() or smooth[-1] <= smooth[0]:
        return []
    rose = f"the loss rose from {smooth.min():.3f} to {smooth[-1]:.3f}"
    return [f"{rose}: the learning rate of {rate:g} is too high here; try {rate / 4:g}"]


def _words(texts: Iterable[str]) -> set[str]:
    return {word for text in texts for word in text.lower().split() if word.isalpha()}
