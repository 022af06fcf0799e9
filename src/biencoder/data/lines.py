"""Text files, plain or gzipped, as numbered lines; whatever is wrong with the bytes is said with file and line."""

from __future__ import annotations

import codecs
import gzip
import io
import operator
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar

from biencoder.errors import DataError

LONGEST_LINE = 1 << 26
"""Bytes. Without a bound, a small .gz that unpacks to one endless line would fill the memory."""

_Item = TypeVar("_Item")


def require_file(path: Path) -> Path:
    """Make sure that ``path`` is a regular file, which can be read again and again.

    Raises:
        DataError: where there is nothing, or a folder, pipe or device.
    """
    try:
        if path.is_file():
            return path
        there = path.exists()
    except (OSError, ValueError) as error:
        raise DataError(f"cannot be looked at ({error})", path=path) from error
    if there:
        raise DataError("this is not a regular file", path=path, hint="pipes and devices cannot be read twice")
    raise DataError("there is no such file", path=path)


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 file with their numbers, counted from 1, line ends kept; ``.gz`` is unpacked.

    A byte order mark is dropped. Lines end at a line feed, and nowhere else: a text may hold other separators.

    Raises:
        DataError: where the file cannot be read, is cut off, is not UTF-8, or has a line of more than 64 MiB.
    """
    number = 0
    try:
        with _open(path) as stream:
            for raw in iter(partial(stream.readline, LONGEST_LINE), b""):
                number += 1
                if len(raw) == LONGEST_LINE:
                    raise DataError("a line of more than 64 MiB", path=path, line=number, hint="is a line end missing?")
                if number == 1:
                    raw = raw.removeprefix(codecs.BOM_UTF8)  # noqa: PLW2901 - the same line, without its mark
                if raw:
                    yield number, raw.decode()
    except UnicodeDecodeError as error:
        raise not_utf8(error, path=path, line=number) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        problem = f"the gzip stream is broken or cut off ({error})"
        raise DataError(problem, path=path, line=number + 1, hint="copy or pack the file again") from error
    except OSError as error:
        raise unreadable(error, path=path) from error


def solid(
    numbered: Iterable[tuple[int, _Item]], *, blank: Callable[[_Item], bool] = operator.not_, path: object
) -> Iterator[tuple[int, _Item]]:
    """Pass numbered lines on, dropping blank ones at the end of the file; one before the end is an error.

    Raises:
        DataError: at a blank line that something follows: a hole in a file is a sign of damage.

    >>> list(solid([(1, "a"), (2, "")], path="a.csv"))
    [(1, 'a')]
    >>> list(solid([(1, "a"), (2, ""), (3, "b")], path="a.csv"))
    Traceback (most recent call last):
    biencoder.errors.DataError: a.csv, line 2: a blank line before the end of the file; remove it
    """
    hole = 0
    for number, item in numbered:
        if blank(item):
            hole = hole or number
            continue
        if hole:
            raise DataError("a blank line before the end of the file", path=path, line=hole, hint="remove it")
        yield number, item


def not_utf8(error: UnicodeDecodeError, *, path: object, line: int | None = None) -> DataError:
    """The error for bytes that are not UTF-8."""
    problem = f"byte {error.object[error.start]:#04x} at position {error.start + 1} is not UTF-8"
    return DataError(problem, path=path, line=line, hint="convert the file, for instance with iconv -f latin1 -t utf-8")


def unreadable(error: OSError, *, path: object) -> DataError:
    """The error for what the operating system will not let us read."""
    return DataError(f"cannot be read ({error.strerror or error})", path=path)


def _open(path: Path) -> BinaryIO:
    if path.suffix != ".gz":
        return path.open("rb")
    # GzipFile.readline is Python code; a buffered reader around it reads lines about twice as fast.
    return io.BufferedReader(gzip.GzipFile(path), buffer_size=1 << 17)
