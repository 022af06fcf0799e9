from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from biencoder.data.collection import Collection
from biencoder.errors import DivergedError
from biencoder.pipeline import FitOptions, teacher
from biencoder.pipeline.gate import Gate
from biencoder.pipeline.plan import Plan
from biencoder.pipeline.speeds import Speeds
from biencoder.pipeline.teacher import Teaching
from biencoder.progress import Progress
from biencoder.scoring import FloatArray
from biencoder.towers.bi_encoder import BiEncoder
from biencoder.towers.cross_encoder import CrossEncoder
from tests import tiny
from tests.training.tasks import Interrupting, weights

RERANKER = {"learning_rate": 3e-3, "epochs": 12, "batch_size": 16, "checkpoint_seconds": 0}


class Desk:
    """Gives a run's folder a `Teaching` as `fit` makes it, again and again, and keeps what each said."""

    def __init__(self, collection: Collection, folder: Path) -> None:
        self.collection = collection
        self.folder = folder
        self.said: list[str] = []

    def teaching(self, teacher: str | Path = "auto", *, lists: int = 120, **more: Any) -> Teaching:
        given = {"training": {"precision": "exact"}, "teacher": str(teacher), "reranker": RERANKER}
        options = FitOptions.model_validate(given | more)
        gate = Gate(
            self.collection,
            split="dev",
            measure="MRR@10",
            folder=self.folder / "dev",
            precision="exact",
            progress=Progress(),
        )
        plan = Plan(Speeds(1, 1, 1, 1, 1), (), 60, None, lists, 1.0, 1.0)
        notes = Interrupting(-1)
        self.said = notes.said
        given_one = None if teacher in {"auto", "none"} else CrossEncoder.load(teacher, precision="exact")
        return Teaching(self.collection, plan, gate, options, self.folder / "teacher", notes, given=given_one)

    @property
    def scores(self) -> list[str]:
        """Files that hold a judgement."""
        return sorted(path.name for path in (self.folder / "teacher/dev").iterdir())

    @property
    def reranked(self) -> int:
        """How often something was reranked."""
        return sum(note.startswith("reranking ") for note in self.said)


