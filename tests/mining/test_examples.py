"""The lines of a mined file, read back, and every way in which one can be no such line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from biencoder.errors import DataError
from biencoder.mining import MinedPair, read_examples, read_pairs
from biencoder.records import Example

PAIR: dict[str, Any] = {
    "query_id": "q",
    "query": "x",
    "source": "model",
    "positive_id": "p",
    "positive_rank": 2,
    "positive_score": 0.5,
    "negative_ids": ["n", "m"],
    "negative_ranks": [1, None],
    "negative_scores": [0.4, -0.2],
    "scores": [3.5, 1.0, -1.0],
    "positive": "a text",
    "negatives": ["another", "a third"],
}


def written(folder: Path, *records: dict[str, Any]) -> Path:
    path = folder / "n.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_a_pair_is_written_and_read(tmp_path: Path) -> None:
    pair = MinedPair.model_validate(PAIR)
    assert json.loads(pair.line()) == PAIR
    assert list(json.loads(pair.line())) == list(PAIR)
    (tmp_path / "n.jsonl").write_bytes(pair.line() * 2)
    assert list(read_pairs(tmp_path / "n.jsonl")) == [pair, pair]


def test_without_a_teacher_there_are_no_scores() -> None:
    pair = MinedPair.model_validate({name: value for name, value in PAIR.items() if name != "scores"})
    assert "scores" not in json.loads(pair.line())


def test_positives_of_all_lines_of_a_query_are_known_to_each(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        {"query": "x", "positive": "a", "negatives": ["c", "d"], "scores": [2, 1, 0]},
        {"query": "y", "positive": "c"},
        {"query": "x", "positive": "b", "negatives": ["c"], "comment": "not read"},
    )
    assert read_examples(path) == [
        Example("x", "a", ("c", "d"), (2.0, 1.0, 0.0), frozenset({"a", "b"})),
        Example("y", "c", (), None, frozenset({"c"})),
        Example("x", "b", ("c",), None, frozenset({"a", "b"})),
    ]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"positive": None}, "positive: Input should be a valid string"),
        ({"query": ""}, "query: String should have at least 1 character"),
        ({"negatives": ["another", 3]}, "negatives.1: Input should be a valid string"),
        ({"scores": [1.0, 2.0]}, "2 scores for a positive and 2 negatives; one each is needed"),
    ],
)
def test_a_line_that_is_no_example(tmp_path: Path, changes: dict[str, Any], problem: str) -> None:
    path = written(tmp_path, PAIR, PAIR | changes)
    reason = f"{path}, line 2: {problem}; expected a line that `biencoder mine` wrote"
    with pytest.raises(DataError, match=f"^{re.escape(reason)}$"):
        read_examples(path)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"negative_ranks": [1]}, "negatives, negative_ids, negative_ranks and negative_scores are not equally many"),
        ({"positive_rank": 0}, "positive_rank: Input should be greater than or equal to 1"),
        ({"negative_scores": "high"}, "negative_scores: Input should be a valid list"),
    ],
)
def test_a_line_that_is_no_mined_pair(tmp_path: Path, changes: dict[str, Any], problem: str) -> None:
    path = written(tmp_path, PAIR | changes)
    reason = f"{path}, line 1: {problem}; expected a line that `biencoder mine` wrote"
    with pytest.raises(DataError, match=f"^{re.escape(reason)}$"):
        list(read_pairs(path))
    assert len(read_examples(path)) == 1  # these fields are for people


def test_a_negative_that_is_a_positive_on_another_line(tmp_path: Path) -> None:
    path = written(tmp_path, {"query": "x", "positive": "a", "negatives": ["b"]}, {"query": "x", "positive": "b"})
    reason = f"{path}, line 1: a negative is also a positive of the same query; remove one of the two, or mine again"
    with pytest.raises(DataError, match=f"^{re.escape(reason)}$"):
        read_examples(path)


def test_no_file_no_json_no_lines(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no\.jsonl: there is no such file$"):
        read_examples(tmp_path / "no.jsonl")
    (tmp_path / "n.jsonl").write_text("{")
    with pytest.raises(DataError, match=r"n\.jsonl, line 1: not JSON"):
        read_examples(tmp_path / "n.jsonl")
    (tmp_path / "n.jsonl").write_text("")
    with pytest.raises(DataError, match=r"n\.jsonl: empty: it holds no rows; at least one is needed$"):
        read_examples(tmp_path / "n.jsonl")
