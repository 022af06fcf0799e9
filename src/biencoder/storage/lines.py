"""JSON values on lines, readable one by one by number without loading the rest.

`NAME.jsonl` holds the values, which any tool can read; `NAME.offsets.npy` holds where each line starts, so that
opening costs nothing and reading a line costs one page.
"""

from __future__ import annotations

import json
import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

from biencoder.errors import CorruptError


class LineWriter:
    """Writes JSON values on lines, with their offsets.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with LineWriter(folder, "ids") as writer:
    ...     writer.write("d1")
    ...     writer.write("d2")
    >>> lines = Lines(folder, "ids")
    >>> len(lines), lines[1], list(lines)
    (2, 'd2', ['d1', 'd2'])
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._offsets_path = folder / f"{name}.offsets.npy"
        self._file: BinaryIO = (folder / f"{name}.jsonl").open("wb")
        self._offsets = _GrowingOffsets()

    def write(self, value: Any) -> None:
        """Append one value."""
        line = _line(value)
        self._file.write(line)
        self._offsets.append(len(line))

    def close(self) -> None:
        """Write the offsets and close both files."""
        self._file.close()
        np.save(self._offsets_path, self._offsets.values())

    def __enter__(self) -> LineWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self._file.close()


class Lines:
    """Values written by `LineWriter`, in the same order; `lines[i]` reads just that one, from any thread.

    Lines are read, not mapped: a pass over a large file leaves nothing in this process's memory, and an open file outlives its
    name.

    Raises:
        CorruptError: where the two files do not belong together, or a line is damaged.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._path = folder / f"{name}.jsonl"
        try:
            self._offsets = np.load(folder / f"{name}.offsets.npy", mmap_mode="r", allow_pickle=False)
        except ValueError as error:
            raise CorruptError(f"{folder / name}.offsets.npy is damaged ({error}); build the folder again") from None
        self._descriptor = os.open(self._path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)
        if len(self._offsets) < 1 or int(self._offsets[-1]) != os.fstat(self._descriptor).st_size:
            raise CorruptError(f"{self._path} does not match its offsets; build the folder again")

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, number: int) -> Any:
        if not 0 <= number < len(self):
            raise IndexError(f"line {number} of {len(self)}")
        start, end = int(self._offsets[number]), int(self._offsets[number + 1])
        try:
            return json.loads(os.pread(self._descriptor, end - start, start))
        except (ValueError, OSError, RecursionError):
            raise CorruptError(f"{self._path}, line {number + 1} is damaged; build the folder again") from None

    def __iter__(self) -> Iterator[Any]:
        return (self[number] for number in range(len(self)))


def _line(value: Any) -> bytes:
    compact = (",", ":")
    try:
        return json.dumps(value, ensure_ascii=False, separators=compact).encode() + b"\n"
    except UnicodeEncodeError:  # half of a surrogate pair has no UTF-8, but JSON can escape it
        return json.dumps(value, separators=compact).encode() + b"\n"


class _GrowingOffsets:
    """Line starts in an array of 8 bytes each, grown by doubling."""

    def __init__(self) -> None:
        self._values = np.zeros(1024, dtype=np.int64)
        self._count = 1

    def append(self, length: int) -> None:
        if self._count == len(self._values):
            self._values = np.concatenate([self._values, np.zeros_like(self._values)])
        self._values[self._count] = self._values[self._count - 1] + length
        self._count += 1

    def values(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        return self._values[: self._count]
