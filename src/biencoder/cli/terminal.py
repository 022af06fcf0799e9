"""What a command shows: progress on standard error, results on standard output."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from biencoder.progress import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID


class TerminalProgress(Progress):
    """One bar with a rate and the time left, where standard error is a terminal; remarks as lines, wherever it leads.

    Args:
        quiet: show nothing at all.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._bars: Bars | None = None
        self._task: TaskID | None = None
        self._stage = ""

    def __enter__(self) -> Self:
        if not self._quiet and sys.stderr.isatty():
            self._bars = _bars()
            self._bars.start()
            self.phase("starting")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def phase(self, name: str) -> None:
        """Say what goes on while nothing is counted."""
        self._begin(name, done=0, total=None)

    def __call__(self, stage: str, done: int, total: int, facts: str = "") -> None:
        """Move the bar; a stage that is new begins a new one."""
        if stage != self._stage:
            self._begin(stage, done=done, total=total)
        if self._bars is None or self._task is None:
            return
        self._bars.update(self._task, completed=done, total=total)
        task = next(task for task in self._bars.tasks if task.id == self._task)
        known = [f"{done:,}/{total:,}"]
        if task.speed:
            known += [f"{task.speed:,.1f}/s", f"{timedelta(seconds=round((total - done) / task.speed))} left"]
        self._bars.update(self._task, known="  ".join([*known, facts] if facts else known))

    def say(self, message: str) -> None:
        """Print a remark above the bar."""
        if self._quiet:
            return
        if self._bars is None:
            print(message, file=sys.stderr, flush=True)
        else:
            self._bars.console.print(message, markup=False, highlight=False, soft_wrap=True)

    def _begin(self, stage: str, *, done: int, total: int | None) -> None:
        if self._bars is None:
            return
        if self._task is not None:
            self._bars.remove_task(self._task)
        self._stage = stage
        self._task = self._bars.add_task(stage, completed=done, total=total, known="")


def _bars() -> Bars:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    return Bars(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
        TextColumn("{task.fields[known]}", markup=False),
        console=Console(stderr=True),
        transient=True,
        refresh_per_second=4,
    )


def print_json(value: Any, *, indent: int | None = 2) -> None:
    """Print JSON, readable where the output takes UTF-8."""
    plain = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    print(json.dumps(value, indent=indent, ensure_ascii=plain), flush=True)


def print_facts(facts: Sequence[tuple[str, str]]) -> None:
    """Print names and values in two columns."""
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        print(f"{name:<{width}}  {value}")


def print_next(commands: Iterable[Sequence[str | Path]]) -> None:
    """Print what to type next, quoted as a shell wants it."""
    print("\nnext:")
    for words in commands:
        print("  " + " ".join(shlex.quote(str(word)) for word in ("biencoder", *words)))


def size_of(count: float) -> str:
    """Bytes as people read them.

    >>> size_of(999), size_of(1536), size_of(91_000_000)
    ('999 bytes', '1.5 KiB', '86.8 MiB')
    """
    if count < 1000:
        return f"{count:.0f} bytes"
    for unit in ("KiB", "MiB", "GiB"):
        count /= 1024
        if count < 1000:
            return f"{count:.1f} {unit}"
    return f"{count / 1024:.1f} TiB"
