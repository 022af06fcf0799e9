"""The training loop, readable from top to bottom; checkpoints and exact resume."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from biencoder.data.batches import PairSampler
from biencoder.errors import ArgumentError, ModelError
from biencoder.progress import Progress
from biencoder.records import Example
from biencoder.towers.bi_encoder import BiEncoder
from biencoder.towers.precision import Precision, running
from biencoder.towers.tower import Tower
from biencoder.training.batch import make_batch
from biencoder.training.losses import info_nce, triplet
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
    """

    scores: dict[int, float]
    chosen_step: int
    losses: list[float]
    pairs_per_second: float


def train(
    model: BiEncoder,
    examples: Sequence[Example],
    options: TrainingOptions,
    *,
    folder: Path | None = None,
    validate: Validate | None = None,
    progress: Progress | None = None,
) -> TrainingResult:
    """Train a model in place.

    Args:
        model: its towers are changed.
        examples: the pairs; every epoch draws them in a new order.
        options: loss, batch, schedule.
        folder: where checkpoints go; a call with the same model, examples and options goes on from the last one and ends with
            the same weights as an unbroken call. None keeps nothing.
        validate: gives the dev score, higher is better. With it, the model ends with the weights of its best score, those that
            it was given included, so that training never makes it worse on dev.
        progress: is told the steps, the loss and the pairs a second.

    Raises:
        ArgumentError: where the examples do not suffice, or the folder holds another training.
        ModelError: where the loss is no longer a number.
    """
    sampler = PairSampler(count=len(examples), batch_size=options.batch_size, seed=options.seed)
    steps = max(1, round(options.epochs * sampler.steps_per_epoch))
    run = _Run(model, options, steps, folder, progress or Progress())
    run.resume({"examples": digest_of(examples), "options": options.model_dump(mode="json"), "model": run.start})
    with run.prepared():
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

    def __init__(self, model: BiEncoder, options: TrainingOptions, steps: int, folder: Path | None, progress: Progress) -> None:
        self.model = model
        self.options = options
        self.steps = steps
        self.folder = folder
        self.progress = progress
        self.looks = {round(steps * (number + 1) / options.evaluations) for number in range(options.evaluations)}
        self.query = _at_length(model.query_tower, options.query_length)
        self.document = _at_length(model.document_tower, options.document_length)
        self.towers = nn.ModuleDict({"document": model.document_tower, "query": model.query_tower})
        self.start = model.identity.as_dict() | {"threads": torch.get_num_threads()}
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
    def prepared(self) -> Iterator[None]:
        """Dropout on and its randomness our own while the block runs; both as they were afterwards."""
        devices = [self.device] if self.device.type == "cuda" else []
        with (
            torch.random.fork_rng(devices=devices),
            dropout_set(self.towers, hidden=self.options.dropout, attention=self.options.attention_dropout),
        ):
            self.began = (time.monotonic(), self.state.step)
            try:
                yield
            finally:
                self.towers.eval()

    def step(self, examples: Sequence[Example]) -> None:
        """One optimizer step over one batch of pairs."""
        torch.manual_seed(seed_of(self.options.seed, self.state.step))  # dropout is a function of the step: see state.py
        self.towers.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self.options.learning_rate * linear_schedule(self.state.step, self.steps, warmup=self.options.warmup)
        loss = self.loss(examples)
        if not torch.isfinite(loss):
            raise ModelError(
                f"the loss is {loss.item()} at step {self.state.step + 1}; lower the learning rate "
                f"(now {self.options.learning_rate:g}) or raise the temperature (now {self.options.temperature:g})"
            )
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.towers.parameters(), self.options.max_gradient_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.state.step += 1
        self.state.losses.append(loss.item())
        facts = f"loss {sum(self.state.losses[-20:]) / len(self.state.losses[-20:]):.3f}, {self.speed():.1f} pairs/s"
        self.progress("training", self.state.step, self.steps, facts)

    def loss(self, examples: Sequence[Example]) -> Tensor:
        """The batch's loss, with its graph."""
        batch = make_batch(examples)
        options = self.options
        with running(Precision.of(options.precision), self.device):
            queries = self.query.embed(batch.queries, token_budget=options.token_budget)
            documents = self.document.embed(batch.documents, token_budget=options.token_budget)
        targets = batch.targets.to(self.device)
        if options.loss == "triplet":
            return triplet(queries, documents, targets, margin=options.margin)
        return info_nce(queries, documents, targets, temperature=options.temperature, symmetric=options.symmetric)

    def look(self, validate: Validate | None, *, at: int) -> None:
        """Take the dev score, and keep the weights where it is the best so far; a score taken before a restart stands."""
        if validate is None or at in self.state.scores:
            return
        self.towers.eval()
        self.state.scores[at] = validate(self.model)
        if self.state.best_step == at:
            self.state.best = weights_of(self.towers)
        self.checkpoint(now=True)

    def checkpoint(self, *, now: bool = False) -> None:
        """Write a checkpoint where one is due."""
        due = now or time.monotonic() - self.saved_at >= self.options.checkpoint_seconds
        if self.folder is not None and due:
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
        return TrainingResult(dict(self.state.scores), chosen, list(self.state.losses), self.speed())


def _at_length(tower: Tower, length: int | None) -> Tower:
    if length is None or length == tower.settings.max_length:
        return tower
    if length > tower.settings.max_length:
        raise ArgumentError(f"a training length of {length} tokens is more than the tower's own {tower.settings.max_length}")
    return tower.twin(replace(tower.settings, max_length=length))
