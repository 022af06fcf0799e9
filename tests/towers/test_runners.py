"""Every runtime against torch in float32: all poolings, all number formats, alone and in a batch."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from biencoder.errors import ArgumentError
from biencoder.scoring import FloatArray
from biencoder.towers import openvino_runner
from biencoder.towers.bi_encoder import BiEncoder
from biencoder.towers.pooling import Pooling
from biencoder.towers.precision import Precision
from biencoder.towers.runner import TokenIds
from biencoder.towers.runners import make_runner
from biencoder.towers.tower import Projection, Tower, TowerSettings
from tests import tiny

OTHERS = ("openvino", "onnx")
TEXTS = [" ".join((tiny.THINGS * 2)[start : start + length]) for start in range(9) for length in (1, 2, 5, 5, 20, 40)] + [""]
LEAST = {Precision.EXACT: 0.999999, Precision.FAST: 0.9995, Precision.INT8: 0.999}


@pytest.fixture(scope="module", params=list(Pooling))
def tower(request: pytest.FixtureRequest) -> Tower:
    projection = Projection(inputs=32, outputs=8, activation="Tanh") if request.param is Pooling.MAX else None
    return tiny.tower(TowerSettings(request.param, request.param is not Pooling.CLS, "how is ", 24), projection=projection)


def cosines(left: FloatArray, right: FloatArray) -> FloatArray:
    products: FloatArray = (left * right).sum(axis=1) / (np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1))
    return products


def model(tower: Tower, runtime: str, precision: Precision) -> BiEncoder:
    return BiEncoder(tower, tower, runtime=runtime, precision=precision, threads=2)


@pytest.mark.parametrize("precision", list(Precision))
@pytest.mark.parametrize("runtime", OTHERS)
def test_same_vectors_as_torch(tower: Tower, runtime: str, precision: Precision) -> None:
    expected = tower.encode(TEXTS)
    found = model(tower, runtime, precision).encode_documents(TEXTS)
    assert found.dtype == np.float32
    assert cosines(expected, found).min() > LEAST[precision]
    if precision is Precision.EXACT:
        np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize("precision", list(Precision))
@pytest.mark.parametrize("runtime", OTHERS)
def test_alone_and_in_a_batch(tower: Tower, runtime: str, precision: Precision) -> None:
    encoder = model(tower, runtime, precision)
    together = encoder.encode_documents(TEXTS)
    alone = np.concatenate([encoder.encode_queries([text]) for text in TEXTS])
    assert cosines(alone, together).min() > 0.9999
    if precision is Precision.EXACT:
        np.testing.assert_allclose(alone, together, atol=1e-6)


@pytest.mark.parametrize("runtime", OTHERS)
def test_order_and_neighbours_do_not_matter(tower: Tower, runtime: str) -> None:
    encoder = model(tower, runtime, Precision.INT8)
    order = np.random.default_rng(3).permutation(len(TEXTS))
    shuffled = encoder.encode_documents([TEXTS[at] for at in order])
    np.testing.assert_allclose(shuffled, encoder.encode_documents(TEXTS)[order], atol=1e-6)


@pytest.mark.parametrize("runtime", ["torch", *OTHERS])
def test_changed_weights_are_seen(runtime: str) -> None:
    tower = tiny.tower()
    encoder = model(tower, runtime, Precision.EXACT)
    before = encoder.encode_documents(TEXTS)
    with torch.no_grad():
        next(tower.backbone.parameters()).mul_(1.5).add_(0.1)
    after = encoder.encode_documents(TEXTS)
    np.testing.assert_allclose(after, tower.encode(TEXTS), atol=2e-6)
    assert abs(after - before).max() > 0.01


def test_weights_that_were_made_in_inference_mode() -> None:
    with torch.inference_mode():
        tower = tiny.tower()
    found = BiEncoder(tower, tower, runtime="openvino").encode_documents(TEXTS)
    np.testing.assert_allclose(found, tiny.tower().encode(TEXTS), atol=2e-6)


@pytest.mark.parametrize("runtime", ["torch", *OTHERS])
def test_towers_of_one_backbone_keep_their_own_prompts_and_lengths(runtime: str) -> None:
    tower = tiny.tower()
    short = tower.twin(TowerSettings(Pooling.CLS, normalise=True, prompt="what is ", max_length=6))
    encoder = BiEncoder(short, tower, runtime=runtime)
    np.testing.assert_allclose(encoder.encode_queries(TEXTS), short.encode(TEXTS), atol=2e-6)
    np.testing.assert_allclose(encoder.encode_documents(TEXTS), tower.encode(TEXTS), atol=2e-6)


@pytest.mark.parametrize("runtime", ["torch", *OTHERS])
def test_from_many_threads(runtime: str) -> None:
    tower = tiny.tower()
    encoder = BiEncoder(tower, tower, runtime=runtime)
    expected = encoder.encode_documents(TEXTS)
    differences: list[float] = []

    def ask() -> None:
        for _ in range(5):
            differences.append(float(abs(encoder.encode_documents(TEXTS) - expected).max()))
            differences.append(float(abs(encoder.encode_queries(TEXTS[7:8]) - expected[7:8]).max()))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(differences) == 40
    assert max(differences) < 2e-6


@pytest.mark.parametrize("runtime", ["torch", *OTHERS])
def test_windows_are_read_one_ahead_and_come_in_order(runtime: str) -> None:
    tower = tiny.tower()
    encoder = BiEncoder(tower, tower, runtime=runtime)
    read: list[int] = []
    done: list[int] = []

    def windows() -> Iterator[list[str]]:
        for number in range(5):
            read.append(number)
            yield TEXTS[number * 9 : number * 9 + 9]

    found = []
    for number, vectors in enumerate(encoder.encode_document_windows(windows(), progress=done.append)):
        assert len(read) <= number + 2
        found.append(vectors)
    np.testing.assert_allclose(np.concatenate(found), tower.encode(TEXTS[:45]), atol=2e-6)
    assert (done[-1], done) == (45, sorted(done))


@pytest.mark.parametrize("runtime", ["torch", *OTHERS])
def test_a_text_that_cannot_be_tokenised_is_an_error_and_nothing_hangs(runtime: str) -> None:
    tower = tiny.tower()
    encoder = BiEncoder(tower, tower, runtime=runtime)
    for texts in (["heart", "half a \ud83d pair"], ["half a \ud83d pair"]):
        with pytest.raises(ArgumentError, match="cannot be tokenised"):
            encoder.encode_documents(texts)
    assert encoder.encode_documents([]).shape == (0, tower.dimension)


def test_an_error_in_a_batch_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    tower = tiny.tower()
    monkeypatch.setattr(Tower, "collate", lambda *_, **__: (_ for _ in ()).throw(MemoryError("no room")))
    with pytest.raises(MemoryError, match="no room"):
        tower.encode(TEXTS)


@pytest.mark.parametrize("errs", [True, False])
def test_openvino_leaves_bfloat16_where_it_errs_beside_int8(monkeypatch: pytest.MonkeyPatch, errs: bool) -> None:
    """As it does on processors with AMX, in layers of fewer than 64 outputs."""
    infer = openvino_runner._infer
    monkeypatch.setattr(openvino_runner, "arithmetic", lambda *_: "bfloat16")

    def wrong(request: object, rows: TokenIds) -> FloatArray:
        return infer(request, rows) * np.where(np.arange(64) % 2, 1, -1).astype(np.float32)

    with monkeypatch.context() as patched:
        if errs:
            patched.setattr(openvino_runner, "_infer", wrong)
        runner = make_runner("openvino", tiny.tower(hidden=64), Precision.INT8, threads=1)
    assert runner.execution()["arithmetic"] == f"int8 in groups of 64, rest {'float32' if errs else 'bfloat16'}"


def test_torch_has_no_int8() -> None:
    tower = tiny.tower()
    with pytest.raises(ArgumentError) as caught:
        BiEncoder(tower, tower, precision="int8").encode_documents(TEXTS)
    assert str(caught.value) == (
        "precision int8 needs another runtime than torch; run: pip install 'biencoder[openvino]', or choose fast"
    )


@pytest.mark.parametrize("runtime", OTHERS)
def test_only_processors(runtime: str) -> None:
    tower = tiny.tower()
    tower.to("meta")
    with pytest.raises(ArgumentError) as caught:
        make_runner(runtime, tower, Precision.EXACT, threads=1)
    assert str(caught.value) == f"runtime {runtime} runs on processors, and the model lies on meta; choose torch or auto"


@pytest.mark.parametrize(
    ("device", "precision", "installed", "expected"),
    [
        ("cuda", Precision.FAST, True, ["flash_attention_2", "sdpa"]),
        ("cuda", Precision.FAST, False, []),
        ("cuda", Precision.EXACT, True, []),
        ("cpu", Precision.FAST, True, []),
    ],
)
def test_flash_attention_where_it_can_be_had(
    monkeypatch: pytest.MonkeyPatch, device: str, precision: Precision, installed: bool, expected: list[str]
) -> None:
    """What is switched and when; there is no GPU here to run it on."""
    from biencoder.towers import torch_runner

    tower = tiny.tower()
    switched: list[str] = []
    monkeypatch.setattr(Tower, "device", torch.device(device))
    monkeypatch.setattr(torch_runner, "arithmetic", lambda asked, _: "bfloat16" if asked is Precision.FAST else "float32")
    monkeypatch.setattr(torch_runner, "is_flash_attn_2_available", lambda: installed)
    monkeypatch.setattr(tower.backbone, "set_attn_implementation", switched.append)
    with torch_runner.unpadded_attention(tower, precision):
        assert switched == expected[:1]
    assert switched == expected


def test_what_is_recorded(tower: Tower) -> None:
    facts = {runtime: model(tower, runtime, Precision.INT8).execution for runtime in OTHERS}
    assert {runtime: found["runtime"] for runtime, found in facts.items()} == {runtime: runtime for runtime in OTHERS}
    assert all(found["arithmetic"].startswith("int8 in groups of 64") for found in facts.values())
    one, other = (model(tower, "openvino", precision) for precision in (Precision.EXACT, Precision.INT8))
    assert one.identity.document == other.identity.document
    assert one.identity.execution != other.identity.execution


@pytest.mark.parametrize("precision", list(Precision))
@pytest.mark.parametrize("runtime", OTHERS)
def test_a_real_model(real_model: BiEncoder, runtime: str, precision: Precision) -> None:
    texts = [
        "does aspirin lower cancer risk?",
        "The liver makes bile. " * 20,
        "zinc",
        "How long should a fever last in children",
    ]
    expected = real_model.encode_documents(texts)
    found = model(real_model.document_tower, runtime, precision).encode_documents(texts)
    least = {Precision.EXACT: 0.999999, Precision.FAST: 0.9999, Precision.INT8: 0.998}
    assert cosines(expected, found).min() > least[precision]


def test_attention_scales_are_folded_and_weights_compressed(real_model: BiEncoder) -> None:
    from biencoder.towers.graph import UnpaddedTower, example_ids, quiet_export
    from biencoder.towers.openvino_graph import compress_weights, fold_attention_scales
    from biencoder.towers.openvino_runner import _convert

    tower = real_model.document_tower
    with quiet_export():
        graph = _convert(UnpaddedTower(tower).eval(), example_ids(tower))
    assert fold_attention_scales(graph) == 6
    assert compress_weights(graph) == 36
    assert not [node for node in graph.get_ordered_ops() if node.get_type_name() == "ScaledDotProductAttention"]


def test_openvino_is_first_used_by_one_thread_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its binding makes its own objects at the first inference; two threads that do so at once wait for each other for ever."""
    from biencoder.towers import openvino_runner

    held: list[bool] = []
    plain = openvino_runner._infer

    def watched(request: object, rows: TokenIds) -> FloatArray:
        held.append(openvino_runner._FIRST_USE.locked())
        return plain(request, rows)

    monkeypatch.setattr(openvino_runner, "_infer", watched)
    runner = make_runner("openvino", tiny.tower(), Precision.EXACT, threads=2)
    with runner.session() as run:
        assert held == [True]
        run([[5, 6, 7]])
        runner.one([5, 6, 7])
    assert held == [True, False, True, False]


def test_openvino_reports_nothing_to_its_vendor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own conversion function would, with every call."""
    import openvino_telemetry

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was reported")

    monkeypatch.setattr(openvino_telemetry, "Telemetry", refuse)
    tower = tiny.tower(seed=77)
    assert np.isfinite(model(tower, "openvino", Precision.FAST).encode_documents(TEXTS)).all()
