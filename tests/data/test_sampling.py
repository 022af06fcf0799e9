from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from biencoder.data.collection import Collection
from biencoder.data.sampling import sample
from biencoder.errors import DataError
from tests.data.forty import forty


def whole(*, reverse: bool = False) -> Collection:
    return forty("dev", test=range(10, 15), reverse=reverse)


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


WANTED = frozenset({"d20", "d21", "d35"})


@given(queries=st.integers(1, 12), documents=st.integers(1, 60), seed=st.integers(0, 50))
def test_wanted_documents_come_first_among_the_others(queries: int, documents: int, seed: int) -> None:
    plain = sample(whole(), "dev", queries=queries, documents=documents, seed=seed)
    small = sample(whole(), "dev", queries=queries, documents=documents, seed=seed, wanted=WANTED)
    kept, asked = ids(small)
    assert (len(kept), asked) == (len(ids(plain)[0]), ids(plain)[1])  # they take room from chance, and no more than that
    needed = {document for grades in small.judgements("dev").values() for document in grades}
    room = max(0, documents - len(needed))
    assert needed <= kept
    assert len(kept & WANTED - needed) == min(room, len(WANTED - needed))


def test_what_is_wanted_decides_in_the_place_of_chance() -> None:
    small = sample(whole(), "dev", queries=1, documents=5, seed=0, wanted=WANTED)
    (judged,) = small.judgements("dev").values()
    assert {document.id for document in small.documents} == {*judged, *WANTED}


def test_of_too_many_that_are_wanted_chance_takes_some() -> None:
    wanted = {f"d{number}" for number in range(20, 40)}
    drawn = [ids(sample(whole(), "dev", queries=1, documents=5, seed=seed, wanted=wanted))[0] & wanted for seed in range(20)]
    assert {len(names) for names in drawn} == {3}
    assert len(set(map(frozenset, drawn))) > 10


def test_what_is_wanted_and_not_there_takes_no_room() -> None:
    small = sample(whole(), "dev", queries=1, documents=5, seed=0, wanted={"x", "y", "z"})
    assert ids(small) == ids(sample(whole(), "dev", queries=1, documents=5, seed=0))
