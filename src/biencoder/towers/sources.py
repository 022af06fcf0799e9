"""From what a user calls a model to the folder that holds it."""

from __future__ import annotations

import importlib.metadata
import os
import re
from pathlib import Path

from biencoder.errors import ModelError, StorageError
from biencoder.storage.manifest import peek_manifest

_HUB_NAME = re.compile(r"^[\w.-]+(/[\w.-]+)?(@[\w./-]+)?$")
_HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.model"]
_HUB_LEFT_OUT = ["onnx/*", "openvino/*", "*/onnx/*", "*/openvino/*"]


def find_model(source: str | os.PathLike[str]) -> Path:
    """The folder of a model.

    Args:
        source: a folder (a model's, or a run's or an index's that holds one), the name of an installed package that carries a
            model, or a hub name, with ``@revision`` where a certain one is meant.

    Raises:
        ModelError: where it is none of these; the message says what was looked for.
    """
    path = Path(source)
    if os.path.isdir(path):  # noqa: PTH112 - pathlib raises where a name is too long
        return _inside(path)
    if os.path.exists(path):  # noqa: PTH110
        raise ModelError(f"{path} is a file; a model is a folder, an installed model package or a hub name")
    name = os.fspath(source)
    package = _package_folder(name)
    if package is not None:
        return package
    if not _HUB_NAME.match(name):
        raise ModelError(f"{name}: no such folder")
    return _from_hub(name)


def _inside(folder: Path) -> Path:
    """The model of a run or index folder, or the folder itself."""
    if (folder / "config.json").exists() or (folder / "modules.json").exists():
        return folder
    try:
        kind = peek_manifest(folder).kind
    except StorageError:
        kind = ""
    if kind in {"run", "index"} or (folder / "run.json").exists():
        if (folder / "model").is_dir():
            return folder / "model"
        raise ModelError(f"{folder} is a run that has no model yet; let it finish first (the same command resumes it)")
    raise ModelError(f"{folder} is no model folder: neither modules.json nor config.json is in it")


def _package_folder(name: str) -> Path | None:
    """The shallowest folder of an installed distribution that holds a model."""
    try:
        files = importlib.metadata.files(name) or []
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return None
    weights = [file for file in files if file.suffix == ".safetensors"]
    if not weights:
        return None
    folder = Path(str(min(weights, key=lambda file: len(file.parts)).locate())).parent
    return folder if (folder / "config.json").exists() else None


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download

    repository, _, revision = name.partition("@")
    try:
        return Path(
            snapshot_download(repository, revision=revision or None, allow_patterns=_HUB_FILES, ignore_patterns=_HUB_LEFT_OUT)
        )
    except Exception as error:  # the hub client raises errors of several libraries
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"{name}: no such folder, no installed package that carries a model, and the model hub did not give it "
            f"({reason}); check the name, or give a folder"
        ) from error
