"""What is mined, on collections small enough to rank by hand."""

from __future__ import annotations

import math
import tempfile
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biencoder.data.collection import Collection
from biencoder.errors import ArgumentError, DataError, InputWarning, ModelError
from biencoder.mining import Mined, MiningOptions, mine, read_examples
from biencoder.records import Document, Example, Judgement, Query
from biencoder.scoring import FloatArray
from tests.mining.fakes import FakeTeacher, ScoredModel, collection, lines, negatives
from tests.search.fakes import FakeModel, Notes

# Ten documents that share no run of words; the model ranks them for q as they stand, 1.0 down to 0.1.
NAMES = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]
TEN = {name: f"{name}{name} says {name}" for name in NAMES}
SCORES = {text: round(1 - place / 10, 1) for place, text in enumerate(TEN.values())}
HARDEST = MiningOptions(pick="hardest", relative_margin=None)


def options(**changes: object) -> MiningOptions:
    return MiningOptions.model_validate({"pick": "hardest", "relative_margin": None} | changes)


def test_a_line_holds_the_pair_its_negatives_and_how_all_of_them_stand(tmp_path: Path) -> None:
    judged = collection(TEN, {"q": "the query"}, train={"q": {"c": 1}})
    done = mine(ScoredModel({"the query": SCORES}), judged, out=tmp_path / "n.jsonl", options=options(negatives=3))
    assert lines(tmp_path / "n.jsonl") == [
        {
            "query_id": "q",
            "query": "the query",
            "source": "model",
            "positive_id": "c",
            "positive_rank": 3,
            "positive_score": 0.8,
            "negative_ids": ["a", "b", "d"],
            "negative_ranks": [1, 2, 3],
            "negative_scores": [1.0, 0.9, 0.7],
            "positive": "cc says c",
            "negatives": ["aa says a", "bb says b", "dd says d"],
        }
    ]
    nothing = {"margin": 0, "near duplicate": 0, "teacher": 0}
    assert done == Mined(tmp_path / "n.jsonl", pairs=1, negatives=3, dropped=nothing, without_negatives=0, fresh=1)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"relative_margin": 0.05}, ["d", "e", "f", "g", "h", "i", "j"]),  # below 0.76
        ({"relative_margin": 0.2}, ["e", "f", "g", "h", "i", "j"]),  # below 0.64
        ({"absolute_margin": 0.0}, ["d", "e", "f", "g", "h", "i", "j"]),  # below 0.8
        ({"absolute_margin": 0.25}, ["f", "g", "h", "i", "j"]),  # below 0.55
        ({"absolute_margin": 0.25, "relative_margin": 0.5}, ["h", "i", "j"]),  # below 0.4 and 0.55
        ({"absolute_margin": 0.45, "relative_margin": 0.05}, ["h", "i", "j"]),  # below 0.35 and 0.76
        ({"first_rank": 2, "last_rank": 5}, ["b", "d", "e", "f"]),  # ranks are counted without c
        ({"first_rank": 9}, ["j"]),
        ({"first_rank": 10}, []),
    ],
)
def test_margins_and_windows(tmp_path: Path, changes: dict[str, object], expected: list[str]) -> None:
    judged = collection(TEN, {"q": "the query"}, train={"q": {"c": 1}})
    chosen = MiningOptions.model_validate(HARDEST.model_dump() | {"negatives": 20} | changes)
    done = mine(ScoredModel({"the query": SCORES}), judged, out=tmp_path / "n.jsonl", options=chosen)
    assert negatives(tmp_path / "n.jsonl") == {("q", "c"): expected}
    assert done.without_negatives == (not expected)
    in_window = min(9, chosen.last_rank) - chosen.first_rank + 1
    assert done.dropped["margin"] == max(0, in_window) - len(expected)


def test_unequal_numbers_of_positives_have_margins_of_their_own(tmp_path: Path) -> None:
    judged = collection(TEN, {"q1": "one", "q2": "two"}, train={"q1": {"b": 1, "e": 2, "h": 1, "a": 0}, "q2": {"f": 1}})
    model = ScoredModel({"one": SCORES, "two": {text: -score for text, score in SCORES.items()}})
    done = mine(model, judged, out=tmp_path / "n.jsonl", options=options(relative_margin=0.05, negatives=2))
    assert negatives(tmp_path / "n.jsonl") == {
        ("q1", "b"): ["c", "d"],  # below 0.855
        ("q1", "e"): ["f", "g"],  # below 0.57
        ("q1", "h"): ["i", "j"],  # below 0.285
        ("q2", "f"): ["e", "d"],  # all scores are negative: below -0.5 - 0.025
    }
    assert [line["positive_rank"] for line in lines(tmp_path / "n.jsonl")] == [2, 4, 6, 5]
    assert [line["negative_ranks"] for line in lines(tmp_path / "n.jsonl")] == [[2, 3], [4, 5], [6, 7], [5, 6]]
    assert (done.pairs, done.negatives, done.dropped["margin"]) == (4, 8, 1 + 3 + 5 + 4)


