from __future__ import annotations

import gzip
import itertools
import math
import tempfile
from pathlib import Path

import ir_measures
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biencoder.errors import ArgumentError, DataError, StorageError
from biencoder.evaluation.runs import ranked, read_run, strictly_decreasing, write_run

finite = st.floats(-1e30, 1e30)


@given(st.lists(finite, max_size=30), st.integers(0, 5))
def test_scores_become_strictly_decreasing_in_single_precision_too(scores: list[float], ties: int) -> None:
    given_scores = sorted(scores + scores[:1] * ties, reverse=True)
    result = strictly_decreasing(given_scores)
    assert all(a > b for a, b in itertools.pairwise(result))
    single = np.asarray(result, dtype=np.float32)
    assert (np.diff(single) < 0).all()
    assert strictly_decreasing(result) == result


def test_scores_without_ties_stay_as_they_are() -> None:
    assert strictly_decreasing([0.3, 0.1, -7.0]) == [0.3, 0.1, -7.0]
    assert strictly_decreasing([]) == []


def test_scores_that_only_double_precision_tells_apart_are_lowered() -> None:
    first, second = strictly_decreasing([1.0 + 1e-12, 1.0])
    assert first == 1.0 + 1e-12
    assert second == float(np.nextafter(np.float32(1), np.float32(0)))


def test_many_ties_at_zero() -> None:
    result = strictly_decreasing([0.0] * 1000)
    assert result[0] == 0.0
    assert len({float(np.float32(score)) for score in result}) == 1000
    assert result[-1] > -1e-40


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf, 1e39])
def test_scores_that_cannot_be_used(score: float) -> None:
    with pytest.raises(ArgumentError) as caught:
        strictly_decreasing([score])
    assert str(caught.value) == f"a score is {score}; it must be a finite number within ±1e38"


def test_a_rising_score_is_refused() -> None:
    message = r"^rank 3 has the score 0\.9, above the 0\.8 of rank 2; hits must come best first$"
    with pytest.raises(ArgumentError, match=message):
        strictly_decreasing([1.0, 0.8, 0.9])


def test_ranking_keeps_the_order_of_ties() -> None:
    run = ranked({"q": {"z": 1.0, "b": 2.0, "a": 1.0}})
    assert list(run["q"]) == ["b", "z", "a"]
    with pytest.raises(ArgumentError, match=r"^query 'q': a score is nan; it must be a finite number within ±1e38$"):
        ranked({"q": {"a": math.nan}})


identifier = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6).filter(
    lambda text: text.split() == [text] and not text.startswith("\ufeff")
)
runs = st.dictionaries(identifier, st.dictionaries(identifier, finite, min_size=1, max_size=5), min_size=1, max_size=4)


