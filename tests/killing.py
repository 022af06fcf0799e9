"""Workers that are killed with SIGKILL at random moments, until each has done its work."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from biencoder.progress import Progress

KILLS = 20
_HUNG = 300
"""Seconds after which a worker is hung: it then says where, and fails."""
_NURSERY = """
import faulthandler, json, os, sys, traceback
import transformers.models.bert.modeling_bert
from tests.killing import Marked
from {module} import work
while line := sys.stdin.readline():
    child = os.fork()
    if not child:
        faulthandler.dump_traceback_later({hung}, exit=True)
        try:
            marked, *words = json.loads(line)
            work(Marked(marked), *words)
            Marked(marked).mark()  # nobody waits for a work that does nothing because all is done
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    print(child, flush=True)
    sys.stdin.readline()  # until then a dead child keeps its number, which is what is killed
    print(os.waitpid(child, 0)[1], flush=True)
"""


class Marked(Progress):
    """Leaves a file when the first step has been done."""

    def __init__(self, marker: str) -> None:
        self._marker = Path(marker)

    def __call__(self, stage: str, done: int, total: int, facts: str = "") -> None:  # noqa: ARG002
        self.mark()

    def mark(self) -> None:
        self._marker.touch()


class Nursery:
    """A process that has imported everything and run nothing, and forks workers: importing anew takes seconds.

    A worker calls ``work(progress, *words, out)`` of a module.
    """

    def __init__(self, module: str) -> None:
        root = Path(__file__).parents[1]
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", _NURSERY.format(module=module, hung=_HUNG)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)},
            cwd=root,
        )
        self._chance = random.Random(time.time_ns())  # noqa: S311

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def finish(self, *words: str, out: Path) -> float:
        """Let a worker end; gives the seconds that it took."""
        self._start(words, out)
        began = time.monotonic()
        assert self._end() == 0, "the worker failed; its error stands above"
        return time.monotonic() - began

    def survivors(self, *words: str, folder: Path, longest: float, check: Callable[[Path], None]) -> Iterator[Path]:
        """Start and kill workers until there have been enough kills; gives the out folder of each that came to its end.

        Args:
            words: given to ``work``.
            folder: where the out folders lie.
            longest: seconds from a worker's first step to its kill, at most; each attempt at the same folder has a tenth more,
                so that each comes to its end, however long what cannot be gone on with takes on this machine.
            check: called with the out folder after each worker, killed or ended.
        """
        kills = runs = 0
        while kills < KILLS:
            out, ended, allowed = folder / f"run{runs}", False, longest
            runs += 1
            while not ended:
                ended = self._attempt(words, out, allowed)
                allowed *= 1.1
                kills += not ended
                check(out)
            yield out

    def _attempt(self, words: tuple[str, ...], out: Path, longest: float) -> bool:
        """Start a worker and kill it, mostly within its work; gives whether it had ended before."""
        marker = _marker(out)
        marker.unlink(missing_ok=True)
        child = self._start(words, out)
        limit = time.monotonic() + (30 if self._chance.random() < 0.75 else 0)
        while not marker.exists() and time.monotonic() < limit:
            time.sleep(0.001)
        time.sleep(self._chance.uniform(0, longest))
        os.kill(child, signal.SIGKILL)
        status = self._end()
        assert status in (0, signal.SIGKILL), "the worker failed; its error stands above"
        return status == 0

    def _start(self, words: tuple[str, ...], out: Path) -> int:
        self._say(json.dumps([str(_marker(out)), *words, str(out)]))
        return self._hear()

    def _end(self) -> int:
        self._say("")
        return self._hear()

    def _say(self, line: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(line + "\n")

    def _hear(self) -> int:
        assert self._process.stdout
        return int(self._process.stdout.readline())


def _marker(out: Path) -> Path:
    return out.with_name(f"{out.name}.marker")
