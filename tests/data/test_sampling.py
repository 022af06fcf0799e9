from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from biencoder.data.collection import Collection
from biencoder.data.sampling import sample
from biencoder.errors import DataError
from biencoder.records import Document, Judgement, Query


def whole(*, reverse: bool = False) -> Collection:
    documents = [Document(f"d{number}", f"text {number}") for number in range(40)]
    queries = [Query(f"q{number}", f"query {number}") for number in range(15)]
    dev = [Judgement(f"q{number}", f"d{2 * number + own}", own) for number in range(10) for own in (0, 1)]
    test = [Judgement(f"q{number}", f"d{number}") for number in range(10, 15)]
    step = -1 if reverse else 1
    return Collection(documents=documents[::step], queries=queries[::step], judgements={"dev": dev, "test": test})


def ids(collection: Collection) -> tuple[set[str], set[str]]:
    return {document.id for document in collection.documents}, {query.id for query in collection.queries()}


@given(queries=st.integers(1, 20), documents=st.integers(1, 60), seed=st.integers(0, 50))
def test_laws(queries: int, documents: int, seed: int) -> None:
    small = sample(whole(), "dev", queries=queries, documents=documents, seed=seed)
    kept, asked = ids(small)
    assert asked <= {f"q{number}" for number in range(10)}
    assert len(asked) == min(queries, 10)
    judged = small.judgements("dev")
    assert judged == {query: grades for query, grades in whole().judgements("dev").items() if query in asked}
    needed = {document for grades in judged.values() for document in grades}
    assert needed <= kept
    assert len(kept) == min(40, max(documents, len(needed)))
    assert list(small.splits) == ["dev"]


@given(seed=st.integers(0, 50))
def test_the_order_of_the_collection_does_not_matter(seed: int) -> None:
    one = sample(whole(), "dev", queries=4, documents=12, seed=seed)
    other = sample(whole(reverse=True), "dev", queries=4, documents=12, seed=seed)
    assert ids(one) == ids(other)


def test_more_documents_keep_those_that_fewer_gave() -> None:
    fewer, more = (ids(sample(whole(), "dev", queries=4, documents=count, seed=3))[0] for count in (12, 30))
    assert fewer < more


def test_seeds_differ() -> None:
    assert len({frozenset(ids(sample(whole(), "dev", queries=4, documents=12, seed=seed))[1]) for seed in range(20)}) > 10


def test_no_such_split() -> None:
    with pytest.raises(DataError):
        sample(whole(), "train", queries=4, documents=12, seed=0)
