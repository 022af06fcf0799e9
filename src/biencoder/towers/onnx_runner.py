"""A tower run by ONNX Runtime: on processors, in float32 and int8."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from biencoder.errors import require
from biencoder.scoring import FloatArray
from biencoder.towers.exports import exported
from biencoder.towers.graph import EXAMPLE_SHAPE, example_ids, exporting
from biencoder.towers.precision import Precision
from biencoder.towers.runner import Run, Runner, TokenIds

if TYPE_CHECKING:
    from biencoder.towers.tower import Tower

INT8_GROUP = 64
"""Neighbouring weights, and activations of one token, that share a scale in int8."""

_GRAPH = "graph.onnx"


class OnnxRunner(Runner):
    """The exported graph in two kinds of session: one core each for many batches, all cores for one text at once.

    ``fast`` is float32 here, since ONNX Runtime multiplies no bfloat16 on processors. In int8, weights and activations have a
    scale for each group of 64, so that a text's vector does not depend on its batch; the usual dynamic quantisation, one scale
    for a whole batch, is faster in bulk (docs/experiments.md) and is not offered for that reason.

    Args:
        tower: its weights are copied into the graph.
        precision: the number format.
        threads: in all.

    Raises:
        MissingDependencyError: where ONNX Runtime is not installed, or what the export needs.
    """

    name: ClassVar[str] = "onnx"

    def __init__(self, tower: Tower, precision: Precision, *, threads: int) -> None:
        self.version = str(require("onnxruntime", extra="onnx").__version__)
        self.streams = threads
        self._precision = precision
        self._threads = threads
        self._lock = threading.Lock()
        self._opened: dict[int, Any] = {}
        form = "int8" if precision is Precision.INT8 else "float32"
        key = {"graph": tower.graph_fingerprint(), "runtime": self.name, "version": self.version, "form": form}
        self._folder = exported(key, partial(_export, tower, form))

    @contextmanager
    def session(self) -> Iterator[Run]:
        """The graph on one core; many may run at once."""
        yield partial(_run, self._graph(threads=1))

    def one(self, row: Sequence[int]) -> FloatArray:
        """One text on all cores."""
        return _run(self._graph(threads=self._threads), [row])

    def _graph(self, *, threads: int) -> Any:
        onnxruntime = require("onnxruntime", extra="onnx")
        with self._lock:
            if threads not in self._opened:
                options = onnxruntime.SessionOptions()
                options.intra_op_num_threads = threads
                options.log_severity_level = 3
                path = str(self._folder / _GRAPH)
                self._opened[threads] = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            return self._opened[threads]

    def execution(self) -> dict[str, str]:
        """Runtime, version, number format and device."""
        form = f"int8 in groups of {INT8_GROUP}" if self._precision is Precision.INT8 else "float32"
        return {"runtime": self.name, "version": self.version, "arithmetic": form, "device": "cpu"}


def _run(graph: Any, rows: TokenIds) -> FloatArray:
    vectors: FloatArray = graph.run(None, {"input_ids": np.array(rows, dtype=np.int64)})[0]
    return vectors


def _export(tower: Tower, form: str, folder: Path) -> None:
    import torch

    require("onnx", extra="onnx")
    require("onnxscript", extra="onnx")
    longest = max(tower.settings.max_length, EXAMPLE_SHAPE[1])
    shape = {0: torch.export.Dim("batch", min=1, max=65536), 1: torch.export.Dim("tokens", min=1, max=longest)}
    with exporting(tower) as graph:
        torch.onnx.export(
            graph,
            (example_ids(tower),),
            folder / _GRAPH,
            input_names=["input_ids"],
            output_names=["vectors"],
            dynamic_shapes={"input_ids": shape},
            dynamo=True,
            verbose=False,
        )
        if form == "int8":
            _quantise(folder / _GRAPH)


def _quantise(path: Path) -> None:
    """Replace a graph's float32 weights by int8 ones, in groups."""
    import onnx

    module = require("onnxruntime.quantization.matmul_nbits_quantizer", extra="onnx")
    quantizer = module.MatMulNBitsQuantizer(onnx.load(path), bits=8, block_size=INT8_GROUP, is_symmetric=True, accuracy_level=4)
    quantizer.process()
    for file in path.parent.iterdir():
        file.unlink()
    quantizer.model.save_model_to_file(str(path), use_external_data_format=True)
