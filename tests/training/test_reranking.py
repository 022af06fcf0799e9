from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from biencoder.data.collection import Collection
from biencoder.errors import ArgumentError, ModelError
from biencoder.progress import Progress
from biencoder.records import Example, FirstStageWeight
from biencoder.towers import precision
from biencoder.towers.cross_encoder import CrossEncoder
from biencoder.training.lists import CandidateList, list_cross_entropy, make_lists
from biencoder.training.optimisation import seed_of
from biencoder.training.reranker_options import RerankerOptions
from biencoder.training.reranking import _Run, _training_attention, train_reranker
from biencoder.training.state import weights_of
from tests import tiny
from tests.training.tasks import Interrupting


def options(**changes: Any) -> RerankerOptions:
    """Fifteen steps an epoch over the examples of the tiny collection."""
    chosen = {"batch_size": 8, "negatives": 3, "learning_rate": 3e-3, "precision": "exact", "token_budget": 128, "epochs": 1}
    return RerankerOptions.model_validate(chosen | changes)


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    """Each training pair of the tiny collection with six other documents, drawn anew for each pair."""
    collection, chance = tiny.collection(), random.Random(0)  # noqa: S311
    texts = [document.content for document in collection.documents]
    pairs = collection.examples("train")
    return [
        Example(pair.query, pair.positive, tuple(chance.sample([text for text in texts if text != pair.positive], 6)))
        for pair in pairs
    ]


def fresh(seed: int = 0) -> CrossEncoder:
    """A cross-encoder with another, random head over the same random backbone as `tiny.tower`."""
    return tiny.cross_encoder(seed=seed)


def weights(encoder: CrossEncoder) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in weights_of(encoder.module).items()}


def dev_score(collection: Collection) -> Callable[[CrossEncoder], float]:
    """Mean reciprocal rank of the relevant one among the four documents of each dev query's topic."""
    documents = {document.id: document.content for document in collection.documents}
    lists = [
        [documents[name], *(text for other, text in documents.items() if other[:-1] == name[:-1] and other != name)]
        for name in (next(iter(judged)) for judged in collection.judgements("dev").values())
    ]
    pairs = [(query.text, text) for query, own in zip(collection.queries("dev"), lists, strict=True) for text in own]

    def score(encoder: CrossEncoder) -> float:
        scores = encoder.score(pairs).reshape(len(lists), 4)
        return float((1 / (scores >= scores[:, :1]).sum(axis=1)).mean())

    return score


@pytest.fixture(scope="module")
def marked() -> Collection:
    return tiny.marked_collection()


@pytest.fixture(scope="module")
def marked_examples(marked: Collection) -> list[Example]:
    """Each training pair with the other three documents of its topic."""
    texts = [document.content for document in marked.documents]
    found = []
    for pair in marked.examples("train"):
        first = texts.index(pair.positive) // 4 * 4
        others = tuple(text for text in texts[first : first + 4] if text != pair.positive)
        found.append(Example(pair.query, pair.positive, others))
    return found


@pytest.mark.parametrize("loss", ["lce", "listwise"])
def test_training_learns(tiny_model_folder: Path, marked: Collection, marked_examples: list[Example], loss: str) -> None:
    encoder = CrossEncoder.from_backbone(tiny_model_folder, max_length=32)
    before = dev_score(marked)(encoder)
    result = train_reranker(
        encoder, marked_examples, options(epochs=6, evaluations=3, loss=loss, batch_size=4), validate=dev_score(marked)
    )
    assert (result.lists, len(result.losses)) == (60, 90)
    assert np.mean(result.losses[-15:]) < 0.3 * np.mean(result.losses[:15])
    assert list(result.scores) == [30, 60, 90]
    assert before < 0.7
    assert result.scores[result.chosen_step] == dev_score(marked)(encoder) > 0.95


def test_a_weight_that_was_measured_for_other_weights_is_forgotten(examples: list[Example]) -> None:
    encoder = fresh()
    encoder.first_stage = FirstStageWeight(2.5, "bm25")
    train_reranker(encoder, examples, options())
    assert encoder.first_stage is None


