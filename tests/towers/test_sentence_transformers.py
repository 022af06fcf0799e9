"""sentence-transformers is the oracle: the same vectors from the same folder, both ways."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from biencoder.data.collection import Collection
from biencoder.scoring import FloatArray
from biencoder.towers.bi_encoder import BiEncoder
from biencoder.towers.pooling import Pooling
from biencoder.towers.sources import find_model
from biencoder.towers.tower import Projection, TowerSettings
from tests import tiny
from tests.conftest import REAL_MODEL

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

TEXTS = [
    "does aspirin lower the risk of cancer?",
    "THE HEART",
    "",
    "the liver and the lung in the blood " * 20,
    "Zürich, naïve 東京 😀",
    "what is insulin\n\tfor",
    *(f"{one} {other} the blood" for one, other in zip(tiny.THINGS[:20], tiny.FILLERS[:10] * 2, strict=True)),
]


def opened(folder: Path) -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu")


def assert_same(ours: FloatArray, theirs: Any) -> None:
    assert abs(ours - np.asarray(theirs)).max() < 1e-5


def assert_agree(model: BiEncoder, oracle: SentenceTransformer) -> None:
    assert_same(model.encode_queries(TEXTS), oracle.encode_query(TEXTS))
    assert_same(model.encode_documents(TEXTS), oracle.encode_document(TEXTS))


def modules(folder: Path, *more: Any, pooling: str = "mean", seed: int = 0, **options: Any) -> list[Any]:
    """A Transformer and a Pooling of sentence-transformers, and what is given behind them."""
    from sentence_transformers.sentence_transformer.modules import Pooling as TheirPooling
    from sentence_transformers.sentence_transformer.modules import Transformer

    tiny.save_bare(folder, seed=seed)
    options = {"max_seq_length": 24} | options
    return [Transformer(str(folder), **options), TheirPooling(32, pooling_mode=pooling), *more]


def saved(folder: Path, parts: list[Any], **options: Any) -> Path:
    from sentence_transformers import SentenceTransformer

    SentenceTransformer(modules=parts, device="cpu", **options).save(str(folder))
    return folder


def normalize() -> Any:
    from sentence_transformers.sentence_transformer.modules import Normalize

    return Normalize()


def dense(activation: torch.nn.Module, *, bias: bool = True) -> Any:
    from sentence_transformers.sentence_transformer.modules import Dense

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return Dense(32, 12, bias=bias, activation_function=activation)


@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "lasttoken"])
def test_theirs_opens_here(tmp_path: Path, pooling: str, unit: bool) -> None:
    more = [normalize()] if unit else []
    folder = saved(tmp_path / "saved", modules(tmp_path / "bare", *more, pooling=pooling))
    model = BiEncoder.load(folder)
    assert (model.normalised, model.similarity, model.query_tower.settings.max_length) == (unit, "cosine", 24)
    assert model.query_tower.settings.pooling == {"lasttoken": "last"}.get(pooling, pooling)
    assert_agree(model, opened(folder))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", list(Projection.ACTIVATIONS))
def test_a_projection_opens_here(tmp_path: Path, name: str, bias: bool) -> None:
    parts = modules(tmp_path / "bare", dense(Projection.ACTIVATIONS[name](), bias=bias), normalize())
    folder = saved(tmp_path / "saved", parts)
    model = BiEncoder.load(folder)
    assert model.dimension == 12
    assert_agree(model, opened(folder))


@pytest.mark.parametrize(
    ("prompts", "query", "document"),
    [
        ({"query": "how is ", "document": "in the "}, "how is ", "in the "),
        ({"query": "how is "}, "how is ", ""),
        ({"document": "in the "}, "", "in the "),
    ],
)
def test_prompts_open_here(tmp_path: Path, prompts: dict[str, str], query: str, document: str) -> None:
    folder = saved(tmp_path / "saved", modules(tmp_path / "bare"), prompts=prompts, similarity_fn_name="dot")
    model = BiEncoder.load(folder)
    assert (model.query_tower.settings.prompt, model.document_tower.settings.prompt) == (query, document)
    assert (model.similarity, model.shared) == ("dot", True)
    assert_agree(model, opened(folder))


def test_prompts_of_older_versions(tmp_path: Path) -> None:
    """Older versions wrote only the prompts that there were; newer ones read such a `passage` but do not use it unasked."""
    folder = saved(tmp_path / "saved", modules(tmp_path / "bare"))
    settings = {"prompts": {"query": "how is ", "passage": "in the "}}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(settings))
    model = BiEncoder.load(folder)
    assert_same(model.encode_queries(TEXTS), opened(folder).encode_query(TEXTS))
    assert_same(model.encode_documents(TEXTS), opened(folder).encode(TEXTS, prompt_name="passage"))


def test_default_prompt_of_older_versions(tmp_path: Path) -> None:
    folder = saved(tmp_path / "saved", modules(tmp_path / "bare"))
    settings = {"prompts": {"retrieval": "how is "}, "default_prompt_name": "retrieval"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(settings))
    model, oracle = BiEncoder.load(folder), opened(folder)
    assert_same(model.encode_queries(TEXTS), oracle.encode(TEXTS))
    assert_same(model.encode_documents(TEXTS), oracle.encode(TEXTS))
    assert abs(model.encode_queries(TEXTS) - oracle.encode(TEXTS, prompt="")).max() > 0.01


def test_default_prompt_as_it_is_saved_now(tmp_path: Path) -> None:
    options = {"prompts": {"retrieval": "how is "}, "default_prompt_name": "retrieval"}
    folder = saved(tmp_path / "saved", modules(tmp_path / "bare"), **options)
    assert_agree(BiEncoder.load(folder), opened(folder))


def test_old_class_paths_and_settings_open_here(tmp_path: Path) -> None:
    folder = saved(tmp_path / "saved", modules(tmp_path / "bare", normalize(), pooling="cls"))
    listed = json.loads((folder / "modules.json").read_text())
    for entry in listed:
        entry["type"] = "sentence_transformers.models." + entry["type"].rpartition(".")[2]
    (folder / "modules.json").write_text(json.dumps(listed))
    legacy = {"word_embedding_dimension": 32, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(legacy))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 10, "do_lower_case": False}))
    (folder / "2_Normalize" / "config.json").unlink()
    (folder / "2_Normalize").rmdir()  # all-MiniLM-L6-v2's own package has no such folder either
    model = BiEncoder.load(folder)
    assert model.query_tower.settings == TowerSettings(Pooling.CLS, True, "", 10)
    assert_agree(model, opened(folder))


def test_lower_case_for_a_tokenizer_that_keeps_case(tmp_path: Path) -> None:
    from tokenizers import normalizers

    parts = modules(tmp_path / "bare")
    parts[0].tokenizer.backend_tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    folder = saved(tmp_path / "saved", parts)
    kept = BiEncoder.load(folder).encode_queries(["The Heart", "the heart"])
    assert abs(kept[0] - kept[1]).max() > 0.01
    config = json.loads((folder / "sentence_bert_config.json").read_text())
    (folder / "sentence_bert_config.json").write_text(json.dumps(config | {"do_lower_case": True}))
    model = BiEncoder.load(folder)
    assert_agree(model, opened(folder))
    model.save(tmp_path / "ours")
    assert_agree(BiEncoder.load(tmp_path / "ours"), opened(folder))


def test_a_similarity_that_search_does_not_offer_is_said(tmp_path: Path) -> None:
    folder = saved(tmp_path / "saved", modules(tmp_path / "bare"), similarity_fn_name="euclidean")
    model = BiEncoder.load(folder)
    assert model.similarity == "cosine"
    assert model.notes == ("the checkpoint compares by euclidean, which search does not offer; cosine is used",)


def test_a_router_opens_here(tmp_path: Path) -> None:
    from sentence_transformers.sentence_transformer.modules import Router

    query = modules(tmp_path / "query", dense(torch.nn.Tanh()), normalize(), pooling="cls", max_seq_length=12)
    document = modules(tmp_path / "document", dense(torch.nn.Identity()), seed=1)
    router = Router.for_query_document(query_modules=query, document_modules=document)
    folder = saved(tmp_path / "saved", [router], prompts={"query": "how is ", "document": "in "})
    model = BiEncoder.load(folder)
    assert not model.shared
    assert (model.query_tower.settings.max_length, model.document_tower.settings.max_length) == (12, 24)
    assert (model.query_tower.settings.normalise, model.document_tower.settings.normalise) == (True, False)
    assert_agree(model, opened(folder))


def test_a_router_with_a_common_end_opens_here(tmp_path: Path) -> None:
    from sentence_transformers.sentence_transformer.modules import Router

    sides = [modules(tmp_path / str(seed), seed=seed) for seed in (0, 1)]
    router = Router.for_query_document(query_modules=sides[0], document_modules=sides[1])
    folder = saved(tmp_path / "saved", [router, normalize()])
    assert_agree(BiEncoder.load(folder), opened(folder))


def shared() -> BiEncoder:
    document = tiny.tower(TowerSettings(Pooling.MEAN, True, "in ", 20), projection=Projection(inputs=32, outputs=8))
    return BiEncoder(document.twin(TowerSettings(Pooling.MEAN, True, "how is ", 20)), document)


def separate() -> BiEncoder:
    query = tiny.tower(
        TowerSettings(Pooling.LAST, False, "how is ", 9),
        seed=1,
        hidden=16,
        projection=Projection(inputs=16, outputs=32, bias=False, activation="GELU"),
    )
    return BiEncoder(query, tiny.tower(TowerSettings(Pooling.MAX, True, "in ", 20)), similarity="dot")


@pytest.mark.parametrize("make", [shared, separate])
def test_ours_opens_there(tmp_path: Path, make: Any) -> None:
    model = make()
    model.save(tmp_path / "ours")
    oracle = opened(tmp_path / "ours")
    assert oracle.similarity_fn_name == model.similarity
    assert_agree(model, oracle)
    oracle.save(str(tmp_path / "theirs"))
    assert_agree(BiEncoder.load(tmp_path / "theirs"), oracle)


def test_the_real_model(real_model: BiEncoder, tmp_path: Path) -> None:
    oracle = opened(find_model(REAL_MODEL))
    assert_agree(real_model, oracle)
    real_model.save(tmp_path / "ours")
    assert_agree(real_model, opened(tmp_path / "ours"))


@pytest.mark.collections
@pytest.mark.slow
def test_the_real_model_on_a_thousand_real_texts(real_model: BiEncoder, collections_folder: Path) -> None:
    collection = Collection.read(collections_folder / "scifact")
    oracle = opened(find_model(REAL_MODEL))
    queries = [query.text for query in collection.queries()][:500]
    documents = [document.content for document, _ in zip(collection.documents, range(1000 - len(queries)), strict=False)]
    assert len(queries) + len(documents) == 1000
    assert_same(real_model.encode_queries(queries), oracle.encode_query(queries))
    assert_same(real_model.encode_documents(documents), oracle.encode_document(documents))
