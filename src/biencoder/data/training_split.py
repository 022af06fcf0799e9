"""What a training needs of a collection: pairs to train on, and a dev split apart from them."""

from __future__ import annotations

from biencoder.configuration import nearest
from biencoder.data.collection import Collection
from biencoder.errors import DataError
from biencoder.records import Example


def with_dev(collection: Collection, *, train: str, dev: str, share: float, seed: int) -> tuple[Collection, bool]:
    """The collection with a dev split, held out by document where it has none.

    Args:
        collection: to be trained on.
        train: the split that is trained on.
        dev: the split that decides.
        share: of the training queries that is held out.
        seed: decides which.

    Returns:
        The collection, and whether the dev split was held out.

    Raises:
        DataError: where there is no such training split.
        ArgumentError: where no dev split can be held out.
    """
    if train not in collection.splits:
        raise DataError(f"the collection has no split {train!r} to train on{nearest(train, collection.splits)}")
    if dev in collection.splits:
        return collection, False
    return collection.hold_out(share=share, seed=seed, into=dev, source=train), True


def held_out_note(collection: Collection, *, train: str, dev: str) -> str:
    """What the user is told of a dev split that was held out."""
    return f"no {dev} split: {len(collection.queries(dev))} queries of {train} are held out, by document"


def training_examples(collection: Collection, split: str) -> list[Example]:
    """The pairs of a split.

    Raises:
        DataError: where nothing in it is relevant.
    """
    examples = collection.examples(split)
    if not examples:
        raise DataError(f"the split {split!r} has no relevant document to train on; grades above 0 are needed")
    return examples
