from __future__ import annotations

import math
from typing import Any

import ir_measures
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biencoder.errors import ArgumentError, DataError
from biencoder.evaluation.measures import _CANONICAL, parse_measure, parse_measures, per_query_values

# Grades 3, 2, 0, 1; the ranking is d3 (0), d2 (2), d1 (3), d9 (not judged); d4 (1) is missed.
GRADES = {"q": {"d1": 3, "d2": 2, "d3": 0, "d4": 1}}
RANKING = {"q": ["d3", "d2", "d1", "d9"]}
LINEAR_DCG = 2 / math.log2(3) + 3 / math.log2(4)
LINEAR_IDEAL = 3 / math.log2(2) + 2 / math.log2(3) + 1 / math.log2(4)
EXPONENTIAL_DCG = 3 / math.log2(3) + 7 / math.log2(4)
EXPONENTIAL_IDEAL = 7 / math.log2(2) + 3 / math.log2(3) + 1 / math.log2(4)


def value(measure: str, rankings: Any = None, grades: Any = None) -> float:
    parsed = parse_measure(measure)
    return per_query_values(rankings or RANKING, grades or GRADES, measures=[parsed])[parsed.name]["q"]


@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        ("nDCG@10", LINEAR_DCG / LINEAR_IDEAL),  # 2.7619 / 4.7619 = 0.58: linear gains
        ("nDCG@2", (2 / math.log2(3)) / (3 + 2 / math.log2(3))),
        ("nDCG", LINEAR_DCG / LINEAR_IDEAL),
        ("nDCG(gains={2: 3, 3: 7})@10", EXPONENTIAL_DCG / EXPONENTIAL_IDEAL),
        ("nDCG(judged_only=True)@2", (2 / math.log2(3)) / (3 + 2 / math.log2(3))),
        ("MRR@10", 1 / 2),
        ("MRR@1", 0.0),
        ("RR", 1 / 2),
        ("MRR(rel=3)@10", 1 / 3),
        ("Recall@2", 1 / 3),
        ("Recall@100", 2 / 3),
        ("R(rel=2)@3", 1.0),
        ("MAP@100", (1 / 2 + 2 / 3) / 3),
        ("AP@2", (1 / 2) / 3),
        ("P@3", 2 / 3),
        ("P@10", 2 / 10),
        ("Success@1", 0.0),
        ("Success@2", 1.0),
        ("Rprec", 2 / 3),
        ("Bpref", 0.0),  # the one judged irrelevant document stands above every relevant one
        ("Judged@4", 3 / 4),
    ],
)
def test_hand_computed_values(measure: str, expected: float) -> None:
    assert value(measure) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("measure", ["nDCG", "nDCG@5", "MRR@5", "R@5", "MAP", "P@5", "Success@5", "Rprec", "Bpref"])
def test_a_query_with_nothing_but_negative_grades(measure: str) -> None:
    # trec_eval itself crashes or hangs on these.
    for grades in ({"d6": -2}, {"d5": -2, "d2": -2}, {"d2": -1}):
        assert value(measure, {"q": ["d1", "d6", "d7", "d2", "d5"]}, {"q": grades}) == 0.0
    assert value("Judged@5", {"q": ["d1", "d6", "d7", "d2", "d5"]}, {"q": {"d6": -2, "d5": -2}}) == 2 / 5


def test_negative_grades_gain_nothing_and_are_not_relevant() -> None:
    grades = {"q": {"a": -2, "b": 1}}
    rankings = {"q": ["a", "b"]}
    assert value("nDCG@10", rankings, grades) == pytest.approx(1 / math.log2(3))
    assert value("MRR@10", rankings, grades) == 0.5
    assert value("P@1", rankings, grades) == 0.0


@pytest.mark.parametrize("measure", [*(f"{name}@10" for name in ("nDCG", "MRR", "R", "MAP", "P", "Success")), "Rprec"])
def test_zero_for_a_query_without_hits_or_without_a_relevant_document(measure: str) -> None:
    grades = {"found": {"a": 1}, "absent": {"a": 1}, "empty": {"a": 1}, "irrelevant": {"a": 0, "b": -1}, "bare": {}}
    rankings: dict[str, list[str]] = {"found": ["a"], "empty": [], "irrelevant": ["a"], "bare": ["a"], "other": ["a"]}
    parsed = parse_measure(measure)
    values = per_query_values(rankings, grades, measures=[parsed])[parsed.name]
    found = 0.1 if measure == "P@10" else 1.0
    assert values == {"found": found, "absent": 0.0, "empty": 0.0, "irrelevant": 0.0, "bare": 0.0}


