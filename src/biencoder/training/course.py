"""A training's course, whatever is trained: resuming, the schedule, dev looks, checkpoints, and how it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from biencoder.progress import Progress
from biencoder.training.distributed import from_first, is_first
from biencoder.training.optimisation import adamw, dropout_set, linear_schedule
from biencoder.training.state import TrainingState, load_state, put_weights, save_state, weights_of

Score = Callable[[], float]
"""Takes the dev score of the weights as they are; higher is better."""


class CourseOptions(Protocol):
    """What a course is told; `TrainingOptions` and `RerankerOptions` say it."""

    learning_rate: float
    weight_decay: float
    warmup: float
    max_gradient_norm: float
    dropout: float | None
    attention_dropout: float | None
    evaluations: int
    checkpoint_seconds: float


class Course:
    """One training under way.

    Args:
        module: all that is trained.
        options: schedule, looks and checkpoints.
        steps: optimizer steps in all.
        folder: of checkpoints; None keeps none.
        progress: is told the steps, the loss and the speed.
        device: where the module lies.
        batch: how much each of them takes.
        unit: what it takes, for the speed: ``pairs``, ``lists``.
    """

    def __init__(
        self,
        module: nn.Module,
        options: CourseOptions,
        *,
        steps: int,
        batch: int,
        folder: Path | None,
        progress: Progress,
        device: torch.device,
        unit: str,
    ) -> None:
        self.module = module
        self.steps = steps
        self.folder = folder
        self.progress = progress
        self.device = device
        self.optimizer = adamw(module, learning_rate=options.learning_rate, weight_decay=options.weight_decay)
        self.state = TrainingState()
        self._options = options
        self._batch = batch
        self._unit = unit
        self._looks = {round(steps * (number + 1) / options.evaluations) for number in range(options.evaluations)}
        self._purpose: dict[str, Any] = {}
        self._saved_at = time.monotonic()
        self._began: tuple[float, int] = (0.0, 0)

    def resume(self, purpose: dict[str, Any]) -> None:
        """Go on from the last checkpoint, where there is one for this purpose."""
        self._purpose = purpose
        found = load_state(self.folder, self.module, self.optimizer, purpose) if self.folder else None
        if found is not None:
            self.state = found
            self.progress.say(f"resumed at step {found.step} of {self.steps}")

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """The wanted dropout, and its randomness our own, while the block runs; all as it was afterwards."""
        options = self._options
        rates = dropout_set(self.module, hidden=options.dropout, attention=options.attention_dropout)
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), rates:
            self._began = (time.monotonic(), self.state.step)
            try:
                yield
            finally:
                self.module.train(mode=False)

    def follow(self, step: Callable[[int], None], score: Score | None) -> None:
        """Take all steps that are left.

        Args:
            step: takes the step of this number, by `set_rate`, `apply` and `count`.
            score: asked for when it is time to look at dev.
        """
        while self.state.step < self.steps:
            step(self.state.step)
            if self.state.step in self._looks:
                self.look(score, at=self.state.step)
            self._checkpoint()

    def set_rate(self) -> None:
        """The learning rate of the step that comes."""
        rate = self._options.learning_rate * linear_schedule(self.state.step, self.steps, warmup=self._options.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def apply(self) -> None:
        """Let the gradients that are there change the weights."""
        nn.utils.clip_grad_norm_(self.module.parameters(), self._options.max_gradient_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def count(self, loss: float) -> None:
        """Note that a step was taken."""
        self.state.step += 1
        self.state.losses.append(loss)
        recent = self.state.losses[-20:]
        facts = f"loss {sum(recent) / len(recent):.3f}, {self.speed():.1f} {self._unit}/s"
        self.progress("training", self.state.step, self.steps, facts)

    def look(self, score: Score | None, *, at: int) -> None:
        """Take the dev score, and keep the weights where it is the best so far; a score taken before a restart stands."""
        if score is None or at in self.state.scores:
            return
        self.module.train(mode=False)
        self.state.scores[at] = from_first(score)
        if self.state.best_step == at:
            self.state.best = weights_of(self.module)
        self._checkpoint(now=True)

    def speed(self) -> float:
        """Pairs, or lists, a second since this process began."""
        began, step = self._began
        return (self.state.step - step) * self._batch / max(time.monotonic() - began, 1e-9)

    def finish(self) -> int:
        """Put the best weights in place; gives their step."""
        if self.state.best is not None:
            put_weights(self.module, self.state.best)
        best = self.state.best_step
        return self.state.step if best is None else best

    def _checkpoint(self, *, now: bool = False) -> None:
        """Write a checkpoint where one is due."""
        due = now or time.monotonic() - self._saved_at >= self._options.checkpoint_seconds
        if self.folder is not None and due and is_first():
            save_state(self.folder, self.state, self.module, self.optimizer, self._purpose)
            self._saved_at = time.monotonic()
