"""`--precision`, `--runtime` and `--threads` through the commands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.cli.running import cli, failure


def test_from_encoding_to_search(tiny_model_folder: Path, collection_folder: Path, tmp_path: Path) -> None:
    run = ("--runtime", "openvino", "--precision", "int8", "--threads", "1")
    done = cli("encode", tiny_model_folder, collection_folder, "--out", tmp_path / "v", *run)
    assert done.status == 0, done.err
    facts = cli("inspect", tmp_path / "v", "--json").json
    assert facts["execution"]["runtime"] == "openvino"
    assert facts["execution"]["arithmetic"].startswith("int8 in groups of 64, rest ")
    made = ("index", tiny_model_folder, collection_folder, "--vectors", tmp_path / "v", "--out", tmp_path / "i", *run)
    assert cli(*made).status == 0
    assert cli("inspect", tmp_path / "i", "--json").json["execution"] == facts["execution"]
    found = [
        cli(
            "search", tmp_path / "i", "aspirin for the heart", "-k", 3, "--json", "--runtime", runtime, "--precision", "exact"
        ).json
        for runtime in ("torch", "openvino", "onnx")
    ]
    assert [[hit["id"] for hit in hits] for hits in found] == [[hit["id"] for hit in found[0]]] * 3
    np.testing.assert_allclose([hit["score"] for hit in found[1]], [hit["score"] for hit in found[0]], atol=1e-5)


def test_auto_says_what_it_took(
    tiny_model_folder: Path, collection_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIENCODER_CACHE", str(tmp_path / "cache"))
    run = ("--runtime", "auto", "--precision", "exact")
    first = cli("index", tiny_model_folder, collection_folder, "--out", tmp_path / "i", *run)
    assert first.status == 0, first.err
    (line,) = [line for line in first.err.splitlines() if line.startswith("runtime ")]
    assert "cosine 1.000000 to torch in float32 on 32 of the texts, and the fastest here (" in line
    runtime = line.removeprefix("runtime ").partition(":")[0]
    assert cli("inspect", tmp_path / "i", "--json").json["execution"]["runtime"] == runtime
    again = cli("search", tmp_path / "i", "aspirin", "--json", *run)
    assert line in again.err.splitlines()
    evaluated = cli("evaluate", tiny_model_folder, collection_folder, "--json", *run)
    assert line in evaluated.err.splitlines()


def test_another_execution_encodes_anew(tiny_model_folder: Path, collection_folder: Path, tmp_path: Path) -> None:
    out = (
        "encode",
        tiny_model_folder,
        collection_folder,
        "--out",
        tmp_path / "v",
        "--precision",
        "exact",
        "--json",
        "--runtime",
    )
    assert [cli(*out, runtime).json["fresh"] for runtime in ("torch", "torch", "openvino", "openvino")] == [60, 0, 60, 0]


def test_int8_by_torch(tiny_model_folder: Path, collection_folder: Path, tmp_path: Path) -> None:
    line = failure("encode", tiny_model_folder, collection_folder, "--out", tmp_path / "v", "--precision", "int8")
    assert line == "precision int8 needs another runtime than torch; run: pip install 'biencoder[openvino]', or choose fast"
    assert not (tmp_path / "v").exists()


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("--runtime", "tensorrt", "'tensorrt' is not one of 'auto', 'torch', 'openvino', 'onnx'"),
        ("--threads", "0", "Input should be greater than or equal to 1"),
    ],
)
def test_wrong_usage(option: str, value: str, reason: str) -> None:
    assert reason in failure("encode", "m", "c", "--out", "o", option, value, status=2)
