from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from biencoder.errors import ModelError
from biencoder.records import FirstStageWeight
from biencoder.towers.bi_encoder import BiEncoder
from biencoder.towers.cross_encoder import CrossEncoder
from biencoder.towers.cross_encoder_folder import SCALE
from tests import tiny


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny.cross_encoder().save(tmp_path / "reranker")
    return tmp_path / "reranker"


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def refusal(folder: Path) -> str:
    with pytest.raises(ModelError) as caught:
        CrossEncoder.load(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_save_then_load_is_the_same(folder: Path) -> None:
    encoder = tiny.cross_encoder()
    again = CrossEncoder.load(folder)
    assert again.fingerprint() == encoder.fingerprint()
    assert again.max_length == 32
    pairs = [("heart", "the lung"), ("liver", "blood " * 50)]
    assert again.score(pairs).tolist() == pytest.approx(encoder.score(pairs).tolist(), abs=1e-6)
    own = json.loads((folder / "reranker.json").read_text())
    assert own == {"format": 1, "max_length": 32, "scale": SCALE, "fingerprint": encoder.fingerprint()}
    assert SCALE == "logit: a difference of two scores of one query is the log-odds that the first is the more relevant"


def test_the_first_stages_weight_is_kept(folder: Path) -> None:
    encoder = CrossEncoder.load(folder)
    assert encoder.first_stage is None
    encoder.first_stage = FirstStageWeight(2.5, "bm25")
    encoder.save(folder)
    assert CrossEncoder.load(folder).first_stage == encoder.at_length(16).first_stage == encoder.first_stage
    assert CrossEncoder.load(folder, max_length=16).first_stage == encoder.first_stage
    assert CrossEncoder.load(folder).fingerprint() == encoder.fingerprint() == tiny.cross_encoder().fingerprint()


@pytest.mark.parametrize("damaged", [{"weight": 1}, {"weight": -1, "first_stage": "bm25"}, "bm25", {"weight": None}])
def test_a_damaged_weight(folder: Path, damaged: Any) -> None:
    change(folder / "reranker.json", first_stage=damaged)
    assert refusal(folder).startswith(f"{folder / 'reranker.json'} is damaged (at ")


def test_saving_changes_nothing_and_replaces_the_old_folder(folder: Path) -> None:
    encoder = tiny.cross_encoder(seed=1)
    limit = encoder.tokenizer.model_max_length
    encoder.save(folder)
    assert encoder.tokenizer.model_max_length == limit
    assert CrossEncoder.load(folder).fingerprint() == encoder.fingerprint()


def test_a_run_folder_is_taken(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    with pytest.raises(ModelError, match="is a run that has no model yet"):
        CrossEncoder.load(tmp_path / "run")
    folder.rename(tmp_path / "run" / "model")
    assert CrossEncoder.load(tmp_path / "run").max_length == 32


def test_other_things_are_not_overwritten(tmp_path: Path, tiny_model_folder: Path) -> None:
    (tmp_path / "a.txt").write_text("precious")
    shutil.copytree(tiny_model_folder, tmp_path / "model")
    for place in (tmp_path, tmp_path / "model"):
        with pytest.raises(ModelError) as caught:
            tiny.cross_encoder().save(place)
        assert str(caught.value) == f"{place} holds something that biencoder did not write; choose another place"


def one_weight(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    tensors["classifier.bias"] += 1e-3
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def another_word(folder: Path) -> None:
    path = folder / "tokenizer.json"
    path.write_text(path.read_text().replace('"aspirin"', '"ibuprofen"'))


def another_length(folder: Path) -> None:
    change(folder / "reranker.json", max_length=16)


@pytest.mark.parametrize("spoil", [one_weight, another_word, another_length])
def test_what_was_changed_is_refused(folder: Path, spoil: Callable[[Path], None]) -> None:
    spoil(folder)
    message = refusal(folder)
    assert message.startswith(f"{folder}: the weights, tokenizer or settings are not those that were saved (fingerprint ")
    assert message.endswith("); the files are damaged, or another tool changed them: then remove reranker.json")
    (folder / "reranker.json").unlink()
    assert CrossEncoder.load(folder).max_length == 32  # the tokenizer's own


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"format": 2}, "has format 2; this biencoder reads format 1"),
        ({"max_length": "many"}, "is damaged (at invalid literal for int() with base 10: 'many'); save the reranker again"),
        ({"max_length": None}, "is damaged (at int() argument must be"),
    ],
)
def test_own_file(folder: Path, values: dict[str, Any], message: str) -> None:
    change(folder / "reranker.json", **values)
    assert refusal(folder).startswith(f"{folder / 'reranker.json'} {message}")


