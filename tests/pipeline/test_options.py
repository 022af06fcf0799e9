from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from biencoder.mining import MiningOptions
from biencoder.pipeline import CURRICULUM, FitOptions, StageOptions
from biencoder.pipeline.options import MiningChanges, TrainingChanges
from biencoder.training.options import TrainingOptions


def stage(**given: Any) -> StageOptions:
    return StageOptions.model_validate({"name": "a"} | given)


def refusals(**given: Any) -> list[tuple[str, str]]:
    with pytest.raises(ValidationError) as caught:
        FitOptions.model_validate(given)
    return [(".".join(map(str, error["loc"])), error["msg"]) for error in caught.value.errors()]


def test_a_stage_of_one_name_follows_the_run() -> None:
    base = TrainingOptions(epochs=2.5, batch_size=16, learning_rate=1e-3)
    assert stage().training_options(base) == base
    assert stage().mining_options(seed=5) == MiningOptions(seed=5)
    assert (stage().negatives, stage().rounds, stage().teacher) == ("in-batch", 1, False)


def test_what_a_stage_says_stands_over_the_run_and_the_rest_stays() -> None:
    base = TrainingOptions(epochs=2.5, batch_size=16, precision="exact")
    own = stage(training={"epochs": 0.5, "loss": "triplet", "matryoshka": [8, 16]})
    expected = TrainingOptions(epochs=0.5, loss="triplet", matryoshka=(8, 16), batch_size=16, precision="exact")
    assert own.training_options(base) == expected
    assert [own.names(option) for option in ("epochs", "loss", "batch_size")] == [True, True, False]


def test_a_value_that_happens_to_be_the_default_is_said_all_the_same() -> None:
    own = stage(training={"epochs": 1.0, "symmetric": False, "negatives": 0})
    changed = own.training_options(TrainingOptions(epochs=3, symmetric=True, negatives=4))
    assert (changed.epochs, changed.symmetric, changed.negatives) == (1.0, False, 0)


@pytest.mark.parametrize(("negatives", "source"), [("bm25", "bm25"), ("mined", "model")])
def test_the_stage_decides_what_negatives_are_mined_from(negatives: str, source: str) -> None:
    found = stage(negatives=negatives, mining={"negatives": 3, "last_rank": 50}).mining_options(seed=7)
    assert found == MiningOptions.model_validate({"source": source, "negatives": 3, "last_rank": 50, "seed": 7})


def test_a_stages_own_mining_seed_stands() -> None:
    assert stage(mining={"seed": 0}).mining_options(seed=7).seed == 0


def test_the_curriculum() -> None:
    rows = [(one.name, one.negatives, one.rounds, one.teacher) for one in CURRICULUM]
    assert rows == [
        ("in-batch", "in-batch", 1, False),
        ("bm25", "bm25", 1, False),
        ("mined", "mined", 2, False),
        ("distilled", "mined", 1, True),
    ]
    base = TrainingOptions()
    training = [one.training_options(base) for one in CURRICULUM]
    assert [(one.loss, one.negatives) for one in training] == [
        ("info_nce", None),
        ("info_nce", 1),
        ("info_nce", 3),
        ("kl", 6),
    ]
    assert [one.learning_rate for one in training] == pytest.approx([5e-5, 3e-5, 3e-5, 2e-5])
    named = StageOptions.model_validate({"name": "own", "rate": 0.5, "training": {"learning_rate": 1e-3}})
    assert named.training_options(base).learning_rate == 1e-3
    assert FitOptions().stages == CURRICULUM


@pytest.mark.parametrize(("changes", "kind"), [(TrainingChanges, TrainingOptions), (MiningChanges, MiningOptions)])
def test_changes_have_the_same_fields_and_none_is_needed(changes: Any, kind: Any) -> None:
    assert list(changes.model_fields) == list(kind.model_fields)
    assert changes().model_dump() == {}


def test_options_survive_json() -> None:
    options = FitOptions.model_validate(
        {"budget": None, "training": {"epochs": 2}, "stages": [{"name": "a", "mining": {"negatives": 3}}, CURRICULUM[3]]}
    )
    assert FitOptions.model_validate(json.loads(json.dumps(options.model_dump(mode="json")))) == options


