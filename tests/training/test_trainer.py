from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from biencoder.data.collection import Collection
from biencoder.errors import ArgumentError, ModelError
from biencoder.progress import Progress
from biencoder.records import Example
from biencoder.towers import precision
from biencoder.towers.bi_encoder import BiEncoder
from biencoder.training.portions import Portions
from biencoder.training.trainer import TrainingResult, train
from tests import tiny
from tests.training.tasks import Interrupting, mrr, options, weights


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    return tiny.collection().examples("train")


@pytest.mark.parametrize("loss", ["info_nce", "triplet"])
@pytest.mark.parametrize("separate", [False, True])
def test_training_learns(
    tiny_model: BiEncoder, tiny_collection: Collection, examples: list[Example], loss: str, separate: bool
) -> None:
    model = tiny_model.separated() if separate else tiny_model
    result = train(
        model, examples, options(epochs=8, evaluations=4, loss=loss, symmetric=True), validate=mrr(tiny_collection, "dev")
    )
    assert len(result.losses) == 56
    share = {"info_nce": 0.7, "triplet": 0.95}[loss]  # a batch's hardest negatives get harder as the towers learn
    assert sum(result.losses[-7:]) < share * sum(result.losses[:7])
    assert list(result.scores) == [0, 14, 28, 42, 56]
    assert result.scores[result.chosen_step] == max(result.scores.values()) > result.scores[0] + 0.05
    assert mrr(tiny_collection, "dev")(model) == result.scores[result.chosen_step]
    assert model.shared is not separate


def test_fast_learns_too(tiny_model: BiEncoder, examples: list[Example], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda _: True)
    result = train(tiny_model, examples, options(epochs=4, precision="fast"))
    assert sum(result.losses[-7:]) < 0.8 * sum(result.losses[:7])


def test_same_seed_same_weights(tiny_model_folder: Path, examples: list[Example]) -> None:
    found = []
    for seed in (0, 0, 1):
        model = BiEncoder.load(tiny_model_folder)
        torch.manual_seed(random.randrange(2**31))  # noqa: S311 - what was drawn before must not matter
        train(model, examples, options(seed=seed))
        found.append(weights(model))
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_without_validation_the_last_weights_stand(tiny_model: BiEncoder, examples: list[Example]) -> None:
    before = weights(tiny_model)
    result = train(tiny_model, examples, options())
    assert (result.scores, result.chosen_step, len(result.losses)) == ({}, 7, 7)
    assert weights(tiny_model) != before


def test_the_best_step_is_kept_the_earliest_of_equals(tiny_model_folder: Path, examples: list[Example]) -> None:
    steps: dict[int, dict[str, bytes]] = {}
    given = iter([0.2, 0.5, 0.5, 0.4])

    def validate(model: BiEncoder) -> float:
        steps[len(steps)] = weights(model)
        return next(given)

    model = BiEncoder.load(tiny_model_folder)
    result = train(model, examples, options(evaluations=3), validate=validate)
    assert result.scores == {0: 0.2, 2: 0.5, 5: 0.5, 7: 0.4}
    assert result.chosen_step == 2
    assert weights(model) == steps[1]


def test_harm_is_rolled_back(tiny_model: BiEncoder, tiny_collection: Collection, examples: list[Example]) -> None:
    texts = [example.positive for example in examples]
    random.Random(0).shuffle(texts)  # noqa: S311
    shuffled = [Example(example.query, text) for example, text in zip(examples, texts, strict=True)]
    before, identity = weights(tiny_model), tiny_model.identity
    result = train(
        tiny_model, shuffled, options(learning_rate=0.03, epochs=2, evaluations=3), validate=mrr(tiny_collection, "dev")
    )
    assert result.chosen_step == 0
    assert max(result.scores.values()) == result.scores[0]
    assert weights(tiny_model) == before
    assert tiny_model.identity == identity