def test_values_keep_the_order_of_the_judgements_beyond_one_block() -> None:
    count = 2500
    grades = {f"q{number}": {"a": 1} for number in range(count)}
    rankings = {f"q{number}": ["b"] * (number % 2) + ["a"] for number in reversed(range(count))}
    values = per_query_values(rankings, grades, measures=parse_measures(["MRR@10"]))["MRR@10"]
    assert values == {f"q{number}": 0.5 if number % 2 else 1.0 for number in range(count)}
    assert list(values) == list(grades)


def test_several_measures_with_different_parameters_do_not_disturb_each_other() -> None:
    together = per_query_values(
        RANKING,
        GRADES,
        measures=parse_measures(["nDCG(gains={2: 3, 3: 7})@10", "nDCG@10", "R(rel=2)@3", "R@3", "MRR@10", "MRR@1"]),
    )
    assert {name: values["q"] for name, values in together.items()} == {name: value(name) for name in together}
    assert together["nDCG@10"]["q"] != together["nDCG(gains={2: 3, 3: 7})@10"]["q"]


ALL = ["nDCG@5", "nDCG", "MRR@5", "MRR", "R@3", "MAP@4", "MAP", "P@3", "Success@2", "Rprec", "Bpref", "Judged@4"]
documents = st.sampled_from([f"d{number}" for number in range(8)])
judged = st.dictionaries(documents, st.integers(0, 3), min_size=1)


@given(judged, st.lists(documents, unique=True, min_size=1))
def test_the_same_as_ir_measures_on_plain_ids(grades: dict[str, int], ranking: list[str]) -> None:
    ours = per_query_values({"q": ranking}, {"q": grades}, measures=parse_measures(ALL))
    scores = {document: float(-rank) for rank, document in enumerate(ranking)}
    for measure in ALL:
        formula = parse_measure(measure).formula
        (theirs,) = ir_measures.iter_calc([formula], {"q": grades}, {"q": scores})
        assert ours[measure]["q"] == pytest.approx(theirs.value, abs=1e-12), measure


hostile = st.text(st.characters(), max_size=3)  # empty, white space, NUL and lone surrogates among them


@given(st.dictionaries(hostile, st.integers(-2, 4), max_size=6), st.lists(hostile, unique=True, max_size=8))
def test_measures_lie_between_0_and_1_whatever_the_ids(grades: dict[str, int], ranking: list[str]) -> None:
    for measure, values in per_query_values({"q": ranking}, {"q": grades}, measures=parse_measures(ALL)).items():
        assert 0.0 <= values["q"] <= 1.0, measure


@given(judged, st.permutations([f"d{number}" for number in range(8)]))
def test_the_best_ranking_scores_1(grades: dict[str, int], rest: list[str]) -> None:
    best = sorted(rest, key=lambda document: -max(grades.get(document, 0), 0))
    expected = 1.0 if max(grades.values()) > 0 else 0.0
    assert value("nDCG@8", {"q": best}, {"q": grades}) == pytest.approx(expected)
    assert value("R@8", {"q": best}, {"q": grades}) == expected


@pytest.mark.parametrize(
    ("written", "name", "formula", "depth"),
    [
        ("nDCG@10", "nDCG@10", "nDCG@10", 10),
        ("NDCG@10", "nDCG@10", "nDCG@10", 10),
        ("mrr@10", "MRR@10", "RR@10", 10),
        ("RR@10", "RR@10", "RR@10", 10),
        ("recall@100", "Recall@100", "R@100", 100),
        ("r@100", "R@100", "R@100", 100),
        ("map@1000", "MAP@1000", "AP@1000", 1000),
        ("Map", "MAP", "AP", 1000),
        ("precision@5", "Precision@5", "P@5", 5),
        (" p @ 005 ", "P@005", "P@5", 5),
        ("SUCCESS@1", "Success@1", "Success@1", 1),
        ("RPREC", "Rprec", "Rprec", 1000),
        ("R(rel=2)@5", "R(rel=2)@5", "R(rel=2)@5", 5),
        ("P(judged_only=True, rel=2)@5", "P(judged_only=True, rel=2)@5", "P(judged_only=True,rel=2)@5", 1000),
        ("nDCG(judged_only=True)@2000", "nDCG(judged_only=True)@2000", "nDCG(judged_only=True)@2000", 2000),
        ("nDCG@1000000", "nDCG@1000000", "nDCG@1000000", 1_000_000),
    ],
)
def test_notation(written: str, name: str, formula: str, depth: int) -> None:
    parsed = parse_measure(written)
    assert (parsed.name, str(parsed.formula), parsed.depth) == (name.replace("005", "5"), formula, depth)