def test_below_a_negative_score_lies_further_from_zero(tmp_path: Path) -> None:
    judged = collection({name: TEN[name] for name in "abcd"}, {"q": "x"}, train={"q": {"b": 1}})
    scores = {TEN["a"]: -1.95, TEN["b"]: -2.0, TEN["c"]: -2.05, TEN["d"]: -2.2}
    mine(ScoredModel({"x": scores}), judged, out=tmp_path / "n.jsonl", options=options(relative_margin=0.05))
    assert negatives(tmp_path / "n.jsonl") == {("q", "b"): ["d"]}  # -2.1 is the limit


def test_what_is_relevant_anywhere_is_no_negative(tmp_path: Path) -> None:
    judged = collection(
        TEN,
        {"q1": "same words", "q2": "same words", "q3": "others"},
        train={"q1": {"a": 1, "e": 0}},
        dev={"q1": {"b": 1}},
        test={"q2": {"c": 1}, "q3": {"d": 1}},
    )
    mine(ScoredModel({"same words": SCORES}), judged, out=tmp_path / "n.jsonl", options=options(negatives=3))
    assert negatives(tmp_path / "n.jsonl") == {("q1", "a"): ["d", "e", "f"]}  # d is relevant for other words, e judged 0


def test_the_same_text_under_another_id_is_passed_over(tmp_path: Path) -> None:
    documents = {"copy of a": TEN["a"], **TEN, "copy of b": TEN["b"]}
    judged = collection(documents, {"q": "the query"}, train={"q": {"a": 1}})
    done = mine(ScoredModel({"the query": SCORES}), judged, out=tmp_path / "n.jsonl", options=options(last_rank=3))
    (line,) = lines(tmp_path / "n.jsonl")
    assert (line["negative_ids"], line["negative_ranks"]) == (["b", "c", "d"], [1, 2, 3])  # "copy of b" took no place
    assert (line["positive_rank"], sum(done.dropped.values())) == (1, 0)


@pytest.mark.parametrize("source", ["model", "bm25"])
def test_a_text_that_stands_there_many_times_does_not_fill_the_window(tmp_path: Path, source: str) -> None:
    documents = {f"copy {number}": TEN["b"] for number in range(30)} | TEN
    judged = collection(documents, {"q": "says the query"}, train={"q": {"a": 1}})
    model = ScoredModel({"says the query": SCORES})
    mine(model, judged, out=tmp_path / "n.jsonl", options=options(last_rank=4, source=source))
    (line,) = lines(tmp_path / "n.jsonl")
    assert len(line["negatives"]) == len(set(line["negatives"])) == 4
    assert line["negative_ranks"] == [1, 2, 3, 4]


def test_near_duplicates_of_any_positive_are_left_out(tmp_path: Path) -> None:
    body = " ".join(f"word{number}" for number in range(60))
    documents = {
        "p1": f"first {body}",
        "p2": "something else altogether, said in few words",
        "n1": f"first {body.replace('word30', 'other')}",
        "n2": "something  else altogether, said in few\nwords",
        "n3": "word1 word2 word3",
        "n4": "",
    }
    corpus = [Document(name, text, "title" if not text else "") for name, text in documents.items()]
    judged = Collection(
        documents=corpus, queries=[Query("q", "x")], judgements={"train": [Judgement("q", "p1"), Judgement("q", "p2")]}
    )
    table = {"x": {document.content: 1 - place / 10 for place, document in enumerate(corpus)}}
    done = mine(ScoredModel(table), judged, out=tmp_path / "n.jsonl", options=HARDEST)
    assert negatives(tmp_path / "n.jsonl") == {("q", "p1"): ["n3", "n4"], ("q", "p2"): ["n3", "n4"]}
    assert done.dropped == {"margin": 0, "near duplicate": 4, "teacher": 0}
    mine(ScoredModel(table), judged, out=tmp_path / "n.jsonl", options=options(near_duplicate=0.95))
    assert negatives(tmp_path / "n.jsonl")["q", "p1"] == ["n1", "n3", "n4"]  # n2 is p2 but for white space
    mine(ScoredModel(table), judged, out=tmp_path / "n.jsonl", options=options(near_duplicate=None))
    assert negatives(tmp_path / "n.jsonl")["q", "p1"] == ["n1", "n2", "n3", "n4"]


