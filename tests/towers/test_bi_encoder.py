from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from biencoder.errors import ArgumentError, ModelError, StorageError
from biencoder.towers.bi_encoder import BiEncoder
from biencoder.towers.pooling import Pooling
from biencoder.towers.tower import Projection, TowerSettings
from tests import tiny
from tests.disks import read_only_disk, small_disk

__all__ = ["read_only_disk", "small_disk"]
TEXTS = ["does aspirin lower the risk", "the liver " * 40, "", "Zürich"]


def asymmetric() -> BiEncoder:
    """Shared weights; prompts, lengths, pooling and normalisation differ."""
    document = tiny.tower(TowerSettings(Pooling.MEAN, True, "in ", 32))
    return BiEncoder(document.twin(TowerSettings(Pooling.MAX, False, "how is ", 9)), document, similarity="dot")


def separate() -> BiEncoder:
    query = tiny.tower(seed=1, hidden=16, projection=Projection(inputs=16, outputs=32, bias=False, activation="GELU"))
    return BiEncoder(query, tiny.tower(TowerSettings(Pooling.CLS, True, "in ", 20)))


def shared() -> BiEncoder:
    tower = tiny.tower(projection=Projection(inputs=32, outputs=8, activation="Tanh"))
    return BiEncoder(tower, tower)


@pytest.mark.parametrize("make", [asymmetric, separate, shared])
def test_saved_and_loaded(make: type, tmp_path: Path) -> None:
    model: BiEncoder = make()
    model.save(tmp_path / "model")
    again = BiEncoder.load(tmp_path / "model")
    assert again.identity == model.identity
    assert (again.shared, again.similarity, again.dimension) == (model.shared, model.similarity, model.dimension)
    assert again.query_tower.settings == model.query_tower.settings
    assert again.document_tower.settings == model.document_tower.settings
    np.testing.assert_array_equal(again.encode_queries(TEXTS), model.encode_queries(TEXTS))
    np.testing.assert_array_equal(again.encode_documents(TEXTS), model.encode_documents(TEXTS))
    again.save(tmp_path / "again")
    for name in ("biencoder.json", "modules.json", "config_sentence_transformers.json"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "model" / name).read_bytes()


def test_the_real_model_saved_and_loaded(real_model: BiEncoder, tmp_path: Path) -> None:
    real_model.save(tmp_path / "model")
    again = BiEncoder.load(tmp_path / "model", device="cpu")
    assert again.identity == real_model.identity
    np.testing.assert_array_equal(again.encode_queries(TEXTS), real_model.encode_queries(TEXTS))


def test_the_real_model_is_used_as_its_checkpoint_says(real_model: BiEncoder) -> None:
    expected = TowerSettings(Pooling.MEAN, True, "", 256)
    assert (real_model.query_tower.settings, real_model.document_tower.settings) == (expected, expected)
    assert (real_model.dimension, real_model.similarity, real_model.shared) == (384, "cosine", True)


def test_separated_gives_the_same_vectors_from_weights_of_its_own(tiny_model: BiEncoder) -> None:
    apart = tiny_model.separated()
    assert not apart.shared
    np.testing.assert_array_equal(apart.encode_queries(TEXTS), tiny_model.encode_queries(TEXTS))
    with torch.no_grad():
        next(apart.query_tower.backbone.parameters()).zero_()
    np.testing.assert_array_equal(apart.encode_documents(TEXTS), tiny_model.encode_documents(TEXTS))
    assert abs(apart.encode_queries(TEXTS) - tiny_model.encode_queries(TEXTS)).max() > 0.1


def test_options_of_load(tiny_model_folder: Path, tiny_model: BiEncoder) -> None:
    changed = BiEncoder.load(
        tiny_model_folder, pooling="cls", query_prompt="how is ", document_prompt="in ", max_length=7, precision="fast"
    )
    assert changed.query_tower.settings == TowerSettings(Pooling.CLS, True, "how is ", 7)
    assert changed.document_tower.settings == TowerSettings(Pooling.CLS, True, "in ", 7)
    assert changed.shared
    assert changed.precision == "fast"
    unprompted = BiEncoder.load(tiny_model_folder, query_prompt="how is ")
    assert unprompted.document_tower.settings == tiny_model.document_tower.settings
    expected = tiny_model.encode_queries(["how is the heart"])
    np.testing.assert_allclose(unprompted.encode_queries(["the heart"]), expected, atol=1e-6)


