"""Training a cross-encoder on lists of documents; checkpoints and exact resume as in `biencoder.training.trainer`.

The softmax of a list looks at that list alone. A step therefore runs some whole lists at a time, as many as memory is granted
their activations (`RerankerOptions.graph_tokens`), and adds up the gradients: nothing is computed twice. Of a list too long for
that, `biencoder.training.gradient_cache` computes the rest twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from biencoder.data.batches import PairSampler, length_sorted_batches
from biencoder.errors import ArgumentError, DivergedError
from biencoder.progress import Progress
from biencoder.records import Example
from biencoder.towers.cross_encoder import CrossEncoder, PairTokens
from biencoder.towers.precision import Precision, arithmetic, bound_kernel_caches, row_multiple, running
from biencoder.training import attention
from biencoder.training.course import Course
from biencoder.training.distributed import from_first, processes, sum_gradients
from biencoder.training.gradient_cache import MicroBatches, backward
from biencoder.training.lists import CandidateList, list_cross_entropy, make_lists
from biencoder.training.optimisation import seed_of, seed_of_part
from biencoder.training.portions import Portions
from biencoder.training.reranker_options import RerankerOptions
from biencoder.training.shortcuts import EmbeddingGradient, shortened
from biencoder.training.state import digest_of

Validate = Callable[[CrossEncoder], float]

_HELD_ON_CPU = 4096
"""Tokens: two lists of eight pairs as long as the model reads them."""


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
    bound_kernel_caches(training=True)
    told = progress or Progress()
    lists = make_lists(examples, options.loss)
    _check_lists(examples, lists, options, told)
    sampler = PairSampler(count=len(lists), batch_size=options.batch_size, seed=options.seed)
    steps = max(1, round(options.epochs * sampler.steps_per_epoch))
    run = _Run(encoder, options, steps, sampler.batch_size, folder, told)
    run.resume(digest_of(examples))
    score = None if validate is None else partial(validate, encoder)
    with run.prepared():
        if not encoder.fresh:
            run.course.look(score, at=0)
        run.course.follow(lambda step: run.step([lists[place] for place in sampler.batch(step)]), score)
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
        self,
        encoder: CrossEncoder,
        options: RerankerOptions,
        steps: int,
        batch: int,
        folder: Path | None,
        progress: Progress,
    ) -> None:
        if options.max_length is not None and options.max_length > encoder.max_length:
            raise ArgumentError(
                f"a training length of {options.max_length} tokens is more than the model's own {encoder.max_length}"
            )
        self.encoder = encoder
        self.worker = encoder.at_length(options.max_length)
        self.module = encoder.module
        self.options = options
        self.portions = from_first(partial(Portions.of, options, encoder.module, held_on_cpu=_HELD_ON_CPU))
        self.embeddings: list[EmbeddingGradient] = []
        self.course = Course(
            self.module,
            options,
            steps=steps,
            batch=batch,
            folder=folder,
            progress=progress,
            device=encoder.device,
            unit="lists",
        )

    def resume(self, examples: str) -> None:
        """Go on from the last checkpoint, where there is one for this purpose."""
        start = {"reranker": self.encoder.fingerprint(), "threads": torch.get_num_threads(), "processes": processes()}
        start |= {"portions": asdict(self.portions)}
        self.course.resume({"examples": examples, "options": self.options.model_dump(mode="json"), "model": start})

    @contextmanager
    def prepared(self) -> Iterator[None]:
        """Dropout on, its randomness our own, and short cuts on processors while the block runs; all as it was afterwards."""
        with self.course.under_way(), _short_cuts(self.encoder, self.options) as self.embeddings:
            yield

    def step(self, lists: Sequence[CandidateList]) -> None:
        """One optimizer step over some lists."""
        self.module.train()
        self.course.set_rate()
        with _training_attention(self.encoder, self.options):
            loss = self.gradients(lists)
        self.course.apply()
        for embedding in self.embeddings:
            embedding.clear()
        self.course.count(loss)

    def gradients(self, lists: Sequence[CandidateList]) -> float:
        """Put the gradients of the mean loss of some lists into the parameters; gives the loss."""
        seed = seed_of(self.options.seed, self.course.state.step)
        chance = np.random.default_rng(seed)
        drawn = [one.drawn(self.options.negatives, chance) for one in lists]
        rows = [self.worker.tokenise(one.pairs) for one in drawn]
        sizes = [sum(len(row.ids) for row in own) for own in rows]
        total, begun = 0.0, 0
        for members in _together(sizes, budget=self.portions.held):
            group = [drawn[member] for member in members]
            parts, order = self.parts([row for member in members for row in rows[member]], seed, begun)
            begun += len(parts.forwards)
            loss_of = partial(self.loss_of, order=order, group=group, count=len(drawn))
            total += float(backward(parts, loss_of, graph_tokens=self.portions.held))
        for embedding in self.embeddings:
            embedding.hand_over()
        sum_gradients(self.module.parameters())
        return total

    def parts(self, rows: Sequence[PairTokens], seed: int, begun: int) -> tuple[MicroBatches, Tensor]:
        """Pairs as micro-batches, and where the score of each lies among all; ``begun`` are the step's micro-batches before."""
        device, precision = self.encoder.device, Precision.of(self.options.precision)
        multiple = row_multiple(arithmetic(precision, device))
        lengths = [len(row.ids) for row in rows]
        batches = length_sorted_batches(lengths, token_budget=self.portions.micro_batch, multiple=multiple)
        scores = partial(_scores, self.worker, multiple=multiple)
        forwards = [
            # A pair's dropout is a function of the step and its micro-batch: see state.py and gradient_cache.py.
            partial(scores, [rows[place] for place in batch], seed=seed_of_part(seed, begun + number))
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
                f"the loss is {loss.item()} at step {self.course.state.step + 1}; lower the learning rate "
                f"(now {self.options.learning_rate:g})",
                step=self.course.state.step + 1,
            )
        return loss

    def finish(self, lists: int) -> RerankerTraining:
        """Put the best weights in place."""
        course, state = self.course, self.course.state
        chosen = course.finish()
        self.encoder.fresh = False
        self.encoder.first_stage = None  # it was measured for other weights, if it was
        return RerankerTraining(dict(state.scores), chosen, list(state.losses), lists, course.speed())


def _scores(encoder: CrossEncoder, rows: Sequence[PairTokens], *, multiple: int, seed: int) -> Tensor:
    torch.manual_seed(seed)
    return encoder(encoder.collate(rows, multiple=multiple)).unsqueeze(1)


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


def _short_cuts(encoder: CrossEncoder, options: RerankerOptions) -> AbstractContextManager[list[EmbeddingGradient]]:
    """Dropout and large embeddings the short way on processors, unless float32 is asked for as the reference."""
    if options.precision == "exact" or encoder.device.type != "cpu":
        return nullcontext([])
    return shortened(encoder.module, {weight: weight for weight in encoder.module.parameters()})


def _training_attention(encoder: CrossEncoder, options: RerankerOptions) -> AbstractContextManager[None]:
    """Our attention kernel on processors in bfloat16, where its backward pass is the faster one."""
    bfloat16 = arithmetic(Precision.of(options.precision), encoder.device) == "bfloat16"
    if not bfloat16 or encoder.device.type != "cpu" or not attention.takes(encoder.module):
        return nullcontext()
    return attention.exchanged(encoder.module)
