"""The training loop, readable from top to bottom; checkpoints and exact resume."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from biencoder.data.batches import PairSampler, distinct, length_sorted_batches
from biencoder.errors import ArgumentError, DivergedError
from biencoder.progress import Progress
from biencoder.records import Example
from biencoder.towers.bi_encoder import BiEncoder
from biencoder.towers.tower import Tower
from biencoder.training.batch import Batch, draw_negatives, make_batch
from biencoder.training.computation import Computation, Way, choose_way
from biencoder.training.distributed import from_first, is_first, processes, sum_gradients
from biencoder.training.gradient_cache import MicroBatches, backward
from biencoder.training.guide import Guide
from biencoder.training.objective import Objective
from biencoder.training.optimisation import adamw, dropout_set, linear_schedule, seed_of
from biencoder.training.options import TrainingOptions
from biencoder.training.state import TrainingState, digest_of, load_state, put_weights, save_state, weights_of

Validate = Callable[[BiEncoder], float]


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What a training did.

    Attributes:
        scores: dev scores by step; step 0 is the model as it was given.
        chosen_step: the step whose weights the model has now.
        losses: of every step.
        pairs_per_second: of this process, dev evaluation and checkpoints included.
        way: how the towers computed.
    """

    scores: dict[int, float]
    chosen_step: int
    losses: list[float]
    pairs_per_second: float
    way: Way


def train(
    model: BiEncoder,
    examples: Sequence[Example],
    options: TrainingOptions,
    *,
    folder: Path | None = None,
    validate: Validate | None = None,
    guide: Guide | None = None,
    progress: Progress | None = None,
) -> TrainingResult:
    """Train a model in place.

    Under torchrun, with a process group, each process embeds its share of every batch; all must be called alike. The first one
    validates and writes.

    Args:
        model: its towers are changed.
        examples: the pairs; every epoch draws them in a new order.
        options: loss, batch, schedule.
        folder: where checkpoints go; a call with the same model, examples and options goes on from the last one and ends with
            the same weights as an unbroken call. None keeps nothing.
        validate: gives the dev score, higher is better. With it, the model ends with the weights of its best score, those that
            it was given included, so that training never makes it worse on dev.
        guide: says which in-batch negatives are likely to be relevant, where the options have a ``guide_margin``.
        progress: is told the steps, the loss and the pairs a second.

    Raises:
        ArgumentError: where the examples do not suffice, an option cannot be used, or the folder holds another training.
        DivergedError: where the loss is no longer a number.
    """
    if (options.guide_margin is not None) != (guide is not None):
        raise ArgumentError("guide_margin and a guide belong together; give both or neither")
    sampler = PairSampler(count=len(examples), batch_size=options.batch_size, seed=options.seed)
    steps = max(1, round(options.epochs * sampler.steps_per_epoch))
    run = _Run(model, options, steps, folder, guide, progress or Progress())
    run.resume({"examples": digest_of(examples), "options": options.model_dump(mode="json"), "model": run.start})
    first = [examples[position] for position in sampler.batch(0)]
    with run.prepared(first):
        run.look(validate, at=0)
        while run.state.step < steps:
            drawn = [examples[position] for position in sampler.batch(run.state.step)]
            run.step(drawn)
            if run.state.step in run.looks:
                run.look(validate, at=run.state.step)
            run.checkpoint()
    return run.finish()


