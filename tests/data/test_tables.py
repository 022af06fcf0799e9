from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from biencoder.data.tables import CsvTable, JsonTable, RowsTable, open_table
from biencoder.errors import DataError


def rows(path: Path, content: str | bytes) -> list[tuple[int, dict[str, Any]]]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(open_table(path).rows())


@pytest.mark.parametrize("name", ["a.jsonl", "a.NDJSON", "a.jsonl.gz"])
def test_json_lines(tmp_path: Path, name: str) -> None:
    content = '\ufeff{"a": "\\ud83d\\ude42"}\r\n  {"b": [1, null]} \n\n'.encode()
    packed = gzip.compress(content) if name.endswith(".gz") else content
    assert rows(tmp_path / name, packed) == [(1, {"a": "🙂"}), (2, {"b": [1, None]})]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"a":', "not JSON: Expecting value at column 6; expected one JSON object a line"),
        ("{} {}", "not JSON: Extra data at column 3; expected one JSON object a line"),
        (
            "{'a': 1}",
            "not JSON: Expecting property name enclosed in double quotes at column 2; expected one JSON object a line",
        ),
        ("[" * 100_000, "not JSON: nested too deeply; expected one JSON object a line"),
        ("[1]", "found a list; expected one JSON object a line"),
        ("null", "found null; expected one JSON object a line"),
        ('{"a": NaN}', "NaN is not a JSON value; write null instead"),
        ('{"a": -Infinity}', "-Infinity is not a JSON value; write null instead"),
        (f'{{"a": {"1" * 5000}}}', "a number of more digits than can be read; write it as a string"),
        ('{"a": {"b": 1, "c": 2, "b": 3}}', "the field 'b' stands twice; remove one"),
        ('{"a": "\\uD83d"}', "\\ud83d is half of a surrogate pair, not a character; remove it"),
        ('{"\\udc00": 1}', "\\udc00 is half of a surrogate pair, not a character; remove it"),
    ],
)
def test_json_that_is_none(tmp_path: Path, line: str, problem: str) -> None:
    with pytest.raises(DataError) as caught:
        rows(tmp_path / "a.jsonl", f'{{"fine": 1}}\n{line}\n')
    assert str(caught.value) == f"{tmp_path / 'a.jsonl'}, line 2: {problem}"


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.csv.gz"])
def test_separated_values_start_at_their_first_line(tmp_path: Path, name: str) -> None:
    content = '\ufeffid,text\r\n1,"two\r\n\r\nlines, ""quoted"""\r\n2,one\r\n\r\n'
    if name == "a.tsv":
        content = content.replace("id,text", "id\ttext").replace("1,", "1\t").replace("2,", "2\t")
    data = gzip.compress(content.encode()) if name.endswith(".gz") else content
    expected = [(2, {"id": "1", "text": 'two\r\n\r\nlines, "quoted"'}), (5, {"id": "2", "text": "one"})]
    assert rows(tmp_path / name, data) == expected


def test_a_column_without_a_name_is_called_by_its_place(tmp_path: Path) -> None:
    assert rows(tmp_path / "a.csv", ",text\n0,x\n") == [(2, {"column_1": "0", "text": "x"})]


def test_a_long_field_is_read(tmp_path: Path) -> None:
    assert rows(tmp_path / "a.csv", f"text\n{'x' * 200_000}\n") == [(2, {"text": "x" * 200_000})]


QUOTES = 'a field that holds quotes, separators or line ends must stand in quotes, its own quotes doubled ("")'


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('a,b\n1,"x\ny"\n1,2,3\n', ", line 4: found 3 fields; the header has 2 columns; quote fields that hold separators"),
        ("a,b\n1\n", ", line 2: found 1 field; the header has 2 columns; quote fields that hold separators"),
        ("a,b\n\n1,2\n", ", line 2: a blank line before the end of the file; remove it"),
        ("a,a\n1,2\n", ", line 1: two columns are called 'a'; rename one of them"),
        ('a,b\n1,2\n1,"x\n', f", line 3: not a row of separated values (unexpected end of data); {QUOTES}"),
        ('a,b\n1,"x"y\n', f", line 2: not a row of separated values (',' expected after '\"'); {QUOTES}"),
        ("a,b\n1,x\ry\n", f", line 2: not a row of separated values (new-line character seen in unquoted field); {QUOTES}"),
        ("a,b\n", ": empty: it holds no rows; at least one is needed"),
        ("", ": empty: it holds no rows; at least one is needed"),
        ("\ufeff", ": empty: it holds no rows; at least one is needed"),
    ],
)
def test_separated_values_that_are_none(tmp_path: Path, content: str, problem: str) -> None:
    with pytest.raises(DataError) as caught:
        rows(tmp_path / "a.csv", content)
    assert str(caught.value) == f"{tmp_path / 'a.csv'}{problem}"


