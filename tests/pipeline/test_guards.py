from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biencoder.data.collection import Collection
from biencoder.evaluation import Evaluation, evaluate_run
from biencoder.pipeline import FitOptions, guards
from biencoder.pipeline.gate import Gate
from biencoder.progress import Progress
from biencoder.records import Document, Example, Judgement, Query
from biencoder.towers.bi_encoder import BiEncoder
from biencoder.towers.tower import TowerSettings
from tests import tiny


class Scripted(Gate):
    """A gate whose scores are written down."""

    def __init__(self, score: Callable[[TowerSettings], float]) -> None:
        self.measure = "nDCG@10"
        self.asked: list[TowerSettings] = []
        self._score = score

    def evaluate(self, model: BiEncoder) -> Evaluation:
        settings = model.document_tower.settings
        self.asked.append(settings)
        one = evaluate_run({"q": {"d": 1.0}}, {"q": {"d": 1}}, measures=[self.measure])
        one.measures[self.measure] = self._score(settings)
        return one


def by_length(**scores: float) -> Scripted:
    return Scripted(lambda settings: scores[f"at_{settings.max_length}"])


def by_pooling(**scores: float) -> Scripted:
    return Scripted(lambda settings: scores[settings.pooling])


def asked(**splits: Sequence[str]) -> Collection:
    """Queries by split, all of one document."""
    queries = [Query(f"{split}{place}", text) for split, texts in splits.items() for place, text in enumerate(texts)]
    judgements = {split: [Judgement(f"{split}{place}", "d") for place in range(len(texts))] for split, texts in splits.items()}
    return Collection(documents=[Document("d", "text")], queries=queries, judgements=judgements)


def options(**given: Any) -> FitOptions:
    return FitOptions.model_validate(given)


def test_leaks_are_counted_for_each_split() -> None:
    collection = asked(
        train=["What is fever?", "what is salt?"],
        dev=["what is sugar?", "what is  FEVER? "],
        test=["what is salt?", "What is fever?", "what is salt?"],
    )
    end = "its figures say little of new queries; take them out of one of the two"
    assert guards.leaked_queries(collection, options()) == [
        f"1 query of dev also in train, word for word (such as 'dev1'): {end}",
        f"3 queries of test also in train, word for word (such as 'test0'): {end}",
    ]
    assert guards.leaked_queries(collection, options(train_split="dev", dev_split="test")) == [
        f"1 query of train also in dev, word for word (such as 'train0'): {end}",
        f"1 query of test also in dev, word for word (such as 'test1'): {end}",
    ]


def test_nothing_leaks() -> None:
    assert guards.leaked_queries(asked(train=["what is fever?"], dev=["what is fever"]), options()) == []
    assert guards.leaked_queries(asked(train=["what is fever?", "what is fever?"]), options()) == []


FITS = "aspirin " * 30
"""With the two special tokens, as long as the tiny model reads."""
LONGER = "aspirin " * 31


def test_truncation_and_what_reading_on_would_bring(tiny_model: BiEncoder) -> None:
    gate = by_length(at_32=0.5, at_64=0.75)
    assert guards.check_truncation(tiny_model, gate, [LONGER, FITS, FITS, FITS]) == [
        (
            "25% of the documents are longer than the 32 tokens that the model reads; with 64 nDCG@10 on dev is 0.7500, "
            "with 32 0.5000; BiEncoder.load(..., max_length=64) reads them"
        )
    ]
    assert [settings.max_length for settings in gate.asked] == [32, 64]
    assert tiny_model.document_tower.settings.max_length == 32


@pytest.mark.parametrize("wider", [0.4, 0.5])
def test_truncation_that_does_no_harm(tiny_model: BiEncoder, wider: float) -> None:
    assert guards.check_truncation(tiny_model, by_length(at_32=0.5, at_64=wider), [LONGER]) == [
        (
            f"100% of the documents are longer than the 32 tokens that the model reads; with 64 nDCG@10 on dev is {wider:.4f}, "
            "with 32 0.5000"
        )
    ]


