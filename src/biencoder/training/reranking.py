"""Training a cross-encoder on lists of documents; checkpoints and exact resume as in `biencoder.training.trainer`.

The softmax of a list looks at that list alone. A step therefore runs some whole lists at a time, as many as memory is granted
their activations (`RerankerOptions.graph_tokens`), and adds up the gradients: nothing is computed twice. Of a list too long for
that, `biencoder.training.gradient_cache` computes the rest twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from biencoder.data.batches import PairSampler, length_sorted_batches
from biencoder.errors import ArgumentError, DivergedError
from biencoder.progress import Progress
from biencoder.records import Example
from biencoder.towers.cross_encoder import CrossEncoder, PairTokens
from biencoder.towers.precision import Precision, running
from biencoder.training import attention
from biencoder.training.distributed import from_first, is_first, processes, sum_gradients
from biencoder.training.gradient_cache import MicroBatches, backward
from biencoder.training.lists import CandidateList, list_cross_entropy, make_lists
from biencoder.training.optimisation import adamw, dropout_set, linear_schedule, seed_of
from biencoder.training.reranker_options import RerankerOptions
from biencoder.training.state import TrainingState, digest_of, load_state, put_weights, save_state, weights_of

Validate = Callable[[CrossEncoder], float]


@dataclass(frozen=True, slots=True)
class RerankerTraining:
    """What a training did.

    Attributes:
        scores: dev scores by step; step 0 is the model as it was given, and is there where it had been trained before.
        chosen_step: the step whose weights the model has now.
        losses: of every step.
        lists: that were trained on, in each epoch.
        lists_per_second: of this process, dev evaluation and checkpoints included.
    """

    scores: dict[int, float]
    chosen_step: int
    losses: list[float]
    lists: int
    lists_per_second: float


def train_reranker(
    encoder: CrossEncoder,
    examples: Sequence[Example],
    options: RerankerOptions,
    *,
    folder: Path | None = None,
    validate: Validate | None = None,
    progress: Progress | None = None,
) -> RerankerTraining:
    """Train a cross-encoder in place.

    Under torchrun, with a process group, each process scores its share of the micro-batches; the first validates and writes.

    Args:
        encoder: its module is changed.
        examples: with negatives, best from the top of the ranking that will be reranked; those without are left out.
        options: loss, lists, schedule.
        folder: where checkpoints go; a call with the same model, examples and options goes on from the last one and ends with
            the same weights as an unbroken call. None keeps nothing.
        validate: gives the dev score, higher is better. With it, the model ends with the weights of its best score.
        progress: is told the steps, the loss and the lists a second.

    Raises:
        ArgumentError: where the examples do not suffice, an option cannot be used, or the folder holds another training.
        DivergedError: where the loss is no longer a number.
    """
    told = progress or Progress()
    lists = make_lists(examples, options.loss)
    _check_lists(examples, lists, options, told)
    sampler = PairSampler(count=len(lists), batch_size=options.batch_size, seed=options.seed)
    steps = max(1, round(options.epochs * sampler.steps_per_epoch))
    run = _Run(encoder, options, steps, folder, told)
    run.resume(digest_of(examples))
    with run.prepared():
        if not encoder.fresh:
            run.look(validate, at=0)
        while run.state.step < steps:
            run.step([lists[place] for place in sampler.batch(run.state.step)])
            if run.state.step in run.looks:
                run.look(validate, at=run.state.step)
            run.checkpoint()
    return run.finish(len(lists))


def _check_lists(
    examples: Sequence[Example], lists: Sequence[CandidateList], options: RerankerOptions, progress: Progress
) -> None:
    """Make sure that there are enough lists, and say what is left out."""
    if len(lists) < 2:
        raise ArgumentError(
            f"{len(lists)} of {len(examples)} examples can be trained on; a reranker needs at least 2 that have negatives: "
            "mine some first"
        )
    alike = "examples" if options.loss == "lce" else "queries"
    whole = len(examples) if options.loss == "lce" else len({example.query for example in examples})
    if len(lists) < whole:
        progress.say(f"{whole - len(lists):,} of {whole:,} {alike} have no negatives and are left out")


class _Run:
    """One training under way."""

    def __init__(
        self, encoder: CrossEncoder, options: RerankerOptions, steps: int, folder: Path | None, progress: Progress
    ) -> None:
        if options.max_length is not None and options.max_length > encoder.max_length:
            raise ArgumentError(
                f"a training length of {options.max_length} tokens is more than the model's own {encoder.max_length}"
            )
        self.encoder = encoder
        self.worker = encoder.at_length(options.max_length)
        self.module = encoder.module
        self.options = options
        self.steps = steps
        self.folder = folder
        self.progress = progress
        self.looks = {round(steps * (number + 1) / options.evaluations) for number in range(options.evaluations)}
        self.optimizer = adamw(self.module, learning_rate=options.learning_rate, weight_decay=options.weight_decay)
        self.state = TrainingState()
        self.purpose: dict[str, Any] = {}
        self.saved_at = time.monotonic()
        self.began: tuple[float, int] = (0.0, 0)

    def resume(self, examples: str) -> None:
        """Go on from the last checkpoint, where there is one for this purpose."""
        start = {"reranker": self.encoder.fingerprint(), "threads": torch.get_num_threads(), "processes": processes()}
        self.purpose = {"examples": examples, "options": self.options.model_dump(mode="json"), "model": start}
        found = load_state(self.folder, self.module, self.optimizer, self.purpose) if self.folder else None
        if found is not None:
            self.state = found
            self.progress.say(f"resumed at step {found.step} of {self.steps}")

    @contextmanager
    def prepared(self) -> Iterator[None]:
        """The wanted dropout, and its randomness our own, while the block runs; all as it was afterwards."""
        options, device = self.options, self.encoder.device
        rates = dropout_set(self.module, hidden=options.dropout, attention=options.attention_dropout)
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), rates:
            self.began = (time.monotonic(), self.state.step)
            try:
                yield
            finally:
                self.module.train(False)

    def step(self, lists: Sequence[CandidateList]) -> None:
        """One optimizer step over some lists."""
        options, step = self.options, self.state.step
        self.module.train()
        for group in self.optimizer.param_groups:
            group["lr"] = options.learning_rate * linear_schedule(step, self.steps, warmup=options.warmup)
        with _training_attention(self.encoder, options):
            loss = self.gradients(lists)
        nn.utils.clip_grad_norm_(self.module.parameters(), options.max_gradient_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.state.step += 1
        self.state.losses.append(loss)
        facts = f"loss {sum(self.state.losses[-20:]) / len(self.state.losses[-20:]):.3f}, {self.speed():.1f} lists/s"
        self.progress("training", self.state.step, self.steps, facts)

    def gradients(self, lists: Sequence[CandidateList]) -> float:
        """Put the gradients of the mean loss of some lists into the parameters; gives the loss."""
        seed = seed_of(self.options.seed, self.state.step)
        chance = np.random.default_rng(seed)
        drawn = [one.drawn(self.options.negatives, chance) for one in lists]
        rows = [self.worker.tokenise(one.pairs) for one in drawn]
        sizes = [sum(len(row.ids) for row in own) for own in rows]
        total, begun = 0.0, 0
        for members in _together(sizes, budget=self.options.graph_tokens):
            group = [drawn[member] for member in members]
            parts, order = self.parts([row for member in members for row in rows[member]], seed, begun)
            begun += len(parts.forwards)
            loss_of = partial(self.loss_of, order=order, group=group, count=len(drawn))
            total += float(backward(parts, loss_of, graph_tokens=self.options.graph_tokens))
        sum_gradients(self.module.parameters())
        return total

    def parts(self, rows: Sequence[PairTokens], seed: int, begun: int) -> tuple[MicroBatches, Tensor]:
        """Pairs as micro-batches, and where the score of each lies among all; ``begun`` are the step's micro-batches before."""
        device, precision = self.encoder.device, Precision.of(self.options.precision)
        batches = length_sorted_batches([len(row.ids) for row in rows], token_budget=self.options.token_budget)
        forwards = [
            # A pair's dropout is a function of the step and its micro-batch: see state.py and gradient_cache.py.
            partial(_scores, self.worker, [rows[place] for place in batch], seed=seed * 4099 % 2**62 + begun + number)
            for number, batch in enumerate(batches)
        ]
        order = torch.tensor([place for batch in batches for place in batch], device=device).argsort()
        sizes = [len(batch) for batch in batches]
        tokens = [sum(len(rows[place].ids) for place in batch) for batch in batches]
        return MicroBatches(forwards, sizes, tokens, 1, device, partial(running, precision, device)), order

    def loss_of(self, scores: Tensor, *, order: Tensor, group: Sequence[CandidateList], count: int) -> Tensor:
        """A group's share of the mean loss, from the scores in the order of the micro-batches, shape (pairs, 1)."""
        loss = list_cross_entropy(scores.squeeze(1)[order], group) / count
        if not torch.isfinite(loss):
            raise DivergedError(
                f"the loss is {loss.item()} at step {self.state.step + 1}; lower the learning rate "
                f"(now {self.options.learning_rate:g})"
            )
        return loss

    def look(self, validate: Validate | None, *, at: int) -> None:
        """Take the dev score, and keep the weights where it is the best so far; a score taken before a restart stands."""
        if validate is None or at in self.state.scores:
            return
        self.module.train(False)
        self.state.scores[at] = from_first(validate(self.encoder) if is_first() else None)
        if self.state.best_step == at:
            self.state.best = weights_of(self.module)
        self.checkpoint(now=True)

    def checkpoint(self, *, now: bool = False) -> None:
        """Write a checkpoint where one is due."""
        due = now or time.monotonic() - self.saved_at >= self.options.checkpoint_seconds
        if self.folder is not None and due and is_first():
            save_state(self.folder, self.state, self.module, self.optimizer, self.purpose)
            self.saved_at = time.monotonic()

    def speed(self) -> float:
        """Lists a second since this process began."""
        began, step = self.began
        return (self.state.step - step) * self.options.batch_size / max(time.monotonic() - began, 1e-9)

    def finish(self, lists: int) -> RerankerTraining:
        """Put the best weights in place."""
        if self.state.best is not None:
            put_weights(self.module, self.state.best)
        self.encoder.fresh = False
        best = self.state.best_step
        chosen = self.state.step if best is None else best
        return RerankerTraining(dict(self.state.scores), chosen, list(self.state.losses), lists, self.speed())


