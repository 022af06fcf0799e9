from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from biencoder.errors import ArgumentError, ModelError
from biencoder.towers import tower as tower_module
from biencoder.towers.bi_encoder import BiEncoder
from biencoder.towers.pooling import Pooling
from biencoder.towers.tower import Projection, Tower, TowerSettings
from tests import tiny

WORDS = st.sampled_from([*tiny.THINGS, *tiny.FILLERS, "Zürich", "x9", "東京", "naïve", "😀"])
TEXTS = st.lists(st.lists(WORDS, max_size=40).map(" ".join), min_size=1, max_size=12)


@pytest.fixture(scope="module", params=list(Pooling))
def tower(request: pytest.FixtureRequest) -> Tower:
    projection = Projection(inputs=32, outputs=8, activation="Tanh") if request.param is Pooling.MAX else None
    return tiny.tower(TowerSettings(request.param, request.param is not Pooling.CLS, "how is ", 24), projection=projection)


def plain(tower: Tower, texts: Sequence[str]) -> list[list[int]]:
    """Token ids as transformers gives them."""
    prompt, length = tower.settings.prompt, tower.settings.max_length
    return [tower.tokenizer(prompt + text, truncation=True, max_length=length)["input_ids"] for text in texts]


@settings(max_examples=25)
@given(texts=TEXTS)
def test_batch_equals_single(tower: Tower, texts: list[str]) -> None:
    single = np.concatenate([tower.encode([text]) for text in texts])
    np.testing.assert_allclose(tower.encode(texts), single, atol=1e-6)
    np.testing.assert_allclose(tower.encode(texts, token_budget=40), single, atol=1e-6)


@settings(max_examples=15)
@given(texts=TEXTS, seed=st.integers(0, 99))
def test_order_does_not_matter(tower: Tower, texts: list[str], seed: int) -> None:
    order = random.Random(seed).sample(range(len(texts)), len(texts))  # noqa: S311
    np.testing.assert_allclose(tower.encode([texts[at] for at in order]), tower.encode(texts)[order], atol=1e-6)


def test_padding_does_not_matter(tower: Tower) -> None:
    rows = tower.tokenise(["aspirin for the heart"])
    ids, mask = tower.collate(rows)
    wide_ids, wide_mask = (torch.nn.functional.pad(tensor, (0, 9)) for tensor in (ids, mask))
    wide_ids[:, len(rows[0]) :] = 7
    with torch.inference_mode():
        np.testing.assert_allclose(tower(wide_ids, wide_mask).numpy(), tower(ids, mask).numpy(), atol=1e-6)


def test_against_the_backbone_alone(tower: Tower) -> None:
    ids = torch.tensor([plain(tower, ["aspirin for the heart"])[0]])
    with torch.inference_mode():
        states = tower.backbone(input_ids=ids).last_hidden_state[0]
    rows = {Pooling.CLS: states[0], Pooling.MEAN: states.mean(0), Pooling.MAX: states.amax(0), Pooling.LAST: states[-1]}
    vector = rows[tower.settings.pooling]
    if tower.projection is not None:
        vector = torch.tanh(tower.projection.linear.weight @ vector + tower.projection.linear.bias).detach()
    expected = vector / vector.norm() if tower.settings.normalise else vector
    np.testing.assert_allclose(tower.encode(["aspirin for the heart"])[0], expected.numpy(), atol=1e-6)


def test_lengths(tower: Tower) -> None:
    lengths = np.linalg.norm(tower.encode(["heart", "the liver and the lung", ""]), axis=1)
    assert tower.dimension == (8 if tower.settings.pooling is Pooling.MAX else 32)
    if tower.settings.normalise:
        np.testing.assert_allclose(lengths, 1, atol=1e-6)
    else:
        assert (abs(lengths - 1) > 0.1).all()


def test_nothing_to_encode(tower: Tower) -> None:
    assert tower.encode([]).shape == (0, tower.dimension)


def test_the_same_text_gives_the_same_bits(tower: Tower) -> None:
    vectors = tower.encode(["heart", "the lung", "heart", "x " * 30, "heart"])
    np.testing.assert_array_equal(vectors[[0, 0]], vectors[[2, 4]])


SPACES = [" ", " ", " ", "\n", "\t", "\x0c", "\x1c", "\x85", "\xa0", "\u3000"]
PIECES = st.sampled_from(["hea", "rt", "he", "art", "the", "a", "x", "\u0301", "é", "東", "\u200d", "😀", ".", *SPACES])


@settings(max_examples=300)
@given(pieces=st.lists(PIECES, max_size=60), length=st.integers(3, 12), prompt=st.sampled_from(["", "how is "]))
@example(pieces=["hea", "\x0c", "rt", *["the", " "] * 9], length=3, prompt="")
def test_the_head_of_a_long_text_suffices(pieces: list[str], length: int, prompt: str) -> None:
    text = "".join(pieces)
    tower = SHORT[length, prompt]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tower_module, "CHARACTERS_A_TOKEN", 2)
        assert tower.tokenise([text]) == plain(tower, [text])


