"""How a tower is executed: token ids in, vectors out. One contract, one module a runtime."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import ClassVar

from biencoder.scoring import FloatArray

TokenIds = Sequence[Sequence[int]]
"""The tokens of some texts, special ones included, without padding."""

Run = Callable[[TokenIds], FloatArray]
"""Token ids of n texts to their vectors, shape (n, dimension), float32."""


class Runner(ABC):
    """One tower's weights, made ready for one runtime and number format.

    Attributes:
        streams: batches that run best at the same time, each in a session of its own.
        token_budget: tokens a batch at which this runtime runs best.
        padded: whether a batch may hold texts of different lengths.
        multiple: of which there are tokens in a row of a padded batch.
    """

    name: ClassVar[str]
    streams: int = 1
    token_budget: int = 1536
    padded: bool = False
    multiple: int = 1

    @abstractmethod
    def session(self) -> AbstractContextManager[Run]:
        """What one thread runs its batches with. Sessions of one runner may run at the same time."""

    def one(self, row: Sequence[int]) -> FloatArray:
        """The vector of a single text, shape (1, dimension), by the way that answers soonest; from any thread."""
        with self.session() as run:
            return run([row])

    @abstractmethod
    def execution(self) -> dict[str, str]:
        """What decides the last bits beside the weights: runtime, its version, number format and device."""