def unbroken(folder: Path, examples: list[Example], collection: Collection) -> tuple[dict[str, bytes], TrainingResult]:
    model = BiEncoder.load(folder)
    result = train(model, examples, options(epochs=2, evaluations=2), validate=mrr(collection, "dev"))
    return weights(model), result


@pytest.mark.parametrize(("seed", "seconds"), [(0, 0.0), (1, 0.0), (2, 0.0), (3, 1000.0)])
def test_interrupted_and_resumed(
    tiny_model_folder: Path, tiny_collection: Collection, examples: list[Example], tmp_path: Path, seed: int, seconds: float
) -> None:
    expected, whole = unbroken(tiny_model_folder, examples, tiny_collection)
    chance = random.Random(seed)  # noqa: S311
    chosen = options(epochs=2, evaluations=2, checkpoint_seconds=seconds)
    score = mrr(tiny_collection, "dev")
    for stop in sorted(chance.sample(range(1, 15), 4)):
        progress = Interrupting(stop)
        with pytest.raises(KeyboardInterrupt):
            train(BiEncoder.load(tiny_model_folder), examples, chosen, folder=tmp_path / "t", validate=score, progress=progress)

    def interrupt(_: BiEncoder) -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(BiEncoder.load(tiny_model_folder), examples, chosen, folder=tmp_path / "t", validate=interrupt)
    model = BiEncoder.load(tiny_model_folder)
    result = train(model, examples, chosen, folder=tmp_path / "t", validate=score)
    assert weights(model) == expected
    assert (result.scores, result.chosen_step, result.losses) == (whole.scores, whole.chosen_step, whole.losses)
    again = BiEncoder.load(tiny_model_folder)
    assert train(again, examples, chosen, folder=tmp_path / "t", validate=score).losses == whole.losses
    assert weights(again) == expected


def test_separate_towers_resume(tiny_model_folder: Path, examples: list[Example], tmp_path: Path) -> None:
    expected = BiEncoder.load(tiny_model_folder).separated()
    train(expected, examples, options())
    progress = Interrupting(4)
    for said in (Interrupting(4), progress := Interrupting(0)):
        model = BiEncoder.load(tiny_model_folder).separated()
        try:
            train(model, examples, options(checkpoint_seconds=0), folder=tmp_path / "t", progress=said)
        except KeyboardInterrupt:
            assert said is not progress
    assert progress.said == ["resumed at step 3 of 7"]
    assert weights(model) == weights(expected)
    assert (
        weights(model)["query.backbone.embeddings.word_embeddings.weight"]
        != (weights(model)["document.backbone.embeddings.word_embeddings.weight"])
    )


def test_another_training_in_the_folder(tiny_model_folder: Path, examples: list[Example], tmp_path: Path) -> None:
    place = tmp_path / "t"
    with pytest.raises(KeyboardInterrupt):
        train(
            BiEncoder.load(tiny_model_folder),
            examples,
            options(checkpoint_seconds=0),
            folder=place,
            progress=Interrupting(3),
        )
    digits = '"[0-9a-f]{56}'
    cases = [
        (examples, options(checkpoint_seconds=0, learning_rate=2e-3), "options: learning_rate: 0.001, now 0.002", 1),
        (examples[1:], options(checkpoint_seconds=0), f"examples: {digits}..., now {digits}...", 1),
        (examples, options(checkpoint_seconds=0), f"model: threads: {torch.get_num_threads()}, now 2", 2),
    ]
    for given, chosen, difference, threads in cases:
        before = torch.get_num_threads()
        try:
            torch.set_num_threads(threads)
            with pytest.raises(ArgumentError) as caught:
                train(BiEncoder.load(tiny_model_folder), given, chosen, folder=place)
        finally:
            torch.set_num_threads(before)
        hint = "choose another place, or remove that folder to begin again"
        assert re.fullmatch(rf"{re.escape(str(place))} holds another training \({difference}\); {hint}", str(caught.value)), (
            caught.value
        )


