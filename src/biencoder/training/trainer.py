"""The training loop, readable from top to bottom; checkpoints and exact resume."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from biencoder.data.batches import PairSampler, distinct, length_sorted_batches
from biencoder.errors import ArgumentError, DivergedError
from biencoder.progress import Progress
from biencoder.records import Example
from biencoder.towers.bi_encoder import BiEncoder
from biencoder.towers.precision import bound_kernel_caches
from biencoder.towers.tower import Tower
from biencoder.training.batch import Batch, draw_negatives, make_batch
from biencoder.training.computation import Computation, Way, at_length, choose_way
from biencoder.training.course import Course
from biencoder.training.distributed import from_first, processes, sum_gradients
from biencoder.training.gradient_cache import MicroBatches, backward
from biencoder.training.guide import Guide
from biencoder.training.objective import Objective
from biencoder.training.optimisation import seed_of, seed_of_part
from biencoder.training.options import TrainingOptions
from biencoder.training.portions import Portions
from biencoder.training.state import digest_of

Validate = Callable[[BiEncoder], float]

_HELD_ON_CPU = 16384
"""Tokens: about 2 GB of activations with a small backbone."""


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What a training did.

    Attributes:
        scores: dev scores by step; step 0 is the model as it was given, where that competes.
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
    start_competes: bool = True,
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
        validate: gives the dev score, higher is better. With it, the model ends with the weights of its best score.
        start_competes: the weights that it was given are among those, so that training never makes it worse on dev.
        guide: says which in-batch negatives are likely to be relevant, where the options have a ``guide_margin``.
        progress: is told the steps, the loss and the pairs a second.

    Raises:
        ArgumentError: where the examples do not suffice, an option cannot be used, or the folder holds another training.
        DivergedError: where the loss is no longer a number.
    """
    bound_kernel_caches(training=True)
    if (options.guide_margin is not None) != (guide is not None):
        raise ArgumentError("guide_margin and a guide belong together; give both or neither")
    sampler = PairSampler(count=len(examples), batch_size=options.batch_size, seed=options.seed)
    steps = max(1, round(options.epochs * sampler.steps_per_epoch))
    run = _Run(model, options, steps, sampler.batch_size, folder, guide, progress or Progress())
    run.course.resume({"examples": digest_of(examples), "options": options.model_dump(mode="json"), "model": run.start})
    score = None if validate is None else partial(validate, model)

    def drawn(step: int) -> list[Example]:
        return [examples[position] for position in sampler.batch(step)]

    with run.prepared(drawn(0)):
        if start_competes:
            run.course.look(score, at=0)
        run.course.follow(lambda step: run.step(drawn(step)), score)
    return run.finish()


class _Run:
    """One training under way."""

    def __init__(
        self,
        model: BiEncoder,
        options: TrainingOptions,
        steps: int,
        batch: int,
        folder: Path | None,
        guide: Guide | None,
        progress: Progress,
    ) -> None:
        self.model = model
        self.options = options
        self.guide = guide
        self.query = at_length(model.query_tower, options.query_length)
        self.document = at_length(model.document_tower, options.document_length)
        self.objective = Objective(options, dimension=model.dimension, normalise=model.normalised)
        self.towers = nn.ModuleDict({"document": model.document_tower, "query": model.query_tower})
        # Without the execution: it is torch's here, whatever the model is run by elsewhere.
        self.start: dict[str, object] = dict(model.checkpoint().identity().as_dict())
        self.start |= {"threads": torch.get_num_threads(), "processes": processes()}
        if guide is not None:
            self.start |= {"guide": guide.identity.document}
        self.device = model.document_tower.device
        self.portions = from_first(partial(Portions.of, options, model.document_tower.backbone, held_on_cpu=_HELD_ON_CPU))
        self.start |= {"portions": asdict(self.portions)}
        self.course = Course(
            self.towers, options, steps=steps, batch=batch, folder=folder, progress=progress, device=self.device, unit="pairs"
        )

    @contextmanager
    def prepared(self, examples: Sequence[Example]) -> Iterator[None]:
        """The way of computing chosen, dropout on and its randomness our own while the block runs; all as it was afterwards."""
        options, state = self.options, self.course.state
        with self.course.under_way():
            if state.way is None:
                texts = make_batch(draw_negatives(examples, options.negatives, seed=options.seed)).documents
                # The first's for all: it is the one that checkpoints keep, and machines measure alike but not the same.
                state.way = from_first(partial(choose_way, self.query, self.document, texts, options))
            self.computation = Computation(self.query, self.document, state.way)
            with self.computation.prepared():
                yield

    def step(self, examples: Sequence[Example]) -> None:
        """One optimizer step over one batch of pairs."""
        self.computation.train()
        self.course.set_rate()
        loss = self.gradients(examples)
        self.course.apply()
        self.computation.refresh()
        self.course.count(loss)

    def gradients(self, examples: Sequence[Example]) -> float:
        """Put the gradients of a batch's loss into the parameters; gives the loss."""
        seed = seed_of(self.options.seed, self.course.state.step)
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
                    f"the loss is {loss.item()} at step {self.course.state.step + 1}; lower the learning rate "
                    f"(now {self.options.learning_rate:g}) or raise the temperature (now {self.options.temperature:g})",
                    step=self.course.state.step + 1,
                )
            return loss

        loss = backward(parts, loss_of, graph_tokens=self.portions.held)
        self.computation.collect_gradients()
        sum_gradients(self.towers.parameters())
        return float(loss)

    def parts(self, batch: Batch, seed: int) -> tuple[MicroBatches, Tensor, Tensor]:
        """The batch's texts as micro-batches, and where the vectors of its queries and of its documents lie among all."""
        forwards: list[Callable[[], Tensor]] = []
        sizes: list[int] = []
        tokens: list[int] = []
        places = []
        multiple = self.computation.way.multiple
        for tower, texts in ((self.computation.query, batch.queries), (self.computation.document, batch.documents)):
            unique, positions = distinct(texts)
            rows = tower.tokenise(unique)
            order = []
            lengths = [len(row) for row in rows]
            for members in length_sorted_batches(lengths, token_budget=self.portions.micro_batch, multiple=multiple):
                collated = tower.collate([rows[member] for member in members], multiple=multiple)
                # A text's dropout is a function of the step and its micro-batch: see state.py and gradient_cache.py.
                forwards.append(partial(_embed, tower, *collated, seed=seed_of_part(seed, len(forwards))))
                sizes.append(len(members))
                tokens.append(collated[0].numel())
                order += members
            place = {member: sum(sizes) - len(order) + number for number, member in enumerate(order)}
            places.append(torch.tensor([place[position] for position in positions], device=self.device))
        dimension = self.model.dimension
        parts = MicroBatches(forwards, sizes, tokens, dimension, self.device, self.computation.running)
        return parts, places[0], places[1]

    def finish(self) -> TrainingResult:
        """Put the best weights in place."""
        course, state = self.course, self.course.state
        chosen = course.finish()
        return TrainingResult(dict(state.scores), chosen, list(state.losses), course.speed(), state.way or Way())


def _embed(tower: Tower, ids: Tensor, mask: Tensor, *, seed: int) -> Tensor:
    torch.manual_seed(seed)
    vectors: Tensor = tower(ids, mask)
    return vectors