class _Run:
    """One training under way."""

    def __init__(
        self,
        model: BiEncoder,
        options: TrainingOptions,
        steps: int,
        folder: Path | None,
        guide: Guide | None,
        progress: Progress,
    ) -> None:
        self.model = model
        self.options = options
        self.steps = steps
        self.folder = folder
        self.guide = guide
        self.progress = progress
        self.looks = {round(steps * (number + 1) / options.evaluations) for number in range(options.evaluations)}
        self.query = _at_length(model.query_tower, options.query_length)
        self.document = _at_length(model.document_tower, options.document_length)
        self.objective = Objective(options, dimension=model.dimension, normalise=model.normalised)
        self.towers = nn.ModuleDict({"document": model.document_tower, "query": model.query_tower})
        self.start = model.identity.as_dict() | {"threads": torch.get_num_threads(), "processes": processes()}
        if guide is not None:
            self.start |= {"guide": guide.identity.document}
        self.optimizer = adamw(self.towers, learning_rate=options.learning_rate, weight_decay=options.weight_decay)
        self.state = TrainingState()
        self.purpose: dict[str, Any] = {}
        self.saved_at = time.monotonic()
        self.began: tuple[float, int] = (0.0, 0)
        self.device = model.document_tower.device

    def resume(self, purpose: dict[str, Any]) -> None:
        """Go on from the last checkpoint, where there is one for this purpose."""
        self.purpose = purpose
        found = load_state(self.folder, self.towers, self.optimizer, purpose) if self.folder else None
        if found is not None:
            self.state = found
            self.progress.say(f"resumed at step {found.step} of {self.steps}")

    @contextmanager
    def prepared(self, examples: Sequence[Example]) -> Iterator[None]:
        """The way of computing chosen, dropout on and its randomness our own while the block runs; all as it was afterwards."""
        options = self.options
        devices = [self.device] if self.device.type == "cuda" else []
        rates = dropout_set(self.towers, hidden=options.dropout, attention=options.attention_dropout)
        with torch.random.fork_rng(devices=devices), rates:
            if self.state.way is None:
                texts = make_batch(draw_negatives(examples, options.negatives, seed=options.seed)).documents
                self.state.way = choose_way(self.query, self.document, texts, options)
            self.computation = Computation(self.query, self.document, self.state.way)
            self.began = (time.monotonic(), self.state.step)
            with self.computation.prepared():
                try:
                    yield
                finally:
                    self.towers.eval()

    def step(self, examples: Sequence[Example]) -> None:
        """One optimizer step over one batch of pairs."""
        options, step = self.options, self.state.step
        self.computation.train()
        for group in self.optimizer.param_groups:
            group["lr"] = options.learning_rate * linear_schedule(step, self.steps, warmup=options.warmup)
        loss = self.gradients(examples)
        nn.utils.clip_grad_norm_(self.towers.parameters(), options.max_gradient_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.computation.refresh()
        self.state.step += 1
        self.state.losses.append(loss)
        facts = f"loss {sum(self.state.losses[-20:]) / len(self.state.losses[-20:]):.3f}, {self.speed():.1f} pairs/s"
        self.progress("training", self.state.step, self.steps, facts)

    def gradients(self, examples: Sequence[Example]) -> float:
        """Put the gradients of a batch's loss into the parameters; gives the loss."""
        seed = seed_of(self.options.seed, self.state.step)
        batch = make_batch(draw_negatives(examples, self.options.negatives, seed=seed))
        targets = batch.targets
        if self.guide is not None and self.options.guide_margin is not None:
            targets = targets.guided(self.guide.scores(batch.queries, batch.documents), margin=self.options.guide_margin)
        targets = targets.to(self.device)
        parts, queries, documents = self.parts(batch, seed)

        def loss_of(vectors: Tensor) -> Tensor:
            loss = self.objective(vectors[queries], vectors[documents], targets)
            if not torch.isfinite(loss):
                raise DivergedError(
                    f"the loss is {loss.item()} at step {self.state.step + 1}; lower the learning rate "
                    f"(now {self.options.learning_rate:g}) or raise the temperature (now {self.options.temperature:g})"
                )
            return loss

        loss = backward(parts, loss_of, graph_tokens=self.options.graph_tokens)
        self.computation.collect_gradients()
        sum_gradients(self.towers.parameters())
        return float(loss)

    def parts(self, batch: Batch, seed: int) -> tuple[MicroBatches, Tensor, Tensor]:
        """The batch's texts as micro-batches, and where the vectors of its queries and of its documents lie among all."""
        forwards: list[Callable[[], Tensor]] = []
        sizes: list[int] = []
        tokens: list[int] = []
        places = []
        for tower, texts in ((self.computation.query, batch.queries), (self.computation.document, batch.documents)):
            unique, positions = distinct(texts)
            rows = tower.tokenise(unique)
            order = []
            for members in length_sorted_batches([len(row) for row in rows], token_budget=self.options.token_budget):
                collated = tower.collate([rows[member] for member in members])
                # A text's dropout is a function of the step and its micro-batch: see state.py and gradient_cache.py.
                forwards.append(partial(_embed, tower, *collated, seed=seed * 4099 % 2**62 + len(forwards)))
                sizes.append(len(members))
                tokens.append(collated[0].numel())
                order += members
            place = {member: sum(sizes) - len(order) + number for number, member in enumerate(order)}
            places.append(torch.tensor([place[position] for position in positions], device=self.device))
        dimension = self.model.dimension
        parts = MicroBatches(forwards, sizes, tokens, dimension, self.device, self.computation.running)
        return parts, places[0], places[1]

    def look(self, validate: Validate | None, *, at: int) -> None:
        """Take the dev score, and keep the weights where it is the best so far; a score taken before a restart stands."""
        if validate is None or at in self.state.scores:
            return
        self.towers.eval()
        self.state.scores[at] = from_first(validate(self.model) if is_first() else None)
        if self.state.best_step == at:
            self.state.best = weights_of(self.towers)
        self.checkpoint(now=True)

    def checkpoint(self, *, now: bool = False) -> None:
        """Write a checkpoint where one is due."""
        due = now or time.monotonic() - self.saved_at >= self.options.checkpoint_seconds
        if self.folder is not None and due and is_first():
            save_state(self.folder, self.state, self.towers, self.optimizer, self.purpose)
            self.saved_at = time.monotonic()

    def speed(self) -> float:
        """Pairs a second since this process began."""
        began, step = self.began
        return (self.state.step - step) * self.options.batch_size / max(time.monotonic() - began, 1e-9)

    def finish(self) -> TrainingResult:
        """Put the best weights in place."""
        if self.state.best is not None:
            put_weights(self.towers, self.state.best)
        best = self.state.best_step
        chosen = self.state.step if best is None else best
        way = self.state.way or Way()
        return TrainingResult(dict(self.state.scores), chosen, list(self.state.losses), self.speed(), way)


def _embed(tower: Tower, ids: Tensor, mask: Tensor, *, seed: int) -> Tensor:
    torch.manual_seed(seed)
    vectors: Tensor = tower(ids, mask)
    return vectors


def _at_length(tower: Tower, length: int | None) -> Tower:
    if length is None or length == tower.settings.max_length:
        return tower
    if length > tower.settings.max_length:
        raise ArgumentError(f"a training length of {length} tokens is more than the tower's own {tower.settings.max_length}")
    return tower.twin(replace(tower.settings, max_length=length))
