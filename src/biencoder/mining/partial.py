"""The lines of a file that is not finished: durable block by block, gone on with after an interruption."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from biencoder.mining.record import Purpose, Record
from biencoder.storage.folder import flush_directory, write_file
from biencoder.storage.manifest import file_digest

VECTORS = "vectors"
"""Where the documents' vectors lie in the work folder; they have marks of their own, and outlive a change of options."""


class Partial:
    """Appends blocks of lines to a file in a work folder; a block that `append` has returned from is durable.

    Over a folder that was left with the same purpose it goes on behind the last durable block; with another purpose all but
    the vectors is removed first.

    Args:
        folder: the work folder, which exists.
        purpose: all that decides the lines.

    Attributes:
        done: queries whose lines are durable.
        counts: what was counted over them.
    """

    def __init__(self, folder: Path, purpose: Purpose) -> None:
        self._path = folder / "examples.jsonl"
        self._progress = folder / "progress.json"
        self._purpose = purpose
        self.done, self._bytes, self.counts = self._durable()
        if not self.done:
            _clear(folder)
            self._save()
        self._file = self._path.open("r+b" if self.done else "w+b")
        self._file.truncate(self._bytes)
        self._file.seek(0, os.SEEK_END)

    def append(self, lines: Iterable[bytes], *, done: int, counts: Counter[str]) -> None:
        """Add the lines of a block and make them durable.

        Args:
            lines: consumed one by one.
            done: queries behind this block, in all.
            counts: of the block, looked at once its lines have been consumed.
        """
        self._file.writelines(lines)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._bytes = self._file.tell()
        self.done = done
        self.counts = self.counts + counts
        self._save()

    def close(self) -> None:
        """Close the file and keep it, so that a later call goes on."""
        self._file.close()

    def put_in_place(self, target: Path) -> None:
        """Move the finished file to its place, its record first.

        Where the process is killed between the two, the record does not fit the file that is there, and the next call, which
        finds all lines durable, moves them again.
        """
        self.close()
        Record(self._purpose, self._bytes, file_digest(self._path), self.counts).write(target)
        self._path.replace(target)
        flush_directory(target.parent)

    def _save(self) -> None:
        state = {"purpose": self._purpose, "done": self.done, "bytes": self._bytes, "counts": dict(self.counts)}
        write_file(self._progress, json.dumps(state, sort_keys=True).encode())

    def _durable(self) -> tuple[int, int, Counter[str]]:
        try:
            state: dict[str, Any] = json.loads(self._progress.read_bytes())
            done, size, counts = int(state["done"]), int(state["bytes"]), Counter(state["counts"])
            whole = self._path.stat().st_size >= size >= 0 and state["purpose"] == self._purpose
        except (OSError, ValueError, KeyError, TypeError):
            return 0, 0, Counter()
        return (done, size, counts) if whole else (0, 0, Counter())


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name.lstrip(".").partition(".")[0] == VECTORS:  # with its lock and its own unfinished work
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
