from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from biencoder.errors import ArgumentError, DataError, StorageError
from biencoder.evaluation import Evaluation, evaluate, evaluate_run, format_evaluation, read_run, write_run
from biencoder.records import Hit, Query


@dataclass
class Judged:
    """A collection with one split."""

    grades: dict[str, dict[str, int]]
    texts: dict[str, str] = field(default_factory=dict)
    extra: tuple[str, ...] = ()

    def queries(self, split: str) -> list[Query]:
        assert split == "test"
        return [Query(query, self.texts.get(query, f"text of {query}")) for query in (*self.grades, *self.extra)]

    def judgements(self, split: str) -> dict[str, dict[str, int]]:
        assert split == "test"
        return self.grades


@dataclass
class Canned:
    """Answers by query text, and remembers what it was asked."""

    answers: dict[str, list[Hit]]
    calls: list[tuple[list[str], int]] = field(default_factory=list)

    def search_many(self, queries: Sequence[str], *, k: int) -> list[list[Hit]]:
        self.calls.append((list(queries), k))
        return [self.answers.get(query, [])[:k] for query in queries]


def hits(*ids: str) -> list[Hit]:
    return [Hit(rank, document, 1.0 / rank, text=f"about {document}") for rank, document in enumerate(ids, start=1)]


def test_measures_per_query_values_and_run() -> None:
    collection = Judged({"q1": {"a": 1}, "q2": {"b": 1}, "q3": {"c": 1}}, extra=("unjudged",))
    retriever = Canned({"text of q1": hits("a", "b"), "text of q2": hits("a", "b")})
    evaluation = evaluate(retriever, collection, measures=["mrr@10", "Recall@1"], collection_name="mine", retriever_name="BM25")
    assert evaluation == Evaluation(
        measures={"MRR@10": 0.5, "Recall@1": 1 / 3},
        per_query={"MRR@10": {"q1": 1.0, "q2": 0.5, "q3": 0.0}, "Recall@1": {"q1": 1.0, "q2": 0.0, "q3": 0.0}},
        queries=3,
        run={"q1": {"a": 1.0, "b": 0.5}, "q2": {"a": 1.0, "b": 0.5}, "q3": {}},
        split="test",
        collection="mine",
        retriever="BM25",
    )
    assert retriever.calls == [(["text of q1", "text of q2", "text of q3"], 11)]


def test_default_measures_fetch_the_deepest_cutoff_and_one_more() -> None:
    retriever = Canned({})
    evaluation = evaluate(retriever, Judged({"q": {"a": 1}}))
    assert evaluation.measures == {"nDCG@10": 0.0, "MRR@10": 0.0, "Recall@100": 0.0}
    assert retriever.calls == [(["text of q"], 101)]


def test_blocks_and_progress() -> None:
    collection = Judged({f"q{number}": {"a": 1} for number in range(7)})
    retriever = Canned({f"text of q{number}": hits("a") for number in range(7)})
    seen: list[tuple[int, int]] = []
    evaluation = evaluate(
        retriever, collection, measures="MRR@10", block_size=3, progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(3, 7), (6, 7), (7, 7)]
    assert [len(queries) for queries, _ in retriever.calls] == [3, 3, 1]
    assert evaluation.measures == {"MRR@10": 1.0}


@pytest.mark.parametrize(
    ("hit", "left_out"),
    [
        (Hit(1, "q", 2.0, text="the argument itself"), True),
        (Hit(1, "q", 2.0, text=" the argument\nitself "), True),
        (Hit(1, "q", 2.0, title="the argument", text="itself"), True),
        (Hit(1, "q", 2.0, title="a title", text="the argument itself"), True),
        (Hit(1, "q", 2.0, text="another text that is numbered alike"), False),
        (Hit(1, "q", 2.0), False),
        (Hit(1, "other", 2.0, text="the argument itself"), False),
    ],
)
def test_only_a_hit_of_the_same_id_and_text_is_the_querys_own(hit: Hit, left_out: bool) -> None:
    second = Hit(2, "a", 1.0, text="the counter-argument")
    retriever = Canned({"the argument itself": [hit, second]})
    collection = Judged({"q": {"a": 1}}, texts={"q": "the argument itself"})
    evaluation = evaluate(retriever, collection, measures=["Success@1"])
    assert retriever.calls == [(["the argument itself"], 2)]
    assert list(evaluation.run["q"]) == (["a"] if left_out else [hit.id])
    assert evaluation.measures == {"Success@1": 1.0 if left_out else 0.0}