@pytest.mark.parametrize(
    ("given", "refusal"),
    [
        ({"training": {"epoch": 2}}, ("training.epoch", "Extra inputs are not permitted")),
        ({"training": {"epochs": 0}}, ("training.epochs", "Input should be greater than 0")),
        ({"training": {"loss": "hinge"}}, ("training.loss", "Input should be 'info_nce', 'triplet', 'margin_mse' or 'kl'")),
        ({"training": {"matryoshka": [0]}}, ("training.matryoshka.0", "Input should be greater than or equal to 1")),
        ({"mining": {"margin": 1}}, ("mining.margin", "Extra inputs are not permitted")),
        ({"mining": {"relative_margin": 1}}, ("mining.relative_margin", "Input should be less than 1")),
        ({"rounds": 0}, ("rounds", "Input should be greater than or equal to 1")),
        ({"rounds": 21}, ("rounds", "Input should be less than or equal to 20")),
        ({"negatives": "hard"}, ("negatives", "Input should be 'in-batch', 'bm25' or 'mined'")),
        ({"name": "../x"}, ("name", "String should match pattern '^[a-z0-9][a-z0-9-]*$'")),
        ({"name": "-x"}, ("name", "String should match pattern '^[a-z0-9][a-z0-9-]*$'")),
        ({"name": ""}, ("name", "String should match pattern '^[a-z0-9][a-z0-9-]*$'")),
        ({"name": "x" * 41}, ("name", "String should have at most 40 characters")),
        ({"epochs": 2}, ("epochs", "Extra inputs are not permitted")),
    ],
)
def test_a_stage_is_refused(given: dict[str, Any], refusal: tuple[str, str]) -> None:
    place, message = refusal
    assert refusals(stages=[{"name": "a"}, {"name": "b"} | given]) == [(f"stages.1.{place}", message)]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([{"name": "a"}, {"name": "b"}, {"name": "a"}], "Two stages are called a; give each a name of its own"),
        (
            [{"name": "a"}, {"name": "b", "mining": {"first_rank": 50, "last_rank": 10}}],
            "In stage b: last_rank is 10: it must be at least first_rank, which is 50",
        ),
        (
            [{"name": "a", "mining": {"first_rank": 101}}],
            "In stage a: last_rank is 100: it must be at least first_rank, which is 101",
        ),
    ],
)
def test_stages_that_cannot_be_done(given: list[dict[str, Any]], message: str) -> None:
    assert refusals(stages=given) == [("", message)]


@pytest.mark.parametrize(
    ("given", "refusal"),
    [
        ({"stages": []}, ("stages", "Tuple should have at least 1 item after validation, not 0")),
        ({"budget": 0}, ("budget", "Input should be greater than 0")),
        ({"dev_share": 1}, ("dev_share", "Input should be less than 1")),
        ({"dev_documents": 99}, ("dev_documents", "Input should be greater than or equal to 100")),
        ({"interpolate": [0.5, 1.0]}, ("interpolate.1", "Input should be less than 1")),
    ],
)
def test_a_run_is_refused(given: dict[str, Any], refusal: tuple[str, str]) -> None:
    assert refusals(**given) == [refusal]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"negatives": "bm25", "teacher": True}, "teacher needs negatives = mined, which are those that a teacher scores"),
        ({"teacher": True}, "teacher needs negatives = mined, which are those that a teacher scores"),
        (
            {"negatives": "bm25", "training": {"loss": "kl"}},
            "loss kl learns from a teacher's scores, which negatives of bm25 do not have; use mined",
        ),
        ({"negatives": "mined", "mining": {"source": "bm25"}}, "say negatives, not mining.source"),
    ],
)
def test_what_would_have_no_effect_is_refused(row: dict[str, Any], problem: str) -> None:
    assert refusals(stages=[{"name": "a"} | row]) == [("", f"In stage a: {problem}")]


def test_losses_that_a_collections_own_scores_or_a_teachers_may_teach() -> None:
    taught = {"loss": "margin_mse"}
    rows = [{"name": "a", "training": taught}, {"name": "b", "negatives": "mined", "training": taught}]
    assert len(FitOptions.model_validate({"stages": rows}).stages) == 2


def test_the_teachers_options() -> None:
    run = {"precision": "exact", "seed": 3}
    found = FitOptions.model_validate({"training": run, "reranker": {"negatives": 3}}).reranker_options()
    assert (found.negatives, found.precision, found.seed, found.evaluations) == (3, "exact", 3, 1)
    own = {"precision": "fast", "seed": 0}
    found = FitOptions.model_validate({"training": run, "reranker": own}).reranker_options()
    assert (found.precision, found.seed) == ("fast", 0)
    problem = "Leave reranker.evaluations out: a run's teacher is judged once, on dev"
    assert refusals(reranker={"evaluations": 2}) == [("", problem)]
    (refused,) = refusals(reranker={"epochs": None})
    assert refused == ("", "In reranker: epochs is None: input should be a valid number")