BACKBONE, TOKENIZER = tiny.bert(), tiny.tokenizer()
SHORT = {
    (length, prompt): Tower(BACKBONE, TOKENIZER, TowerSettings(prompt=prompt, max_length=length))
    for length in range(3, 13)
    for prompt in ("", "how is ")
}


@pytest.mark.parametrize("text", ["heart " * 200_000, "x" * 1_000_000, " " * 1_000_000 + "heart", "é\x0c" * 500_000])
def test_a_million_characters(text: str) -> None:
    tower = SHORT[12, ""]
    assert tower.tokenise([text]) == plain(tower, [text])


def test_truncation_is_the_tokenizers_own() -> None:
    tower = SHORT[5, "how is "]
    assert tower.tokenise(["the heart and the lung"]) == [
        TOKENIZER.convert_tokens_to_ids(["[CLS]", "how", "is", "the", "[SEP]"]),
    ]


@pytest.mark.parametrize("length", [-1, 0, 1, 2])
def test_a_length_without_room(length: int) -> None:
    with pytest.raises(ArgumentError) as caught:
        Tower(BACKBONE, TOKENIZER, TowerSettings(max_length=length))
    assert str(caught.value) == f"max_length is {length}; it must leave room beside the 2 special tokens"


def test_a_tokenizer_that_adds_nothing() -> None:
    tokenizer = tiny.tokenizer()
    from tokenizers import processors

    tokenizer.backend_tokenizer.post_processor = processors.Sequence([])
    words = tiny.vocabulary()
    for pooling in Pooling:
        tower = Tower(BACKBONE, tokenizer, TowerSettings(pooling, max_length=4))
        assert tower.tokenise(["", "the heart", " "]) == [[0], [words["the"], words["heart"]], [0]]
        assert np.isfinite(tower.encode(["", "the heart"])).all()


def test_a_single_string(tower: Tower) -> None:
    with pytest.raises(ArgumentError, match=r"^a single string was given; give a list of texts$"):
        tower.encode("heart")


@pytest.mark.parametrize(("wrong", "name"), [(5, "int"), (None, "NoneType"), (["heart"], "list")])
def test_no_string(tower: Tower, wrong: object, name: str) -> None:
    with pytest.raises(ArgumentError, match=f"^text 2 of 3 is a {name}; a string was expected$"):
        tower.encode(["heart", wrong, "lung"])  # type: ignore[list-item]


def test_a_lone_surrogate(tower: Tower) -> None:
    with pytest.raises(ArgumentError, match=r"^a text cannot be tokenised \(.+\); texts must be valid Unicode strings$"):
        tower.encode(["heart", "half a \ud83d pair"])


def test_unknown_activation() -> None:
    with pytest.raises(ModelError) as caught:
        Projection(inputs=2, outputs=2, activation="Mish")
    assert str(caught.value) == "projection activation 'Mish' is not supported; one of Identity, Tanh, ReLU, GELU is"


def test_dropout_stays_off_outside_training(tiny_model: BiEncoder) -> None:
    tower = tiny_model.query_tower
    assert not any(module.training for module in tower.modules())
    tower.encode(["heart"])
    assert not any(module.training for module in tower.modules())


def test_encoding_in_the_middle_of_training_has_no_dropout() -> None:
    tower = tiny.tower()
    expected = tower.encode(["the heart"])
    tower.train()
    np.testing.assert_array_equal(tower.encode(["the heart"]), expected)
    assert all(module.training for module in tower.modules())


def test_embed_is_encode_with_a_graph() -> None:
    tower = tiny.tower()
    texts = ["heart", "the lung and the liver", "heart", "", "aspirin for"]
    for budget in (64, 10_000):
        vectors = tower.embed(texts, token_budget=budget)
        assert vectors.requires_grad
        np.testing.assert_allclose(vectors.detach().numpy(), tower.encode(texts), atol=1e-6)


def test_threads_share_a_tower() -> None:
    tower = tiny.tower()
    short = tower.twin(replace(tower.settings, max_length=5))
    texts = [f"{one} of the {other} in the blood" for one in tiny.THINGS for other in tiny.THINGS[:4]]
    expected = {id(one): one.encode(texts) for one in (tower, short)}
    wrong: list[float] = []

    def work(own: Tower) -> None:
        wrong.extend(float(abs(own.encode(texts) - expected[id(own)]).max()) for _ in range(3))

    threads = [threading.Thread(target=work, args=(own,)) for own in (tower, short, tower, short)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wrong) == 12
    assert max(wrong) == 0