def test_tied_scores_keep_the_retrievers_order() -> None:
    tied = [Hit(rank, document, 0.5) for rank, document in enumerate("zyxab", start=1)]
    evaluation = evaluate(Canned({"text of q": tied}), Judged({"q": {"z": 1}}), measures=["Success@1", "MRR@10", "nDCG"])
    assert evaluation.measures == {"Success@1": 1.0, "MRR@10": 1.0, "nDCG": 1.0}
    scores = list(evaluation.run["q"].values())
    assert scores == sorted(set(scores), reverse=True)


class Forgetful:
    def search_many(self, queries: Sequence[str], *, k: int) -> list[list[Hit]]:
        return [hits("a")[:k] for _ in queries[1:]]


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (
            lambda: evaluate(Canned({}), Judged({})),
            DataError,
            "split 'test' has no judgements; measures need queries with known answers",
        ),
        (
            lambda: evaluate(Canned({}), Judged({"q": {"a": 1}}), block_size=0),
            ArgumentError,
            "block_size is 0; it must be at least 1",
        ),
        (
            lambda: evaluate(Forgetful(), Judged({"q": {"a": 1}, "r": {"a": 1}})),
            ArgumentError,
            "the retriever answered 1 of 2 queries; it must answer each",
        ),
        (
            lambda: evaluate(Canned({"text of q": [*hits("a"), Hit(2, "b", 3.0)]}), Judged({"q": {"a": 1}})),
            ArgumentError,
            (
                "the retriever's hits for query 'q' cannot be used: rank 2 has the score 3.0, above the 1.0 of rank 1; hits "
                "must come best first"
            ),
        ),
        (
            lambda: evaluate(Canned({"text of q": hits("a", "a")}), Judged({"q": {"a": 1}})),
            ArgumentError,
            "the retriever gave a document twice for query 'q'; each may come once",
        ),
        (
            lambda: evaluate_run({"q": {"a": 1.0}}, {}),
            DataError,
            "there are no judgements; measures need queries with known answers",
        ),
        (
            lambda: evaluate_run({"x": {"a": 1.0}}, {"q1": {"a": 1}, "q2": {"a": 1}}),
            DataError,
            (
                "the run answers none of the 2 judged queries (such as 'q1'); run and judgements must be of the same "
                "collection and split"
            ),
        ),
        (
            lambda: evaluate_run({"q": {"a": 1.0}}, {"q": {"a": 1}}, measures=["MRR@10"]).values("nDCG@10"),
            ArgumentError,
            "nDCG@10 was not evaluated; there is MRR@10",
        ),
    ],
)
def test_messages(call: Callable[[], object], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value) == message


def test_a_judged_query_without_a_text() -> None:
    class Incomplete(Judged):
        def queries(self, split: str) -> list[Query]:
            return super().queries(split)[:1]

    with pytest.raises(DataError) as caught:
        evaluate(Canned({}), Incomplete({"q1": {"a": 1}, "q2": {"a": 1}, "q3": {"a": 1}}))
    assert str(caught.value) == (
        "split 'test' has judgements for 2 queries that are missing (such as 'q2'); every judged query needs its text"
    )


def test_a_run_is_measured_over_all_judged_queries() -> None:
    evaluation = evaluate_run(
        {"q1": {"a": 1.0, "b": 2.0}, "unjudged": {"a": 1.0}},
        {"q1": {"a": 1}, "q2": {"a": 1}},
        measures=["MRR@10"],
        split="dev",
    )
    assert evaluation.per_query == {"MRR@10": {"q1": 0.5, "q2": 0.0}}
    assert evaluation.run == {"q1": {"b": 2.0, "a": 1.0}}
    assert (evaluation.measures, evaluation.queries, evaluation.split) == ({"MRR@10": 0.25}, 2, "dev")


documents = st.sampled_from([f"d{number}" for number in range(10)])
rankings = st.dictionaries(st.sampled_from(["q1", "q2", "q3"]), st.lists(documents, unique=True), min_size=1)


@given(rankings, st.randoms())
def test_order_does_not_matter(ranking: dict[str, list[str]], shuffle: random.Random) -> None:
    grades = {query: {"d1": 1, "d2": 2, "d3": 0} for query in ("q1", "q2", "q3")}
    run = {query: {document: 1.0 / (1 + rank) for rank, document in enumerate(ids)} for query, ids in ranking.items()}
    shuffled = {
        query: dict(shuffle.sample(list(run[query].items()), len(run[query]))) for query in shuffle.sample(list(run), len(run))
    }
    turned = {query: dict(reversed(pairs.items())) for query, pairs in reversed(grades.items())}
    measures = ["nDCG@10", "MRR@10", "Recall@5", "MAP@10"]
    first = evaluate_run(run, grades, measures=measures)
    second = evaluate_run(shuffled, turned, measures=measures)
    assert first == second
    assert all(0.0 <= value <= 1.0 for value in first.measures.values())


