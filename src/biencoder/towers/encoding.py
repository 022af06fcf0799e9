"""Texts to vectors, window by window: tokenised ahead of the model, batched by length, in order.

A window's texts are sorted into batches among themselves, so that memory is bounded by two windows, and a vector depends on
nothing outside its window.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np

from biencoder.data.batches import distinct, equal_length_batches, length_sorted_batches
from biencoder.scoring import FloatArray
from biencoder.towers.runner import Run, Runner

if TYPE_CHECKING:
    from biencoder.towers.tower import Tower

_AHEAD = 1
"""Windows that are tokenised, and may be begun, while one is under way."""

TextProgress = Callable[[int], None]
"""Is told now and then how many texts are done."""


def encode_windows(
    tower: Tower,
    runner: Runner,
    windows: Iterable[Sequence[str]],
    *,
    token_budget: int | None = None,
    progress: TextProgress | None = None,
) -> Iterator[FloatArray]:
    """Vectors of each window, in order; a text that stands twice in a window is run once.

    Args:
        tower: tokenises.
        runner: runs the batches, as many at once as it has streams.
        windows: read one ahead.
        token_budget: tokens a batch; None takes the runner's own.
        progress: is told how many texts of all windows are done.

    Yields:
        One array a window, shape (len(window), dimension), float32.

    Raises:
        ArgumentError: where a text cannot be tokenised.
    """
    plan = partial(length_sorted_batches, multiple=runner.multiple) if runner.padded else equal_length_batches
    budget = token_budget or runner.token_budget
    done = 0
    with _Workers(runner) as workers, ThreadPoolExecutor(1, thread_name_prefix="tokenise") as tokenising:

        def begin(texts: Sequence[str]) -> _Window:
            unique, positions = distinct(texts)
            rows = tower.tokenise(unique)
            block = np.empty((len(rows), tower.dimension), dtype=np.float32)
            batches = plan([len(row) for row in rows], token_budget=budget)
            futures = [workers.submit(rows, batch, block) for batch in batches]
            return _Window(block, positions, futures)

        flight: deque[Future[_Window]] = deque()
        for texts in windows:
            flight.append(tokenising.submit(begin, texts))
            if len(flight) > _AHEAD:
                done = yield from flight.popleft().result().finish(done, progress)
        while flight:
            done = yield from flight.popleft().result().finish(done, progress)


def encode_one(tower: Tower, runner: Runner, text: str) -> FloatArray:
    """The vector of one text, shape (1, dimension), without batches, threads or padding."""
    return runner.one(tower.tokenise_one(text))


@dataclass(frozen=True, slots=True)
class _Window:
    """A window under way: its distinct texts' vectors, the place of each text among them, and the batches."""

    block: FloatArray
    positions: list[int]
    futures: list[Future[int]]

    def finish(self, before: int, progress: TextProgress | None) -> Generator[FloatArray, None, int]:
        """Wait for the batches and give the vectors; the value of ``yield from`` is the number of texts done so far."""
        done, share = 0, len(self.positions) / max(len(self.block), 1)
        for future in self.futures:
            done += future.result()
            if progress is not None:
                progress(before + round(done * share))
        yield self.block[self.positions]
        return before + len(self.positions)


@dataclass(frozen=True, slots=True)
class _Job:
    rows: list[list[int]]
    batch: list[int]
    block: FloatArray
    future: Future[int]

    def do(self, run: Run) -> None:
        """Put a batch's vectors in their places."""
        self.block[self.batch] = run([self.rows[position] for position in self.batch])
        self.future.set_result(len(self.batch))


class _Workers:
    """Threads that each hold one of the runner's sessions from the first batch to the last.

    An executor's threads would not do: a session must be closed by the thread that opened it.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._stopped = False
        self._threads = [threading.Thread(target=self._work, name="encode", daemon=True) for _ in range(runner.streams)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stopped = True  # what an interrupted caller no longer waits for is not begun
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def submit(self, rows: list[list[int]], batch: list[int], block: FloatArray) -> Future[int]:
        """Run some of the rows, and put their vectors at the same places of the block; gives how many they are."""
        job = _Job(rows, batch, block, Future())
        self._jobs.put(job)
        return job.future

    def _work(self) -> None:
        with ExitStack() as stack:
            run: Run | None = None
            while (job := self._jobs.get()) is not None:
                if self._stopped:
                    job.future.cancel()
                    continue
                try:
                    run = run or stack.enter_context(self._runner.session())
                    job.do(run)
                except BaseException as error:  # noqa: BLE001 - it is raised where the batch is waited for
                    job.future.set_exception(error)
