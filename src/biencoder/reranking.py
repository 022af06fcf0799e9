"""`fit_reranker`: from a collection to a trained cross-encoder in one call."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from biencoder.data.collection import Collection
from biencoder.data.hold_out import Apart
from biencoder.data.sampling import sample
from biencoder.data.training_split import held_out_note, training_examples, with_dev
from biencoder.errors import DataError
from biencoder.evaluation import parse_measure
from biencoder.evaluation.basis import basis_of
from biencoder.evaluation.candidates import Candidates, Reranked
from biencoder.mining import MiningOptions, mine, read_examples
from biencoder.progress import Progress
from biencoder.records import Example
from biencoder.run_folder import EXAMPLES, MEASURES, claim, write_examples, write_json
from biencoder.search.model import Model
from biencoder.storage.folder import explain_os_errors, locked
from biencoder.towers.cross_encoder import CrossEncoder
from biencoder.towers.precision import bound_kernel_caches
from biencoder.training.reranker_options import RerankerOptions
from biencoder.training.reranking import RerankerTraining, train_reranker
from biencoder.training.state import digest_of

_SURE = 0.05
"""A reranker that is not better by a p-value below it is not said to help: it makes searches a hundred times slower."""


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
        The cross-encoder with the weights that reranked the dev queries best, and with how much of the first stage's score that
        was (`CrossEncoder.first_stage`). Whether they beat the first stage alone is said, and stands in `measures.json`.

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
            "version": 4,
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
        judge = _Judge(self._candidates(), self.progress)
        training = self.options.training
        result = train_reranker(
            self.encoder, examples, training, folder=self.folder / "training", validate=judge.score, progress=self.progress
        )
        self._finish(result, judge)

    def _candidates(self) -> Candidates:
        options, split = self.options, self.options.dev_split
        queries, documents, seed = options.dev_queries, options.dev_documents, options.training.seed
        return Candidates.find(
            sample(self.collection, split, queries=queries, documents=documents, seed=seed),
            split,
            retriever=self.retriever,
            measure=options.measure,
            depth=options.candidates,
            progress=self.progress,
        )

    def _examples(self) -> list[Example]:
        path = self.folder / EXAMPLES
        if not self.mined:
            write_examples(path, self.pairs)
            return self.pairs
        split, options = self.options.train_split, self.options.mining
        mine(self.retriever, self.collection, out=path, split=split, options=options, progress=self.progress)
        return read_examples(path)

    def _finish(self, result: RerankerTraining, judge: _Judge) -> None:
        before, measure = judge.before, self.options.measure
        chosen = judge.of(self.encoder)
        self.encoder.first_stage = chosen.weight
        self.progress.say(_verdict(measure, before, chosen, step=result.chosen_step))
        measures = {
            "measure": measure,
            "first_stage": before,
            "dev": {str(step): score for step, score in sorted(result.scores.items())},
            "alone": chosen.alone,
            "first_stage_weight": chosen.weight.weight,
            "p_value": chosen.p_value,
            "dev_queries": judge.queries,
            "held_out": self.held_out,
            "candidates": self.options.candidates,
            "chosen_step": result.chosen_step,
            "helps": _helps(before, chosen),
            "pairs": len(self.pairs),
            "lists": result.lists,
            "lists_per_second": round(result.lists_per_second, 2),
            "losses": [round(loss, 5) for loss in result.losses],
        }
        write_json(self.folder / MEASURES, measures)


def _helps(before: float, chosen: Reranked) -> bool:
    return chosen.score > before and chosen.p_value < _SURE


def _verdict(measure: str, before: float, chosen: Reranked, *, step: int) -> str:
    if chosen.score <= before:
        return f"reranking does not help: dev {measure} never exceeded the {before:.4f} of the first stage"
    weight = f", with {chosen.weight.weight:g} times the first stage's score" if chosen.weight.weight else ""
    word = "helps" if _helps(before, chosen) else "does not surely help"
    how = f"step {step}{weight}; p = {chosen.p_value:.4f}"
    return f"reranking {word}: {measure} on dev {before:.4f} → {chosen.score:.4f} ({how})"


class _Judge:
    """Says on dev how good a cross-encoder is, and remembers what it found of which weights."""

    def __init__(self, candidates: Candidates, progress: Progress) -> None:
        self._candidates = candidates
        self._progress = progress
        self._found: dict[str, Reranked] = {}
        self._name = f"{candidates.measure} on {candidates.split}"
        self.before = candidates.before()
        self.queries = len(candidates.collection.queries(candidates.split))
        progress.say(f"{self._name}: {self.before:.4f} before reranking")

    def score(self, encoder: CrossEncoder) -> float:
        """The measure with the best weight of the first stage's score."""
        found = self.of(encoder)
        alone = f" ({found.alone:.4f} without the first stage's score)" if found.weight.weight else ""
        self._progress.say(f"{self._name}: {found.score:.4f}{alone}")
        return found.score

    def of(self, encoder: CrossEncoder) -> Reranked:
        """What reranking with these weights gives; found anew where they were judged before a restart."""
        own = encoder.fingerprint()
        if own not in self._found:
            self._found[own] = self._candidates.reranked(encoder, progress=self._progress)
        return self._found[own]
