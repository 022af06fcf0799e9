"""How a model's towers are run: the precision, the runtime, the threads, and the runners that are kept warm."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from biencoder.cores import threads_to_use
from biencoder.scoring import FloatArray
from biencoder.towers.choice import RuntimeChoice, choose
from biencoder.towers.encoding import TextProgress, encode_one, encode_windows
from biencoder.towers.precision import Precision, has_bfloat16
from biencoder.towers.runner import Runner
from biencoder.towers.runners import AUTO, check_runtime, make_runner

if TYPE_CHECKING:
    from biencoder.towers.tower import Tower

_TEXTS_AT_ONCE = 8192
"""Texts tokenised and sorted together: enough to fill batches without padding, few enough to bound memory."""


class Execution:
    """How a model's towers are run; keeps runners warm, and makes new ones where weights have changed.

    Args:
        precision: the number format.
        runtime: ``auto`` or a runtime's name.
        threads: None takes this process's share of the machine.

    Raises:
        ArgumentError: for an unknown runtime, or threads below 1.
    """

    def __init__(self, precision: Precision, *, runtime: str = "torch", threads: int | None = None) -> None:
        self.precision = precision
        self.runtime = check_runtime(runtime)
        self.threads = threads_to_use(threads)
        self.choice: RuntimeChoice | None = None
        self._runners: dict[tuple[object, ...], tuple[tuple[tuple[int, int], ...], Runner]] = {}
        self._lock = threading.RLock()

    def encode(self, tower: Tower, texts: Sequence[str], *, progress: TextProgress | None = None) -> FloatArray:
        """Vectors of any number of texts, shape (len(texts), dimension)."""
        runner = self.runner(tower, texts)
        if len(texts) == 1:
            return encode_one(tower, runner, texts[0])
        windows = (texts[start : start + _TEXTS_AT_ONCE] for start in range(0, len(texts), _TEXTS_AT_ONCE))
        parts = list(encode_windows(tower, runner, windows, progress=progress))
        return np.concatenate(parts) if parts else np.empty((0, tower.dimension), dtype=np.float32)

    def encode_windows(
        self, tower: Tower, windows: Iterator[Sequence[str]], *, progress: TextProgress | None = None
    ) -> Iterator[FloatArray]:
        """Vectors of each window of texts; see `biencoder.towers.encoding`."""
        return encode_windows(tower, self.runner(tower), windows, progress=progress)

    def prepare(self, tower: Tower, texts: Sequence[str], *, say: Callable[[str], None] | None = None) -> None:
        """Choose the runtime on texts like those that are to be encoded, where that is still open.

        Args:
            tower: the one that will be run first.
            texts: some that stand for all; `SAMPLE` of them are looked at.
            say: is told what was chosen and why.
        """
        with self._lock:
            if self.runtime == AUTO and self.choice is None:
                self.choice = choose(tower, self.precision, self.threads, texts)
                if say is not None:
                    say(f"runtime {self.choice.runtime}: {self.choice.reason}")
                if say is not None and self.precision is Precision.FAST and not has_bfloat16(tower.device):
                    say(
                        "this processor has no bfloat16, so that fast computes in float32; int8 is faster (biencoder[openvino])"
                    )

    def runner(self, tower: Tower, texts: Sequence[str] = ()) -> Runner:
        """The warm runner of a tower, made anew where its weights have changed since."""
        self.prepare(tower, texts)
        name = self.choice.runtime if self.choice is not None else self.runtime
        settings = tower.settings
        key: tuple[object, ...] = (id(tower.backbone), id(tower.projection), settings.pooling, settings.normalise)
        if name == "torch":  # it runs the tower itself
            key = (id(tower),)
        with self._lock:
            stamp = tower.weights_stamp()
            found = self._runners.get(key)
            if found is None or found[0] != stamp:
                self._runners.pop(key, None)
                found = self._runners[key] = (stamp, make_runner(name, tower, self.precision, threads=self.threads))
            return found[1]