def test_a_query_that_is_a_document_is_not_its_own_negative(tmp_path: Path) -> None:
    judged = collection(TEN, {"a": TEN["a"], "b": "another text"}, train={"a": {"c": 1}, "b": {"c": 1}})
    model = ScoredModel({TEN["a"]: SCORES, "another text": SCORES})
    mine(model, judged, out=tmp_path / "n.jsonl", options=options(negatives=2))
    assert negatives(tmp_path / "n.jsonl") == {("a", "c"): ["b", "d"], ("b", "c"): ["a", "b"]}


def test_bm25_ranks_and_scores_without_a_model(tmp_path: Path) -> None:
    documents = {"p": "aspirin heart", "n1": "aspirin heart heart", "n2": "heart dose", "n3": "aspirin lung cell", "z": "sleep"}
    judged = collection(documents, {"q": "aspirin heart"}, train={"q": {"p": 1, "z": 1}})
    mine(None, judged, out=tmp_path / "n.jsonl", options=options(source="bm25"))
    first, second = lines(tmp_path / "n.jsonl")
    assert (first["source"], first["positive_rank"]) == ("bm25", 2)
    assert (first["negative_ids"], first["negative_ranks"]) == (["n1", "n2", "n3"], [1, 2, 3])  # z shares no word
    assert first["negative_scores"] == sorted(first["negative_scores"], reverse=True)
    assert first["negative_scores"][0] > first["positive_score"] > first["negative_scores"][1] > 0
    assert (second["positive_id"], second["positive_rank"], second["positive_score"]) == ("z", None, 0.0)

    mine(None, judged, out=tmp_path / "m.jsonl", options=options(source="bm25", relative_margin=0.05))
    assert negatives(tmp_path / "m.jsonl") == {("q", "p"): ["n2", "n3"], ("q", "z"): []}


def test_bm25_scores_a_positive_that_its_ranking_does_not_reach(tmp_path: Path) -> None:
    documents = {"p": "aspirin lung cell", "n1": "aspirin heart", "n2": "aspirin heart dose", "n3": "aspirin heart trial"}
    judged = collection(documents, {"q": "aspirin heart"}, train={"q": {"p": 1}})
    mine(None, judged, out=tmp_path / "n.jsonl", options=options(source="bm25", last_rank=1))
    (line,) = lines(tmp_path / "n.jsonl")
    assert (line["positive_rank"], line["negative_ids"]) == (None, ["n1"])
    assert 0 < line["positive_score"] < line["negative_scores"][0]


def test_with_a_model_bm25_ranks_and_the_model_scores(tmp_path: Path) -> None:
    documents = {"p": "aspirin", "n1": "aspirin heart heart", "n2": "aspirin heart dose", "n3": "aspirin lung", "z": "sleep"}
    judged = collection(documents, {"q": "aspirin heart"}, train={"q": {"p": 1}})
    scores = {"aspirin": 0.5, "aspirin heart heart": 0.1, "aspirin heart dose": 0.49, "aspirin lung": 0.2, "sleep": 0.4}
    chosen = options(source="bm25", relative_margin=0.05)
    mine(ScoredModel({"aspirin heart": scores}), judged, out=tmp_path / "n.jsonl", options=chosen)
    (line,) = lines(tmp_path / "n.jsonl")
    assert (line["source"], line["positive_score"]) == ("bm25", 0.5)
    assert (line["negative_ids"], line["negative_ranks"], line["negative_scores"]) == (["n1", "n3"], [1, 3], [0.1, 0.2])


def triples() -> Collection:
    rows: list[dict[str, Any]] = [
        {"query": "x", "positive": "p", "negatives": ["own one", "own two"], "scores": [2, 1, 0]},
        {"query": "x", "positive": "other p", "negatives": ["own two"], "scores": [3, 1]},
        {"query": "y", "positive": "a filler here"},
        {"query": "x", "positive": "own two", "split": "test"},
        {"query": "y", "positive": "p own", "grade": 0},
    ]
    return Collection.from_pairs(rows)


