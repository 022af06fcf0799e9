"""Which runtime a model is run by: the one that is asked for, or the fastest that is installed and agrees with torch.

`auto` encodes a sample of the user's own texts by torch in float32 and by each runtime that is installed, and takes the
fastest of those whose vectors agree: by cosine, and by the order in which each text ranks the others. The choice is kept with
the exported graphs, so that a resumed or repeated task runs as before.
"""

from __future__ import annotations

import importlib.util
import json
import platform
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from biencoder.cores import threads_to_use
from biencoder.errors import ArgumentError, BiencoderError
from biencoder.identity import fingerprint, short
from biencoder.scoring import FloatArray, normalise
from biencoder.storage.folder import write_file
from biencoder.towers.encoding import TextProgress, encode_one, encode_windows
from biencoder.towers.exports import cache_folder
from biencoder.towers.precision import Precision
from biencoder.towers.runner import Runner

if TYPE_CHECKING:
    from biencoder.towers.tower import Tower

AUTO = "auto"
RUNTIMES = ("torch", "openvino", "onnx")
_PACKAGES = {"openvino": "openvino", "onnx": "onnxruntime"}

SAMPLE = 32
"""Texts that a choice is made on."""
_TEXTS_AT_ONCE = 8192
"""Texts tokenised and sorted together: enough to fill batches without padding, few enough to bound memory."""
_NEIGHBOURS = 5

_LEAST_COSINE = {Precision.EXACT: 0.999999, Precision.FAST: 0.9999, Precision.INT8: 0.995}
_LEAST_OVERLAP = {Precision.EXACT: 0.98, Precision.FAST: 0.95, Precision.INT8: 0.85}
"""Mean over the sample that a runtime must reach: cosine to torch in float32, and share of the same nearest neighbours."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What a runtime did on the sample; ``problem`` says why it cannot be used, if so."""

    runtime: str
    texts_per_second: float = 0.0
    cosine: float = 0.0
    overlap: float = 0.0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class RuntimeChoice:
    """A runtime and why it was taken."""

    runtime: str
    reason: str
    trials: list[Trial] = field(default_factory=list)


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
    return ["torch", *(name for name, package in _PACKAGES.items() if importlib.util.find_spec(package))]


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


class Execution:
    """How a model's towers are run; keeps runners warm, and makes new ones where weights have changed.

    Args:
        precision: the number format.
        runtime: ``auto`` or a runtime's name.
        threads: None takes this process's share of the machine.

    Raises:
        ArgumentError: for an unknown runtime, or threads below 1.
    """

    def __init__(self, precision: Precision, *, runtime: str = "torch", threads: int | None = None) -> None:
        self.precision = precision
        self.runtime = check_runtime(runtime)
        self.threads = threads_to_use(threads)
        self.choice: RuntimeChoice | None = None
        self._runners: dict[tuple[object, ...], tuple[tuple[tuple[int, int], ...], Runner]] = {}
        self._lock = threading.RLock()

    def encode(self, tower: Tower, texts: Sequence[str], *, progress: TextProgress | None = None) -> FloatArray:
        """Vectors of any number of texts, shape (len(texts), dimension)."""
        runner = self.runner(tower, texts)
        if len(texts) == 1:
            return encode_one(tower, runner, texts[0])
        windows = (texts[start : start + _TEXTS_AT_ONCE] for start in range(0, len(texts), _TEXTS_AT_ONCE))
        parts = list(encode_windows(tower, runner, windows, progress=progress))
        return np.concatenate(parts) if parts else np.empty((0, tower.dimension), dtype=np.float32)

    def encode_windows(
        self, tower: Tower, windows: Iterator[Sequence[str]], *, progress: TextProgress | None = None
    ) -> Iterator[FloatArray]:
        """Vectors of each window of texts; see `biencoder.towers.encoding`."""
        return encode_windows(tower, self.runner(tower), windows, progress=progress)

    def prepare(self, tower: Tower, texts: Sequence[str], *, say: Callable[[str], None] | None = None) -> None:
        """Make ready to encode texts like these: choose the runtime where that is still open, export, compile.

        Args:
            tower: the one that will be run first.
            texts: some that stand for all; `SAMPLE` of them are looked at.
            say: is told what was chosen and why.
        """
        with self._lock:
            if self.runtime == AUTO and self.choice is None:
                self.choice = _choose(tower, self.precision, self.threads, texts)
                if say is not None:
                    say(f"runtime {self.choice.runtime}: {self.choice.reason}")

    def runner(self, tower: Tower, texts: Sequence[str] = ()) -> Runner:
        """The warm runner of a tower, made anew where its weights have changed since."""
        self.prepare(tower, texts)
        name = self.choice.runtime if self.choice is not None else self.runtime
        settings = tower.settings
        key: tuple[object, ...] = (id(tower.backbone), id(tower.projection), settings.pooling, settings.normalise)
        if name == "torch":  # it runs the tower itself
            key = (id(tower),)
        with self._lock:
            stamp = tower.weights_stamp()
            found = self._runners.get(key)
            if found is None or found[0] != stamp:
                self._runners.pop(key, None)
                found = self._runners[key] = (stamp, make_runner(name, tower, self.precision, threads=self.threads))
            return found[1]


