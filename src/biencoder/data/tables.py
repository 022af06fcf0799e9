"""Rows of named fields, streamed from JSON lines, CSV, TSV, Parquet or memory, each with the number that finds it again."""

from __future__ import annotations

import csv
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from biencoder.data.lines import LONGEST_LINE, numbered_lines, require_file, solid
from biencoder.data.values import ValueProblem, check_unicode, kind
from biencoder.errors import DataError

Row = dict[str, Any]

SUFFIXES = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
"""What a table's file name may end with; the text ones also with ``.gz`` behind it."""

_BATCH_ROWS = 1024


class Table(ABC):
    """Rows that can be read many times, of any number, in bounded memory.

    A row's number is the line of the file where the file has lines, and counts the rows from 1 where it has none. The
    caller may change the rows that it is given.
    """

    unit: ClassVar[str] = "line"
    json_values: ClassVar[bool] = True
    """Whether all values are JSON values already."""
    only_strings: ClassVar[bool] = False
    """Whether every value is a string, because the format has no other type."""

    def __init__(self, path: object) -> None:
        self.path = path

    def rows(self) -> Iterator[tuple[int, Row]]:
        """Every row with its number.

        Raises:
            DataError: at the first row that cannot be read, and where there is none at all.
        """
        rows = self._rows()
        first = next(rows, None)
        if first is None:
            raise DataError("empty: it holds no rows", path=self.path, hint="at least one is needed")
        yield first
        yield from rows

    def fault(self, number: int, problem: str, hint: str = "") -> DataError:
        """The error that names a row of this table."""
        if self.unit == "line":
            return DataError(problem, path=self.path, line=number, hint=hint)
        return DataError(f"{self.unit} {number}: {problem}", path=self.path, hint=hint)

    @abstractmethod
    def _rows(self) -> Iterator[tuple[int, Row]]: ...


class JsonTable(Table):
    """One JSON object a line."""

    def __init__(self, path: Path) -> None:
        super().__init__(require_file(path))
        self._path = path

    def _rows(self) -> Iterator[tuple[int, Row]]:
        decode = json.JSONDecoder(object_pairs_hook=_distinct_fields, parse_constant=_refuse_constant).raw_decode
        for number, raw in solid(numbered_lines(self._path), blank=str.isspace, path=self._path):
            line = raw.strip(" \t\r\n")
            try:
                row, end = decode(line)
                if end != len(line):
                    raise json.JSONDecodeError("Extra data", line, end)
                # Bytes that are UTF-8 hold no halves of surrogate pairs: only an escape can bring one in.
                if "\\" in line and ("\\ud" in line or "\\uD" in line):
                    check_unicode(row)
            except ValueProblem as error:
                raise self.fault(number, str(error)) from error
            except (json.JSONDecodeError, RecursionError) as error:
                raise self.fault(number, f"not JSON: {one_line(error)}", "expected one JSON object a line") from error
            except ValueError as error:
                raise self.fault(number, "a number of more digits than can be read", "write it as a string") from error
            if type(row) is not dict:
                raise self.fault(number, f"found {kind(row)}", "expected one JSON object a line")
            yield number, row


class CsvTable(Table):
    """Comma- or tab-separated values with a header row; quoted as spreadsheets, pandas and Python's ``csv`` do it.

    The number of a row is the line on which it starts: a quoted field may span several.

    Args:
        path: the file.
        delimiter: what stands between two fields.
        header: what the first row must be, where that is known.
    """

    only_strings = True

    def __init__(self, path: Path, *, delimiter: str, header: tuple[str, ...] | None = None) -> None:
        super().__init__(require_file(path))
        self._path = path
        self._delimiter = delimiter
        self._header = header

    def _rows(self) -> Iterator[tuple[int, Row]]:
        records = solid(self._records(), path=self._path)
        first = next(records, None)
        if first is None:
            return
        names = self._names(*first)
        for number, cells in records:
            if len(cells) != len(names):
                problem = f"found {len(cells)} {'field' if len(cells) == 1 else 'fields'}"
                raise self.fault(number, problem, f"the header has {len(names)} columns; quote fields that hold separators")
            yield number, dict(zip(names, cells, strict=True))

    def _names(self, number: int, header: list[str]) -> list[str]:
        if self._header is not None and tuple(header) != self._header:
            expected = f"expected {', '.join(map(repr, self._header))}, separated by {self._delimiter!r}"
            raise self.fault(number, f"the header is {', '.join(map(repr, header))}", expected)
        names = [name or f"column_{place}" for place, name in enumerate(header, start=1)]
        check_distinct(names, fault=partial(self.fault, number))
        return names

    def _records(self) -> Iterator[tuple[int, list[str]]]:
        # The module's own limit of 128 KiB a field is one for the process; long documents need more.
        csv.field_size_limit(max(csv.field_size_limit(), LONGEST_LINE))
        lines = (line for _, line in numbered_lines(self._path))
        reader = csv.reader(lines, delimiter=self._delimiter, strict=True)
        start = 1
        try:
            for cells in reader:
                yield start, cells
                start = reader.line_num + 1
        except csv.Error as error:
            hint = 'a field that holds quotes, separators or line ends must stand in quotes, its own quotes doubled ("")'
            raise self.fault(start, f"not a row of separated values ({str(error).partition(' - ')[0]})", hint) from error


