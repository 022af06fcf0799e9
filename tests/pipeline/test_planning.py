from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from biencoder.data.batches import PairSampler
from biencoder.pipeline import FitOptions
from biencoder.pipeline.plan import Plan, Unit
from biencoder.pipeline.planning import make_plan
from biencoder.pipeline.speeds import Speeds

SPEEDS = Speeds(train=1000, encode=10_000, query=10, document=50, document_whole=100)
"""A minute trains on 60,000 tokens and encodes 600,000."""
SMALL_BATCHES = {"batch_size": 16, "epochs": 1}


def planned(
    *,
    pairs: int = 600,
    dev_queries: int = 600,
    documents: int = 1200,
    own_negatives: float = 0.0,
    teacher_given: bool = False,
    **options: Any,
) -> Plan:
    """A plan whose every look at dev takes 0.21 minutes, and every encoding of the corpus 0.2."""
    return make_plan(
        FitOptions.model_validate({"training": SMALL_BATCHES} | options),
        SPEEDS,
        pairs=pairs,
        dev_queries=dev_queries,
        documents=documents,
        own_negatives=own_negatives,
        teacher_given=teacher_given,
    )


WHOLE = (
    Unit("in-batch", 0, 1, 600, 1.0, 1.02, 0.42),  # 600 pairs of 60 tokens: 0.6, and two looks at dev, one at a mixture
    Unit("bm25", 1, 1, 600, 1.0, 1.72, 0.62),  # 600 of 110: 1.1, two looks, an encoding
    Unit("mined-1", 2, 1, 600, 0.5, 3.2, 1.66),  # 300 of 210: 1.05, for 300 pairs the teacher reads 9 documents: 0.5
    Unit("mined-2", 2, 2, 600, 0.5, 3.2, 1.66),  # and is judged: a look, and 150 x 30 documents
    Unit("distilled", 3, 1, 600, 1.0, 6.25, 1.66),  # 600 of 360: 3.6
)


def test_without_a_budget_everything_has_the_size_that_is_wanted() -> None:
    plan = planned(budget=None)
    assert plan.units == WHOLE
    assert (plan.dev_documents, plan.mining_documents) == (1200, None)
    assert (plan.teacher_lists, plan.teacher_minutes) == (1200, 17.6)  # two for a pair, of 8 x 110 tokens each
    assert plan.other_minutes == 1.67  # start, end, one interpolation, and the teacher over the end
    assert plan.minutes == pytest.approx(1.02 + 1.72 + 3.2 + 3.2 + 6.25 + 17.6 + 1.67)
    assert plan.left_out == ()
    assert planned(budget=40).units == WHOLE


def test_easy_stages_have_their_steps_before_harder_ones_have_any() -> None:
    plan = planned(budget=22)
    # 19.8 minutes are planned, of which 7.68 are fixed; 38 steps each for in-batch and bm25, 19 for each round of mined take
    # 4.79, three tenths of the teacher's training 5.28, and 2.05 are left of 4.59
    assert [unit.epochs for unit in plan.units] == [1.0, 1.0, 0.5, 0.5, 0.4488]
    assert [unit.minutes for unit in plan.units] == [1.02, 1.72, 3.2, 3.2, 3.71]
    assert (plan.teacher_lists, plan.teacher_minutes, plan.other_minutes) == (360, 5.28, 1.67)
    assert plan.minutes == pytest.approx(19.8, abs=0.03)
    assert plan.left_out == ()


def test_beyond_their_first_steps_stages_share_what_is_left() -> None:
    many: dict[str, Any] = {"stages": TWO, "pairs": 3200, "dev_queries": 0, "documents": 300, "interpolate": []}
    plan = planned(budget=8, **many)  # 7.2 minutes, of which 0.25 do not train; 200 steps each want 3.2 and 5.87
    assert [(unit.epochs, unit.minutes) for unit in plan.units] == [(0.7665, 2.5), (0.7665, 4.6)]  # 5.8 are their first 128
    plan = planned(budget=4, **many)  # 2.05 for the first 128 of a, the 1.3 that are left for 44 steps of b
    assert [(unit.epochs, unit.minutes) for unit in plan.units] == [(0.64, 2.1), (0.2219, 1.4)]


