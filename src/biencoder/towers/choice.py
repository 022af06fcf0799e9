"""The fastest runtime that agrees with torch.

A sample of the user's own texts is encoded by torch in float32 and by each runtime that is installed; of those whose vectors
agree, by cosine and by the order in which each text ranks the others, the fastest is taken. The choice is kept with the
exported graphs, so that a resumed or repeated task runs as before.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from biencoder.errors import ArgumentError, BiencoderError
from biencoder.identity import fingerprint, short
from biencoder.scoring import FloatArray, normalise
from biencoder.storage.folder import write_file
from biencoder.towers.encoding import encode_windows
from biencoder.towers.exports import cache_folder
from biencoder.towers.precision import Precision
from biencoder.towers.runner import Runner
from biencoder.towers.runners import PACKAGES, installed_runtimes, make_runner

if TYPE_CHECKING:
    from biencoder.towers.tower import Tower

SAMPLE = 32
"""Texts that a choice is made on."""
_ENOUGH = 8
"""Texts below which a choice is not kept for the next time: it was made on a query or two."""
_ROUNDS = 3
_NEIGHBOURS = 5

_LEAST_COSINE = {Precision.EXACT: 0.999999, Precision.FAST: 0.9999, Precision.INT8: 0.995}
_LEAST_OVERLAP = {Precision.EXACT: 0.98, Precision.FAST: 0.95, Precision.INT8: 0.85}
"""Mean over the sample that a runtime must reach: cosine to torch in float32, and share of the same nearest neighbours."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What a runtime did on the sample; ``problem`` says why it cannot be used, if so."""

    runtime: str
    seconds: float = 0.0
    cosine: float = 0.0
    overlap: float = 0.0
    problem: str = ""
    runner: Runner | None = None


@dataclass(frozen=True, slots=True)
class RuntimeChoice:
    """A runtime and why it was taken."""

    runtime: str
    reason: str
    trials: list[Trial] = field(default_factory=list)


def choose(tower: Tower, precision: Precision, threads: int, texts: Sequence[str]) -> RuntimeChoice:
    """The fastest runtime that agrees with torch in float32 on these texts, or what was found for this model before.

    Args:
        tower: what is to be run.
        precision: the number format.
        threads: in all.
        texts: `SAMPLE` of them are looked at, from all over.

    Raises:
        ArgumentError: where no runtime has this precision.
    """
    if tower.device.type != "cpu":
        return RuntimeChoice("torch", f"the model lies on {tower.device}")
    installed = installed_runtimes()
    if installed == ["torch"] and precision is not Precision.INT8:
        return RuntimeChoice("torch", "no other is installed (pip install 'biencoder[openvino]' brings one that is faster)")
    place = _choice_file(tower, precision, threads, installed)
    with suppress(OSError, ValueError, KeyError, TypeError):
        record = json.loads(place.read_text(encoding="utf-8"))
        return RuntimeChoice(record["runtime"], record["reason"], [Trial(**trial) for trial in record["trials"]])
    sample = list(dict.fromkeys(texts[:: max(1, len(texts) // SAMPLE)]))[:SAMPLE] or [""]
    choice = _compare(tower, precision, threads, sample, installed)
    if len(sample) >= _ENOUGH:
        with suppress(OSError):
            place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_file(place, json.dumps(asdict(choice), indent=2).encode())
    return choice


def _choice_file(tower: Tower, precision: Precision, threads: int, installed: list[str]) -> Path:
    versions = {name: version(PACKAGES[name]) for name in installed}
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
    trials = _time([_try(name, tower, precision, threads, texts, reference) for name in able], tower, texts)
    usable = sorted((trial for trial in trials if not trial.problem), key=lambda trial: trial.seconds)
    if not usable:
        raise ArgumentError(f"no runtime can run this model in {precision}: " + "; ".join(trial.problem for trial in trials))
    best, slower = usable[0], usable[1:]
    reason = f"cosine {best.cosine:.6f} to torch in float32 on {len(texts)} of the texts"
    if slower:
        reason += (
            f", and the fastest here ({', '.join(f'{trial.seconds / best.seconds:.1f} × {trial.runtime}' for trial in slower)})"
        )
    left_out = "".join(f"; not {trial.runtime}: {trial.problem}" for trial in trials if trial.problem)
    return RuntimeChoice(best.runtime, reason + left_out, [replace(trial, runner=None) for trial in trials])


def _try(name: str, tower: Tower, precision: Precision, threads: int, texts: list[str], reference: FloatArray) -> Trial:
    """Whether a runtime can be used: it exports, runs and agrees."""
    try:
        runner = make_runner(name, tower, precision, threads=threads)
        found = _vectors(tower, runner, texts)
    except Exception as error:  # noqa: BLE001 - exporters and runtimes raise errors of every kind; torch is left
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        return Trial(name, problem=line if isinstance(error, BiencoderError) else f"it failed ({line[:200]})")
    cosine, overlap = agreement(reference, found)
    wrong = cosine < _LEAST_COSINE[precision] or overlap < _LEAST_OVERLAP[precision] or not np.isfinite(found).all()
    problem = f"it disagrees with torch in float32 (cosine {cosine:.6f}, same neighbours {overlap:.2f})" if wrong else ""
    return Trial(name, cosine=round(cosine, 7), overlap=round(overlap, 3), problem=problem, runner=runner)


def _time(trials: list[Trial], tower: Tower, texts: list[str]) -> list[Trial]:
    """The best of a few rounds, in which the usable ones take turns: other work on the machine then hits them alike."""
    best = [float("inf")] * len(trials)
    for _ in range(_ROUNDS):
        for place, trial in enumerate(trials):
            if trial.runner is not None and not trial.problem:
                began = time.perf_counter()
                _vectors(tower, trial.runner, texts)
                best[place] = min(best[place], time.perf_counter() - began)
    return [replace(trial, seconds=max(seconds, 1e-6)) for trial, seconds in zip(trials, best, strict=True)]


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