def _scores(encoder: CrossEncoder, rows: Sequence[PairTokens], *, seed: int) -> Tensor:
    torch.manual_seed(seed)
    return encoder(encoder.collate(rows)).unsqueeze(1)


def _together(sizes: Sequence[int], *, budget: int) -> Iterator[list[int]]:
    """Which lists are run together: as many as the budget takes, the longest first; a longer one by itself.

    >>> list(_together([3, 9, 2, 3], budget=8))
    [[1], [0, 3, 2]]
    """
    group: list[int] = []
    for place in sorted(range(len(sizes)), key=lambda place: (-sizes[place], place)):
        if group and sum(sizes[member] for member in group) + sizes[place] > budget:
            yield group
            group = []
        group.append(place)
    if group:
        yield group


@contextmanager
def _training_attention(encoder: CrossEncoder, options: RerankerOptions) -> Iterator[None]:
    """Our attention kernel on processors, whose backward pass is faster, unless float32 is asked for as the reference."""
    module = encoder.module
    possible = getattr(module, "_supports_attention_backend", False) and encoder.device.type == "cpu"
    if not possible or options.precision == "exact":
        yield
        return
    before = module.config._attn_implementation  # noqa: SLF001 - transformers tells it nowhere else
    attention.register()
    module.set_attn_implementation(attention.NAME)
    try:
        yield
    finally:
        module.set_attn_implementation(before)