def test_a_teacher_is_given_up_where_it_would_be_trained_too_little() -> None:
    plan = planned(budget=15)  # 13.5 minutes, of which 7.68 are fixed and 3.74 are for the stages before: 1.1 of 17.6 are left
    assert [(unit.name, unit.epochs) for unit in plan.units] == [
        ("in-batch", 1.0),
        ("bm25", 1.0),
        ("mined-1", 0.5),
        ("mined-2", 0.5),
    ]
    assert plan.units[2].minutes == 1.67  # nothing is denoised, and nobody judged
    assert (plan.teacher_lists, plan.teacher_minutes, plan.other_minutes) == (0, 0, 0.63)
    assert plan.left_out == ("distilled: the budget has no room for a teacher",)


def test_a_teacher_that_is_given_takes_no_training() -> None:
    plan = planned(budget=None, teacher="some/reranker", teacher_given=True)
    assert plan.units == WHOLE
    assert (plan.teacher_lists, plan.teacher_minutes, plan.left_out) == (0, 0, ())


def test_without_a_teacher_the_stage_that_needs_one_is_left_out() -> None:
    plan = planned(budget=None, teacher="none")
    assert [unit.name for unit in plan.units] == ["in-batch", "bm25", "mined-1", "mined-2"]
    assert (plan.teacher_lists, plan.left_out) == (0, ("distilled: there is no teacher",))


def test_no_mined_negatives_no_teacher() -> None:
    plan = planned(budget=None, stages=[{"name": "a"}, {"name": "b", "negatives": "bm25"}])
    assert (plan.teacher_lists, plan.teacher_minutes, plan.left_out) == (0, 0, ())


TWO = [{"name": "a"}, {"name": "b", "negatives": "bm25", "training": {"negatives": 1}}]


def test_a_stage_that_would_have_too_few_steps_is_left_out_and_the_others_have_its_time() -> None:
    few: dict[str, Any] = {"stages": TWO, "pairs": 480, "dev_queries": 0, "documents": 300, "interpolate": []}
    both = planned(budget=None, **few)
    assert [(unit.epochs, unit.minutes) for unit in both.units] == [(1.0, 0.53), (1.0, 0.98)]  # 30 steps each
    enough = planned(budget=1.5, **few)  # 1.35, of which 0.25 do not train and 0.48 are for a: 21 steps
    assert [(unit.name, unit.epochs) for unit in enough.units] == [("a", 1.0), ("b", 0.7045)]
    less = planned(budget=1.3, **few)  # 15 steps
    assert [(unit.name, unit.epochs) for unit in less.units] == [("a", 1.0)]
    assert less.left_out == ("b: the budget has no room for it",)


def test_a_teacher_goes_with_the_last_stage_that_it_would_serve() -> None:
    plan = planned(budget=3, pairs=500, training={"epochs": 0.8})
    assert [unit.name for unit in plan.units] == ["in-batch", "mined"]
    assert (plan.teacher_lists, plan.teacher_minutes) == (0, 0)


def test_negatives_are_read_for_the_pairs_that_there_is_time_for() -> None:
    plan = planned(budget=60, pairs=1_000_000, teacher="some/reranker", teacher_given=True)  # for all, it would read for days
    assert [unit.name for unit in plan.units] == ["in-batch", "bm25", "mined-1", "mined-2", "distilled"]
    assert (plan.left_out, plan.mining_documents) == ((), None)
    assert plan.minutes == pytest.approx(54, abs=0.6)


def test_positives_beyond_the_documents_that_are_mined_are_counted() -> None:
    def fixed(pairs: int, count: int) -> list[float]:
        training = {"negatives": 0, "epochs": 0.3}
        stages = [{"name": name, "negatives": "bm25", "training": training} for name in "ab"[:count]]
        plan = planned(budget=60, pairs=pairs, documents=10**6, stages=stages, dev_queries=0, interpolate=[], dev_documents=100)
        assert plan.mining_documents == 48_600 // count
        assert {unit.epochs for unit in plan.units} == {0.3}
        return [unit.fixed for unit in plan.units]

    encoding = 48_600 * 100 / 600_000  # minutes
    assert fixed(50_000, 1) == [pytest.approx(0.02 + encoding, abs=0.01)]
    assert fixed(50_000, 2) == [pytest.approx(0.02 + encoding / 2 + 5_700 / 6000, abs=0.01)] * 2  # 30,000 positives in all


def test_looks_at_dev_are_counted() -> None:
    stages = [{"name": "a", "training": {"evaluations": 4}}]
    one, four = planned(budget=None, stages=[{"name": "a"}]), planned(budget=None, stages=stages)
    assert four.units[0].fixed - one.units[0].fixed == pytest.approx(3 * 0.21, abs=0.01)


