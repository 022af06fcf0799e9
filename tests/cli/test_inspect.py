from __future__ import annotations

from pathlib import Path

from biencoder.index.manifest import IndexManifest
from biencoder.towers.bi_encoder import BiEncoder
from biencoder.towers.cross_encoder import CrossEncoder
from biencoder.towers.cross_encoder_folder import SCALE
from tests import tiny
from tests.cli.running import cli, failure


def test_an_index(index_folder: Path, tiny_model: BiEncoder) -> None:
    facts = cli("inspect", index_folder, "--json", "--verify").json
    manifest = IndexManifest.read(index_folder)
    assert (facts["kind"], facts["path"], facts["engine"], facts["count"]) == ("index", str(index_folder), "exact", 60)
    assert (facts["dimension"], facts["metric"], facts["format"]) == (32, "cosine", 2)
    assert facts["bytes_per_vector"] == round((60 * 32 * 4 + 128) / 60, 1)
    assert facts["identity"] == tiny_model.identity.as_dict()
    assert facts["created"] == manifest.created
    files = [path for path in index_folder.rglob("*") if path.is_file() and path.name != "manifest.json"]
    assert facts["bytes"] == sum(path.stat().st_size for path in files)
    assert facts["verified"] is True
    assert facts["checked"] == f"every byte of {len(files)} files is as it was written"


def test_an_index_for_people(index_folder: Path) -> None:
    lines = cli("inspect", index_folder).out.splitlines()
    assert "engine                exact" in lines
    assert "keywords              yes" in lines
    assert "execution.runtime     torch" in lines
    assert not any(line.startswith(("passages", "verified")) for line in lines)


def test_a_model(tiny_model_folder: Path, tiny_model: BiEncoder) -> None:
    facts = cli("inspect", tiny_model_folder, "--json", "--verify").json
    assert (facts["kind"], facts["shape"], facts["backbone"]) == ("model", "shared", "bert, 2 layers")
    assert facts["parameters"] == sum(weights.numel() for weights in tiny_model.document_tower.backbone.parameters())
    assert facts["query"] == facts["document"] == {"pooling": "mean", "normalise": True, "prompt": "", "max_length": 32}
    assert facts["identity"] == tiny_model.identity.as_dict()
    assert (facts["verified"], facts["checked"]) == (True, "weights, tokenizer and settings are those that were saved")


def test_a_model_of_separate_towers(tiny_model: BiEncoder, tmp_path: Path) -> None:
    tiny_model.separated().save(tmp_path / "two")
    facts = cli("inspect", tmp_path / "two", "--json").json
    one = sum(weights.numel() for weights in tiny_model.document_tower.backbone.parameters())
    assert (facts["shape"], facts["parameters"]) == ("separate", 2 * one)
    lines = cli("inspect", tmp_path / "two").out.splitlines()
    assert "query.prompt          ''" in lines


def test_a_reranker(reranker_folder: Path) -> None:
    facts = cli("inspect", reranker_folder / "model", "--json", "--verify").json
    encoder = CrossEncoder.load(reranker_folder)
    assert (facts["kind"], facts["backbone"], facts["max_length"]) == ("reranker", "bert, 2 layers", 32)
    assert facts["parameters"] == sum(weights.numel() for weights in encoder.module.parameters())
    assert facts["scale"] == SCALE
    assert facts["fingerprint"] == encoder.fingerprint()
    assert (facts["verified"], facts["checked"]) == (True, "weights, tokenizer and settings are those that were saved")


def test_a_reranker_of_others(tmp_path: Path) -> None:
    facts = cli("inspect", tiny.save_classifier(tmp_path), "--json", "--verify").json
    assert (facts["kind"], facts["max_length"], facts["saved_by_biencoder"]) == ("reranker", 64, False)
    assert (facts["verified"], facts["checked"]) == (False, "it loads; it records no fingerprints")


def test_a_rerankers_run(reranker_folder: Path, tmp_path: Path) -> None:
    facts = cli("inspect", reranker_folder, "--json", "--verify").json
    assert (facts["kind"], facts["task"], facts["finished"], facts["verified"]) == ("run", "reranker", True, True)
    assert (facts["measures"]["helps"], facts["model"]["kind"]) == (True, "reranker")
    (tmp_path / "run.json").write_text((reranker_folder / "run.json").read_text())
    assert cli("inspect", tmp_path, "--json").json["state"] == "not finished; the same rerank-fit command goes on with it"


def test_a_run(run_folder: Path) -> None:
    facts = cli("inspect", run_folder, "--json", "--verify").json
    assert (facts["kind"], facts["finished"], facts["options"]["training"]["epochs"]) == ("run", True, 3)
    assert facts["measures"]["kept"] is True
    assert facts["model"]["verified"] is True
    checked = "the model is the one that was saved"
    assert (facts["verified"], facts["checked"]) == (True, checked)
    shown = dict(line.split(maxsplit=1) for line in cli("inspect", run_folder).out.splitlines() if len(line.split()) > 1)
    assert shown["options.training.epochs"] == "3.0"
    assert shown["options.stages"] == shown["measures.units"] == "in-batch, bm25"


def test_a_run_that_has_not_ended(run_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text((run_folder / "run.json").read_text())
    facts = cli("inspect", tmp_path, "--json", "--verify").json
    assert (facts["verified"], facts["checked"]) == (False, "there is neither model nor checkpoint yet")
    assert (facts["finished"], facts["state"]) == (False, "not finished; the same fit command goes on with it")


def test_vectors(tiny_model_folder: Path, collection_folder: Path, tmp_path: Path) -> None:
    assert cli("encode", tiny_model_folder, collection_folder, "--out", tmp_path / "v").status == 0
    facts = cli("inspect", tmp_path / "v", "--json").json
    assert (facts["kind"], facts["count"], facts["dimension"], facts["window"]) == ("vectors", 60, 32, 4096)


def test_a_collection(collection_folder: Path) -> None:
    facts = cli("inspect", collection_folder, "--json", "--verify").json
    assert (facts["kind"], facts["documents"], facts["queries"]) == ("collection", 60, 180)
    assert facts["splits"]["train"] == {"queries": 120, "judgements": 120, "relevant": 120}
    assert facts["verified"] is True


def test_a_file_of_pairs(tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("query,answer\ncapital of France,Paris\n")
    facts = cli("inspect", pairs, "--json").json
    assert (facts["documents"], facts["splits"]["train"]["queries"], facts["bytes"]) == (1, 1, pairs.stat().st_size)


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    assert failure("inspect", tmp_path) == f"{tmp_path} is no model, run, index, vectors or collection folder"
    (tmp_path / "index").mkdir()
    assert failure("inspect", tmp_path).endswith("collection folder; the folders in it are index")
    assert failure("inspect", tmp_path / "no") == f"{tmp_path / 'no'}: no such folder"