def test_what_is_printed_can_be_read_again() -> None:
    for name in ["nDCG(gains={2: 3, 3: 7})@10", "P(judged_only=True, rel=2)@5", *ALL]:
        assert parse_measure(parse_measure(name).name) == parse_measure(name)


def test_measures_come_once_and_in_order() -> None:
    assert [measure.name for measure in parse_measures(["R@5", "ndcg@10", "nDCG@10", "r@5"])] == ["R@5", "nDCG@10"]
    assert [measure.name for measure in parse_measures("nDCG@10")] == ["nDCG@10"]


KNOWN = ", ".join(_CANONICAL)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("nDGC@10", f"measure 'nDGC@10' is unknown (did you mean nDCG?); known are {KNOWN}"),
        ("zzz", f"measure 'zzz' is unknown; known are {KNOWN}"),
        ("", "measure '' cannot be read; write a name and a cutoff, such as nDCG@10"),
        ("@10", "measure '@10' cannot be read; write a name and a cutoff, such as nDCG@10"),
        ("nDCG-10", "measure 'nDCG-10' cannot be read; write a name and a cutoff, such as nDCG@10"),
        ("Recall", "measure 'Recall' needs a cutoff; write Recall@10, for example"),
        ("P", "measure 'P' needs a cutoff; write P@10, for example"),
        ("Rprec@5", "measure 'Rprec@5' has a cutoff, but Rprec takes none"),
        *(
            (
                f"nDCG@{cutoff}",
                f"measure 'nDCG@{cutoff}' has the cutoff '{cutoff}'; it must be a whole number from 1 to 1,000,000",
            )
            for cutoff in ("", "0", "-1", "1.5", "ten", "1000001", "9" * 5000, "٣")
        ),
        ("nDCG(rel=2)@10", "measure 'nDCG(rel=2)@10' has the parameter 'rel'; it takes judged_only, gains"),
        ("Bpref(judged_only=True)", "measure 'Bpref(judged_only=True)' has the parameter 'judged_only'; it takes rel"),
        ("Judged(rel=1)@5", "measure 'Judged(rel=1)@5' has the parameter 'rel'; it takes none"),
        ("P(rel=0)@5", "measure 'P(rel=0)@5' has rel=0; it must be a whole number from 1 to 1,000,000"),
        ("P(rel=True)@5", "measure 'P(rel=True)@5' has rel=True; it must be a whole number from 1 to 1,000,000"),
        ("P(judged_only=1)@5", "measure 'P(judged_only=1)@5' has judged_only=1; it must be True or False"),
        *(
            (
                f"nDCG(gains={gains})",
                (
                    f"measure 'nDCG(gains={gains})' has gains={gains}; it must be grades and gains, both whole numbers of "
                    "at least 0, such as {1: 1, 2: 3}"
                ),
            )
            for gains in ("3", "{}", "{1: -1}", "{1: 0.5}", "{1: 1000001}")
        ),
        *(
            (
                measure,
                f"measure {measure!r} cannot be read; parameters are written (name=value), such as Recall(rel=2)@100",
            )
            for measure in (
                "P(2)@5",
                "P(rel=)@5",
                "P(rel=2, rel=3)@5",
                "P(rel=2)(rel=3)@5",
                "P(**3, **4)@5",
                "P(rel=open('x'))@5",
                "P(rel=2\0)@5",
                "P(" + "(" * 500 + ")@5",
            )
        ),
        (
            "MRR(judged_only=True)@10",
            "measure 'MRR(judged_only=True)@10' cannot be computed so; leave out the cutoff or a parameter",
        ),
    ],
)
def test_messages(written: str, message: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        parse_measure(written)
    assert str(caught.value) == message


def test_no_measure_at_all() -> None:
    with pytest.raises(ArgumentError, match=r"^no measure is given; give at least one, such as nDCG@10$"):
        parse_measures([])


@pytest.mark.parametrize("grade", [1_000_001, 1.0, "1", None])
def test_grades_that_cannot_be_used(grade: Any) -> None:
    with pytest.raises(DataError) as caught:
        value("nDCG@10", {"q": ["a"]}, {"q": {"a": grade}})
    assert str(caught.value) == (
        f"query 'q' has document 'a' with the grade {grade!r}; a grade must be a whole number of at most 1,000,000"
    )


@given(st.text())
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    refusal = ""
    try:
        assert parse_measure(text).depth >= 1
    except ArgumentError as error:
        refusal = str(error)
    assert "\n" not in refusal
