"""The cross-encoder of a run: trained on what the model confuses, asked only where it ranks better than the model."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from biencoder.data.collection import Collection
from biencoder.data.sampling import sample
from biencoder.errors import ArgumentError, DivergedError
from biencoder.evaluation import evaluate
from biencoder.identity import short
from biencoder.mining import MiningOptions, mine, read_examples
from biencoder.pipeline.gate import Gate, weights_key
from biencoder.pipeline.options import FitOptions
from biencoder.pipeline.plan import Plan
from biencoder.pipeline.planning import JUDGED_DEPTH, JUDGED_QUERIES
from biencoder.pipeline.story import RESULT, read_json
from biencoder.progress import Progress
from biencoder.run_folder import EXAMPLES, write_json
from biencoder.search.reranker import Reranker
from biencoder.search.searcher import Searcher
from biencoder.towers.backbone import longest_input
from biencoder.towers.bi_encoder import BiEncoder
from biencoder.towers.cross_encoder import CrossEncoder
from biencoder.training.lists import make_lists
from biencoder.training.reranker_options import RerankerOptions
from biencoder.training.reranking import train_reranker

_NEGATIVES = 16
"""Mined for a pair, of which each step of its training draws some."""
_QUERY_TOKENS = 64
_FACTS = "facts.json"


def given_teacher(options: FitOptions, model: BiEncoder) -> CrossEncoder | None:
    """The teacher that the options name; None where one is to be trained, or none is wanted.

    Raises:
        ArgumentError: where the teacher that is to be trained could not read pairs as long as the options want.
        ModelError: where the named one cannot be read.
    """
    if options.teacher not in {"auto", "none"}:
        return CrossEncoder.load(options.teacher, precision=options.training.precision)
    asked, most = options.reranker_options().max_length, _pair_length(model)
    if options.teacher == "auto" and asked is not None and asked > most:
        raise ArgumentError(
            f"reranker.max_length is {asked}, and a teacher made of this model reads {most} tokens of a pair; ask for no more, "
            "or load the model with a greater max_length"
        )
    return None


class Teaching:
    """Trains or takes the teacher when it is first asked for, and judges it against the model each time.

    Args:
        mining: pairs, and the documents that its negatives are looked for in.
        plan: how many lists it is trained on.
        gate: holds the dev sample.
        options: of the run.
        folder: its own.
        progress: is told what goes on.
        given: the teacher, where the options name one.
    """

    def __init__(
        self,
        mining: Collection,
        plan: Plan,
        gate: Gate,
        options: FitOptions,
        folder: Path,
        progress: Progress,
        *,
        given: CrossEncoder | None = None,
    ) -> None:
        self.facts: dict[str, Any] = read_json(folder / _FACTS) or {}  # of an earlier call, whose units are not done again
        self._mining = mining
        self._plan = plan
        self._gate = gate
        self._options = options
        self._folder = folder
        self._progress = progress
        self._encoder = given
        self._tried = given is not None
        queries = min(JUDGED_QUERIES, options.dev_queries)
        documents = len(gate.dev.documents)
        self._dev = sample(gate.dev, gate.split, queries=queries, documents=documents, seed=options.training.seed)

    @property
    def seconds(self) -> float:
        """That its training took, in this run or an earlier call of it."""
        return float(self.facts.get("seconds", 0.0))

    def teacher(self, model: BiEncoder) -> CrossEncoder | None:
        """The teacher, where there is one that ranks the model's own results better than the model does."""
        encoder = self._found(model)
        if encoder is None:
            return None
        own, reranked = self._scores(model, encoder)
        measure = self._gate.measure
        said = (
            f"{measure} of {len(self._dev.queries(self._gate.split))} dev queries: the model {own:.4f}, reranked {reranked:.4f}"
        )
        self._note({"model": own, "reranked": reranked})
        if reranked > own:
            self._progress.say(f"the teacher teaches; {said}")
            return encoder
        self._progress.say(f"the teacher does not teach, since it ranks no better; {said}")
        return None

    def reranked(self, model: BiEncoder) -> tuple[float, float] | None:
        """The measure of a model on dev and of the teacher over its results; None where there is no teacher."""
        encoder = self._found(model) if "reranked" in self.facts else None
        return None if encoder is None else self._scores(model, encoder)

    def _note(self, facts: dict[str, Any]) -> None:
        self.facts |= facts
        self._folder.mkdir(parents=True, exist_ok=True)
        write_json(self._folder / _FACTS, self.facts)

    def _found(self, model: BiEncoder) -> CrossEncoder | None:
        if not self._tried:
            self._tried = True
            self._encoder = self._make(model)
        return self._encoder

    def _make(self, model: BiEncoder) -> CrossEncoder | None:
        if self._options.teacher == "none" or not self._plan.teacher_lists:
            return None
        done = read_json(self._folder / RESULT)
        if done is None:
            done = self._train(model, self._options.reranker_options())
            write_json(self._folder / RESULT, done)
        self._note(done)
        precision = self._options.reranker_options().precision
        return CrossEncoder.load(self._folder / "model", precision=precision) if done["trained"] else None

    def _train(self, model: BiEncoder, options: RerankerOptions) -> dict[str, Any]:
        began = time.monotonic()
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / EXAMPLES
        most = max(_NEGATIVES, options.negatives)
        mining = MiningOptions(negatives=most, relative_margin=None, last_rank=max(50, most), seed=self._options.training.seed)
        vectors = self._folder.parent / "vectors"
        split = self._options.train_split
        mine(model, self._mining, out=path, split=split, options=mining, vectors=vectors, progress=self._progress)
        examples = [example for example in read_examples(path) if example.negatives]
        if len(make_lists(examples, options.loss)) < 2:
            return self._none("fewer than 2 training queries have negatives to learn from", began)
        epochs = min(options.epochs, self._plan.teacher_lists / max(1, len(examples)))
        options = options.model_copy(update={"epochs": round(max(epochs, 0.01), 4)})
        start = self._folder / "start"
        model.save(start)
        try:
            encoder = CrossEncoder.from_backbone(
                start, seed=options.seed, precision=options.precision, max_length=_pair_length(model)
            )
            self._progress.say(f"teacher: {len(examples):,} lists, {options.epochs:.2f} epochs")
            trained = train_reranker(encoder, examples, options, folder=self._folder / "training", progress=self._progress)
            encoder.save(self._folder / "model")
        except DivergedError as error:
            return self._none(str(error), began)
        finally:
            shutil.rmtree(start, ignore_errors=True)
        shutil.rmtree(self._folder / "training", ignore_errors=True)
        return {
            "trained": True,
            "options": options.model_dump(mode="json"),
            "lists": trained.lists,
            "lists_per_second": round(trained.lists_per_second, 2),
            "losses": [round(loss, 5) for loss in trained.losses],
            "seconds": round(time.monotonic() - began, 1),
        }

    def _none(self, reason: str, began: float) -> dict[str, Any]:
        self._progress.say(f"there is no teacher: {reason}")
        return {"trained": False, "reason": reason, "seconds": round(time.monotonic() - began, 1)}

    def _scores(self, model: BiEncoder, encoder: CrossEncoder) -> tuple[float, float]:
        """The measure of the model and of the encoder over its results, on the same queries; kept by their fingerprints."""
        key = f"{weights_key(model)}-{short(encoder.fingerprint())}.json"
        path = self._folder / "dev" / key
        found = read_json(path)
        if found is None:
            measure, split = self._gate.measure, self._gate.split
            searcher = Searcher.in_memory(model, self._dev.documents, progress=self._progress)
            own = evaluate(searcher, self._dev, split=split, measures=[measure])
            self._progress.say(f"reranking {JUDGED_DEPTH} results of {own.queries} dev queries")
            reranker = Reranker(searcher, encoder, depth=JUDGED_DEPTH, weight=0.0)
            reranked = evaluate(reranker, self._dev, split=split, measures=[measure])
            found = {"model": own.measures[measure], "reranked": reranked.measures[measure]}
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, found)
        return found["model"], found["reranked"]


def _pair_length(model: BiEncoder) -> int:
    """Room for a document as the tower reads it and a query beside, where the backbone has it."""
    tower = model.document_tower
    longest = longest_input(tower.backbone, tower.tokenizer, tokenizer_limit=False)
    return min(longest, tower.settings.max_length + _QUERY_TOKENS)