def test_a_header_that_is_known(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("q1\td1\n")
    with pytest.raises(DataError) as caught:
        list(CsvTable(path, delimiter="\t", header=("query", "document")).rows())
    assert str(caught.value) == f"{path}, line 1: the header is 'q1', 'd1'; expected 'query', 'document', separated by '\\t'"


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pa.parquet.write_table(pa.table({"id": [1, 2], "text": ["x", None]}), path)
    assert list(open_table(path).rows()) == [(1, {"id": 1, "text": "x"}), (2, {"id": 2, "text": None})]


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + bytes(40) + b"PAR1", b"id,text\n1,x\n"])
def test_parquet_that_is_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        list(open_table(path).rows())
    message = str(caught.value)
    assert message.startswith(f"{path}: not a Parquet file that can be read (")
    assert "\n" not in message


def test_parquet_without_rows_and_with_double_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pa.parquet.write_table(pa.table({"id": pa.array([], pa.string())}), path)
    with pytest.raises(DataError) as caught:
        list(open_table(path).rows())
    assert str(caught.value) == f"{path}: empty: it holds no rows; at least one is needed"
    pa.parquet.write_table(pa.table([["x"], ["y"]], names=["id", "id"]), path)
    with pytest.raises(DataError) as caught:
        list(open_table(path).rows())
    assert str(caught.value) == f"{path}: two columns are called 'id'; rename one of them"


def test_parquet_text_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    text = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe")])
    pa.parquet.write_table(pa.table({"text": text}), path)
    with pytest.raises(DataError, match=r"a\.parquet: not a Parquet file that can be read \('utf-8' codec can't decode"):
        list(open_table(path).rows())


def test_rows_from_memory() -> None:
    given = [{"a": 1}]
    table = RowsTable(lambda: given, name="pairs")
    for number, row in table.rows():
        assert number == 1
        row.clear()
    assert given == [{"a": 1}]
    for wrong, problem in [
        ([{"a": 1}, 3], "row 2: found a number; expected a mapping from column to value"),
        ([{"a": "\ud800"}], "row 1: \\ud800 is half of a surrogate pair, not a character; remove it"),
        ([], "empty: it holds no rows; at least one is needed"),
    ]:
        with pytest.raises(DataError) as caught:
            list(RowsTable(lambda wrong=wrong: wrong, name="pairs").rows())  # type: ignore[misc]
        assert str(caught.value) == f"pairs: {problem}"


def test_names_that_are_no_tables(tmp_path: Path) -> None:
    for name in ("a.json", "a.parquet.gz"):
        (tmp_path / name).write_text("{}")
        with pytest.raises(DataError) as caught:
            open_table(tmp_path / name)
        expected = "not a table by its name; expected .jsonl, .ndjson, .csv, .tsv, .parquet, text also .gz"
        assert str(caught.value) == f"{tmp_path / name}: {expected}"


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.csv", "a.parquet"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    text = "word " * 400
    if name == "a.parquet":
        pa.parquet.write_table(pa.table({"text": [text] * 8000}), path, row_group_size=1000)
    elif name == "a.csv":
        path.write_text("text\n" + f"{text}\n" * 8000)
    else:
        data = (f'{{"text": "{text}"}}\n' * 8000).encode()
        path.write_bytes(gzip.compress(data, 1) if name.endswith(".gz") else data)
    table = open_table(path)
    next(iter(table.rows()))  # imports are not rows
    tracemalloc.start()
    try:
        assert sum(1 for _ in table.rows()) == 8000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 6e6  # the file is 16 MB


def test_a_table_can_be_read_again(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n')
    table = JsonTable(path)
    assert list(table.rows()) == list(table.rows()) == [(1, {"a": 1})]