def test_a_run_file_gives_the_same_measures(tmp_path: Path) -> None:
    collection = Judged({"q1": {"a": 1, "b": 3}, "q2": {"b": 1}})
    tied = [Hit(rank, document, 0.5) for rank, document in enumerate("cba", start=1)]
    evaluation = evaluate(Canned({"text of q1": tied, "text of q2": hits("a", "b")}), collection)
    write_run(evaluation.run, tmp_path / "run.trec")
    assert evaluate_run(read_run(tmp_path / "run.trec"), collection.grades, split="test") == evaluation


def test_json() -> None:
    evaluation = evaluate_run({"q": {"a": 1.0}}, {"q": {"a": 1}}, measures=["nDCG@10"], split="test")
    assert json.loads(json.dumps(evaluation.as_dict())) == {
        "measures": {"nDCG@10": 1.0},
        "queries": 1,
        "split": "test",
        "collection": "",
        "retriever": "",
    }


def test_values_in_another_notation() -> None:
    evaluation = evaluate_run({"q": {"a": 1.0}}, {"q": {"a": 1}}, measures=["MRR@10", "R@5"])
    assert evaluation.values("RR@10") is evaluation.per_query["MRR@10"]
    assert evaluation.values("recall@5") is evaluation.per_query["R@5"]


def test_a_written_evaluation_is_read_again(tmp_path: Path) -> None:
    judged = {"q 1": {"a": 1}, "ü\n": {"a": 1, "b": 2}}
    evaluation = evaluate_run({"ü\n": {"a": 2.0, "b": 1.0}}, judged, split="test")
    evaluation.write(tmp_path / "new" / "evaluation.json")
    again = Evaluation.read(tmp_path / "new" / "evaluation.json")
    assert again == replace(evaluation, run={})


GOOD: dict[str, Any] = {
    "measures": {"MRR@10": 0.5},
    "queries": 1,
    "split": "test",
    "collection": "",
    "retriever": "",
    "per_query": {"MRR@10": {"q": 0.5}},
}
EXPECTED = "expected what Evaluation.write or `biencoder evaluate` wrote"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"queries": "1"}, f"queries: Input should be a valid integer; {EXPECTED}"),
        ({"per_query": {"MRR@10": {"q": "x"}}}, f"per_query.MRR@10.q: Input should be a valid number; {EXPECTED}"),
        ({"per_query": {}}, "'measures' and 'per_query' must hold the same measures"),
        ({"measures": {}, "per_query": {}}, "'measures' and 'per_query' must hold the same measures"),
        ({"queries": 2}, "MRR@10 has 1 values, but 'queries' is 2"),
        ({"measures": {"MRR@10": float("nan")}}, "MRR@10 holds a value that is not a finite number"),
        (
            {"measures": {"Recall": 0.5}, "per_query": {"Recall": {"q": 0.5}}},
            "measure 'Recall' needs a cutoff; write Recall@10, for example",
        ),
    ],
)
def test_files_that_are_no_evaluation(change: dict[str, Any], problem: str, tmp_path: Path) -> None:
    file = tmp_path / "evaluation.json"
    file.write_text(json.dumps(GOOD))
    assert Evaluation.read(file).values("MRR@10") == {"q": 0.5}
    file.write_text(json.dumps(GOOD | change))
    with pytest.raises(DataError) as caught:
        Evaluation.read(file)
    assert str(caught.value) == f"{file}: {problem}"


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b"{}"])
def test_files_that_are_not_even_json_objects(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "evaluation.json"
    file.write_bytes(content)
    with pytest.raises(DataError) as caught:
        Evaluation.read(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert str(caught.value).endswith(EXPECTED)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught:
        Evaluation.read(tmp_path / "none.json")
    assert str(caught.value) == f"{tmp_path / 'none.json'}: No such file or directory"


def test_printed() -> None:
    evaluation = Evaluation({"nDCG@10": 0.64512, "Recall@100": 0.9}, {}, 1300, {}, "test", "scifact", "BM25")
    assert format_evaluation(evaluation) == ("nDCG@10     0.6451\nRecall@100  0.9000\nBM25, 1,300 queries, split test, scifact")
