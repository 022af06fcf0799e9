"""What a training needs of a collection: pairs to train on, and a dev split apart from them."""

from __future__ import annotations

from typing import Protocol

from biencoder.configuration import nearest
from biencoder.data.collection import Collection
from biencoder.data.hold_out import Apart
from biencoder.errors import DataError
from biencoder.records import Example

_SHARES = (0.1, 0.2)
_ENOUGH_QUERIES = 200
"""Dev queries from which a share of 0.1 suffices; with fewer, chance decides more than training does."""


class SplitOptions(Protocol):
    """What a training's options say of its splits."""

    @property
    def train_split(self) -> str:
        """Is trained on."""

    @property
    def dev_split(self) -> str:
        """Decides."""

    @property
    def dev_share(self) -> float | None:
        """Of the training queries, held out where there is no dev split; None leaves it to `dev_share`."""

    @property
    def dev_apart(self) -> Apart:
        """What those that are held out must not share with the rest."""


def dev_share(queries: int) -> float:
    """The share of so many training queries that is held out where nothing is said: 0.1, and up to 0.2 where they are few.

    >>> [dev_share(queries) for queries in (100, 809, 1_600, 5_000)]
    [0.2, 0.2, 0.125, 0.1]
    """
    least, most = _SHARES
    return min(most, max(least, _ENOUGH_QUERIES / max(1, queries)))


def with_dev(collection: Collection, options: SplitOptions, *, seed: int) -> tuple[Collection, bool]:
    """The collection with a dev split, which is held out where it has none.

    Args:
        collection: to be trained on.
        options: name the splits, and say how dev is held out.
        seed: decides which queries are.

    Returns:
        The collection, and whether the dev split was held out.

    Raises:
        DataError: where there is no such training split.
        ArgumentError: where no dev split can be held out.
    """
    train, dev = options.train_split, options.dev_split
    if train not in collection.splits:
        raise DataError(f"the collection has no split {train!r} to train on{nearest(train, collection.splits)}")
    if dev in collection.splits:
        return collection, False
    share = dev_share(len(collection.judgements(train))) if options.dev_share is None else options.dev_share
    return collection.hold_out(share=share, seed=seed, into=dev, source=train, apart=options.dev_apart), True


def held_out_note(collection: Collection, options: SplitOptions) -> str:
    """What the user is told of a dev split that was held out."""
    train, dev = options.train_split, options.dev_split
    queries = collection.queries(dev)
    fresh = len(asked_apart(collection, train=train, dev=dev))
    known = f"; {len(queries) - fresh} of them ask for documents that {train} asks for too" if fresh < len(queries) else ""
    return f"no {dev} split: {len(queries)} queries of {train} are held out{known}"


def asked_apart(collection: Collection, *, train: str, dev: str) -> set[str]:
    """The dev queries that share no relevant document with a training query."""
    asked = {document for grades in collection.judgements(train).values() for document, grade in grades.items() if grade > 0}
    return {
        query
        for query, grades in collection.judgements(dev).items()
        if asked.isdisjoint(document for document, grade in grades.items() if grade > 0)
    }


def training_examples(collection: Collection, split: str) -> list[Example]:
    """The pairs of a split.

    Raises:
        DataError: where nothing in it is relevant.
    """
    examples = collection.examples(split)
    if not examples:
        raise DataError(f"the split {split!r} has no relevant document to train on; grades above 0 are needed")
    return examples
