from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from biencoder.search import Reranker, Searcher
from biencoder.towers.cross_encoder import CrossEncoder
from tests.cli.running import cli, failure

QUERY = "aspirin for the heart"


def test_json_is_what_the_library_finds(index_folder: Path) -> None:
    done = cli("search", index_folder, QUERY, "-k", 3, "--json", "--precision", "exact")
    assert (done.status, done.err) == (0, "")
    hits = Searcher.open(index_folder).search(QUERY, k=3)
    assert [(found["rank"], found["id"], found["title"], found["text"]) for found in done.json] == [
        (hit.rank, hit.id, hit.title, hit.text) for hit in hits
    ]
    assert [found["score"] for found in done.json] == pytest.approx([hit.score for hit in hits], abs=1e-6)
    assert set(done.json[0]) == {"rank", "id", "score", "title", "text", "metadata"}


def test_a_hit_is_shown_with_title_and_text(index_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    (hit,) = Searcher.open(index_folder).search(QUERY, k=1, hybrid=True)
    done = cli("search", index_folder, QUERY, "-k", 1, "--hybrid", "--precision", "exact")
    assert done.out == f"  1  {hit.score:.4f}  {hit.title}  [{hit.id}]\n             {hit.text}\n"


def test_reranked(index_folder: Path, reranker_folder: Path) -> None:
    done = cli("search", index_folder, QUERY, "-k", 3, "--json", "--precision", "exact", "--rerank", reranker_folder)
    assert (done.status, done.err) == (0, "")
    hits = Reranker(Searcher.open(index_folder), CrossEncoder.load(reranker_folder)).search(QUERY, k=3)
    assert [found["id"] for found in done.json] == [hit.id for hit in hits]
    assert [found["score"] for found in done.json] == pytest.approx([hit.score for hit in hits], abs=1e-5)
    less = cli("search", index_folder, QUERY, "-k", 3, "--json", "--rerank", reranker_folder, "--depth", 3).json
    assert {found["id"] for found in less} == {hit.id for hit in Searcher.open(index_folder).search(QUERY, k=3)}
    hybrid = cli(
        "search", index_folder, "-k", 1, "--hybrid", "--rerank", reranker_folder, "--precision", "int8", stdin=b"liver\n"
    )
    assert hybrid.status == 1  # the index's own model is run by torch here, which has no int8
    assert cli("search", index_folder, "-k", 1, "--hybrid", "--rerank", reranker_folder, stdin=b"liver\n").status == 0


def test_what_is_no_reranker(index_folder: Path, tiny_model_folder: Path, reranker_folder: Path) -> None:
    start = ("search", index_folder, QUERY, "--rerank")
    assert failure(*start, tiny_model_folder).startswith(
        f"{tiny_model_folder} is no reranker: its configuration names the arch"
    )
    assert failure(*start, reranker_folder, "--depth", 0) == "depth is 0; it must be at least 1"
    assert failure(*start, "no/such/folder/at/all").startswith("no/such/folder/at/all: no such folder")


def test_k_above_the_corpus_gives_all(index_folder: Path) -> None:
    assert sorted(hit["rank"] for hit in cli("search", index_folder, QUERY, "-k", 1000, "--json").json) == [*range(1, 61)]


def test_piped_queries_have_a_block_each(index_folder: Path) -> None:
    done = cli("search", index_folder, "-k", 1, stdin=b"aspirin\n  stroke  \n\n")
    first, second = done.out.strip().split("\n\n")
    assert first.startswith("» aspirin\n  1  ")
    assert second.startswith("» stroke\n  1  ")
    as_json = cli("search", index_folder, "-k", 1, "--json", stdin=b"aspirin\nstroke")
    assert [len(json.loads(line)) for line in as_json.out.splitlines()] == [1, 1]


@pytest.mark.parametrize(
    ("stdin", "reason"),
    [
        (b"aspirin\n\nstroke\n", "standard input, line 2: the query is empty; give one query a line"),
        (b"\xff\xfe\n", "standard input, line 1: a query is not UTF-8; send UTF-8"),
    ],
)
def test_no_piped_query_is_dropped(index_folder: Path, stdin: bytes, reason: str) -> None:
    assert failure("search", index_folder, stdin=stdin) == reason


class Keyboard:
    """A terminal at which somebody types."""

    def __init__(self, *lines: str) -> None:
        self.lines = list(lines)

    def isatty(self) -> bool:
        return True

    def input(self, prompt: str) -> str:
        sys.stdout.write(prompt)
        if not self.lines:
            raise EOFError
        return self.lines.pop(0)


@pytest.mark.parametrize("ending", [["", "never"], []])
def test_a_conversation_ends_with_an_empty_line_or_with_ctrl_d(
    index_folder: Path, ending: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from biencoder.cli.main import main

    keyboard = Keyboard("aspirin", "stroke", *ending)
    monkeypatch.setattr("sys.stdin", keyboard)
    monkeypatch.setattr("builtins.input", keyboard.input)
    assert main(["search", str(index_folder), "-k", "1"]) == 0
    shown = capsys.readouterr()
    assert shown.out.count("search> ") == 3
    assert shown.out.count("  1  ") == 2
    assert shown.err.startswith("60 documents; an empty line or Ctrl-D ends\n")
    assert keyboard.lines == ending[1:]


def test_bad_input_is_one_line(index_folder: Path, run_folder: Path, collection_folder: Path, tmp_path: Path) -> None:
    assert failure("search", index_folder, QUERY, "-k", 0) == "k is 0; it must be at least 1"
    assert failure("search", index_folder, " ") == "the query is empty; give it at least one word"
    assert failure("search", tmp_path / "no", QUERY) == f"{tmp_path / 'no'}: no such folder"
    for folder in (run_folder, collection_folder):
        assert failure("search", folder, QUERY) == f"{folder} is no index; make one: biencoder index MODEL CORPUS --out DIR"


def test_a_flipped_byte_is_found(index_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(index_folder, copy)
    vectors = copy / "engine" / "vectors.npy"
    data = bytearray(vectors.read_bytes())
    data[200] ^= 1
    vectors.write_bytes(data)
    reason = f"{vectors} is damaged: its checksum differs; build the folder again"
    assert failure("search", copy, QUERY) == reason
    assert failure("inspect", copy, "--verify") == reason


def test_a_query_of_a_million_characters(index_folder: Path) -> None:
    done = cli("search", index_folder, "-k", 1, "--json", stdin=b"aspirin " * 125_000)
    assert (done.status, done.json[0]["rank"]) == (0, 1)
