from __future__ import annotations

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