def test_the_collections_own_negatives_stand_in_front(tmp_path: Path) -> None:
    table = {"x": {"p": 0.5, "other p": 0.6, "own one": 0.9, "a filler here": 0.4, "p own": 0.3}, "y": {}}
    notes = Notes()
    mine(ScoredModel(table), triples(), out=tmp_path / "n.jsonl", options=options(relative_margin=0.05), progress=notes)
    remark = "the collection's own scores are left out, since mined negatives have none; give a teacher to score all"
    assert notes.said == [remark]
    first, second, third = lines(tmp_path / "n.jsonl")
    assert first["negatives"] == ["own one", "a filler here", "p own"]  # "own two" is relevant in the split test
    assert (first["negative_ranks"], first["negative_scores"]) == ([1, 2, 3], [0.9, 0.4, 0.3])
    assert second["negatives"] == ["a filler here", "p own"]
    assert third["negatives"] == []
    assert "scores" not in first


def test_an_own_negative_that_is_mined_too_stands_once(tmp_path: Path) -> None:
    table = {"x": {"p": 0.5, "other p": 0.6, "own one": 0.9, "a filler here": 0.4, "p own": 0.3}, "y": {}}
    done = mine(ScoredModel(table), triples(), out=tmp_path / "n.jsonl", options=HARDEST)
    assert lines(tmp_path / "n.jsonl")[0]["negatives"] == ["own one", "a filler here", "p own"]
    assert done.dropped == {"margin": 0, "near duplicate": 0, "teacher": 0}


def test_own_negatives_count_and_a_teacher_scores_but_keeps_them(tmp_path: Path) -> None:
    table = {"x": {"p": 0.5, "own one": 0.9, "a filler here": 0.4, "p own": 0.3}, "y": {}}
    teacher = FakeTeacher({"x": {"p": 1.5, "own one": 7, "p own": -3, "a filler here": 2}})
    for count, expected in ((1, ["own one"]), (2, ["own one", "p own"])):
        chosen = options(negatives=count)
        mine(ScoredModel(table), triples(), out=tmp_path / "n.jsonl", options=chosen, teacher=teacher)
        first = lines(tmp_path / "n.jsonl")[0]
        assert (first["negatives"], first["scores"]) == (expected, [1.5, 7, -3][: 1 + count])


def test_an_own_negative_outside_the_ranking_has_no_rank(tmp_path: Path) -> None:
    table = {"x": {"p": 0.5, "other p": 0.6, "own one": -0.9}, "y": {}}
    mine(ScoredModel(table), triples(), out=tmp_path / "n.jsonl", options=options(last_rank=1, negatives=1))
    (first, *_) = lines(tmp_path / "n.jsonl")
    assert (first["negatives"], first["negative_ranks"], first["negative_scores"]) == (["own one"], [None], [-0.9])


def test_the_teacher_refuses_what_it_takes_for_better_and_others_stand_in(tmp_path: Path) -> None:
    judged = collection(TEN, {"q1": "one", "q2": "two"}, train={"q1": {"c": 1, "e": 1}, "q2": {"c": 1}})
    logits = {"aa says a": 3.0, "bb says b": 1.0, "cc says c": 1.0, "dd says d": 0.9, "ee says e": 2.0, "ff says f": 4.0}
    teacher = FakeTeacher({"one": logits, "two": logits})
    model = ScoredModel({"one": SCORES, "two": SCORES})
    done = mine(model, judged, out=tmp_path / "n.jsonl", options=options(negatives=2), teacher=teacher)
    assert negatives(tmp_path / "n.jsonl") == {("q1", "c"): ["d", "g"], ("q1", "e"): ["b", "d"], ("q2", "c"): ["d", "g"]}
    assert [line["scores"] for line in lines(tmp_path / "n.jsonl")] == [[1.0, 0.9, 0.0], [2.0, 1.0, 0.9], [1.0, 0.9, 0.0]]
    assert done.dropped["teacher"] == 3 + 1 + 4  # for q2, e is a candidate too
    asked = [pair for call in teacher.calls for pair in call]
    assert len(asked) == len(set(asked)) == 2 * 7  # a to g, each once
    assert [len(call) for call in teacher.calls] == [7, 4, 2, 1]  # positives and two each; then those that stand in


