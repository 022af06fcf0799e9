from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from biencoder.records import Example
from biencoder.training.batch import draw_negatives, make_batch

DOCUMENTS = st.sampled_from("abcdef")
EXAMPLES = st.builds(
    Example,
    query=st.sampled_from("qrs"),
    positive=DOCUMENTS,
    negatives=st.lists(DOCUMENTS, max_size=3).map(tuple),
    known_positives=st.frozensets(DOCUMENTS, max_size=3),
)


@given(examples=st.lists(EXAMPLES, min_size=1, max_size=8))
def test_against_the_definition(examples: list[Example]) -> None:
    batch = make_batch(examples)
    known: dict[str, set[str]] = {}
    for example in examples:
        known[example.query] = known.get(example.query, set()) | {example.positive} | example.known_positives
    assert batch.queries == [example.query for example in examples]
    assert set(batch.documents) == {text for example in examples for text in (example.positive, *example.negatives)}
    assert len(set(batch.documents)) == len(batch.documents)
    targets = batch.targets
    for row, example in enumerate(examples):
        assert batch.documents[targets.columns[row]] == example.positive
        for column, text in enumerate(batch.documents):
            assert targets.ignored[row, column] == (text in known[example.query] and text != example.positive)
            assert targets.explicit[row, column] == (text in example.negatives)
        for column, other in enumerate(examples):
            assert targets.ignored_queries[row, column] == (row != column and example.positive in known[other.query])


def test_a_document_of_two_queries_is_one_column() -> None:
    batch = make_batch([Example("q", "a"), Example("r", "a"), Example("s", "b")])
    assert batch.documents == ["a", "b"]
    assert batch.targets.columns.tolist() == [0, 0, 1]
    assert batch.targets.ignored.tolist() == [[False, False]] * 3
    assert batch.targets.ignored_queries.tolist() == [[False, True, False], [True, False, False], [False, False, False]]


def test_pairs_of_one_query_that_do_not_know_of_each_other() -> None:
    batch = make_batch([Example("q", "a"), Example("q", "b")])
    assert batch.targets.ignored.tolist() == [[False, True], [True, False]]
    assert batch.targets.ignored_queries.tolist() == [[False, True], [True, False]]


def test_a_negative_that_is_a_known_positive_does_not_count() -> None:
    batch = make_batch([Example("q", "a", negatives=("b", "a", "c"), known_positives=frozenset("ab"))])
    assert batch.documents == ["a", "b", "c"]
    assert batch.targets.ignored.tolist() == [[False, True, False]]
    assert batch.targets.explicit.tolist() == [[True, True, True]]


def test_one_examples_negatives_serve_the_others() -> None:
    batch = make_batch([Example("q", "a", negatives=("c",)), Example("r", "b")])
    assert batch.targets.ignored.tolist() == [[False] * 3] * 2
    assert batch.targets.explicit.tolist() == [[False, False, True], [False] * 3]


def test_a_teachers_scores_stand_at_their_columns() -> None:
    batch = make_batch([Example("q", "a", ("c", "b"), (3.0, 1.0, 2.0)), Example("r", "b")])
    assert batch.documents == ["a", "b", "c"]
    assert batch.targets.teacher is not None
    assert batch.targets.teacher[0].tolist() == [3.0, 2.0, 1.0]
    assert all(math.isnan(score) for score in batch.targets.teacher[1].tolist())
    assert make_batch([Example("q", "a")]).targets.teacher is None


@given(examples=st.lists(EXAMPLES, min_size=1, max_size=8), count=st.integers(0, 4), seed=st.integers(0, 9))
def test_drawn_negatives(examples: list[Example], count: int, seed: int) -> None:
    scored = [
        Example(one.query, one.positive, one.negatives, (9.0, *map(float, range(len(one.negatives)))), one.known_positives)
        for one in examples
    ]
    drawn = draw_negatives(scored, count, seed=seed)
    assert drawn == draw_negatives(scored, count, seed=seed)
    assert draw_negatives(scored, None, seed=seed) == scored
    for before, after in zip(scored, drawn, strict=True):
        assert len(after.negatives) == min(count, len(before.negatives))
        assert after.scores is not None
        assert after.scores[0] == 9.0
        assert [before.negatives[int(score)] for score in after.scores[1:]] == list(after.negatives)


def test_every_seed_draws_others() -> None:
    example = Example("q", "p", tuple("abcdefgh"))
    assert {draw_negatives([example], 1, seed=seed)[0].negatives for seed in range(60)} == {(one,) for one in "abcdefgh"}