def test_an_empty_prompt_takes_a_checkpoints_prompt_away(tmp_path: Path) -> None:
    asymmetric().save(tmp_path / "model")
    assert BiEncoder.load(tmp_path / "model", query_prompt="").query_tower.settings.prompt == ""


@pytest.mark.parametrize("length", [-3, 0, 65, 10**9])
def test_max_length(tiny_model_folder: Path, length: int) -> None:
    with pytest.raises(ArgumentError, match=f"^max_length is {length}; this backbone takes between 1 and 64 tokens$"):
        BiEncoder.load(tiny_model_folder, max_length=length)


def test_max_length_without_room(tiny_model_folder: Path) -> None:
    with pytest.raises(ArgumentError, match=r"^max_length is 2; it must leave room beside the 2 special tokens$"):
        BiEncoder.load(tiny_model_folder, max_length=2)


def test_unknown_pooling(tiny_model_folder: Path) -> None:
    with pytest.raises(ArgumentError, match=r"^pooling 'avg' is unknown; choose one of cls, mean, max, last$"):
        BiEncoder.load(tiny_model_folder, pooling="avg")


def test_unknown_precision(tiny_model_folder: Path) -> None:
    with pytest.raises(ArgumentError, match=r"^precision 'int4' is unknown; choose one of exact, fast, int8$"):
        BiEncoder.load(tiny_model_folder, precision="int4")


@pytest.mark.parametrize("device", ["abacus", "cuda:99"])
def test_unknown_device(tiny_model_folder: Path, device: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        BiEncoder.load(tiny_model_folder, device=device)
    assert str(caught.value).startswith(f"device {device!r} cannot be used (")
    assert "\n" not in str(caught.value)


def test_unknown_similarity(tiny_model: BiEncoder) -> None:
    with pytest.raises(ArgumentError, match=r"^similarity 'l2' is unknown; choose cosine or dot$"):
        BiEncoder(tiny_model.query_tower, tiny_model.document_tower, similarity="l2")


def test_towers_of_different_dimensions() -> None:
    expected = "^the query tower gives 16 dimensions and the document tower 32; they must agree: give one of them a projection$"
    with pytest.raises(ArgumentError, match=expected):
        BiEncoder(tiny.tower(hidden=16), tiny.tower())


def test_normalised_needs_both_sides() -> None:
    tower = tiny.tower()
    assert BiEncoder(tower, tower).normalised
    assert not BiEncoder(tower.twin(replace(tower.settings, normalise=False)), tower).normalised


def test_a_model_replaces_a_model(tmp_path: Path) -> None:
    shared().save(tmp_path / "model")
    separate().save(tmp_path / "model")
    assert not BiEncoder.load(tmp_path / "model").shared
    assert not (tmp_path / "model" / "model.safetensors").exists()


def test_a_model_replaces_nothing_else(tiny_model: BiEncoder, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("precious")
    with pytest.raises(ModelError) as caught:
        tiny_model.save(tmp_path / "notes")
    assert str(caught.value) == f"{tmp_path / 'notes'} holds something that biencoder did not write; choose another place"
    assert (tmp_path / "notes" / "a.txt").read_text() == "precious"
    with pytest.raises(StorageError, match=r"a\.txt: a file stands where the folder should go; choose another place$"):
        tiny_model.save(tmp_path / "notes" / "a.txt")


@pytest.mark.parametrize("free", [8, 40, 130])
def test_full_disk(tiny_model: BiEncoder, small_disk: Path, free: int) -> None:
    (small_disk / "old").mkdir()
    with (small_disk / "ballast").open("wb") as ballast:
        ballast.write(b"0" * (248 - free) * 1024)
    with pytest.raises(StorageError, match=r"the disk is full: free some space or choose another place; what was there before"):
        tiny_model.save(small_disk / "old")
    assert sorted(path.name for path in small_disk.iterdir()) == [".old.lock", "ballast", "old"]
    assert not any((small_disk / "old").iterdir())


def test_read_only_disk(tiny_model: BiEncoder, read_only_disk: Path) -> None:
    with pytest.raises(StorageError, match=r"the file system is read-only: choose another place$"):
        tiny_model.save(read_only_disk / "model")
