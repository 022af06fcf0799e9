"""The runtimes by name."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from biencoder.errors import ArgumentError
from biencoder.towers.precision import Precision
from biencoder.towers.runner import Runner

if TYPE_CHECKING:
    from biencoder.towers.tower import Tower

AUTO = "auto"
RUNTIMES = ("torch", "openvino", "onnx")
PACKAGES = {"torch": "torch", "openvino": "openvino", "onnx": "onnxruntime"}
"""What has to be installed for each."""


def check_runtime(name: str) -> str:
    """The name, where there is such a runtime.

    Raises:
        ArgumentError: where there is none.

    >>> check_runtime("openvino")
    'openvino'
    >>> check_runtime("tensorrt")
    Traceback (most recent call last):
    biencoder.errors.ArgumentError: runtime 'tensorrt' is unknown; choose one of auto, torch, openvino, onnx
    """
    if name not in (AUTO, *RUNTIMES):
        raise ArgumentError(f"runtime {name!r} is unknown; choose one of {', '.join((AUTO, *RUNTIMES))}")
    return name


def installed_runtimes() -> list[str]:
    """The runtimes that can be used here, torch first."""
    return [name for name in RUNTIMES if importlib.util.find_spec(PACKAGES[name])]


def make_runner(name: str, tower: Tower, precision: Precision, *, threads: int) -> Runner:
    """A tower made ready for a runtime.

    Raises:
        ArgumentError: where the runtime has not this precision, or not this device.
        MissingDependencyError: where it is not installed.
    """
    if name == "torch":
        from biencoder.towers.torch_runner import TorchRunner

        return TorchRunner(tower, precision, threads=threads)
    if tower.device.type != "cpu":
        raise ArgumentError(f"runtime {name} runs on processors, and the model lies on {tower.device}; choose torch or auto")
    if name == "openvino":
        from biencoder.towers.openvino_runner import OpenVinoRunner

        return OpenVinoRunner(tower, precision, threads=threads)
    from biencoder.towers.onnx_runner import OnnxRunner

    return OnnxRunner(tower, precision, threads=threads)