@pytest.fixture
def desk(tiny_collection: Collection, tmp_path: Path) -> Desk:
    return Desk(tiny_collection, tmp_path)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cross-encoder of random weights."""
    return tiny.save_classifier(tmp_path_factory.mktemp("reranker"))


def common_things(_: CrossEncoder, pairs: list[tuple[str, str]], /, **__: Any) -> FloatArray:
    """How many things a query and a document share: a perfect teacher for the tiny collection."""
    things = set(tiny.THINGS)
    return np.array([len(things & set(query.split()) & set(text.split())) for query, text in pairs], dtype=np.float32)


def no_things(_: CrossEncoder, pairs: list[tuple[str, str]], /, **__: Any) -> FloatArray:
    """Leaves all results in their order."""
    return np.zeros(len(pairs), dtype=np.float32)


@pytest.mark.parametrize(("kind", "lists"), [("none", 120), ("auto", 0)])
def test_no_teacher_is_wanted_or_there_is_no_time_for_one(tiny_model: BiEncoder, desk: Desk, kind: str, lists: int) -> None:
    teaching = desk.teaching(kind, lists=lists)
    assert teaching.teacher(tiny_model) is None
    assert teaching.reranked(tiny_model) is None
    assert (teaching.facts, teaching.seconds, desk.said) == ({}, 0.0, [])
    assert not (desk.folder / "teacher").exists()


def test_a_given_teacher_that_ranks_no_better_does_not_teach(tiny_model: BiEncoder, desk: Desk, given: Path) -> None:
    teaching = desk.teaching(given)
    assert teaching.teacher(tiny_model) is None
    own, reranked = teaching.facts["model"], teaching.facts["reranked"]
    assert reranked < own
    assert desk.said == [
        "reranking 30 results of 30 dev queries",
        (
            "the teacher does not teach, since it ranks no better; MRR@10 of 30 dev queries: the model "
            f"{own:.4f}, reranked {reranked:.4f}"
        ),
    ]
    assert own == Gate(
        desk.collection, split="dev", measure="MRR@10", folder=desk.folder / "x", precision="exact", progress=Progress()
    ).score(tiny_model)
    assert teaching.reranked(tiny_model) == (own, reranked)  # it may still rerank


def test_a_tie_is_not_better(tiny_model: BiEncoder, desk: Desk, given: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CrossEncoder, "score", no_things)
    teaching = desk.teaching(given)
    assert teaching.teacher(tiny_model) is None
    assert teaching.facts["model"] == teaching.facts["reranked"]


def test_a_given_teacher_that_ranks_better_teaches(
    tiny_model: BiEncoder, desk: Desk, given: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CrossEncoder, "score", common_things)
    teaching = desk.teaching(given)
    found = teaching.teacher(tiny_model)
    assert found is not None
    assert found.fingerprint() == CrossEncoder.load(given).fingerprint()
    own, reranked = teaching.facts["model"], teaching.facts["reranked"]
    assert own < 0.5 < reranked
    assert desk.said[-1] == f"the teacher teaches; MRR@10 of 30 dev queries: the model {own:.4f}, reranked {reranked:.4f}"
    assert teaching.teacher(tiny_model) is found  # it is loaded once
    assert teaching.seconds == 0.0


def test_scores_are_kept_for_a_model_and_a_teacher(
    tiny_model: BiEncoder, desk: Desk, given: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CrossEncoder, "score", no_things)
    teaching = desk.teaching(given)
    for _ in range(2):
        teaching.teacher(tiny_model)
    assert teaching.reranked(tiny_model) == (teaching.facts["model"], teaching.facts["reranked"])
    identity, encoder = tiny_model.identity, CrossEncoder.load(given)
    assert desk.scores == [f"{identity.document[:12]}-{identity.query[:12]}-{encoder.fingerprint()[:12]}.json"]
    kept = json.loads((desk.folder / "teacher/dev" / desk.scores[0]).read_text())
    assert kept == {"model": teaching.facts["model"], "reranked": teaching.facts["reranked"]}
    assert desk.reranked == 1
    with torch.no_grad():
        next(tiny_model.document_tower.parameters())[7:].mul_(-1.5)
    teaching.teacher(tiny_model)
    assert (len(desk.scores), desk.reranked) == (2, 2)
    other = desk.teaching(tiny.save_classifier(tmp_path / "other", seed=1))
    other.teacher(tiny_model)
    assert (len(desk.scores), desk.reranked) == (3, 1)


def test_a_later_call_takes_the_scores_of_an_earlier_one(tiny_model: BiEncoder, desk: Desk, given: Path) -> None:
    earlier = desk.teaching(given)
    earlier.teacher(tiny_model)
    later = desk.teaching(given)
    assert later.facts == earlier.facts
    assert later.reranked(tiny_model) == (earlier.facts["model"], earlier.facts["reranked"])
    assert later.teacher(tiny_model) is None
    assert desk.reranked == 0


def test_a_teacher_that_nobody_asked_reranks_nothing(tiny_model: BiEncoder, desk: Desk, given: Path) -> None:
    assert desk.teaching(given).reranked(tiny_model) is None
    assert desk.teaching("auto").reranked(tiny_model) is None
    assert not (desk.folder / "teacher").exists()


def test_fewer_dev_queries_judge_a_teacher_where_fewer_are_asked_for(tiny_model: BiEncoder, desk: Desk, given: Path) -> None:
    desk.teaching(given, dev_queries=7).teacher(tiny_model)
    assert desk.said[0] == "reranking 30 results of 7 dev queries"
    assert re.search(r"; MRR@10 of 7 dev queries: ", desk.said[1])


def test_a_teacher_is_trained_once(tiny_model: BiEncoder, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    before = weights(tiny_model)
    teaching = desk.teaching(lists=240)
    teaching.teacher(tiny_model)
    assert "teacher: 120 lists, 2.00 epochs" in desk.said
    assert weights(tiny_model) == before
    result = json.loads((desk.folder / "teacher/result.json").read_text())
    assert (result["trained"], result["lists"], len(result["losses"])) == (True, 120, 14)
    expected = RERANKER | {"epochs": 2.0, "precision": "exact", "seed": 0, "evaluations": 1}
    assert expected.items() <= result["options"].items()
    assert teaching.facts.items() >= result.items()
    assert teaching.seconds == result["seconds"] > 0
    mined = [json.loads(line) for line in (desk.folder / "teacher/examples.jsonl").read_text().splitlines()]
    assert [(line["query"], line["positive"]) for line in mined] == [
        (one.query, one.positive) for one in desk.collection.examples("train")
    ]
    assert {len(line["negatives"]) for line in mined} == {16}
    left = sorted(path.name for path in (desk.folder / "teacher").iterdir() if not path.name.startswith("."))
    assert left == ["dev", "examples.jsonl", "examples.jsonl.meta.json", "facts.json", "model", "result.json"]
    trained = CrossEncoder.load(desk.folder / "teacher/model")
    assert trained.max_length == 64  # 32 for the document, and 64 for the query, of which the backbone takes 32

    def again(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(teacher, "mine", again)
    monkeypatch.setattr(teacher, "train_reranker", again)
    later = desk.teaching(lists=240)
    assert later.facts == teaching.facts
    assert later.reranked(tiny_model) == (teaching.facts["model"], teaching.facts["reranked"])
    assert (later.seconds, desk.said) == (teaching.seconds, [])


def test_a_teacher_is_trained_no_longer_than_its_own_epochs(
    tiny_model: BiEncoder, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = []

    def diverge(_: object, __: object, options: Any, **___: object) -> None:
        wanted.append(options.epochs)
        raise DivergedError("the loss is nan at step 3")

    monkeypatch.setattr(teacher, "train_reranker", diverge)
    for place, (lists, epochs) in enumerate([(120, 12.0), (120, 0.5), (12, 12.0)]):
        one = Desk(desk.collection, desk.folder / str(place)).teaching(lists=lists, reranker=RERANKER | {"epochs": epochs})
        one.teacher(tiny_model)
    assert wanted == [1.0, 0.5, 0.1]


def test_a_training_that_fails_leaves_no_teacher_and_is_not_tried_again(
    tiny_model: BiEncoder, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def diverge(*_: object, **__: object) -> None:
        tried.append(1)
        raise DivergedError("the loss is nan at step 3")

    monkeypatch.setattr(teacher, "train_reranker", diverge)
    teaching = desk.teaching()
    for _ in range(2):
        assert teaching.teacher(tiny_model) is None
    assert desk.said[-1] == "there is no teacher: the loss is nan at step 3"
    assert (teaching.facts["trained"], teaching.facts["reason"]) == (False, "the loss is nan at step 3")
    assert not (desk.folder / "teacher/start").exists()
    later = desk.teaching()
    assert later.teacher(tiny_model) is None
    assert (later.facts, later.reranked(tiny_model), desk.said, len(tried)) == (teaching.facts, None, [], 1)


def test_nothing_to_learn_from_is_no_teacher(tiny_model: BiEncoder, tmp_path: Path) -> None:
    """Where every document is relevant, there are no negatives."""
    two = Collection.from_pairs(
        [{"query": "fever", "positive": text, "split": split} for split in ("train", "dev") for text in ("salt", "sugar")]
    )
    desk = Desk(two, tmp_path)
    teaching = desk.teaching()
    assert teaching.teacher(tiny_model) is None
    assert desk.said[-1] == "there is no teacher: fewer than 2 training queries have negatives to learn from"