def test_truncation_where_the_backbone_takes_no_more() -> None:
    tower = tiny.tower(TowerSettings(max_length=64))
    gate = by_length()
    assert guards.check_truncation(BiEncoder(tower, tower), gate, ["aspirin " * 63, "aspirin " * 62]) == [
        (
            "50% of the documents are longer than the 64 tokens that the model reads, and the backbone takes no more; passages "
            "(index --passages) would keep the rest"
        )
    ]
    assert gate.asked == []


def test_truncation_up_to_what_the_backbone_takes() -> None:
    tower = tiny.tower(TowerSettings(max_length=40))
    (found,) = guards.check_truncation(BiEncoder(tower, tower), by_length(at_40=0.1, at_64=0.2), ["aspirin " * 50])
    assert found.endswith("; with 64 nDCG@10 on dev is 0.2000, with 40 0.1000; BiEncoder.load(..., max_length=64) reads them")


def test_hardly_any_truncation(tiny_model: BiEncoder) -> None:
    gate = by_length()
    assert guards.check_truncation(tiny_model, gate, [FITS] * 3) == []
    assert guards.check_truncation(tiny_model, gate, [LONGER] + [FITS] * 99) == []
    assert guards.check_truncation(tiny_model, gate, []) == []
    assert gate.asked == []
    assert guards.truncated_texts(tiny_model, [LONGER, LONGER] + [FITS] * 98) == (0.02, 64)


def test_truncation_is_measured_by_a_real_gate(tiny_model: BiEncoder, tmp_path: Path) -> None:
    """What tells the documents apart stands behind the first 32 tokens of each."""
    preface = "in the " * 15
    documents = [Document(f"d{place}", f"{preface} {thing} {thing} {thing}") for place, thing in enumerate(tiny.THINGS)]
    queries = [Query(f"q{place}", thing) for place, thing in enumerate(tiny.THINGS)]
    judgements = {"dev": [Judgement(f"q{place}", f"d{place}") for place in range(len(tiny.THINGS))]}
    dev = Collection(documents=documents, queries=queries, judgements=judgements)
    gate = Gate(dev, split="dev", measure="nDCG@10", folder=tmp_path, precision="exact", progress=Progress())
    (found,) = guards.check_truncation(tiny_model, gate, [document.content for document in documents])
    whole, cut = gate.score(tiny_model.adjusted(max_length=64)), gate.score(tiny_model)
    assert whole > cut
    assert f"; with 64 nDCG@10 on dev is {whole:.4f}, with 32 {cut:.4f}; BiEncoder.load(" in found


def test_another_pooling_than_the_checkpoints(tiny_model: BiEncoder) -> None:
    model = tiny_model.adjusted(pooling="cls")
    assert guards.check_pooling(model, by_pooling(cls=0.4, mean=0.6)) == [
        (
            "pooling cls was asked for, and the checkpoint was made with mean: nDCG@10 on dev 0.4000 with cls, 0.6000 with mean"
            "; leave --pooling out"
        )
    ]
    for mean in (0.3, 0.4):
        assert guards.check_pooling(model, by_pooling(cls=0.4, mean=mean)) == [
            (
                "pooling cls was asked for, and the checkpoint was made with mean: nDCG@10 on dev 0.4000 with cls, "
                f"{mean:.4f} with mean"
            )
        ]


def test_the_checkpoints_own_pooling(tiny_model: BiEncoder) -> None:
    gate = by_pooling()
    assert guards.check_pooling(tiny_model, gate) == []
    assert guards.check_pooling(tiny_model.adjusted(pooling="mean"), gate) == []
    assert gate.asked == []


def test_towers_split_for_one_language(tiny_model: BiEncoder) -> None:
    alike = [Example("Fever of salt 7", "salt"), Example("salt", "of sugar, 7")]  # salt and of, but not fever
    assert guards.check_separation(tiny_model.separated(), alike) == [
        (
            "the towers are split, though 67% of the words of the queries are words of the documents: shared weights learn "
            "from both sides and usually win; compare without it"
        )
    ]
    half = [Example("fever salt", "salt")]
    assert guards.check_separation(tiny_model.separated(), half)[0].startswith("the towers are split, though 50% of the words")