@pytest.mark.parametrize(("denoise", "expected"), [(0.5, ["e"]), (0.7, ["d", "e"]), (1.0, ["a", "d"]), (None, ["a", "d"])])
def test_denoising_is_by_the_chance_of_being_better(tmp_path: Path, denoise: float | None, expected: list[str]) -> None:
    judged = collection(TEN, {"q": "one"}, train={"q": {"b": 1, "c": 1}})
    close = math.log(0.6 / 0.4)
    teacher = FakeTeacher({"one": {"aa says a": 60, "bb says b": 0, "dd says d": close, "ee says e": -1, "ff says f": 9}})
    chosen = options(negatives=2, last_rank=3, denoise=denoise)
    mine(ScoredModel({"one": SCORES}), judged, out=tmp_path / "n.jsonl", options=chosen, teacher=teacher)
    assert negatives(tmp_path / "n.jsonl")["q", "b"] == expected


@pytest.mark.parametrize(
    ("scores", "found"), [([1.0], "shape (1,)"), ([[1.0], [2.0], [3.0]], "shape (3, 1)"), ([1, math.nan, 2], "some that are")]
)
def test_a_teacher_that_gives_something_else(tmp_path: Path, scores: list[object], found: str) -> None:
    class Broken(FakeTeacher):
        def score(self, pairs: Sequence[tuple[str, str]]) -> FloatArray:
            del pairs
            return np.array(scores, dtype=np.float32)

    judged = collection(TEN, {"q": "one"}, train={"q": {"b": 1}})
    with pytest.raises(ModelError) as error:
        mine(ScoredModel({"one": SCORES}), judged, out=tmp_path / "n.jsonl", options=options(negatives=2), teacher=Broken({}))
    start = f"the teacher gave scores of {found}"
    assert str(error.value).startswith(start)
    assert str(error.value).endswith(" for 3 pairs; one finite number each was expected")


def test_a_random_pick_depends_on_the_seed_and_the_pair_alone(tmp_path: Path) -> None:
    queries = {f"q{number}": f"query {number}" for number in range(200)}
    model = ScoredModel(dict.fromkeys(queries.values(), SCORES))
    judged = collection(TEN, queries, train={name: {"j": 1, "i": 1} for name in queries})
    chosen = MiningOptions(relative_margin=None, negatives=2)
    mine(model, judged, out=tmp_path / "n.jsonl", options=chosen)
    drawn = negatives(tmp_path / "n.jsonl")
    assert drawn["q3", "j"] != drawn["q3", "i"] or drawn["q4", "j"] != drawn["q4", "i"]
    assert all(own == sorted(own) for own in drawn.values())  # written by rank
    counts = Counter(name for own in drawn.values() for name in own)
    assert set(counts) == set("abcdefgh")
    assert all(60 <= count <= 140 for count in counts.values())  # 100 is the mean, 9 the standard deviation
    fewer = collection(TEN, {"q7": "query 7"}, train={"q7": {"j": 1, "i": 1}})
    mine(model, fewer, out=tmp_path / "m.jsonl", options=chosen)
    assert negatives(tmp_path / "m.jsonl") == {pair: own for pair, own in drawn.items() if pair[0] == "q7"}
    mine(model, judged, out=tmp_path / "o.jsonl", options=chosen.model_copy(update={"seed": 1}))
    assert negatives(tmp_path / "o.jsonl") != drawn


def test_the_file_is_a_collection_of_triples_and_examples(tmp_path: Path) -> None:
    judged = collection(TEN, {"q": "naïve 🙂\u2028query"}, train={"q": {"c": 1, "e": 1}})
    text = "naïve 🙂\u2028query"
    teacher = FakeTeacher({text: {"cc says c": 9, "ee says e": 8}})
    mine(ScoredModel({text: SCORES}), judged, out=tmp_path / "n.jsonl", options=options(negatives=2), teacher=teacher)
    known = frozenset({"cc says c", "ee says e"})
    expected = [
        Example(text, "cc says c", ("aa says a", "bb says b"), (9.0, 0.0, 0.0), known),
        Example(text, "ee says e", ("aa says a", "bb says b"), (8.0, 0.0, 0.0), known),
    ]
    found = read_examples(tmp_path / "n.jsonl")
    assert found == expected
    assert found[0].negatives[0] is found[1].negatives[0]
    assert found[0].known_positives is found[1].known_positives
    with pytest.warns(InputWarning, match="columns that are not read: 'negative_ids', 'negative_ranks'"):
        triples = Collection.from_pairs(tmp_path / "n.jsonl")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)
        assert triples.examples("train") == expected


