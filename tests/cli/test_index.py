from __future__ import annotations

import json
from pathlib import Path

from biencoder.cli.index import EngineName
from biencoder.cli.options import PrecisionName
from biencoder.index.engines import engine_names
from tests.cli.running import cli, failure


def test_the_names_offered_are_those_that_there_are() -> None:
    from biencoder.towers.precision import Precision

    assert list(EngineName) == engine_names()
    assert [str(name) for name in PrecisionName] == [str(name) for name in Precision]


def test_from_vectors(tiny_model_folder: Path, collection_folder: Path, tmp_path: Path) -> None:
    vectors, out = tmp_path / "v", tmp_path / "index"
    assert cli("encode", tiny_model_folder, collection_folder, "--out", vectors).status == 0
    command = ("index", tiny_model_folder, collection_folder, "--vectors", vectors, "--out", out)
    done = cli(*command, "--engine", "hnsw", "--no-keywords")
    assert (done.status, done.err) == (0, "engine hnsw: asked for\n")
    assert done.out.splitlines() == [
        "engine     hnsw  (asked for)",
        "documents  60",
        f"vectors    32 dimensions, {(out / 'engine' / 'hnsw.faiss').stat().st_size / 60:,.0f} bytes each",
        "keywords   none",
        f"folder     {out}",
        "",
        "next:",
        f"  biencoder search {out}",
        f"  biencoder inspect {out}",
    ]
    assert failure("search", out, "aspirin", "--hybrid") == (
        "hybrid search needs keywords, and this index has none; build it with keywords"
    )


def test_passages_as_json(tiny_model_folder: Path, collection_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "index"
    done = cli("index", tiny_model_folder, collection_folder, "--passages", 4, "--overlap", 0, "--out", out, "--json")
    limit = 7_000 * 384 // 32
    assert done.json == {
        "path": str(out),
        "engine": "exact",
        "reason": f"exact search of 120 x 32 numbers takes at most about a millisecond (up to {limit:,} vectors), "
        "and loses nothing",
        "parameters": {},
        "count": 60,
        "vectors": 120,
        "dimension": 32,
        "bytes_per_vector": round((120 * 32 * 4 + 128) / 120, 1),
        "keywords": True,
    }


def test_vectors_of_another_model(
    tiny_model_folder: Path, run_folder: Path, collection_folder: Path, index_folder: Path, tmp_path: Path
) -> None:
    vectors = tmp_path / "v"
    assert cli("encode", tiny_model_folder, collection_folder, "--out", vectors).status == 0
    reason = failure("index", run_folder, collection_folder, "--vectors", vectors, "--out", tmp_path / "i")
    assert reason.startswith(f"{vectors} holds vectors of document side ")
    taken = failure("index", tiny_model_folder, collection_folder, "--out", collection_folder)
    assert taken.startswith(f"{collection_folder} exists and is no folder of kind index")
    assert failure("search", vectors, "aspirin") == (
        f"{vectors} holds vectors; make an index of them: biencoder index MODEL CORPUS --vectors {vectors}"
    )
    assert failure("evaluate", vectors, collection_folder).startswith(f"{vectors} holds vectors; make an index of them")
    assert cli("inspect", index_folder, "--verify").status == 0


def test_tuned_to_a_recall(tiny_model_folder: Path, collection_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "index"
    done = cli("index", tiny_model_folder, collection_folder, "--recall", 0.9, "--engine", "hnsw", "--out", out, "--json")
    assert done.status == 0
    assert done.err.splitlines()[0] == "queries of train, dev are there to choose an index with"
    facts = done.json
    assert facts["engine"] == "hnsw"
    assert facts["goal"] == "recall@10 0.9"
    assert facts["recall"] >= 0.9
    assert facts["reason"].startswith("the fastest of ")
    told = cli("inspect", out, "--json").json
    for name in ("recall", "recall_worst_decile", "p50_ms", "p99_ms", "build_seconds"):
        assert told[name] == facts[name] >= 0
    assert told["parameters"]["ef_search"] == facts["parameters"]["ef_search"]
    assert (out / "frontier.svg").read_text().startswith("<?xml")
    frontier = json.loads((out / "frontier.json").read_text())
    assert frontier["chosen"]["recall"] == facts["recall"]
    assert frontier["goal"] == "recall@10 0.9"
    assert cli("search", out, "aspirin", "--json").status == 0
    shown = cli("index", tiny_model_folder, collection_folder, "--recall", 0.9, "--out", tmp_path / "exact")
    lines = shown.out.splitlines()
    assert lines[0].startswith("engine     exact  (exact search takes 0.")
    assert lines[3:5] == ["asked for  recall@10 0.9", "recall     1.0000  (the worst tenth of the queries: 1.0000)"]


def test_tuned_with_queries_of_a_file_and_with_made_ones(
    tiny_model_folder: Path, collection_folder: Path, tmp_path: Path
) -> None:
    command = ("index", tiny_model_folder, collection_folder / "corpus.jsonl", "--recall", "0.5", "--out", tmp_path / "i")
    asked = tmp_path / "queries.jsonl"
    asked.write_text('{"text": "aspirin"}\n{"query": "fever"}\n')
    assert "tuning with 2 queries\n" in cli(*command, "--queries", asked).err
    plain = tmp_path / "queries.txt"
    plain.write_text("aspirin\n\nfever\ncough\n")
    assert "tuning with 3 queries\n" in cli(*command, "--queries", plain).err
    asked.write_text('{"text": "aspirin"}\n{"texts": "fever"}\n')
    assert failure(*command, "--queries", asked) == f'{asked}, line 2: there is no query; {{"text": "…"}} was expected'
    plain.write_text("\n")
    assert failure(*command, "--queries", plain) == f"{plain}: there are no queries in it; one a line was expected"


def test_parameters_of_an_engine(tiny_model_folder: Path, collection_folder: Path, tmp_path: Path) -> None:
    command = ("index", tiny_model_folder, collection_folder, "--engine", "hnsw", "--out", tmp_path / "i")
    found = cli(*command, "--set", "codes=int8", "--set", "rescore=float16", "--set", "links=8", "--json").json["parameters"]
    assert (found["codes"], found["rescore"], found["links"]) == ("int8", "float16", 8)
    assert failure(*command, "--set", "codes=int4") == "codes is 'int4'; choose one of: float32, float16, int8"
    assert failure(*command, "--set", "links=2", "--recall", "0.9", "--quiet") == (
        "a recall to reach chooses the parameters; give the one or the others"
    )
    assert failure(*command, "--set", "links", status=2).startswith("Invalid value: --set links: KEY=VALUE was expected")
    assert failure(*command, "--memory", "2GB", status=2).startswith(
        "Invalid value: --memory belongs to --recall, which is not given"
    )
    assert failure(*command, "--recall", "0.9", "--memory", "much", status=2).startswith(
        "Invalid value: 'much' was given, a size such as 2GB or 512MiB expected"
    )
    tight = failure(*command, "--recall", "0.9", "--memory", "1KB", "--quiet")
    assert tight.startswith("nothing was found that reaches recall@10 0.9, at most 1,000 bytes; the nearest is hnsw (")
