from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from biencoder.errors import ModelError
from biencoder.towers.backbone import load_backbone, load_tokenizer, longest_input, lower_case, os_errors_of_rust
from biencoder.towers.bi_encoder import BiEncoder
from tests import tiny


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    return tiny.save_bare(tmp_path / "bare")


def roberta(folder: Path, *, tokenizer_limit: int) -> Path:
    """A tiny random RoBERTa as it comes out of pretraining: with a language-model head, and 514 positions."""
    from transformers import RobertaConfig, RobertaForMaskedLM

    config = RobertaConfig(
        vocab_size=len(tiny.vocabulary()),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=514,
        pad_token_id=1,
    )
    RobertaForMaskedLM(config).save_pretrained(folder)
    tiny.tokenizer(max_length=tokenizer_limit).save_pretrained(folder)
    return folder


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_bert(bare: Path) -> None:
    model = BiEncoder.load(bare)
    assert (model.dimension, model.shared, model.document_tower.settings.max_length) == (32, True, 64)
    hidden = model.document_tower.backbone(input_ids=torch.tensor([[2, 5, 3]])).last_hidden_state.mean(dim=1)
    expected = torch.nn.functional.normalize(hidden, dim=-1).detach().numpy()
    assert abs(model.encode_documents(["aspirin"]) - expected).max() < 1e-6


@pytest.mark.parametrize(("said", "expected"), [(10**30, 512), (514, 512), (128, 128)])
def test_roberta(tmp_path: Path, said: int, expected: int) -> None:
    model = BiEncoder.load(roberta(tmp_path / "roberta", tokenizer_limit=said))
    assert model.document_tower.settings.max_length == expected
    assert model.encode_documents(["aspirin " * 600]).shape == (1, 16)
    with pytest.raises(Exception, match=r"^max_length is 513; this backbone takes between 1 and 512 tokens$"):
        BiEncoder.load(tmp_path / "roberta", max_length=513)


def test_longest_input_where_nothing_is_said() -> None:
    backbone, tokenizer = tiny.bert(), tiny.tokenizer(max_length=10**30)
    del backbone.config.max_position_embeddings
    assert longest_input(backbone, tokenizer) == 512


def test_weights_are_float32_whatever_the_file_says(tmp_path: Path) -> None:
    tiny.bert().bfloat16().save_pretrained(tmp_path)
    assert {parameter.dtype for parameter in load_backbone(tmp_path).parameters()} == {torch.float32}


def test_pickled_weights_are_refused(bare: Path) -> None:
    (bare / "model.safetensors").unlink()
    (bare / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(ModelError) as caught:
        load_backbone(bare)
    expected = "has pytorch_model.bin; weights are read from safetensors only (convert them first)"
    assert str(caught.value) == f"{bare} {expected}"


def test_no_weights(bare: Path) -> None:
    (bare / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r" has no weights; weights are read from safetensors only"):
        load_backbone(bare)


def truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def spoil_header(folder: Path) -> None:
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[9] ^= 0xFF
    path.write_bytes(data)


def unknown_type(folder: Path) -> None:
    change(folder / "config.json", model_type="no-such-type")


def remote_code(folder: Path) -> None:
    code = {"AutoConfig": "evil.EvilConfig", "AutoModel": "evil.EvilModel"}
    change(folder / "config.json", model_type="evil", auto_map=code)
    (folder / "evil.py").write_text("raise SystemExit('the code of a model folder was run')")


def other_shapes(folder: Path) -> None:
    change(folder / "config.json", hidden_size=64)


@pytest.mark.parametrize("spoil", [truncate, spoil_header, unknown_type, remote_code, other_shapes])
def test_damaged(bare: Path, spoil: Callable[[Path], None]) -> None:
    spoil(bare)
    with pytest.raises(ModelError) as caught:
        BiEncoder.load(bare)
    assert str(caught.value).startswith(f"{bare} cannot be read as a model (")
    assert str(caught.value).endswith("); it may be damaged or incomplete")
    assert "\n" not in str(caught.value)


def test_remote_code_is_named(bare: Path) -> None:
    remote_code(bare)
    with pytest.raises(ModelError, match=r"trust_remote_code|custom code|execute"):
        BiEncoder.load(bare)


def test_missing_weights(bare: Path) -> None:
    change(bare / "config.json", num_hidden_layers=3)
    with pytest.raises(ModelError) as caught:
        load_backbone(bare)
    expected = "lacks 16 of the backbone's weights, encoder.layer.2.attention.output.LayerNorm.bias for one; it is incomplete"
    assert str(caught.value) == f"{bare} {expected}"


@pytest.mark.parametrize(("content", "reason"), [("{", "Expecting property name"), ("", "Expecting value")])
def test_garbage_configuration(bare: Path, content: str, reason: str) -> None:
    (bare / "config.json").write_text(content)
    with pytest.raises(ModelError) as caught:
        BiEncoder.load(bare)
    assert str(caught.value).startswith(f"{bare / 'config.json'} cannot be read as JSON ({reason}")


def test_a_configuration_that_is_no_object(bare: Path) -> None:
    (bare / "config.json").write_text("[1]")
    with pytest.raises(ModelError) as caught:
        BiEncoder.load(bare)
    assert str(caught.value) == f"{bare / 'config.json'} holds no JSON object; the model folder is damaged"


def test_garbage_tokenizer(bare: Path) -> None:
    (bare / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match=r" cannot be read as a model "):
        load_tokenizer(bare)


def test_no_tokenizer(bare: Path, tmp_path: Path) -> None:
    shutil.copytree(bare, tmp_path / "copy", ignore=shutil.ignore_patterns("tokenizer*"))
    with pytest.raises(ModelError) as caught:
        BiEncoder.load(tmp_path / "copy")
    expected = "has no tokenizer; a tokenizer.json or a vocabulary was expected beside the weights"
    assert str(caught.value) == f"{tmp_path / 'copy'} {expected}"


def test_lower_case() -> None:
    tokenizer = tiny.tokenizer()
    before = tokenizer.backend_tokenizer.to_str()
    lower_case(tokenizer)
    assert tokenizer.backend_tokenizer.to_str() == before
    from tokenizers import normalizers

    tokenizer.backend_tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    assert tokenizer.tokenize("Aspirin") != ["aspirin"]
    lower_case(tokenizer)
    assert tokenizer.tokenize("Aspirin") == ["aspirin"]


def test_refusals_of_the_system_inside_rust() -> None:
    with pytest.raises(OSError, match=r"^\[Errno 28\] No space left on device$"), os_errors_of_rust():
        raise Exception("Error while serializing: I/O error: No space left on device (os error 28)")
    with pytest.raises(KeyError), os_errors_of_rust():
        raise KeyError("other errors are left alone")