@given(runs, st.sampled_from(["run.trec", "run.trec.gz"]))
def test_what_is_written_is_read_again(run: dict[str, dict[str, float]], name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "new" / name
        write_run(run, file)
        again = read_run(file)
    assert again == ranked(run)
    assert [list(scores) for scores in again.values()] == [list(scores) for scores in ranked(run).values()]


def test_the_file_is_what_other_tools_read(tmp_path: Path) -> None:
    file = tmp_path / "run.trec"
    write_run({"q1": {"d1": 0.25, "d2": 0.5}, "q2": {"d1": 1.0}}, file, tag="mine")
    assert file.read_text() == "q1 Q0 d2 1 0.5 mine\nq1 Q0 d1 2 0.25 mine\nq2 Q0 d1 1 1.0 mine\n"
    assert list(ir_measures.read_trec_run(str(file))) == [("q1", "d2", 0.5), ("q1", "d1", 0.25), ("q2", "d1", 1.0)]
    write_run({"q1": {"d1": 1.0}}, file)
    assert file.read_text() == "q1 Q0 d1 1 1.0 biencoder\n"


def test_compressed_files_are_the_same_bytes_each_time(tmp_path: Path) -> None:
    for name in ("a.gz", "b.gz"):
        write_run({"q1": {"d1": 1.0}}, tmp_path / name)
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()
    assert gzip.decompress((tmp_path / "a.gz").read_bytes()) == b"q1 Q0 d1 1 1.0 biencoder\n"


@pytest.mark.parametrize("bad", ["", "a b", " a", "a\t", "a\nb", "a\u00a0b", "a\u2028b", "\ufeffa"])
def test_ids_that_the_format_cannot_hold(bad: str, tmp_path: Path) -> None:
    rule = "a TREC run file can hold no empty field and no white space inside one: choose another id"
    file = tmp_path / "run.trec"
    with pytest.raises(ArgumentError) as caught:
        write_run({"q": {bad: 1.0}}, file)
    assert str(caught.value) == f"the id of a document of query 'q' is {bad!r}; {rule}"
    with pytest.raises(ArgumentError) as caught:
        write_run({bad: {"d": 1.0}}, file)
    assert str(caught.value) == f"a query's id is {bad!r}; {rule}"
    with pytest.raises(ArgumentError) as caught:
        write_run({"q": {"d": 1.0}}, file, tag=bad)
    assert str(caught.value) == f"the tag is {bad!r}; {rule}"
    assert not file.exists()


def test_an_id_that_is_not_unicode(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError) as caught:
        write_run({"q": {"\ud800": 1.0}}, tmp_path / "run.trec")
    assert str(caught.value) == (
        "the id of a document of query 'q' is '\\ud800', which cannot be written as UTF-8; choose another id"
    )


def test_reading_sorts_by_score_then_rank(tmp_path: Path) -> None:
    file = tmp_path / "run.trec"
    file.write_bytes(
        b"\xef\xbb\xbfq1 Q0 c 3 0.5 x\r\n"
        b"q2 Q0 a 1 -0.0 x\r\n"
        b"\r\n"
        b"q1\tQ0\tb\t2\t0.5\tx\r\n"
        b"q1 Q0 a 9 1e0 x\r\n"
        b"q1 Q0 \xc2\xa0d 1 0.1 x"  # a no-break space is part of an id: only ASCII white space separates
    )
    run = read_run(file)
    assert run == {"q1": {"a": 1.0, "b": 0.5, "c": 0.5, "\u00a0d": 0.1}, "q2": {"a": 0.0}}
    assert list(run["q1"]) == ["a", "b", "c", "\u00a0d"]


LAYOUT = "a line is: QUERY Q0 DOCUMENT RANK SCORE TAG"


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (b"q1 Q0 d1 1 0.5", f"line 1: the line has 5 fields, expected 6; {LAYOUT}"),
        (b"q1 Q0 d1 1 0.5 x\nq1 Q0 d 2 2 0.4 x", f"line 2: the line has 7 fields, expected 6; {LAYOUT}"),
        (b"\nq1 Q0 d1 one 0.5 x", "line 2: the rank is 'one', expected a whole number"),
        (b"q1 Q0 d1 1 best x", "line 1: the score is 'best', expected a finite number within ±1e38"),
        (b"q1 Q0 d1 1 nan x", "line 1: the score is 'nan', expected a finite number within ±1e38"),
        (b"q1 Q0 d1 1 -inf x", "line 1: the score is '-inf', expected a finite number within ±1e38"),
        (b"q1 Q0 d1 1 1e39 x", "line 1: the score is '1e39', expected a finite number within ±1e38"),
        (b"q1 Q0 d\xff 1 0.5 x", "line 1: the line is not UTF-8; save the file as UTF-8"),
        (
            b"q1 Q0 d1 1 0.5 x\nq2 Q0 d1 1 0.5 x\nq1 Q0 d1 2 0.4 x",
            "line 3: document 'd1' comes a second time for query 'q1'; a run ranks a document once a query",
        ),
    ],
)
def test_messages_name_file_and_line(lines: bytes, problem: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.trec"
    file.write_bytes(lines)
    with pytest.raises(DataError) as caught:
        read_run(file)
    assert str(caught.value) == f"{file}, {problem}"


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_an_empty_file(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "empty.trec"
    file.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_run(file)
    assert str(caught.value) == f"{file}: the file holds no hits; {LAYOUT}"


def test_damaged_compression(tmp_path: Path) -> None:
    file = tmp_path / "run.gz"
    write_run({"q1": {f"d{number}": 1.0 for number in range(1000)}}, file)
    whole = file.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"plain text", whole[:20] + b"\xff" * 50 + whole[70:]):
        file.write_bytes(damaged)
        with pytest.raises(DataError) as caught:
            read_run(file)
        assert str(caught.value).startswith(f"{file}: the compressed file is damaged (")
        assert str(caught.value).endswith("); copy it again")


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught:
        read_run(tmp_path / "missing.trec")
    assert str(caught.value) == f"{tmp_path / 'missing.trec'}: No such file or directory"
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        write_run({"q": {"d": 1.0}}, tmp_path / "file" / "run.trec")
