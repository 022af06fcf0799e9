"""`fit_reranker`: from a collection to a trained cross-encoder in one call."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from biencoder.data.collection import Collection
from biencoder.data.hold_out import Apart
from biencoder.data.sampling import sample
from biencoder.data.training_split import held_out_note, training_examples, with_dev
from biencoder.errors import DataError
from biencoder.evaluation import Retriever, evaluate, parse_measure
from biencoder.evaluation.basis import basis_of
from biencoder.mining import MiningOptions, mine, read_examples
from biencoder.progress import Progress
from biencoder.records import Example, Hit
from biencoder.run_folder import EXAMPLES, MEASURES, claim, write_examples, write_json
from biencoder.search.keywords import KeywordSearcher
from biencoder.search.model import Model
from biencoder.search.reranker import Reranker
from biencoder.search.searcher import Searcher
from biencoder.storage.folder import explain_os_errors, locked
from biencoder.towers.cross_encoder import CrossEncoder
from biencoder.towers.precision import bound_kernel_caches
from biencoder.training.reranker_options import RerankerOptions
from biencoder.training.reranking import RerankerTraining, train_reranker
from biencoder.training.state import digest_of

_QUERIES = 16
"""Dev queries that are reranked together; enough for batches of pairs that are about equally long."""


class ListOptions(MiningOptions):
    """How negatives are mined for a reranker.

    ``source`` is the retriever where one is given, else BM25, unless it is set.
    """

    negatives: Annotated[int, Field(ge=1)] = 32
    """Each step draws some of them anew; localised contrastive estimation samples the retriever's top ranks."""
    relative_margin: Annotated[float, Field(ge=0, lt=1)] | None = None
    """What the first stage ranks above the positive is what a reranker is there for."""


class RerankFitOptions(BaseModel):
    """What `fit_reranker` can be told.

    >>> RerankFitOptions(candidates=20).training.loss
    'lce'
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    training: RerankerOptions = RerankerOptions()
    mining: ListOptions = ListOptions()
    train_split: str = "train"
    dev_split: str = "dev"
    dev_share: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Where the collection has no dev split, this share of the training queries is held out: by default a tenth, and up to a
    fifth where that is fewer than 200."""
    dev_apart: Apart = "query"
    """What those that are held out must not share with the rest. ``query``: any queries, which stand for those to come if these
    ask for the same documents; ``document``: none that ask for a document that is trained on, where these are always new."""
    dev_queries: Annotated[int, Field(ge=1)] = 200
    """At most so many dev queries decide: reranking them is what an evaluation costs."""
    dev_documents: Annotated[int, Field(ge=100)] = 5000
    """Dev queries search their own relevant documents and others, so many in all; the whole corpus where it is smaller."""
    candidates: Annotated[int, Field(ge=2, le=1000)] = 50
    """Of each dev query, from the first stage; found once, reranked in every evaluation."""
    measure: str = "nDCG@10"


