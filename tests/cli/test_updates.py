from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from biencoder.search.changes import change_folders
from tests.cli.running import cli, failure


@pytest.fixture
def index(index_folder: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    place: Path = shutil.copytree(index_folder, tmp_path / "x")
    return place


def corpus(path: Path, *ids: str) -> Path:
    lines = [json.dumps({"_id": identifier, "title": "", "text": f"zebra {identifier}"}) for identifier in ids]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def found(index: Path, *options: str) -> set[str]:
    return {hit["id"] for hit in cli("search", index, "zebra", "--json", "-k", "100", "--precision", "exact", *options).json}


def test_add_delete_compact(index: Path, tmp_path: Path) -> None:
    before = found(index)
    known = sorted(before)
    done = cli("add", index, corpus(tmp_path / "new.jsonl", "new", known[0]), "--precision", "exact", "--runtime", "torch")
    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines() == [
        "added      2  (1 of them in place of others)",
        "documents  61",
        f"folder     {index}",
    ]
    assert found(index) == before | {"new"}
    assert {"new", known[0]} <= found(index, "--hybrid")
    done = cli("delete", index, known[1], "nobody", "never")
    assert done.out.splitlines() == ["deleted    1", "not there  2  (nobody, never)", "documents  60", f"folder     {index}"]
    (tmp_path / "ids").write_text(f"{known[2]}\n\n{known[3]} \n", encoding="utf-8")
    assert cli("delete", index, "--ids", tmp_path / "ids", "--json").json == {
        "path": str(index),
        "deleted": 2,
        "unknown": [],
        "documents": 58,
    }
    facts = cli("inspect", index, "--verify", "--json").json
    assert facts["changes"] == {"folders": 1, "added": 2, "gone": 4, "bytes": facts["changes"]["bytes"]}
    assert facts["canaries"] == {"queries": 4, "documents": 4}
    assert cli("compact", index).out.splitlines() == ["documents  58", f"folder     {index}"]
    assert found(index) == (before | {"new"}) - set(known[1:4])
    facts = cli("inspect", index, "--verify", "--json").json
    assert (facts["count"], facts["changes"]["folders"]) == (58, 0)
    assert cli("compact", index, "--json").err == "nothing has changed since the index was built\n"


def test_what_cannot_be_done(index: Path, tmp_path: Path) -> None:
    assert "there are no ids; name them, or give --ids FILE" in failure("delete", index, status=2)
    assert failure("delete", tmp_path / "none", "d1") == f"{tmp_path}/none: no such folder"
    assert failure("compact", tmp_path) == f"{tmp_path} is no index; make one: biencoder index MODEL CORPUS --out DIR"
    (tmp_path / "ids").write_bytes(b"\xff")
    message = failure("delete", index, "--ids", tmp_path / "ids")
    assert message == f"{tmp_path}/ids: the file is not UTF-8; save it as UTF-8, one id a line"


def test_a_flipped_byte_in_a_change(index: Path, tmp_path: Path) -> None:
    assert cli("add", index, corpus(tmp_path / "new.jsonl", "new"), "--precision", "exact").status == 0
    files = [path for path in change_folders(index)[0].rglob("*") if path.is_file() and path.stat().st_size]
    assert {path.name for path in files} >= {"vectors.npy", "documents.jsonl", "gone.npy", "manifest.json"}
    for path in files:
        data = path.read_bytes()
        path.write_bytes(bytes([data[0] ^ 4]) + data[1:])
        assert "is damaged" in failure("inspect", index, "--verify"), path
        assert "is damaged" in failure("search", index, "zebra"), path
        path.write_bytes(data)
    assert cli("inspect", index, "--verify").status == 0