def _choose(tower: Tower, precision: Precision, threads: int, texts: Sequence[str]) -> RuntimeChoice:
    if tower.device.type != "cpu":
        return RuntimeChoice("torch", f"the model lies on {tower.device}")
    installed = installed_runtimes()
    if installed == ["torch"] and precision is not Precision.INT8:
        return RuntimeChoice("torch", "no other is installed (pip install 'biencoder[openvino]' brings one that is faster)")
    place = _choice_file(tower, precision, threads, installed)
    with suppress(OSError, ValueError, KeyError, TypeError):
        record = json.loads(place.read_text(encoding="utf-8"))
        return RuntimeChoice(record["runtime"], record["reason"], [Trial(**trial) for trial in record["trials"]])
    choice = _compare(tower, precision, threads, list(texts[:: max(1, len(texts) // SAMPLE)][:SAMPLE]) or [""], installed)
    with suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_file(place, json.dumps(asdict(choice), indent=2).encode())
    return choice


def _choice_file(tower: Tower, precision: Precision, threads: int, installed: list[str]) -> Path:
    versions = {name: version(_PACKAGES.get(name, name)) for name in installed}
    key: dict[str, Any] = {"graph": tower.graph_fingerprint(), "precision": precision, "threads": threads}
    key |= {"versions": versions, "processor": _processor()}
    return cache_folder() / "choices" / f"{short(fingerprint(key))}.json"


def _processor() -> str:
    """The processor's model and abilities, as far as the system tells."""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
    return platform.processor() or platform.machine()


def _compare(tower: Tower, precision: Precision, threads: int, texts: list[str], installed: list[str]) -> RuntimeChoice:
    reference = _vectors(tower, make_runner("torch", tower, Precision.EXACT, threads=threads), texts)
    able = [name for name in installed if name != "torch" or precision is not Precision.INT8 or len(installed) == 1]
    trials = [_try(name, tower, precision, threads, texts, reference) for name in able]
    usable = sorted((trial for trial in trials if not trial.problem), key=lambda trial: -trial.texts_per_second)
    if not usable:
        raise ArgumentError(f"no runtime can run this model in {precision}: " + "; ".join(trial.problem for trial in trials))
    best, slower = usable[0], usable[1:]
    reason = f"cosine {best.cosine:.6f} to torch in float32 on {len(texts)} of the texts"
    if slower:
        rates = ", ".join(f"{best.texts_per_second / trial.texts_per_second:.1f} × {trial.runtime}" for trial in slower)
        reason += f", and the fastest here ({rates})"
    left_out = "".join(f"; not {trial.runtime}: {trial.problem}" for trial in trials if trial.problem)
    return RuntimeChoice(best.runtime, reason + left_out, trials)


def _try(name: str, tower: Tower, precision: Precision, threads: int, texts: list[str], reference: FloatArray) -> Trial:
    try:
        runner = make_runner(name, tower, precision, threads=threads)
        _vectors(tower, runner, texts)  # the first call compiles
        began = time.perf_counter()
        found = _vectors(tower, runner, texts)
        rate = len(texts) / (time.perf_counter() - began)
    except Exception as error:  # noqa: BLE001 - exporters and runtimes raise errors of every kind; torch is left
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        return Trial(name, problem=line if isinstance(error, BiencoderError) else f"it failed ({line[:200]})")
    cosine, overlap = agreement(reference, found)
    wrong = cosine < _LEAST_COSINE[precision] or overlap < _LEAST_OVERLAP[precision] or not np.isfinite(found).all()
    problem = f"it disagrees with torch in float32 (cosine {cosine:.6f}, same neighbours {overlap:.2f})" if wrong else ""
    return Trial(name, max(round(rate, 1), 0.1), round(cosine, 7), round(overlap, 3), problem)


def _vectors(tower: Tower, runner: Runner, texts: list[str]) -> FloatArray:
    return next(encode_windows(tower, runner, iter([texts])))


def agreement(reference: FloatArray, found: FloatArray) -> tuple[float, float]:
    """Mean cosine of the same texts' vectors, and mean share of the same nearest neighbours among the texts.

    Args:
        reference: shape (n, d).
        found: the same shape.

    >>> agreement(np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32))
    (1.0, 1.0)
    """
    left, right = normalise(reference), normalise(found)
    cosine = float((left * right).sum(axis=1, dtype=np.float64).mean())
    return cosine, _same_neighbours(left, right)


def _same_neighbours(left: FloatArray, right: FloatArray) -> float:
    """Of each text's nearest others, the share that both agree on; 1 where there are too few texts to say."""
    count = len(left)
    if count <= 2 * _NEIGHBOURS:
        return 1.0
    shared = 0
    orders = [np.argsort(-(side @ side.T) + np.diag(np.full(count, np.inf)), axis=1)[:, :_NEIGHBOURS] for side in (left, right)]
    for own, other in zip(*orders, strict=True):
        shared += len(set(own.tolist()) & set(other.tolist()))
    return shared / (count * _NEIGHBOURS)
