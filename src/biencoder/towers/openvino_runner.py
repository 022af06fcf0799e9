"""A tower run by OpenVINO: the fastest on processors with AVX-512, in float32, bfloat16 and int8."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from biencoder.errors import require
from biencoder.scoring import FloatArray
from biencoder.towers.exports import exported
from biencoder.towers.graph import UnpaddedTower, example_ids, exporting
from biencoder.towers.precision import Precision, arithmetic
from biencoder.towers.runner import Run, Runner, TokenIds
from biencoder.towers.torch_runner import TorchRunner

if TYPE_CHECKING:
    from torch import Tensor

    from biencoder.towers.tower import Tower

INT8_GROUP = 64
"""Neighbouring activations of one token that share a scale in int8: with 128, 3 % faster and twice as far from float32."""

_LEAST_COSINE = 0.98
"""To float32, of texts of nonsense: what is wrong is far below."""

_GRAPH = "graph.xml"

_FIRST_USE = threading.Lock()


class OpenVinoRunner(Runner):
    """The exported graph, compiled twice when needed: for many batches (a stream a core), and for one text at once (all cores).

    In int8, weights have a scale for each output, made here, and activations one for each group of 64 in a token, made as they
    come. So there is nothing to calibrate, and a text's vector does not depend on its batch.

    Args:
        tower: its weights are copied into the graph.
        precision: the number format.
        threads: in all.

    Raises:
        MissingDependencyError: where OpenVINO is not installed.
    """

    name: ClassVar[str] = "openvino"

    def __init__(self, tower: Tower, precision: Precision, *, threads: int) -> None:
        openvino = require("openvino", extra="openvino")
        self.version = str(openvino.__version__).partition("-")[0]
        self.streams = threads
        self.token_budget = 1024
        self._precision = precision
        # On a processor with bfloat16, int8's activations are rounded from it; OpenVINO would take it for float32 too.
        self._arithmetic = arithmetic(Precision.FAST if precision is Precision.INT8 else precision, tower.device)
        self._threads = threads
        self._lock = threading.Lock()
        self._compiled: dict[str, Any] = {}
        self._own = threading.local()
        form = "int8" if precision is Precision.INT8 else "float32"
        key = {"graph": tower.graph_fingerprint(), "runtime": self.name, "version": self.version, "form": form}
        self._folder = exported(key, partial(_export, tower, form))
        if form == "int8" and self._arithmetic == "bfloat16" and not self._agrees(tower):
            self._arithmetic = "float32"
            self._compiled.clear()

    def _agrees(self, tower: Tower) -> bool:
        """Whether what comes out is the tower's: with AMX, OpenVINO 2026.4 errs in narrow int8 layers."""
        rows = example_ids(tower).tolist()
        with TorchRunner(tower, Precision.EXACT, threads=self._threads).session() as run:
            expected = run(rows)
        with self.session() as run:
            found = run(rows)
        lengths = np.linalg.norm(expected, axis=1) * np.linalg.norm(found, axis=1)
        return bool(((expected * found).sum(axis=1) >= _LEAST_COSINE * lengths).all())

    @contextmanager
    def session(self) -> Iterator[Run]:
        """A stream of its own on one core."""
        request = self._model("THROUGHPUT", streams=self.streams).create_infer_request()
        yield partial(_infer, request)

    def one(self, row: Sequence[int]) -> FloatArray:
        """One text on all cores, by a request that is kept for this thread."""
        request = getattr(self._own, "request", None)
        if request is None:
            request = self._own.request = self._model("LATENCY", streams=1).create_infer_request()
        return _infer(request, [row])

    def _model(self, hint: str, *, streams: int) -> Any:
        with self._lock:
            if hint not in self._compiled:
                options = {
                    "PERFORMANCE_HINT": hint,
                    "NUM_STREAMS": streams,
                    "INFERENCE_NUM_THREADS": self._threads,
                    "INFERENCE_PRECISION_HINT": "bf16" if self._arithmetic == "bfloat16" else "f32",
                    "DYNAMIC_QUANTIZATION_GROUP_SIZE": INT8_GROUP if self._precision is Precision.INT8 else 0,
                }
                self._compiled[hint] = _compile(self._folder / _GRAPH, options)
            return self._compiled[hint]

    def execution(self) -> dict[str, str]:
        """Runtime, version, number format and device."""
        int8 = f"int8 in groups of {INT8_GROUP}, rest {self._arithmetic}"
        form = int8 if self._precision is Precision.INT8 else self._arithmetic
        return {"runtime": self.name, "version": self.version, "arithmetic": form, "device": "cpu"}


def _compile(graph: Path, options: dict[str, Any]) -> Any:
    """A compiled graph that has run once: two threads that use the binding for the first time at once wait for each other."""
    with _FIRST_USE:
        compiled = _core().compile_model(str(graph), "CPU", options)
        _infer(compiled.create_infer_request(), [[0, 0]])
    return compiled


def _infer(request: Any, rows: TokenIds) -> FloatArray:
    vectors: FloatArray = request.infer([np.array(rows, dtype=np.int64)], share_inputs=True)[0]
    return vectors


@cache
def _core() -> Any:
    return require("openvino", extra="openvino").Core()


def _export(tower: Tower, form: str, folder: Path) -> None:
    from biencoder.towers.openvino_graph import compress_weights, fold_attention_scales

    openvino = require("openvino", extra="openvino")
    with exporting(tower) as graph:
        model = _convert(graph, example_ids(tower))
        model.reshape([-1, -1])
        fold_attention_scales(model)
        if form == "int8":
            compress_weights(model)
        openvino.save_model(model, folder / _GRAPH, compress_to_fp16=False)


def _convert(module: UnpaddedTower, ids: Tensor) -> Any:
    """The traced module as an OpenVINO model, by its front end: `openvino.convert_model` would report its use to the vendor."""
    kind = require("openvino.frontend.pytorch.ts_decoder", extra="openvino").TorchScriptPythonDecoder
    decoder = kind(module, example_input=(ids,))  # must outlive the conversion, which does not hold it
    front = require("openvino.frontend", extra="openvino").FrontEndManager().load_by_framework("pytorch")
    return front.convert(front.load(decoder))