def test_fast_learns_too(tiny_model_folder: Path, marked_examples: list[Example], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda _: True)
    encoder = CrossEncoder.from_backbone(tiny_model_folder, max_length=32, precision="fast")
    result = train_reranker(encoder, marked_examples, options(epochs=4, precision="fast", batch_size=4))
    assert np.mean(result.losses[-15:]) < 0.5 * np.mean(result.losses[:15])


def gradients(lists: list[CandidateList], **changes: Any) -> tuple[float, dict[str, Tensor]]:
    """The first step's loss and gradients."""
    encoder = fresh()
    run = _Run(encoder, options(**changes), 5, len(lists), None, Progress())
    with run.prepared():
        encoder.module.train()
        loss = run.gradients(lists)
    found = {name: weight.grad.clone() for name, weight in encoder.module.named_parameters() if weight.grad is not None}
    return loss, found


def test_a_step_against_one_graph_of_all_lists(examples: list[Example]) -> None:
    lists = make_lists(examples[:12], "lce")
    loss, found = gradients(lists, dropout=0.0, negatives=3, graph_tokens=128)
    encoder = fresh()
    encoder.module.train(False)
    chance = np.random.default_rng(seed_of(0, 0))
    drawn = [one.drawn(3, chance) for one in lists]
    expected = list_cross_entropy(encoder.logits([pair for one in drawn for pair in one.pairs]), drawn) / 12
    expected.backward()  # type: ignore[no-untyped-call]
    assert loss == pytest.approx(float(expected.detach()), abs=1e-5)
    for name, weight in encoder.module.named_parameters():
        assert weight.grad is not None
        torch.testing.assert_close(found[name], weight.grad, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("chosen", ["exact", "fast"])
def test_long_lists_by_the_gradient_cache_give_the_same_gradients(
    examples: list[Example], monkeypatch: pytest.MonkeyPatch, chosen: str
) -> None:
    """Dropout on: each micro-batch draws the same in both passes, and as it does where the graph is held."""
    monkeypatch.setattr(precision, "has_bfloat16", lambda _: False)
    lists = make_lists(examples[:1], "lce")
    given = {"negatives": 6, "token_budget": 64, "dropout": 0.3, "attention_dropout": 0.2, "precision": chosen}
    held, expected = gradients(lists, graph_tokens=10_000, **given)
    cached, found = gradients(lists, graph_tokens=64, **given)
    plain, _ = gradients(lists, negatives=6, token_budget=64, dropout=0.0)
    assert cached == pytest.approx(held, abs=1e-6)
    assert abs(plain - held) > 1e-3
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-6, rtol=1e-4)


@pytest.mark.usefixtures("every_embedding_is_large")
def test_short_cuts_give_the_same_gradients(examples: list[Example], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda _: False)  # or they would round what they compare
    lists = make_lists(examples[:12], "lce")
    loss, expected = gradients(lists, dropout=0.0)
    short, found = gradients(lists, dropout=0.0, precision="fast")
    assert short == pytest.approx(loss, abs=1e-5)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-3)