def test_negatives_that_the_collection_brings_are_trained_on_from_the_start() -> None:
    stages = [{"name": "a"}, {"name": "b", "negatives": "bm25", "training": {"negatives": 1}}]
    plan, own = planned(budget=None, stages=stages), planned(budget=None, stages=stages, own_negatives=3.0)
    assert [unit.minutes for unit in plan.units] == [1.02, 1.72]
    assert [unit.minutes for unit in own.units] == [2.52, 1.72]  # 600 of 210 tokens; bm25's are drawn from them too


def test_a_teacher_s_own_options_are_planned() -> None:
    plan = planned(budget=None, reranker={"epochs": 1, "negatives": 15})
    assert (plan.teacher_lists, plan.teacher_minutes) == (600, 17.6)


@pytest.mark.parametrize(
    ("pairs", "epochs"),
    [(1, 3.0), (3000, 3.0), (3600, 2.5), (6000, 1.5), (9000, 1.0), (10**6, 1.0)],
)
def test_epochs_that_nobody_gave(pairs: int, epochs: float) -> None:
    plan = planned(budget=None, pairs=pairs, training={}, stages=[{"name": "a"}])
    assert [unit.epochs for unit in plan.units] == [epochs]


def test_epochs_that_were_given_count() -> None:
    stages = [{"name": "a"}, {"name": "b", "training": {"epochs": 1.0}}, {"name": "c", "training": {"epochs": 0.25}}]
    plan = planned(budget=None, training={"epochs": 2}, stages=stages)
    assert [unit.epochs for unit in plan.units] == [2.0, 1.0, 0.25]
    plan = planned(budget=None, training={"seed": 1}, stages=stages)
    assert [unit.epochs for unit in plan.units] == [3.0, 1.0, 0.25]
    plan = planned(budget=None, training={"epochs": 1}, stages=stages)  # the default, but asked for
    assert [unit.epochs for unit in plan.units] == [1.0, 1.0, 0.25]


def test_rounds_share_their_stages_epochs() -> None:
    stages = [{"name": "a"}, {"name": "b", "negatives": "bm25", "rounds": 3}]
    plan = planned(budget=None, pairs=64, stages=stages)  # 4 steps an epoch: a third is fewer than are worth it, and wanted
    assert [(unit.name, unit.stage, unit.round, unit.epochs) for unit in plan.units] == [
        ("a", 0, 1, 1.0),
        ("b-1", 1, 1, 0.3333),
        ("b-2", 1, 2, 0.3333),
        ("b-3", 1, 3, 0.3333),
    ]
    assert plan.left_out == ()


def test_no_more_negatives_are_counted_than_are_mined() -> None:
    def minutes(training: dict[str, Any], mining: dict[str, Any]) -> float:
        row = {"name": "a", "negatives": "bm25", "training": training, "mining": mining}
        return planned(budget=None, pairs=600, stages=[row]).units[0].minutes

    assert minutes({}, {"negatives": 2}) == 2.22  # 600 of 160 tokens: 1.6
    assert minutes({"negatives": 5}, {"negatives": 2}) == 2.22
    assert minutes({"negatives": 0}, {"negatives": 2}) == 1.22


@pytest.mark.parametrize(
    ("budget", "documents", "dev", "mining"),
    [
        (None, 10**6, 5000, None),
        (10, 10**6, 2700, 8099),  # 15 % of 9 minutes encode just below 8100 documents, 20 % four times 2700
        (10, 8100, 2700, 8099),
        (10, 8099, 2700, None),
        (10, 400, 400, None),
        (1, 10**6, 500, 1000),
        (1, 900, 500, None),
    ],
)
def test_documents_are_limited_to_what_there_is_time_to_encode(
    budget: float | None, documents: int, dev: int, mining: int | None
) -> None:
    stages = [{"name": "a"}, {"name": "b", "negatives": "bm25"}]
    plan = planned(budget=budget, documents=documents, stages=stages, interpolate=[], pairs=100)
    assert (plan.dev_documents, plan.mining_documents) == (dev, mining)


def test_fewer_dev_documents_where_fewer_are_asked_for() -> None:
    assert planned(budget=None, dev_documents=700).dev_documents == 700
    assert planned(budget=0.1, dev_documents=150).dev_documents == 150


