from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from biencoder.data.collection import Collection
from biencoder.data.sampling import sample
from biencoder.errors import DataError
from biencoder.records import Document, Judgement, Query
from tests.data.forty import forty


def whole(*, reverse: bool = False) -> Collection:
    return forty("train", test=range(8, 15), reverse=reverse)


def ids(collection: Collection) -> set[str]:
    return {document.id for document in collection.documents}


@given(queries=st.integers(1, 12), documents=st.none() | st.integers(1, 60), seed=st.integers(0, 50))
def test_laws(queries: int, documents: int | None, seed: int) -> None:
    part = whole().narrowed("train", queries=queries, documents=documents, seed=seed)
    train = part.judgements("train")
    assert len(train) == min(queries, 10)
    assert train == {query: whole().judgements("train")[query] for query in train}
    needed = {document for judged in train.values() for document in judged}
    assert needed <= ids(part)
    assert len(ids(part)) == (40 if documents is None else min(40, max(documents, len(needed))))
    known = part.judgements("test") if "test" in part.splits else {}
    there = {query: {name: 1 for name in judged if name in ids(part)} for query, judged in whole().judgements("test").items()}
    assert known == {query: judged for query, judged in there.items() if judged}
    assert {query.id for query in part.queries()} == {*train, *known}
    other = whole(reverse=True).narrowed("train", queries=queries, documents=documents, seed=seed)
    assert (other.judgements("train"), ids(other)) == (train, ids(part))


@given(queries=st.integers(1, 12), documents=st.integers(1, 39), seed=st.integers(0, 50))
def test_it_draws_as_a_sample_does(queries: int, documents: int, seed: int) -> None:
    part = whole().narrowed("train", queries=queries, documents=documents, seed=seed)
    other = sample(whole(), "train", queries=queries, documents=documents, seed=seed)
    assert (ids(part), part.judgements("train")) == (ids(other), other.judgements("train"))


@pytest.mark.parametrize("documents", [None, 3])
def test_the_collections_own_negatives_and_scores_stay(documents: int | None) -> None:
    rows = [
        {"query": f"q {number}", "positive": f"p {number}", "negatives": [f"n {number} {own}" for own in range(2)]}
        for number in range(9)
    ]
    collection = Collection.from_pairs([row | {"scores": [0.9, 0.2, 0.1]} for row in rows])
    part = collection.narrowed("train", queries=4, documents=documents, seed=1)
    examples = {example.query: example for example in collection.examples("train")}
    found = part.examples("train")
    assert len(found) == 4
    assert all(example == examples[example.query] for example in found)
    assert len(part.documents) == (27 if documents is None else 12)


@pytest.mark.parametrize("seed", range(5))
def test_what_is_asked_in_the_same_words_stays_together(seed: int) -> None:
    queries = [Query("q1", "x"), Query("q2", "x"), Query("q3", "y"), Query("q4", "z")]
    judged = [Judgement(f"q{number}", f"d{number}") for number in range(1, 5)]
    documents = [Document(f"d{number}", f"text {number}") for number in range(1, 9)]
    collection = Collection(documents=documents, queries=queries, judgements={"train": judged})
    part = collection.narrowed("train", queries=1, documents=2, seed=seed)
    assert set(part.judgements("train")) in ({"q1", "q2"}, {"q3"}, {"q4"})
    assert {document for own in part.judgements("train").values() for document in own} <= ids(part)


def test_all_documents_stay_where_they_are() -> None:
    collection = whole()
    assert collection.narrowed("train", queries=2, seed=0).documents is collection.documents
    assert collection.narrowed("train", queries=2, documents=40, seed=0).documents is collection.documents


def test_no_such_split() -> None:
    with pytest.raises(DataError, match="no split 'dev'"):
        whole().narrowed("dev", queries=4, seed=0)