@pytest.mark.usefixtures("every_embedding_is_large")
def test_embeddings_of_a_step_begin_anew(examples: list[Example], monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of a training with short cuts end with the weights that steps without end with."""
    monkeypatch.setattr(precision, "has_bfloat16", lambda _: False)  # or they would round what they compare
    found = []
    for chosen in ("exact", "fast"):
        encoder = fresh()
        train_reranker(encoder, examples[:24], options(dropout=0.0, precision=chosen, learning_rate=1e-3))
        found.append(weights_of(encoder.module))
    words = next(name for name in found[0] if name.endswith("word_embeddings.weight"))
    torch.testing.assert_close(found[1][words], found[0][words], atol=1e-4, rtol=1e-3)
    assert not torch.allclose(found[0][words], weights_of(fresh().module)[words], atol=1e-3)


class Kept:
    """A tensor kept for the backward pass; the bytes of all that live are counted."""

    now = most = 0

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        Kept.now += tensor.numel() * tensor.element_size()
        Kept.most = max(Kept.most, Kept.now)

    def __del__(self) -> None:
        Kept.now -= self.tensor.numel() * self.tensor.element_size()


def most_kept(lists: list[CandidateList], **changes: Any) -> int:
    """The most bytes that a step keeps for its backward passes."""
    Kept.now = Kept.most = 0
    with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
        gradients(lists, **changes)
    assert Kept.now == 0
    return Kept.most


def test_memory_does_not_grow_with_the_lists_of_a_step_nor_with_their_length(examples: list[Example]) -> None:
    lists = make_lists(examples, "lce")
    chosen = {"negatives": 6, "token_budget": 64, "graph_tokens": 256}
    base = most_kept(lists[:3], **chosen)
    assert most_kept(lists[:24], **chosen) < 1.2 * base
    assert most_kept(lists[:24], **chosen | {"graph_tokens": 10_000}) > 8 * base
    long = CandidateList("heart", ("liver " * 30,), tuple(f"{thing} lung " * 15 for thing in tiny.THINGS))
    bounded = most_kept([long], **chosen | {"negatives": 30})
    assert bounded < 2 * base  # as many tokens, with more attention weights for each
    assert most_kept([long], **chosen | {"negatives": 30, "graph_tokens": 10_000}) > 3 * bounded


def test_same_seed_same_weights(examples: list[Example]) -> None:
    found = []
    for seed in (0, 0, 1):
        encoder = fresh()
        torch.manual_seed(random.randrange(2**31))  # noqa: S311 - what was drawn before must not matter
        train_reranker(encoder, examples, options(seed=seed))
        found.append(weights(encoder))
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_without_validation_the_last_weights_stand(examples: list[Example]) -> None:
    encoder = fresh()
    before = weights(encoder)
    state = torch.random.get_rng_state()
    result = train_reranker(encoder, examples, options())
    assert (result.scores, result.chosen_step, len(result.losses)) == ({}, 15, 15)
    assert weights(encoder) != before
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not any(part.training for part in encoder.module.modules())
    assert encoder.module.config._attn_implementation == "sdpa"


def test_the_best_step_is_kept_the_earliest_of_equals(examples: list[Example]) -> None:
    steps: list[dict[str, bytes]] = []
    given = iter([0.2, 0.5, 0.5, 0.4])

    def validate(encoder: CrossEncoder) -> float:
        steps.append(weights(encoder))
        return next(given)

    encoder = fresh()
    result = train_reranker(encoder, examples, options(evaluations=3), validate=validate)
    assert result.scores == {0: 0.2, 5: 0.5, 10: 0.5, 15: 0.4}
    assert result.chosen_step == 5
    assert weights(encoder) == steps[1]


def test_a_random_head_is_not_looked_at(examples: list[Example]) -> None:
    encoder = fresh()
    encoder.fresh = True
    result = train_reranker(encoder, examples, options(evaluations=1), validate=lambda _: 0.5)
    assert result.scores == {15: 0.5}
    assert encoder.fresh is False


@pytest.mark.usefixtures("every_embedding_is_large")
@pytest.mark.parametrize(("seed", "seconds", "chosen"), [(0, 0.0, "exact"), (1, 0.0, "fast"), (2, 1000.0, "exact")])
def test_interrupted_and_resumed(
    examples: list[Example], marked: Collection, tmp_path: Path, seed: int, seconds: float, chosen: str
) -> None:
    score = dev_score(marked)
    given = options(evaluations=2, checkpoint_seconds=seconds, precision=chosen)
    whole = fresh()
    expected = train_reranker(whole, examples, given, validate=score)
    for stop in sorted(random.Random(seed).sample(range(1, 16), 3)):  # noqa: S311
        with pytest.raises(KeyboardInterrupt):
            train_reranker(fresh(), examples, given, folder=tmp_path / "t", validate=score, progress=Interrupting(stop))
    encoder, notes = fresh(), Interrupting(-1)
    result = train_reranker(encoder, examples, given, folder=tmp_path / "t", validate=score, progress=notes)
    assert re.fullmatch(r"resumed at step \d+ of 15", notes.said[0])
    assert weights(encoder) == weights(whole)
    assert (result.losses, result.scores, result.chosen_step) == (expected.losses, expected.scores, expected.chosen_step)


def test_another_training_is_refused(examples: list[Example], tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_reranker(fresh(), examples, options(checkpoint_seconds=0), folder=tmp_path / "t", progress=Interrupting(3))
    others: list[tuple[CrossEncoder, list[Example], RerankerOptions]] = [
        (fresh(), examples, options(negatives=2)),
        (fresh(), examples[1:], options()),
        (fresh(seed=1), examples, options()),
    ]
    for encoder, given, chosen in others:
        with pytest.raises(ArgumentError, match=r"holds another training \(.+\); choose another place, or remove that folder"):
            train_reranker(encoder, given, chosen, folder=tmp_path / "t")


def test_examples_without_negatives_are_left_out_and_said_once(examples: list[Example]) -> None:
    bare = [Example(one.query, one.positive) for one in examples[:20]]
    notes = Interrupting(-1)
    assert train_reranker(fresh(), [*bare, *examples[20:]], options(), progress=notes).lists == 100
    assert notes.said == ["20 of 120 examples have no negatives and are left out"]
    notes = Interrupting(-1)
    mixed = [Example("alone", "heart"), *bare, *examples]
    assert train_reranker(fresh(), mixed, options(loss="listwise"), progress=notes).lists == 120
    assert notes.said == ["1 of 121 queries have no negatives and are left out"]


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_lists(examples: list[Example], count: int) -> None:
    given = [*examples[:count], Example("q", "p")]
    with pytest.raises(ArgumentError) as caught:
        train_reranker(fresh(), given, options())
    assert str(caught.value) == (
        f"{count} of {count + 1} examples can be trained on; a reranker needs at least 2 that have negatives: mine some first"
    )


@pytest.mark.parametrize(("has", "expected"), [(True, {8, 16, 24, 32}), (False, set(range(1, 33)))])
def test_rows_are_padded_to_multiples_in_bfloat16(
    examples: list[Example], monkeypatch: pytest.MonkeyPatch, *, has: bool, expected: set[int]
) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda _: has)
    widths: set[int] = set()
    encoder = fresh()
    encoder.module.register_forward_pre_hook(lambda _, __, given: widths.add(given["input_ids"].shape[1]), with_kwargs=True)
    train_reranker(encoder, examples, options(precision="fast", token_budget=64))
    assert widths <= expected
    assert (widths <= {8, 16, 24, 32}) is has


def test_a_shorter_length_during_training(examples: list[Example], monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[int] = []
    own = CrossEncoder.collate

    def collate(self: CrossEncoder, rows: Any, **more: Any) -> Any:
        lengths.extend(len(row.ids) for row in rows)
        return own(self, rows, **more)

    monkeypatch.setattr(CrossEncoder, "collate", collate)
    encoder = fresh()
    train_reranker(encoder, examples, options(max_length=14))
    assert max(lengths) == 14
    assert encoder.max_length == 32
    with pytest.raises(ArgumentError) as caught:
        train_reranker(encoder, examples, options(max_length=33))
    assert str(caught.value) == "a training length of 33 tokens is more than the model's own 32"


def test_a_loss_that_is_no_number(examples: list[Example]) -> None:
    encoder = fresh()
    with torch.no_grad():
        encoder.module.get_parameter("classifier.bias").fill_(float("nan"))
    with pytest.raises(ModelError) as caught:
        train_reranker(encoder, examples, options())
    assert str(caught.value) == "the loss is nan at step 1; lower the learning rate (now 0.003)"


@pytest.mark.parametrize("has", [True, False])
def test_attention_in_training(monkeypatch: pytest.MonkeyPatch, has: bool) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda _: has)
    encoder = fresh()
    for chosen, expected in (("fast", "biencoder_plain" if has else "sdpa"), ("exact", "sdpa")):
        with _training_attention(encoder, options(precision=chosen)):
            assert encoder.module.config._attn_implementation == expected
        assert encoder.module.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("changes", [{"negative": 3}, {"loss": "hinge"}, {"negatives": 0}, {"precision": "int8"}])
def test_options_that_cannot_be_used(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        options(**changes)