def fit_reranker(
    encoder: CrossEncoder,
    collection: Collection,
    *,
    out: str | os.PathLike[str],
    options: RerankFitOptions | None = None,
    retriever: Model | None = None,
    negatives: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> CrossEncoder:
    """Train a cross-encoder on a collection's own judgements and mined negatives.

    The run folder holds the configuration (`run.json`), the examples (`examples.jsonl`), the measures and the model (`model/`).
    The same call over the same folder goes on where an interrupted one stopped, and over a finished one returns its model.

    Args:
        encoder: where training starts (`CrossEncoder.from_backbone`); it is changed in place, and evaluated in its precision.
        collection: its ``train`` split is trained on, its ``dev`` split decides; where it has none, one is held out.
        out: the run folder.
        options: everything else.
        retriever: the first stage, whose rankings give negatives and the candidates of dev queries; None takes BM25.
        negatives: a file of examples with negatives, as `mine` writes it, instead of mining now. Dev queries that are held out
            must not be in it.
        progress: is told what goes on.

    Returns:
        The cross-encoder with the weights that reranked the dev queries best. Whether they beat the first stage is said, and
        stands in `measures.json`.

    Raises:
        DataError: where there is nothing to train on.
        ArgumentError: where an option cannot be used, or ``out`` holds another run.
        StorageError: where the folder cannot be written.
    """
    bound_kernel_caches(training=True)  # before mining encodes
    told, folder = progress or Progress(), Path(out).absolute()
    job = _Job(encoder, collection, _resolved(options or RerankFitOptions(), retriever), retriever, folder, told)
    with explain_os_errors(folder), locked(folder):
        job.read(negatives)
        claim(folder, job.configuration())
        if (folder / "model").is_dir():
            told.say(f"{folder} is finished: its model is taken as it is")
            encoder = CrossEncoder.load(folder / "model", precision=encoder.precision, device=str(encoder.device))
        else:
            job.run()
            encoder.save(folder / "model")  # with it, the run is finished
        shutil.rmtree(folder / "training", ignore_errors=True)  # checkpoints: four times the model's size, of no more use
    return encoder


def _resolved(options: RerankFitOptions, retriever: Model | None) -> RerankFitOptions:
    """The options with what they leave open decided, as the run folder keeps them."""
    mining = options.mining
    if "source" not in mining.model_fields_set:
        mining = mining.model_copy(update={"source": "bm25" if retriever is None else "model"})
    return options.model_copy(update={"measure": parse_measure(options.measure).name, "mining": mining})


class _Job:
    """One reranker to be trained."""

    def __init__(
        self,
        encoder: CrossEncoder,
        collection: Collection,
        options: RerankFitOptions,
        retriever: Model | None,
        folder: Path,
        progress: Progress,
    ) -> None:
        self.encoder = encoder
        self.collection = collection
        self.options = options
        self.retriever = retriever
        self.folder = folder
        self.progress = progress
        self.pairs: list[Example] = []
        self.mined = True
        self.held_out = False

    def read(self, negatives: str | os.PathLike[str] | None) -> None:
        """Find the pairs to train on and the dev split.

        Raises:
            DataError: where there is nothing to train on.
        """
        options = self.options
        self.collection, self.held_out = with_dev(self.collection, options, seed=options.training.seed)
        self.mined = negatives is None
        if negatives is None:
            self.pairs = training_examples(self.collection, options.train_split)
            return
        self.pairs = self._without_dev(read_examples(negatives))
        if not self.pairs:
            raise DataError(
                f"{negatives} has no example whose query is not in {options.dev_split}; mine the split that is trained on"
            )

    def _without_dev(self, examples: list[Example]) -> list[Example]:
        """What decides must not be trained on, also where it was mined before it was held out."""
        asked = {query.text for query in self.collection.queries(self.options.dev_split)}
        kept = [example for example in examples if example.query not in asked]
        if len(kept) < len(examples):
            self.progress.say(
                f"{len(examples) - len(kept):,} of {len(examples):,} examples ask queries of {self.options.dev_split} "
                "and are left out"
            )
        return kept

    def configuration(self) -> dict[str, Any]:
        """All that decides the run."""
        identity = None if self.retriever is None else self.retriever.identity
        return {
            "kind": "run",
            "version": 3,
            "task": "reranker",
            "options": self.options.model_dump(mode="json"),
            "start": {"reranker": self.encoder.fingerprint(), "fresh": self.encoder.fresh},
            "retriever": None if identity is None else {"document": identity.document, "query": identity.query},
            "examples": {"pairs": len(self.pairs), "mined": self.mined, "sha256": digest_of(self.pairs)},
            "dev": basis_of(self.collection, self.options.dev_split),
        }

    def run(self) -> None:
        """Mine, find the dev queries' candidates, train, and say what came of it."""
        if self.held_out:
            self.progress.say(held_out_note(self.collection, self.options))
        examples = self._examples()
        dev = _Dev.find(self.collection, self.options, self.retriever, self.progress)
        before = dev.score(dev, Progress())
        self.progress.say(f"{self.options.measure} on {self.options.dev_split}: {before:.4f} before reranking")

        def validate(candidate: CrossEncoder) -> float:
            score = dev.score(Reranker(dev, candidate, depth=self.options.candidates), self.progress)
            self.progress.say(f"{self.options.measure} on {self.options.dev_split}: {score:.4f}")
            return score

        training = self.options.training
        result = train_reranker(
            self.encoder, examples, training, folder=self.folder / "training", validate=validate, progress=self.progress
        )
        self._finish(result, dev, before)

    def _examples(self) -> list[Example]:
        path = self.folder / EXAMPLES
        if not self.mined:
            write_examples(path, self.pairs)
            return self.pairs
        split, options = self.options.train_split, self.options.mining
        mine(self.retriever, self.collection, out=path, split=split, options=options, progress=self.progress)
        return read_examples(path)

    def _finish(self, result: RerankerTraining, dev: _Dev, before: float) -> None:
        after, measure = result.scores[result.chosen_step], self.options.measure
        helps = after > before
        self.progress.say(
            f"reranking helps: {measure} on dev {before:.4f} → {after:.4f} (step {result.chosen_step})"
            if helps
            else f"reranking does not help: dev {measure} never exceeded the {before:.4f} of the first stage"
        )
        measures = {
            "measure": measure,
            "first_stage": before,
            "dev": {str(step): score for step, score in sorted(result.scores.items())},
            "dev_queries": len(dev.collection.queries(self.options.dev_split)),
            "held_out": self.held_out,
            "candidates": self.options.candidates,
            "chosen_step": result.chosen_step,
            "helps": helps,
            "pairs": len(self.pairs),
            "lists": result.lists,
            "lists_per_second": round(result.lists_per_second, 2),
            "losses": [round(loss, 5) for loss in result.losses],
        }
        write_json(self.folder / MEASURES, measures)


@dataclass(frozen=True, slots=True)
class _Dev:
    """Dev queries with their candidates: a first stage whose answers are known."""

    collection: Collection
    split: str
    measure: str
    hits: dict[str, list[Hit]]

    @classmethod
    def find(cls, whole: Collection, options: RerankFitOptions, retriever: Model | None, progress: Progress) -> _Dev:
        """Search for the queries once; all evaluations rerank the same candidates."""
        split, seed = options.dev_split, options.training.seed
        collection = sample(whole, split, queries=options.dev_queries, documents=options.dev_documents, seed=seed)
        texts = [query.text for query in collection.queries(split)]
        searcher: Retriever
        if retriever is None:
            searcher = KeywordSearcher.build(collection.documents)
        else:
            searcher = Searcher.in_memory(retriever, collection.documents, progress=progress)
        found = searcher.search_many(texts, k=options.candidates)
        return cls(collection, split, options.measure, dict(zip(texts, found, strict=True)))

    def search_many(self, queries: Sequence[str], *, k: int) -> list[list[Hit]]:
        """The first of each query's candidates."""
        return [self.hits[query][:k] for query in queries]

    def score(self, retriever: Retriever, progress: Progress) -> float:
        """The measure of what answers the dev queries, a few at a time so that the bar moves."""
        found = evaluate(
            retriever,
            self.collection,
            split=self.split,
            measures=[self.measure],
            block_size=_QUERIES,
            progress=partial(progress, "reranking"),
        )
        return found.measures[self.measure]