class ParquetTable(Table):
    """Rows of a Parquet file, read by small batches."""

    unit = "row"
    json_values = False

    def __init__(self, path: Path) -> None:
        super().__init__(require_file(path))
        self._path = path

    def _rows(self) -> Iterator[tuple[int, Row]]:
        import pyarrow.parquet

        number = 0
        # Buffering ahead would hold a whole row group in memory.
        with self._explained(), pyarrow.parquet.ParquetFile(self._path, pre_buffer=False) as file:
            check_distinct(file.schema_arrow.names, fault=partial(DataError, path=self.path))
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row

    @contextmanager
    def _explained(self) -> Iterator[None]:
        import pyarrow as pa

        try:
            yield
        except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
            raise DataError(f"not a Parquet file that can be read ({one_line(error)})", path=self.path) from error


class RowsTable(Table):
    """Rows from memory, or from another library's data set.

    Args:
        read: gives the rows, anew at each call.
        name: what messages call them.
    """

    unit = "row"
    json_values = False

    def __init__(self, read: Callable[[], Iterable[Mapping[str, Any]]], *, name: str) -> None:
        super().__init__(name)
        self._read = read

    def _rows(self) -> Iterator[tuple[int, Row]]:
        for number, given in enumerate(self._read(), start=1):
            if not isinstance(given, Mapping):
                raise self.fault(number, f"found {kind(given)}", "expected a mapping from column to value")
            row = dict(given)
            try:
                check_unicode(row)
            except ValueProblem as error:
                raise self.fault(number, str(error)) from error
            yield number, row


def is_table(path: Path) -> bool:
    """Whether the name ends like that of a file that :func:`open_table` reads.

    >>> is_table(Path("pairs.csv.gz")), is_table(Path("corpus.parquet.gz")), is_table(Path("notes.md"))
    (True, False, False)
    """
    return _suffix(path) in SUFFIXES


def open_table(path: Path) -> Table:
    """The table in a file, by the end of its name.

    Raises:
        DataError: where there is no such file, or its name ends otherwise.
    """
    suffix = _suffix(path)
    if suffix in {".jsonl", ".ndjson"}:
        return JsonTable(path)
    if suffix in {".csv", ".tsv"}:
        return CsvTable(path, delimiter="," if suffix == ".csv" else "\t")
    if suffix == ".parquet":
        return ParquetTable(path)
    raise DataError("not a table by its name", path=require_file(path), hint=f"expected {', '.join(SUFFIXES)}, text also .gz")


def check_distinct(names: list[str], *, fault: Callable[[str], DataError]) -> None:
    """Make sure that no two columns have one name.

    Raises:
        DataError: where two have; ``fault`` makes it.
    """
    for place, name in enumerate(names):
        if name in names[:place]:
            raise fault(f"two columns are called {name!r}; rename one of them")


def _suffix(path: Path) -> str:
    name = path.name.lower()
    suffix = Path(name.removesuffix(".gz")).suffix
    return name[name.rindex(suffix) :] if suffix == ".parquet" else suffix


def _distinct_fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueProblem(f"the field {twice!r} stands twice; remove one")
    return fields


def _refuse_constant(name: str) -> None:
    raise ValueProblem(f"{name} is not a JSON value; write null instead")


def one_line(error: BaseException) -> str:
    r"""What another library says, on one line of bearable length.

    >>> one_line(ValueError("no\n  good"))
    'no good'
    """
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at column {error.colno}"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:200] + "…"
