"""Files into candidates, with every loss counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from biencoder.data import python_candidates
from biencoder.data.python_candidates import (
    BEYOND_LIMIT,
    COPY,
    EMPTY,
    FORMULA,
    GENERATED,
    LOCKED,
    NO_DOCSTRING,
    QUOTED,
    TOO_LARGE,
    UNDECODED,
    UNPARSED,
    CandidateReader,
)
from biencoder.data.python_files import PythonFile
from biencoder.records import Document


def file_of(folder: Path, name: str, source: str | bytes) -> PythonFile:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(source if isinstance(source, bytes) else source.encode())
    return PythonFile(name, path)


def function(name: str, sentence: str, body: str = "return 1") -> str:
    return f'def {name}():\n    """{sentence}"""\n    {body}\n\n'


def test_a_candidate_becomes_a_document(tmp_path: Path) -> None:
    source = (
        'class Bag:\n    def keys(self):\n        """Return the keys.\n\n        In order.\n        """\n        return 1\n'
    )
    reader = CandidateReader()
    reader.read(file_of(tmp_path, "odd name/50%/bag.py", source))
    [candidate] = reader.finish()
    assert candidate.sentence == "Return the keys"
    assert candidate.document == Document(
        id="odd%20name/50%25/bag.py:2",
        title="odd name.50%.bag.Bag",
        text="def keys(self):\n    return 1",
        metadata={"file": "odd name/50%/bag.py", "line": 2, "module": "odd name.50%.bag", "name": "Bag.keys"},
    )


def test_a_module_level_function_is_titled_by_its_module(tmp_path: Path) -> None:
    reader = CandidateReader()
    reader.read(file_of(tmp_path, "a/__init__.py", function("f", "Return the number one.")))
    assert [candidate.document.title for candidate in reader.finish()] == ["a"]


def test_every_function_that_is_left_out_is_counted(tmp_path: Path) -> None:
    source = (
        function("good", "Return the number one.")
        + function("empty", "Return the number one.", "pass")
        + "def bare(): return 1\n"
        + 'def blank():\n    " "\n    return 1\n'
        + function("short", "Return it.")
        + function("params", ":param x: a number")
        + function("base", "See the base class.")
        + function("quoted", "Count the words.", "x = 1  # COUNT\n    # the words\n    return x")
    )
    reader = CandidateReader()
    reader.read(file_of(tmp_path, "a.py", source))
    assert [candidate.function.name for candidate in reader.finish()] == ["good"]
    assert reader.functions == 8
    assert reader.skipped_functions == {
        EMPTY: 1,
        NO_DOCSTRING: 2,
        "fewer than three words": 1,
        "no sentence": 1,
        "says nothing of the function": 1,
        QUOTED: 1,
    }


@pytest.mark.parametrize(
    ("source", "reason", "problem"),
    [
        ("def f(:\n", UNPARSED, "a.py: not Python of this version: invalid syntax (<unknown>, line 1)"),
        (b"\n\n\nx = '\xff'\n", UNDECODED, "a.py: not text in the encoding that it declares: 'utf-8' codec can't decode byte"),
        (b"# coding: nonsense\n", UNDECODED, "a.py: not text in the encoding that it declares: unknown encoding: nonsense"),
        (b"# coding: hex\n", UNDECODED, "a.py: not text in the encoding that it declares: 'hex' is not a text encoding"),
        ("# DO NOT EDIT\n" + function("f", "Return the number one."), GENERATED, None),
        ("#" * 1_000_001, TOO_LARGE, None),
    ],
)
def test_every_file_that_is_left_out_is_counted(tmp_path: Path, source: str | bytes, reason: str, problem: str | None) -> None:
    reader = CandidateReader()
    reader.read(file_of(tmp_path, "a.py", source))
    assert reader.finish() == []
    assert reader.skipped_files == {reason: 1}
    assert [found.startswith(problem or "") for found in reader.unreadable] == ([True] if problem else [])


def test_a_file_that_cannot_be_read_is_counted(tmp_path: Path) -> None:
    reader = CandidateReader()
    reader.read(PythonFile("gone.py", tmp_path / "gone.py"))
    assert reader.skipped_files == {LOCKED: 1}
    assert reader.unreadable == [f"gone.py: cannot be read: [Errno 2] No such file or directory: '{tmp_path}/gone.py'"]


def test_what_overwhelms_the_parser_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def overwhelmed(_: str) -> list[object]:
        raise RecursionError("too deep")

    monkeypatch.setattr(python_candidates, "python_functions", overwhelmed)
    reader = CandidateReader()
    reader.read(file_of(tmp_path, "a.py", ""))
    assert reader.unreadable == ["a.py: not Python of this version: too deep"]


def test_copies_are_kept_once_the_first_by_name(tmp_path: Path) -> None:
    source = function("f", "Return the number one.")
    reader = CandidateReader()
    for name in ("vendored/b.py", "a.py", "c.py"):
        reader.read(file_of(tmp_path, name, source))
    reader.read(file_of(tmp_path, "d.py", function("f", "Return the number two.")))
    assert [candidate.file.name for candidate in reader.finish()] == ["a.py", "d.py"]
    assert reader.skipped_functions == {COPY: 2}


def test_a_sentence_over_too_many_functions_is_no_query(tmp_path: Path) -> None:
    reader = CandidateReader()
    reader.read(file_of(tmp_path, "a.py", "".join(function(f"f{i}", "Emit a record.") for i in range(11))))
    reader.read(file_of(tmp_path, "b.py", "".join(function(f"g{i}", "emit A message.") for i in range(10))))
    assert {candidate.question for candidate in reader.finish()} == {"emit a message"}
    assert reader.skipped_functions == {FORMULA: 11}


def test_undocumented_functions_are_kept_on_request_but_not_empty_ones(tmp_path: Path) -> None:
    source = (
        "def bare(): return 1\ndef empty(): pass\n" + function("short", "Do it.") + function("good", "Return the number one.")
    )
    source += "".join(function(f"f{i}", "Emit a record.") for i in range(11))
    reader = CandidateReader(undocumented=True)
    reader.read(file_of(tmp_path, "a.py", source))
    found = {candidate.function.name: candidate.sentence for candidate in reader.finish()}
    assert found == {"bare": "", "short": "", "good": "Return the number one"} | {f"f{i}": "" for i in range(11)}
    assert reader.skipped_functions == {EMPTY: 1}


def test_a_file_beyond_the_limit_is_left_out_whole(tmp_path: Path) -> None:
    two = function("f", "Return the number one.") + function("g", "Return the number two.")
    reader = CandidateReader(limit=3)
    for name in ("a.py", "b.py"):
        reader.read(file_of(tmp_path, name, two.replace("number", name[0] * 2)))
    reader.read(file_of(tmp_path, "c.py", function("h", "Return the last one.")))
    reader.read(file_of(tmp_path, "d.py", "def f(:"))
    assert [candidate.document.id for candidate in reader.finish()] == ["a.py:1", "a.py:5", "c.py:1"]
    assert reader.skipped_files == {BEYOND_LIMIT: 2}
    assert reader.functions == 3
