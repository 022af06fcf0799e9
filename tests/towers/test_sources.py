from __future__ import annotations

import importlib.metadata
import shutil
from pathlib import Path

import pytest

from biencoder.errors import ModelError
from biencoder.storage.manifest import write_manifest
from biencoder.towers.sources import find_model
from tests.conftest import REAL_MODEL


def test_folder(tiny_model_folder: Path) -> None:
    assert find_model(tiny_model_folder) == tiny_model_folder
    assert find_model(str(tiny_model_folder)) == tiny_model_folder


@pytest.mark.parametrize("kind", ["run", "index"])
def test_a_folder_that_holds_a_model(tmp_path: Path, tiny_model_folder: Path, kind: str) -> None:
    shutil.copytree(tiny_model_folder, tmp_path / kind / "model")
    write_manifest(tmp_path / kind, kind=kind, version=1, fields={})
    assert find_model(tmp_path / kind) == tmp_path / kind / "model"


def test_a_run(tmp_path: Path, tiny_model_folder: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(
        ModelError, match=r"is a run that has no model yet; let it finish first \(the same command resumes it\)$"
    ):
        find_model(tmp_path)
    shutil.copytree(tiny_model_folder, tmp_path / "model")
    assert find_model(tmp_path) == tmp_path / "model"


def test_installed_package() -> None:
    try:
        distribution = importlib.metadata.distribution(REAL_MODEL)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"the model package {REAL_MODEL} is not installed")
    folder = find_model(REAL_MODEL)
    assert folder.is_relative_to(Path(str(distribution.locate_file(""))))
    assert (folder / "model.safetensors").exists()


def test_an_installed_package_without_model_is_none() -> None:
    with pytest.raises(
        ModelError, match=r"^pytest: no such folder, no installed package that carries a model, and the model hub"
    ):
        find_model("pytest")


def test_unknown_name() -> None:
    expected = (
        r"^nobody/no-such-model: no such folder, no installed package that carries a model, and the model hub did not give it "
        r"\(.+\); check the name, or give a folder$"
    )
    with pytest.raises(ModelError, match=expected) as caught:
        find_model("nobody/no-such-model")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["some/where/else/model", "./no-such-folder", "../a b", "~/model", "x" * 5000])
def test_missing_folder(name: str) -> None:
    with pytest.raises(ModelError) as caught:
        find_model(name)
    assert "no such folder" in str(caught.value)


def test_file(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"x")
    with pytest.raises(ModelError) as caught:
        find_model(tmp_path / "model.bin")
    path = tmp_path / "model.bin"
    assert str(caught.value) == f"{path} is a file; a model is a folder, an installed model package or a hub name"


def test_folder_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ModelError) as caught:
        find_model(tmp_path)
    assert str(caught.value) == f"{tmp_path} is no model folder: neither modules.json nor config.json is in it"
