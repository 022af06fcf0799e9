"""What a run trains on and what decides: training pairs, and a dev sample that is hard enough to tell models apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from biencoder.data.collection import Collection
from biencoder.data.sampling import sample, sample_queries
from biencoder.data.self_supervised import self_supervised
from biencoder.data.training_split import held_out_note, training_examples, with_dev
from biencoder.pipeline.options import FitOptions
from biencoder.progress import Progress
from biencoder.records import Example
from biencoder.search.keywords import KeywordIndex

_KEYWORD_RANKS = 10
"""Documents that BM25 takes for the best of each dev query: wrong ones among them are what a model has to tell apart."""


@dataclass(frozen=True, slots=True)
class Task:
    """What is trained on and what decides.

    Attributes:
        collection: with the splits that are used, the held-out one included.
        examples: the training pairs.
        held_out: the dev split was taken from the training split.
        made_up: queries were made from the documents, because there are none.
    """

    collection: Collection
    examples: list[Example]
    held_out: bool
    made_up: bool


def read_task(collection: Collection, options: FitOptions, progress: Progress) -> Task:
    """Find or make training pairs and a dev split.

    Raises:
        DataError: where there is nothing to train on.
        ArgumentError: where no dev split can be held out.
    """
    made_up = not collection.splits
    if made_up:
        collection = self_supervised(collection.documents, split=options.train_split, seed=options.training.seed)
        progress.say(
            f"no queries: {len(collection.queries()):,} are made from the documents, each a title or a crop. What is learned "
            "from them is a start, and the dev score says nothing of real queries: collect some; a hundred pairs tell more"
        )
    collection, held_out = with_dev(collection, options, seed=options.training.seed)
    examples = training_examples(collection, options.train_split)
    if held_out:
        progress.say(held_out_note(collection, options))
    return Task(collection, examples, held_out, made_up)


def dev_sample(task: Task, options: FitOptions, *, documents: int) -> Collection:
    """The dev queries that decide, over their own documents, those that BM25 ranks high, and others at random.

    Args:
        task: what is trained on.
        options: the split, and how many queries at most.
        documents: so many in all, where the corpus has them.
    """
    collection, split, seed = task.collection, options.dev_split, options.training.seed
    wanted: set[str] = set()
    if documents < len(collection.documents):
        asked = sample_queries(collection, split, count=options.dev_queries, seed=seed)
        wanted = _confusable(collection, [query.text for query in asked], most=documents // 2)
    return sample(collection, split, queries=options.dev_queries, documents=documents, seed=seed, wanted=wanted)


def _confusable(collection: Collection, queries: list[str], *, most: int) -> set[str]:
    """Ids of the documents that BM25 ranks high for the queries, best ranks first."""
    ids: list[str] = []

    def texts() -> Iterator[str]:
        for document in collection.documents:
            ids.append(document.id)
            yield document.content

    index = KeywordIndex.build(texts())
    rankings = [index.search(query, k=_KEYWORD_RANKS)[1].tolist() for query in queries]
    found: dict[str, None] = {}
    for rank in range(_KEYWORD_RANKS):
        found |= {ids[ranking[rank]]: None for ranking in rankings if rank < len(ranking)}
    return set(list(found)[:most])
