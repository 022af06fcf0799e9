from __future__ import annotations

import copy
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from biencoder.errors import ArgumentError
from biencoder.towers import cross_encoder as module
from biencoder.towers import precision
from biencoder.towers.bi_encoder import BiEncoder
from biencoder.towers.cross_encoder import CrossEncoder, Pair
from tests import tiny

PAIRS: list[Pair] = [
    ("does aspirin help the heart", "aspirin is for the heart and the blood"),
    ("heart", "lung"),
    ("what is insulin for", "sugar " * 100),
    ("the liver " * 40, "kidney"),
    ("the liver " * 40, "kidney and bone " * 40),
    ("", ""),
    ("heart", ""),
    ("", "lung"),
    ("heart", "lung"),
    ("Zürich, naïve 東京 😀", "THE HEART"),
    *((f"{one} {other}", f"the {other} of {one} " * (number % 5 + 1)) for number, (one, other) in enumerate(
        zip(tiny.THINGS, reversed(tiny.THINGS), strict=True)
    )),
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_classifier(tmp_path_factory.mktemp("models") / "classifier")


def by_transformers(folder: Path, pairs: list[Pair], *, max_length: int = 64) -> Any:
    """Logits of one padded batch."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    queries, documents = [query for query, _ in pairs], [document for _, document in pairs]
    batch = tokenizer(queries, documents, padding=True, truncation=True, max_length=max_length, return_tensors="pt")
    with torch.no_grad():
        return model(**batch).logits.numpy()


def test_against_transformers(folder: Path) -> None:
    encoder = CrossEncoder.load(folder)
    assert (encoder.max_length, encoder.precision, encoder.fresh) == (64, "exact", False)
    assert encoder.device.type == ("cuda" if torch.cuda.is_available() else "cpu")
    scores = encoder.score(PAIRS)
    assert scores.shape == (len(PAIRS),)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, by_transformers(folder, PAIRS)[:, 0], atol=1e-5)
    assert float(np.std(scores)) > 0.05


def test_golden(folder: Path) -> None:
    scores = CrossEncoder.load(folder).score(PAIRS[:3])
    np.testing.assert_allclose(scores, [-1.335997, -0.854263, -0.545087], atol=1e-5)


@pytest.mark.parametrize("length", [8, 17, 32])
def test_cut_pairs_against_transformers(folder: Path, length: int) -> None:
    encoder = CrossEncoder.load(folder, max_length=length)
    assert max(len(row.ids) for row in encoder.tokenise(PAIRS)) == length
    np.testing.assert_allclose(encoder.score(PAIRS), by_transformers(folder, PAIRS, max_length=length)[:, 0], atol=1e-5)


def test_against_sentence_transformers(folder: Path, tmp_path: Path) -> None:
    from sentence_transformers import CrossEncoder as Theirs

    encoder = CrossEncoder.load(folder, max_length=24)
    theirs = Theirs(str(folder), max_length=24, device="cpu", activation_fn=torch.nn.Identity())
    np.testing.assert_allclose(encoder.score(PAIRS), theirs.predict(PAIRS), atol=1e-5)
    theirs.save(str(tmp_path / "theirs"))
    again = CrossEncoder.load(tmp_path / "theirs")
    assert again.max_length == 24
    np.testing.assert_allclose(again.score(PAIRS), encoder.score(PAIRS), atol=1e-5)


def test_ours_opens_there(folder: Path, tmp_path: Path) -> None:
    from sentence_transformers import CrossEncoder as Theirs

    encoder = CrossEncoder.load(folder, max_length=24)
    encoder.save(tmp_path / "ours")
    theirs = Theirs(str(tmp_path / "ours"), device="cpu")
    np.testing.assert_allclose(theirs.predict(PAIRS), encoder.score(PAIRS), atol=1e-5)  # logits, without a sigmoid
    np.testing.assert_allclose(by_transformers(tmp_path / "ours", PAIRS, max_length=24)[:, 0], encoder.score(PAIRS), atol=1e-5)


def test_two_labels_are_their_difference(tmp_path: Path) -> None:
    tiny.save_classifier(tmp_path, labels=2)
    logits = by_transformers(tmp_path, PAIRS)
    np.testing.assert_allclose(CrossEncoder.load(tmp_path).score(PAIRS), logits[:, 1] - logits[:, 0], atol=1e-5)


@pytest.mark.parametrize("kind", ["roberta", "mpnet", "distilbert", "xlm-roberta", "electra", "deberta-v2", "modernbert"])
def test_other_backbones(tmp_path: Path, kind: str) -> None:
    from transformers import AutoConfig, AutoModelForSequenceClassification

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    sizes |= {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 32, "embedding_size": 32}
    known = AutoConfig.for_model(kind).to_dict()
    sizes = {name: value for name, value in sizes.items() if name in known}
    ends = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
    config = AutoConfig.for_model(
        kind, vocab_size=len(tiny.vocabulary()), max_position_embeddings=80, num_labels=1, initializer_range=0.3,
        **sizes, **ends,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)  # type: ignore[no-untyped-call]
    tiny.tokenizer().save_pretrained(tmp_path)
    np.testing.assert_allclose(CrossEncoder.load(tmp_path).score(PAIRS), by_transformers(tmp_path, PAIRS)[:, 0], atol=1e-5)


def test_a_decoder_without_a_padding_token_takes_its_tokenizers(tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoModelForSequenceClassification

    config = AutoConfig.for_model(
        "qwen2", vocab_size=len(tiny.vocabulary()), hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, intermediate_size=32, max_position_embeddings=64, num_labels=1,
    )  # fmt: skip
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)  # type: ignore[no-untyped-call]
    tiny.tokenizer().save_pretrained(tmp_path)
    encoder = CrossEncoder.load(tmp_path)
    alone = [encoder.score([pair])[0] for pair in PAIRS]
    np.testing.assert_allclose(encoder.score(PAIRS), alone, atol=1e-5)


def test_order_and_company_do_not_matter() -> None:
    encoder = tiny.cross_encoder()
    scores = encoder.score(PAIRS)
    np.testing.assert_allclose(encoder.score(PAIRS[::-1])[::-1], scores, atol=1e-5)
    np.testing.assert_allclose([encoder.score([pair])[0] for pair in PAIRS], scores, atol=1e-5)
    assert scores[PAIRS.index(("heart", "lung"))] == scores[8]


def test_nothing_to_score() -> None:
    scores = tiny.cross_encoder().score([])
    assert scores.shape == (0,)
    assert scores.dtype == np.float32


def test_each_distinct_pair_is_run_once_in_batches_of_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = tiny.cross_encoder()
    expected = encoder.score(PAIRS)
    shapes: list[tuple[int, int]] = []
    masked: list[bool] = []

    def counted(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        shapes.append((inputs["input_ids"].shape[0], inputs["input_ids"].shape[1]))
        masked.append("attention_mask" in inputs)
        return CrossEncoder.__call__(encoder, inputs)

    class Counting(CrossEncoder):
        def __call__(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
            return counted(inputs)

    monkeypatch.setattr(module, "_BLOCK", 16)
    monkeypatch.setattr(module, "_CPU_TOKENS", 64)
    counting = Counting(encoder.module, encoder.tokenizer, max_length=32)
    done: list[int] = []
    np.testing.assert_allclose(counting.score(PAIRS * 2, progress=done.append), expected.tolist() * 2, atol=1e-5)
    assert sum(rows for rows, _ in shapes) == len(set(PAIRS))
    assert max(rows * width for rows, width in shapes) <= 64
    assert {True, False} == set(masked)
    assert (done == sorted(done), done[-1], len(done)) == (True, 2 * len(PAIRS), len(shapes))


def test_memory_is_bounded_by_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK", 8)
    held: list[int] = []
    own = CrossEncoder.tokenise

    def tokenise(self: CrossEncoder, pairs: Any) -> Any:
        held.append(len(pairs))
        return own(self, pairs)

    monkeypatch.setattr(CrossEncoder, "tokenise", tokenise)
    tiny.cross_encoder().score(PAIRS)
    assert max(held) == 8


def test_fast_is_close_and_the_head_stays_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda _: True)
    encoder = tiny.cross_encoder()
    exact = encoder.score(PAIRS)
    fast = CrossEncoder(encoder.module, encoder.tokenizer, max_length=32, precision="fast")
    found = fast.score(PAIRS)
    np.testing.assert_allclose(found, exact, atol=0.1)
    assert fast.execution["arithmetic"] == "bfloat16"
    assert abs(found - exact).max() > 0
    rounded = torch.tensor(found).bfloat16().float().numpy()
    assert (found != rounded).mean() > 0.8  # more digits than bfloat16 has


def test_logits_are_the_scores_with_a_graph() -> None:
    encoder = tiny.cross_encoder()
    for budget in (64, None):
        logits = encoder.logits(PAIRS, token_budget=budget)
        assert logits.requires_grad
        np.testing.assert_allclose(logits.detach().numpy(), encoder.score(PAIRS), atol=1e-5)


def test_scoring_in_the_middle_of_training_has_no_dropout() -> None:
    encoder = tiny.cross_encoder()
    expected = encoder.score(PAIRS)
    encoder.module.train()
    np.testing.assert_array_equal(encoder.score(PAIRS), expected)
    assert all(part.training for part in encoder.module.modules())


def test_threads_share_a_cross_encoder() -> None:
    encoder = tiny.cross_encoder()
    short = encoder.at_length(12)
    expected = {id(one): one.score(PAIRS) for one in (encoder, short)}
    before = encoder.tokenizer.backend_tokenizer.to_str()
    wrong: list[float] = []

    def work(own: CrossEncoder) -> None:
        wrong.extend(float(abs(own.score(PAIRS) - expected[id(own)]).max()) for _ in range(3))

    threads = [threading.Thread(target=work, args=(own,)) for own in (encoder, short, encoder, short)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(wrong), max(wrong)) == (12, 0)
    assert encoder.tokenizer.backend_tokenizer.to_str() == before


PIECES = st.sampled_from(["hea", "rt", "the", "a", "x", "é", "東", "😀", ".", " ", " ", "\n", "\x0c", "\xa0"])
TEXTS = st.lists(PIECES, max_size=40).map("".join)
ENCODER = tiny.cross_encoder(max_length=12)


@settings(max_examples=200)
@given(query=TEXTS, document=TEXTS)
def test_the_heads_of_long_texts_suffice(query: str, document: str) -> None:
    expected = ENCODER.tokenise([(query, document)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHARACTERS_A_TOKEN", 1)
        assert ENCODER.tokenise([(query, document)]) == expected


@pytest.mark.parametrize("text", ["heart " * 200_000, "x" * 1_000_000, " " * 1_000_000 + "heart"])
def test_a_million_characters(text: str) -> None:
    for pair in ((text, "lung"), ("lung", text), (text, text)):
        (row,) = ENCODER.tokenise([pair])
        assert len(row.ids) <= 12
        assert np.isfinite(ENCODER.score([pair])).all()


def test_the_document_is_cut_before_a_short_query() -> None:
    (row,) = ENCODER.tokenise([("does the heart", "the heart and the lung and the liver and")])
    words = ENCODER.tokenizer.convert_ids_to_tokens(row.ids)
    assert words == ["[CLS]", "does", "the", "heart", "[SEP]", "the", "heart", "and", "the", "lung", "and", "[SEP]"]
    assert row.types == [0] * 5 + [1] * 7
    (row,) = ENCODER.tokenise([("the heart and the lung and the liver and", "the lung and the heart and the skin and")])
    assert row.types.count(0) in {6, 7}  # neither is left without a word
    assert len(row.ids) == 12


def test_from_backbone_draws_the_head_by_its_seed(tiny_model_folder: Path) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    encoders = [CrossEncoder.from_backbone(tiny_model_folder, seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(torch.rand(3), expected)
    first, again, other = (encoder.fingerprint() for encoder in encoders)
    assert first == again != other
    assert all(encoder.fresh for encoder in encoders)
    assert encoders[0].max_length == 64  # the backbone's positions, not the 32 tokens of the bi-encoder
    theirs = BiEncoder.load(tiny_model_folder).document_tower.backbone.state_dict()
    ours = encoders[0].module.base_model.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())


@pytest.mark.parametrize("separate", [False, True])
def test_from_every_layout_of_a_bi_encoder(tiny_model: BiEncoder, tmp_path: Path, separate: bool) -> None:
    model = tiny_model.separated() if separate else tiny_model
    with torch.no_grad():
        model.document_tower.backbone.get_parameter("embeddings.word_embeddings.weight")[7] += 1
    model.save(tmp_path / "model")
    encoder = CrossEncoder.from_backbone(tmp_path / "model", max_length=20)
    expected = model.document_tower.backbone.get_parameter("embeddings.word_embeddings.weight")
    assert torch.equal(encoder.module.base_model.get_parameter("embeddings.word_embeddings.weight"), expected)
    assert encoder.max_length == 20


def test_from_a_bare_backbone_and_from_a_reranker(folder: Path, tmp_path: Path) -> None:
    fresh = CrossEncoder.from_backbone(tiny.save_bare(tmp_path / "bare"))
    assert (fresh.fresh, fresh.module.config.num_labels) == (True, 1)
    kept = CrossEncoder.from_backbone(folder, seed=5)
    assert not kept.fresh
    assert kept.fingerprint() == CrossEncoder.load(folder).fingerprint()


def test_the_backbones_lower_case_is_kept(tmp_path: Path) -> None:
    from tokenizers import normalizers

    from tests.towers.test_sentence_transformers import modules, saved

    parts = modules(tmp_path / "bare")
    parts[0].tokenizer.backend_tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    place = saved(tmp_path / "saved", parts)
    settings = place / "sentence_bert_config.json"
    settings.write_text(settings.read_text().rstrip().removesuffix("}") + ', "do_lower_case": true}')
    encoder = CrossEncoder.from_backbone(place)
    assert encoder.tokenise([("HEART", "Lung")]) == encoder.tokenise([("heart", "lung")])


def test_what_changes_a_score_changes_the_fingerprint(folder: Path) -> None:
    base = CrossEncoder.load(folder)
    found = {base.fingerprint(), base.at_length(20).fingerprint(), tiny.cross_encoder(seed=1).fingerprint()}
    with torch.no_grad():
        changed = CrossEncoder.load(folder)
        changed.module.get_parameter("classifier.weight")[0, 3] += 1e-4
        found.add(changed.fingerprint())
    tokenizer = copy.deepcopy(base.tokenizer)
    tokenizer.add_tokens(["paracetamol"])
    found.add(CrossEncoder(base.module, tokenizer, max_length=64).fingerprint())
    tokenizer = copy.deepcopy(base.tokenizer)
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    found.add(CrossEncoder(base.module, tokenizer, max_length=64).fingerprint())
    assert len(found) == 6
    assert base.at_length(20).at_length(64).fingerprint() == base.fingerprint() == CrossEncoder.load(folder).fingerprint()
    base.score(PAIRS)
    assert base.fingerprint() == CrossEncoder.load(folder).fingerprint()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precision": "int8"}, "precision int8 is not there for rerankers; choose fast or exact"),
        ({"precision": "half"}, "precision 'half' is unknown; choose one of exact, fast, int8"),
        ({"max_length": 65}, "max_length is 65; this backbone takes at most 64 tokens"),
        ({"max_length": 4}, "max_length is 4; it must leave room beside the 3 special tokens and a token of each text"),
    ],
)
def test_options_that_cannot_be_used(folder: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        CrossEncoder.load(folder, **changes)
    assert str(caught.value) == message


def test_no_such_device(folder: Path) -> None:
    with pytest.raises(ArgumentError, match=r"^device 'no' cannot be used \(.+\)$"):
        CrossEncoder.load(folder, device="no")


@pytest.mark.parametrize(
    ("pairs", "shown"),
    [
        (["heart"], "pair 1 of 1 is 'heart'"),
        ([("a", "b"), ("c",)], "pair 2 of 2 is ('c',)"),
        ([("a", 3)], "pair 1 of 1 is ('a', 3)"),
        ([("a" * 100, None)], "pair 1 of 1 is ('" + "a" * 55 + "..."),
    ],
)
def test_what_is_no_pair(pairs: Any, shown: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        ENCODER.score(pairs)
    assert str(caught.value) == f"{shown}; a query and a document, two strings, were expected"


def test_a_lone_surrogate() -> None:
    with pytest.raises(ArgumentError, match=r"^a text cannot be tokenised \(.+\); texts must be valid Unicode strings$"):
        ENCODER.score([("heart", "half a \ud83d pair")])
