from __future__ import annotations

import json
from pathlib import Path

from tests.cli.running import cli, failure

RUN = ("--precision", "exact", "--runtime", "torch")


def corpus(path: Path, *rows: tuple[str, int, str]) -> Path:
    lines = [
        json.dumps({"_id": name, "title": "", "text": f"zebra {name}", "metadata": {"year": year, "lang": lang}})
        for name, year, lang in rows
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_the_whole_way(tiny_model_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "x"
    given = corpus(tmp_path / "c.jsonl", ("a", 2019, "en"), ("b", 2020, "de"), ("c", 2021, "en"))
    done = cli("index", tiny_model_folder, given, "--engine", "qdrant", "--out", out, *RUN)
    assert done.status == 0, done.err
    lines = done.out.splitlines()
    assert lines[:2] == ["engine     qdrant  (asked for)", "documents  3"]
    assert "keywords   none" in lines
    found = cli("search", out, "zebra", "--filter", "year >= 2020 and lang in (en, fr)", "--json", *RUN).json
    assert [(hit["id"], hit["metadata"]) for hit in found] == [("c", {"year": 2021, "lang": "en"})]
    more = corpus(tmp_path / "m.jsonl", ("b", 2022, "fr"), ("d", 2023, "en"))
    assert cli("add", out, more, "--json", *RUN).json == {"path": str(out), "added": 1, "replaced": 1, "documents": 4}
    assert cli("delete", out, "c", "--json").json["deleted"] == 1
    found = cli("search", out, "zebra", "--filter", "year >= 2020", "--json", *RUN).json
    assert {hit["id"] for hit in found} == {"b", "d"}
    facts = cli("inspect", out, "--verify", "--json").json
    assert facts["live"]["fields"] == {"year": "integer", "lang": "keyword", "_id": "keyword", "_part": "integer"}
    assert (facts["engine"], facts["verified"]) == ("qdrant", True)
    assert cli("compact", out, "--json").json == {"path": str(out), "documents": 3}


def test_what_cannot_be_done(tiny_model_folder: Path, collection_folder: Path, index_folder: Path, tmp_path: Path) -> None:
    build = ("index", tiny_model_folder, collection_folder, "--out", tmp_path / "x", *RUN)
    assert "--shards belongs to --qdrant, which is not given" in failure(*build, "--shards", "2", status=2)
    assert "--replicas belongs to --qdrant" in failure(*build, "--replicas", "2", status=2)
    message = "a server is for live indexes, and engine auto is asked for; choose engine qdrant"
    assert failure(*build, "--qdrant", "http://localhost:1") == message
    asked = ("search", index_folder, "zebra", *RUN)
    assert failure(*asked, "--filter", "year = 3") == "engine exact cannot filter; build the index with engine qdrant"
    assert failure(*asked, "--filter", "year >").startswith("filter, position ")
