"""Model folders that were changed behind our back."""

from __future__ import annotations

import contextlib
import json
import random
from pathlib import Path
from typing import Any

import pytest

from biencoder.errors import ModelError
from biencoder.towers.bi_encoder import BiEncoder
from biencoder.towers.tower import Projection
from tests import tiny


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tower = tiny.tower(projection=Projection(inputs=32, outputs=8))
    BiEncoder(tower, tower).save(tmp_path / "model")
    return tmp_path / "model"


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def refusal(folder: Path) -> str:
    with pytest.raises(ModelError) as caught:
        BiEncoder.load(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_flipped_byte_in_the_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    weights = 8 + int.from_bytes(data[:8], "little")
    for at in random.Random(3).sample(range(weights, len(data)), 5):  # noqa: S311
        data[at] ^= 0x10
        path.write_bytes(data)
        message = refusal(folder)
        assert message.startswith(f"{folder}: the weights, tokenizer or settings are not those that were saved (document side ")
        assert message.endswith("; the files are damaged, or another tool changed them: then remove biencoder.json")
        data[at] ^= 0x10
    path.write_bytes(data)
    assert BiEncoder.load(folder).dimension == 8


def test_a_flipped_byte_anywhere_never_goes_unnoticed_or_unexplained(folder: Path) -> None:
    before = BiEncoder.load(folder).identity
    chance = random.Random(7)  # noqa: S311
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        data = bytearray(path.read_bytes())
        for at in chance.sample(range(len(data)), 3):
            data[at] ^= 0x01
            path.write_bytes(data)
            with contextlib.suppress(ModelError):  # white space and fields that nothing reads may change; vectors may not
                assert BiEncoder.load(folder).identity == before
            data[at] ^= 0x01
        path.write_bytes(data)


def test_truncated_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    message = refusal(folder)
    assert message.startswith(f"{folder} cannot be read as a model (")
    assert message.endswith("); it may be damaged or incomplete")


def test_other_words_in_the_tokenizer(folder: Path) -> None:
    path = folder / "tokenizer.json"
    path.write_text(path.read_text().replace('"aspirin"', '"ibuprofen"'))
    assert "are not those that were saved" in refusal(folder)


def test_other_settings(folder: Path) -> None:
    own = json.loads((folder / "biencoder.json").read_text())
    own["document"]["max_length"] = 16
    change(folder / "biencoder.json", document=own["document"])
    assert "are not those that were saved" in refusal(folder)


def test_another_tools_change_is_accepted_without_our_file(folder: Path) -> None:
    (folder / "biencoder.json").unlink()
    assert BiEncoder.load(folder).dimension == 8


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"format": 2}, "has format 2; this biencoder reads format 1"),
        ({"query": {}}, "is damaged (at 'pooling'); save the model again"),
        ({"identity": None}, "is damaged (at 'NoneType' object is not subscriptable); save the model again"),
        ({"similarity": "l2"}, "names the similarity 'l2'; cosine or dot was expected"),
    ],
)
def test_own_file(folder: Path, values: dict[str, Any], message: str) -> None:
    change(folder / "biencoder.json", **values)
    assert refusal(folder) == f"{folder / 'biencoder.json'} {message}"


def test_own_file_is_no_object(folder: Path) -> None:
    (folder / "biencoder.json").write_text("[]")
    assert refusal(folder) == f"{folder / 'biencoder.json'} holds no JSON object; the model folder is damaged"


@pytest.mark.parametrize(
    ("name", "values"),
    [("config.json", {"out_features": 9}), ("config.json", {"in_features": "many"}), ("config.json", {"bias": False})],
)
def test_damaged_projection(folder: Path, name: str, values: dict[str, Any]) -> None:
    change(folder / "2_Dense" / name, **values)
    assert refusal(folder).startswith(f"{folder / '2_Dense'} cannot be read as a projection (")


def test_pickled_projection(folder: Path) -> None:
    (folder / "2_Dense" / "model.safetensors").rename(folder / "2_Dense" / "pytorch_model.bin")
    assert refusal(folder).startswith(f"{folder / '2_Dense'} cannot be read as a projection (No such file or directory: ")


def test_unknown_activation_of_the_projection(folder: Path) -> None:
    change(folder / "2_Dense" / "config.json", activation_function="torch.nn.modules.activation.Mish")
    assert refusal(folder) == "projection activation 'Mish' is not supported; one of Identity, Tanh, ReLU, GELU is"


def test_a_folder_without_configuration(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert refusal(tmp_path) == f"{tmp_path} is no model folder: neither modules.json nor config.json is in it"