def test_a_loss_that_is_no_number(tiny_model: BiEncoder, examples: list[Example]) -> None:
    with torch.no_grad():
        tiny_model.document_tower.backbone.get_parameter("embeddings.LayerNorm.weight").fill_(float("nan"))
    with pytest.raises(ModelError) as caught:
        train(tiny_model, examples, options())
    expected = "lower the learning rate (now 0.001) or raise the temperature (now 0.05)"
    assert str(caught.value) == f"the loss is nan at step 1; {expected}"


@pytest.mark.parametrize("loss", ["info_nce", "triplet"])
def test_the_token_budget_does_not_change_the_loss(examples: list[Example], loss: str) -> None:
    losses = []
    for budget in (64, 100_000):
        tower = tiny.tower(dropout=0.0)
        chosen = options(token_budget=budget, loss=loss, learning_rate=1e-4)
        losses.append(train(BiEncoder(tower, tower), examples, chosen).losses)
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_examples_with_negatives_of_their_own(tiny_model: BiEncoder, examples: list[Example]) -> None:
    texts = [example.positive for example in examples]
    own = [Example(example.query, example.positive, (texts[at - 7],)) for at, example in enumerate(examples)]
    losses = train(tiny_model, own, options(epochs=8, loss="triplet")).losses
    assert sum(losses[-7:]) < 0.5 * sum(losses[:7])


def test_lengths_of_a_stage(tiny_model_folder: Path, examples: list[Example]) -> None:
    model = BiEncoder.load(tiny_model_folder)
    short = train(model, examples, options(epochs=0.1, query_length=5, document_length=6)).losses
    assert model.query_tower.settings.max_length == model.document_tower.settings.max_length == 32
    assert short != train(BiEncoder.load(tiny_model_folder), examples, options(epochs=0.1)).losses
    with pytest.raises(ArgumentError, match=r"^a training length of 33 tokens is more than the tower's own 32$"):
        train(model, examples, options(document_length=33))


def test_what_was_there_before_is_there_afterwards(tiny_model: BiEncoder, examples: list[Example]) -> None:
    dropouts = [module for module in tiny_model.query_tower.modules() if isinstance(module, nn.Dropout)]
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(tiny_model, examples, options(epochs=0.1))
    assert torch.equal(torch.rand(3), expected)
    assert {dropout.p for dropout in dropouts} == {0.1}
    assert not any(module.training for module in tiny_model.query_tower.modules())


class Steps(Progress):
    def __init__(self) -> None:
        self.seen: list[tuple[str, int, int, str]] = []

    def __call__(self, stage: str, done: int, total: int, facts: str = "") -> None:
        self.seen.append((stage, done, total, facts))


def test_progress(tiny_model: BiEncoder, examples: list[Example]) -> None:
    progress = Steps()
    result = train(tiny_model, examples, options(epochs=0.5), progress=progress)
    assert [seen[:3] for seen in progress.seen] == [("training", step, 4) for step in (1, 2, 3, 4)]
    assert re.fullmatch(rf"loss {sum(result.losses) / 4:.3f}, \d+\.\d pairs/s", progress.seen[-1][3])


def test_too_few_examples(tiny_model: BiEncoder, examples: list[Example]) -> None:
    with pytest.raises(ArgumentError, match=r"^1 training pairs; at least 2 are needed"):
        train(tiny_model, examples[:1], options())


def test_other_portions_are_another_training(
    tiny_model_folder: Path, examples: list[Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A micro-batch's dropout is its own: on a device that takes others, the weights would not be the same."""
    chosen = options(checkpoint_seconds=0)
    with pytest.raises(KeyboardInterrupt):
        train(BiEncoder.load(tiny_model_folder), examples, chosen, folder=tmp_path / "t", progress=Interrupting(3))
    monkeypatch.setattr(Portions, "of", lambda *_, **__: Portions(micro_batch=77, held=0))
    with pytest.raises(ArgumentError, match=r"holds another training \(model: portions: "):
        train(BiEncoder.load(tiny_model_folder), examples, chosen, folder=tmp_path / "t")