def test_own_file_without_a_fingerprint(folder: Path) -> None:
    (folder / "reranker.json").write_text('{"format": 1, "max_length": 32}')
    assert refusal(folder) == f"{folder / 'reranker.json'} is damaged (at 'fingerprint'); save the reranker again"


def test_three_labels(tmp_path: Path) -> None:
    tiny.save_classifier(tmp_path, labels=3)
    assert refusal(tmp_path) == (
        f"{tmp_path} tells 3 labels apart; a reranker has one, whose logit is the score, or two, whose logits' difference is"
    )


def test_a_bi_encoder_is_no_reranker(tmp_path: Path, tiny_model: BiEncoder) -> None:
    tiny_model.save(tmp_path / "shared")
    tiny_model.separated().save(tmp_path / "separate")
    for name, found in (("shared", "BertModel"), ("separate", "none")):
        place = tmp_path / name
        assert refusal(place) == (
            f"{place} is no reranker: its configuration names the architecture {found}, and one for sequence classification "
            f"was expected; train one from it: biencoder rerank-fit COLLECTION --model {place} --out DIR"
        )


def test_a_reranker_is_no_bi_encoder(folder: Path) -> None:
    with pytest.raises(ModelError) as caught:
        BiEncoder.load(folder)
    assert str(caught.value) == f"{folder} is a reranker, which gives scores and no vectors; use it as --rerank {folder}"


def test_a_head_that_is_missing(tmp_path: Path) -> None:
    tiny.save_bare(tmp_path)
    change(tmp_path / "config.json", architectures=["BertForSequenceClassification"])
    assert refusal(tmp_path) == (f"{tmp_path} lacks 2 of the head's weights, classifier.bias for one; it is incomplete")


@pytest.mark.parametrize("load", [CrossEncoder.load, CrossEncoder.from_backbone])
def test_layers_that_are_missing(tmp_path: Path, load: Callable[[Path], CrossEncoder]) -> None:
    if load == CrossEncoder.load:
        tiny.save_classifier(tmp_path)
    else:
        tiny.save_bare(tmp_path)
    change(tmp_path / "config.json", num_hidden_layers=3)
    with pytest.raises(ModelError) as caught:
        load(tmp_path)
    expected = "lacks 16 of the backbone's weights, encoder.layer.2.attention.output.LayerNorm.bias for one; it is incomplete"
    assert str(caught.value) == f"{tmp_path} {expected}"


def test_weights_are_float32_from_safetensors_alone(tmp_path: Path) -> None:
    tiny.classifier().bfloat16().save_pretrained(tmp_path)
    tiny.pair_tokenizer().save_pretrained(tmp_path)
    assert {weights.dtype for weights in CrossEncoder.load(tmp_path).module.parameters()} == {torch.float32}
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    expected = "has pytorch_model.bin; weights are read from safetensors only (convert them first)"
    assert refusal(tmp_path) == f"{tmp_path} {expected}"


def test_code_of_its_own_is_not_run(folder: Path) -> None:
    code = {"AutoConfig": "evil.EvilConfig", "AutoModelForSequenceClassification": "evil.EvilForSequenceClassification"}
    change(folder / "config.json", model_type="evil", auto_map=code)
    (folder / "evil.py").write_text("raise SystemExit('the code of a model folder was run')")
    assert refusal(folder).startswith(f"{folder} cannot be read as a model (")


def test_a_pooler_that_is_missing_is_drawn_by_the_seed(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    tiny.save_bare(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if "pooler" not in name}
    assert len(kept) == len(tensors) - 2
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    found = {CrossEncoder.from_backbone(tmp_path, seed=seed).fingerprint() for seed in (0, 0, 1)}
    assert len(found) == 2


def test_modules_behind_the_transformer(folder: Path) -> None:
    kinds = ["base.modules.transformer.Transformer", "cross_encoder.modules.logit_score.LogitScore"]
    listed = [
        {"idx": at, "name": str(at), "path": "", "type": f"sentence_transformers.{kind}"} for at, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    assert refusal(folder) == (
        f"{folder} is a reranker of the modules Transformer, LogitScore; one of a Transformer alone is supported"
    )
    (folder / "modules.json").write_text("[3]")
    assert refusal(folder).startswith(f"{folder} is a reranker of the modules 3; ")


def test_a_prompt_of_its_own(folder: Path) -> None:
    settings = {"prompts": {"q": "how is "}, "default_prompt_name": "q"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(settings))
    assert refusal(folder) == f"{folder} wants the prompt 'q' with its pairs; rerankers without one are supported"


def test_no_padding_token_at_all(tmp_path: Path) -> None:
    model = tiny.classifier()
    model.config.pad_token_id = None
    model.save_pretrained(tmp_path)
    tokenizer = tiny.tokenizer()
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path)
    assert refusal(tmp_path) == (f"{tmp_path} names no padding token, neither in config.json nor in its tokenizer; add one")