def test_towers_split_for_two_languages_or_not_split(tiny_model: BiEncoder) -> None:
    apart = [Example("fieber und salz", "fever and salt"), Example("salz", "fever")]
    assert guards.check_separation(tiny_model.separated(), apart) == []
    assert guards.check_separation(tiny_model.separated(), [Example("7 ?", "7 ?")]) == []
    assert guards.check_separation(tiny_model, [Example("fever", "fever")]) == []


def test_negatives_that_are_random_alone() -> None:
    assert guards.check_negatives(["in-batch", "in-batch"]) == [
        "only in-batch negatives were used: they are random and soon too easy; the stages bm25 and mined bring hard ones"
    ]


@pytest.mark.parametrize("stages", [["in-batch", "bm25"], ["mined"], []])
def test_hard_negatives_or_no_training_at_all(stages: list[str]) -> None:
    assert guards.check_negatives(stages) == []


def test_vectors_that_come_to_point_one_way() -> None:
    assert guards.check_collapse(0.97, before=0.31) == [
        "the vectors are collapsing: random documents have a mean cosine of 0.97 (0.31 at the start); lower the learning rate"
    ]


@pytest.mark.parametrize(("cosine", "before"), [(0.84, 0.1), (0.9, 0.88), (0.9, 0.95)])
def test_vectors_that_are_spread_or_were_never(cosine: float, before: float) -> None:
    assert guards.check_collapse(cosine, before=before) == []


def test_mean_cosine_by_the_definition(tiny_model: BiEncoder) -> None:
    texts = [" ".join(pair) for pair in combinations(tiny.THINGS[:5], 2)]
    vectors = tiny_model.encode_documents(texts).astype(np.float64)
    cosines = [float(one @ other / np.linalg.norm(one) / np.linalg.norm(other)) for one, other in combinations(vectors, 2)]
    assert guards.mean_cosine(tiny_model, texts) == pytest.approx(sum(cosines) / len(cosines), abs=1e-6)


def test_mean_cosine_of_one_document_over_and_over_and_of_one_alone(tiny_model: BiEncoder) -> None:
    assert guards.mean_cosine(tiny_model, ["fever"] * 4) == pytest.approx(1)
    assert guards.mean_cosine(tiny_model, ["fever"]) == pytest.approx(0)


def test_mean_cosine_does_not_ask_for_vectors_of_length_one(tiny_model: BiEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.array([[2, 0], [0, 3], [0, 0.5]], dtype=np.float32)  # cosines 0, 0 and 1
    monkeypatch.setattr(BiEncoder, "encode_documents", lambda *_: vectors)
    assert guards.mean_cosine(tiny_model, ["a", "b", "c"]) == pytest.approx(1 / 3)


def test_a_loss_that_rises() -> None:
    losses = [2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 3.0, 3.0, 3.0]  # means of three: 1.33, 1, ... 3
    assert guards.check_loss(losses, rate=1e-3) == [
        "the loss rose from 1.000 to 3.000: the learning rate of 0.001 is too high here; try 0.00025"
    ]


@pytest.mark.parametrize(
    "losses",
    [
        [],
        [1.0, 9.0],  # too few to say
        [4.0, 4.0, 4.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0],  # back, but not to where it began
        [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.2, 1.2, 1.2],  # less than noise
        [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.8],  # one bad batch
    ],
)
def test_a_loss_that_does_not(losses: list[float]) -> None:
    assert guards.check_loss(losses, rate=1e-3) == []


@given(st.lists(st.floats(0.01, 100), max_size=80))
def test_a_loss_that_only_falls(losses: list[float]) -> None:
    assert guards.check_loss(sorted(losses, reverse=True), rate=1e-3) == []


@given(st.integers(3, 200), st.floats(0.1, 10))
def test_a_loss_that_only_rises(steps: int, end: float) -> None:
    losses = [end * (step + 1) for step in range(steps)]
    assert len(guards.check_loss(losses, rate=1e-3)) == 1
