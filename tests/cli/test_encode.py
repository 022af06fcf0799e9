from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from biencoder.data.collection import Collection
from biencoder.towers.bi_encoder import BiEncoder
from tests.cli.running import cli, failure


def test_it_writes_what_the_model_gives(
    tiny_model: BiEncoder, tiny_model_folder: Path, tiny_collection: Collection, collection_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "v"
    command = ("encode", tiny_model_folder, collection_folder, "--out", out, "--precision", "exact")
    done = cli(*command)
    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines()[:3] == [
        "documents  60  (60 encoded now)",
        "vectors    60 of 32 dimensions",
        f"folder     {out}",
    ]
    expected = tiny_model.encode_documents([document.content for document in tiny_collection.documents])
    np.testing.assert_allclose(np.load(out / "vectors.npy"), expected, atol=1e-6)

    again = cli(*command, "--json")
    assert again.err == "reused the vectors of 60 documents\n"
    assert again.json == {"path": str(out), "count": 60, "vectors": 60, "dimension": 32, "fresh": 0}


def test_passages(tiny_model_folder: Path, collection_folder: Path, tmp_path: Path) -> None:
    command = ("encode", tiny_model_folder, collection_folder, "--passages", 4, "--out", tmp_path / "v")
    assert cli(*command, "--json").json["vectors"] == 180  # 8 words: from 0 and 3, and the last 4
    assert failure("encode", "m", "c", "--out", "o", "--overlap", 2, status=2) == (
        "Invalid value: --overlap belongs to --passages, which is not given (see: biencoder encode --help)"
    )
    reason = "the passage overlap is 4; it must be from 0 to 3, below the size"
    assert failure(*command, "--overlap", 4) == reason


def test_a_model_that_is_none(tiny_model_folder: Path, collection_folder: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "v")
    assert failure("encode", tmp_path / "no", collection_folder, *out) == f"{tmp_path / 'no'}: no such folder"
    reason = f"{collection_folder} is no model folder: neither modules.json nor config.json is in it"
    assert failure("encode", collection_folder, collection_folder, *out) == reason
    unknown = failure("encode", "no-such-model", collection_folder, *out)
    assert unknown.startswith("no-such-model: no such folder, no installed package that carries a model, and the model hub")
    broken = tmp_path / "broken"
    shutil.copytree(tiny_model_folder, broken)
    weights = broken / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[int.from_bytes(data[:8], "little") + 100] ^= 1  # in the first tensor
    weights.write_bytes(data)
    assert failure("encode", broken, collection_folder, *out).startswith(
        f"{broken}: the weights, tokenizer or settings are not those that were saved"
    )
    weights.write_bytes(weights.read_bytes()[:1000])
    assert failure("encode", broken, collection_folder, *out).startswith(f"{broken} cannot be read as a model (")
    assert not (tmp_path / "v").exists()