@st.composite
def plans(draw: st.DrawFn) -> tuple[FitOptions, Plan, dict[str, int]]:
    """Plans of the usual curriculum, from a few pairs to millions, from slow machines to fast ones."""
    most = st.sampled_from([0.1, 1, 5, 30, 60, 600])
    training: dict[str, Any] = {"batch_size": draw(st.sampled_from([2, 16, 64]))}
    training |= draw(st.sampled_from([{}, {"epochs": 0.3}, {"epochs": 5}]))
    teacher = draw(st.sampled_from(["auto", "none", "some/reranker"]))
    given = {"budget": draw(st.none() | most), "training": training, "teacher": teacher}
    options = FitOptions.model_validate(given)
    train = draw(st.floats(100, 1e6))
    speeds = Speeds(train, train * draw(st.floats(1, 10)), *(draw(st.floats(1, 500)) for _ in range(3)))
    sizes = {
        "pairs": draw(st.integers(2, 3_000_000)),
        "dev_queries": draw(st.integers(1, 500)),
        "documents": draw(st.integers(2, 3_000_000)),
    }
    plan = make_plan(options, speeds, teacher_given=teacher == "some/reranker", **sizes)
    return options, plan, sizes


@given(plans())
def test_laws(drawn: tuple[FitOptions, Plan, dict[str, int]]) -> None:
    options, plan, sizes = drawn
    kept = list(dict.fromkeys(unit.stage for unit in plan.units))
    left = {reason.partition(":")[0] for reason in plan.left_out if "one round" not in reason}
    assert {options.stages[stage].name for stage in kept} | left == {"in-batch", "bm25", "mined", "distilled"}
    assert kept == sorted(kept)
    assert kept[0] == 0
    for stage in kept:
        rounds = [unit for unit in plan.units if unit.stage == stage]
        wanted = options.stages[stage].rounds
        fewer = any(f"room for one round, not {wanted}" in reason for reason in plan.left_out)
        assert [unit.round for unit in rounds] == list(range(1, (1 if fewer and wanted > 1 else wanted) + 1))
        assert len({(unit.epochs, unit.minutes) for unit in rounds}) == 1
        steps = PairSampler(count=sizes["pairs"], batch_size=options.training.batch_size, seed=0).steps_per_epoch
        most = 5 if options.training.epochs == 5 else 0.3 if options.training.epochs == 0.3 else 3
        assert 0 < rounds[0].epochs <= most
        assert len(kept) == 1 or rounds[0].epochs * steps >= 8 or options.budget is None or rounds[0].epochs * 2 >= 0.3
    assert min(500, sizes["documents"]) <= plan.dev_documents <= min(5000, sizes["documents"])
    assert plan.mining_documents is None or 1000 <= plan.mining_documents < sizes["documents"]
    assert (plan.teacher_lists > 0) <= (options.teacher == "auto" and 2 in kept)


@given(plans())
def test_a_plan_stays_within_its_budget(drawn: tuple[FitOptions, Plan, dict[str, int]]) -> None:
    options, plan, _ = drawn
    if options.budget is not None and plan.minutes > options.budget:  # looking at dev alone takes longer
        assert [(unit.stage, unit.epochs) for unit in plan.units] == [(0, 0.0001)]
        assert (plan.teacher_lists, plan.teacher_minutes) == (0, 0)


@given(plans())
def test_a_plan_survives_json(drawn: tuple[FitOptions, Plan, dict[str, int]]) -> None:
    _, plan, _ = drawn
    assert Plan.of(plan.as_dict()) == plan
    again = Plan.of(json.loads(json.dumps(plan.as_dict())))
    assert again == plan
    assert again.lines() == plan.lines()


def test_the_plan_as_a_person_reads_it() -> None:
    assert planned(budget=22).lines() == [
        "plan, about 20 minutes (1,000 tokens/s in training here):",
        "  1. in-batch             600 pairs x 1.00    1.0 min",
        "  2. bm25                 600 pairs x 1.00    1.7 min",
        "  3. mined-1              600 pairs x 0.50    3.2 min",
        "  4. mined-2              600 pairs x 0.50    3.2 min",
        "  5. distilled            600 pairs x 0.45    3.7 min",
        "     teacher              360 lists           5.3 min",
        "     dev and the rest                           1.7 min",
    ]
    taught = {"name": "b", "negatives": "mined", "teacher": True}
    assert planned(budget=None, stages=[{"name": "a"}, taught], teacher="none").lines() == [
        "plan, about 2 minutes (1,000 tokens/s in training here):",
        "  1. a                    600 pairs x 1.00    1.0 min",
        "     dev and the rest                           0.6 min",
        "  left out: b: there is no teacher",
    ]