@given(st.data())
@settings(max_examples=60)
def test_no_known_positive_is_ever_a_negative(data: st.DataObject) -> None:
    words = ["aspirin", "heart", "dose", "cell"]
    text = st.lists(st.sampled_from(words), min_size=1, max_size=3).map(" ".join)
    documents = {f"d{place}": own for place, own in enumerate(data.draw(st.lists(text, min_size=1, max_size=12)))}
    queries = {f"q{place}": own for place, own in enumerate(data.draw(st.lists(text, min_size=1, max_size=5)))}
    grades = st.dictionaries(st.sampled_from(sorted(documents)), st.integers(-1, 2), min_size=1)
    split = st.dictionaries(st.sampled_from(sorted(queries)), grades, min_size=1)
    train, test = data.draw(split), data.draw(split)
    if not any(grade > 0 for own in train.values() for grade in own.values()):
        train["q0"] = {"d0": 1}
    judged = collection(documents, queries, train=train, test=test)
    chosen = MiningOptions(
        source=data.draw(st.sampled_from(["bm25", "model"])),
        negatives=data.draw(st.integers(1, 4)),
        relative_margin=data.draw(st.sampled_from([None, 0.05])),
        near_duplicate=data.draw(st.sampled_from([None, 0.8])),
    )
    model = None if chosen.source == "bm25" and data.draw(st.booleans()) else FakeModel(dimension=4, normalised=False)
    with tempfile.TemporaryDirectory() as folder:
        done = mine(model, judged, out=Path(folder) / "n.jsonl", options=chosen)
        found = lines(Path(folder) / "n.jsonl")
        examples = read_examples(Path(folder) / "n.jsonl")
    relevant = {
        text: {
            documents[document]
            for part in (train, test)
            for query, own in part.items()
            if queries[query] == text
            for document, grade in own.items()
            if grade > 0
        }
        for text in queries.values()
    }
    pairs = [(query, document) for query in queries for document, grade in train.get(query, {}).items() if grade > 0]
    assert [(line["query_id"], line["positive_id"]) for line in found] == pairs
    assert (done.pairs, done.negatives) == (len(pairs), sum(len(line["negatives"]) for line in found))
    for line, example in zip(found, examples, strict=True):
        assert relevant[line["query"]].isdisjoint(line["negatives"])
        assert example.known_positives.isdisjoint(example.negatives)
        assert len(set(line["negatives"])) == len(line["negatives"]) <= chosen.negatives
        assert all(documents[name] == own for name, own in zip(line["negative_ids"], line["negatives"], strict=True))
        if chosen.relative_margin is not None:
            limit = line["positive_score"] - 0.05 * abs(line["positive_score"])
            assert all(score < limit + 1e-5 for score in line["negative_scores"])


def test_what_cannot_be_mined(tmp_path: Path) -> None:
    judged = collection(TEN, {"q": "x"}, train={"q": {"a": 1}}, dev={"q": {"a": 0}})
    model = ScoredModel({"x": SCORES})
    out = tmp_path / "n.jsonl"
    with pytest.raises(
        ArgumentError, match=r"^source model needs a model, and none is given; give one, or choose source bm25$"
    ):
        mine(None, judged, out=out)
    with pytest.raises(ArgumentError, match=r"n\.json: the file's name must end in \.jsonl, so that it can be read as pairs$"):
        mine(model, judged, out=tmp_path / "n.json")
    with pytest.raises(ArgumentError, match=r"^vectors belong to a model, and none is given; give one, or leave vectors out$"):
        mine(None, judged, out=out, options=options(source="bm25"), vectors=tmp_path / "v")
    with pytest.raises(DataError, match=r"^there is no split 'tran' in this collection; there are: train, dev$"):
        mine(model, judged, out=out, split="tran")
    reason = r"^the split 'dev' has no relevant document to mine negatives for; grades above 0 are needed$"
    with pytest.raises(DataError, match=reason):
        mine(model, judged, out=out, split="dev")
    assert not list(tmp_path.iterdir())


def test_a_query_vector_that_is_not_finite(tmp_path: Path) -> None:
    class Broken(ScoredModel):
        def encode_queries(self, texts: Sequence[str]) -> FloatArray:
            return np.full((len(texts), self.dimension), math.nan, dtype=np.float32)

    judged = collection(TEN, {"q": "x"}, train={"q": {"a": 1}})
    reason = r"^the model gave a vector that is not finite for the query 'x'; its weights are damaged$"
    with pytest.raises(ModelError, match=reason):
        mine(Broken({"x": SCORES}), judged, out=tmp_path / "n.jsonl", options=options(source="bm25"))
