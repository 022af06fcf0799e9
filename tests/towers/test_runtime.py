"""Which runtime `auto` takes, what it says, and that it stays with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from biencoder.errors import ArgumentError
from biencoder.scoring import FloatArray
from biencoder.towers import choice as choice_module
from biencoder.towers.bi_encoder import BiEncoder
from biencoder.towers.choice import agreement
from biencoder.towers.precision import Precision
from biencoder.towers.runner import Runner
from biencoder.towers.runners import installed_runtimes, make_runner
from biencoder.towers.tower import Tower
from tests import tiny

TEXTS = [f"{thing} in the {other}" for thing in tiny.THINGS[:6] for other in tiny.THINGS[6:12]]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BIENCODER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def auto(tower: Tower, precision: str = "exact") -> BiEncoder:
    return BiEncoder(tower, tower, runtime="auto", precision=precision)


def only(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr(choice_module, "installed_runtimes", lambda: list(names))


def rates(monkeypatch: pytest.MonkeyPatch, **seconds: float) -> None:
    """Pretend how long each runtime takes; how the vectors come about stays as it is."""
    clock = [0.0]
    plain = choice_module._vectors

    def slow(tower: Tower, runner: Runner, texts: list[str]) -> FloatArray:
        clock[0] += seconds[runner.name]
        return plain(tower, runner, texts)

    monkeypatch.setattr(choice_module, "_vectors", slow)
    monkeypatch.setattr("biencoder.towers.choice.time.perf_counter", lambda: clock[0])


def test_all_three_are_installed_here() -> None:
    assert installed_runtimes() == ["torch", "openvino", "onnx"]


def test_unknown() -> None:
    tower = tiny.tower()
    with pytest.raises(ArgumentError, match=r"^runtime 'tensorrt' is unknown; choose one of auto, torch, openvino, onnx$"):
        BiEncoder(tower, tower, runtime="tensorrt")


@pytest.mark.parametrize("fastest", ["torch", "openvino", "onnx"])
def test_the_fastest_is_taken(monkeypatch: pytest.MonkeyPatch, fastest: str) -> None:
    rates(monkeypatch, **{name: 1.0 if name == fastest else 2.0 for name in ("torch", "openvino", "onnx")})
    said: list[str] = []
    model = auto(tiny.tower())
    model.prepare(TEXTS, say=said.append)
    assert model.execution["runtime"] == fastest
    assert len(said) == 1
    assert said[0].startswith(
        f"runtime {fastest}: cosine 1.000000 to torch in float32 on 32 of the texts, and the fastest here (2.0 ×"
    )
    np.testing.assert_allclose(model.encode_documents(TEXTS), model.document_tower.encode(TEXTS), atol=2e-6)


def test_one_that_disagrees_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    from biencoder.towers.openvino_runner import OpenVinoRunner

    rates(monkeypatch, torch=2.0, openvino=1.0)
    only(monkeypatch, "torch", "openvino")
    plain = OpenVinoRunner.session

    def wrong(self: OpenVinoRunner):  # type: ignore[no-untyped-def]
        from contextlib import contextmanager

        @contextmanager
        def session():  # type: ignore[no-untyped-def]
            with plain(self) as run:
                yield lambda rows: run(rows)[:, ::-1]

        return session()

    monkeypatch.setattr(OpenVinoRunner, "session", wrong)
    said: list[str] = []
    model = auto(tiny.tower())
    model.prepare(TEXTS, say=said.append)
    assert model.execution["runtime"] == "torch"
    assert "; not openvino: it disagrees with torch in float32 (cosine " in said[0]


def test_one_that_fails_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = make_runner

    def broken(name: str, tower: Tower, precision: Precision, *, threads: int) -> Runner:
        if name == "openvino":
            raise RuntimeError("no such operator\nand more")
        return plain(name, tower, precision, threads=threads)

    monkeypatch.setattr(choice_module, "make_runner", broken)
    only(monkeypatch, "torch", "openvino")
    said: list[str] = []
    model = auto(tiny.tower())
    model.prepare(TEXTS, say=said.append)
    assert model.execution["runtime"] == "torch"
    assert said[0].endswith("; not openvino: it failed (no such operator)")


def test_without_others_it_says_what_would_be_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "torch")
    said: list[str] = []
    model = auto(tiny.tower())
    model.prepare(TEXTS, say=said.append)
    assert said == ["runtime torch: no other is installed (pip install 'biencoder[openvino]' brings one that is faster)"]


def test_a_processor_without_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "torch")
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict, raising=False)
    said: dict[str, list[str]] = {"fast": [], "exact": []}
    for precision, lines in said.items():
        model = auto(tiny.tower(), precision)
        model.prepare(TEXTS, say=lines.append)
        assert model.execution["arithmetic"] == "float32"
    assert said["fast"][1:] == [
        "this processor has no bfloat16, so that fast computes in float32; int8 is faster (biencoder[openvino])"
    ]
    assert said["exact"][1:] == []


def test_int8_without_others_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "torch")
    with pytest.raises(ArgumentError) as caught:
        auto(tiny.tower(), "int8").encode_documents(TEXTS)
    assert str(caught.value) == (
        "no runtime can run this model in int8: precision int8 needs another runtime than torch; "
        "run: pip install 'biencoder[openvino]', or choose fast"
    )


def test_the_choice_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    tower = tiny.tower()
    rates(monkeypatch, torch=3.0, openvino=2.0, onnx=1.0)
    first = auto(tower)
    first.prepare(TEXTS)
    rates(monkeypatch, torch=0.1, openvino=20.0, onnx=30.0)  # on top of the first
    again = auto(tower)
    again.prepare(TEXTS)
    assert again.execution == first.execution
    assert again.execution["runtime"] == "onnx"
    other = auto(tiny.tower(seed=5))
    other.prepare(TEXTS)
    assert other.execution["runtime"] == "torch"


def test_a_cache_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BIENCODER_CACHE", str(tmp_path / "file" / "cache"))
    tower = tiny.tower()
    model = BiEncoder(tower, tower, runtime="openvino")
    np.testing.assert_allclose(model.encode_documents(TEXTS), tower.encode(TEXTS), atol=2e-6)


def test_a_damaged_export_is_made_anew(own_cache: Path) -> None:
    tower = tiny.tower()
    expected = BiEncoder(tower, tower, runtime="openvino").encode_documents(TEXTS)
    (graph,) = own_cache.glob("exports/*/graph.bin")
    body = bytearray(graph.read_bytes())
    body[len(body) // 2] ^= 255
    graph.write_bytes(body)
    np.testing.assert_array_equal(BiEncoder(tower, tower, runtime="openvino").encode_documents(TEXTS), expected)
    assert graph.read_bytes() != bytes(body)


def test_exports_are_shared_by_prompts_and_lengths_and_few_are_kept(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    monkeypatch.setattr("biencoder.towers.exports.KEPT", 2)
    tower = tiny.tower()
    BiEncoder(tower, tower, runtime="openvino").encode_documents(TEXTS)
    prompted = tower.twin(replace(tower.settings, prompt="what is ", max_length=9))
    BiEncoder(prompted, prompted, runtime="openvino").encode_documents(TEXTS)
    assert len(list(own_cache.glob("exports/[!.]*"))) == 1
    for seed in (1, 2, 3):
        other = tiny.tower(seed=seed)
        BiEncoder(other, other, runtime="openvino").encode_documents(TEXTS)
    assert len(list(own_cache.glob("exports/[!.]*"))) == 2


def test_agreement() -> None:
    vectors = np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32)
    assert agreement(vectors, vectors * 3) == pytest.approx((1.0, 1.0))
    cosine, overlap = agreement(vectors, vectors[::-1].copy())
    assert cosine < 0.5
    assert overlap < 0.5
    assert agreement(vectors[:3], vectors[:3] + 0.01)[1] == 1.0
