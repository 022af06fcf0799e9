from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from biencoder.data.collection import Collection
from biencoder.errors import ArgumentError, DataError
from biencoder.records import Document, Judgement, Query


def collection(links: list[tuple[int, int]], *, texts: dict[int, str] | None = None) -> Collection:
    """Query and relevant document, by number."""
    queries = sorted({query for query, _ in links})
    documents = sorted({document for _, document in links})
    return Collection(
        documents=[Document(f"d{number}", f"document {number}") for number in documents],
        queries=[Query(f"q{number}", (texts or {}).get(number, f"query {number}")) for number in queries],
        judgements={"train": [Judgement(f"q{query}", f"d{document}") for query, document in links]},
    )


def test_the_share_moves_and_nothing_else_changes() -> None:
    whole = collection([(number, number) for number in range(100)])
    parted = whole.hold_out(share=0.2, seed=3)
    assert parted.splits == ("train", "dev")
    assert whole.splits == ("train",)
    kept, held = parted.judgements("train"), parted.judgements("dev")
    assert (len(kept), len(held)) == (80, 20)
    assert {**kept, **held} == whole.judgements("train")
    assert parted.queries() == whole.queries()
    assert parted.documents is whole.documents


def test_the_seed_decides_and_the_order_of_the_file_does_not() -> None:
    links = [(number, number) for number in range(100)]
    first = collection(links).hold_out(share=0.1, seed=1)
    assert sorted(first.judgements("dev")) == ["q10", "q27", "q32", "q37", "q45", "q70", "q73", "q74", "q83", "q94"]
    again = collection(links[::-1]).hold_out(share=0.1, seed=1)
    assert again.judgements("dev") == first.judgements("dev")
    assert collection(links).hold_out(share=0.1, seed=2).judgements("dev") != first.judgements("dev")


def test_queries_of_the_same_text_stay_together() -> None:
    texts = {number: f"Query  {number // 2}" if number % 2 else f"query {number // 2}" for number in range(40)}
    parted = collection([(number, number) for number in range(40)], texts=texts).hold_out(share=0.3, seed=0)
    dev = {int(name[1:]) for name in parted.judgements("dev")}
    assert dev == {number ^ 1 for number in dev}


def test_a_document_judged_irrelevant_does_not_connect() -> None:
    judgements = [Judgement(f"q{number}", f"d{number}") for number in range(4)]
    judgements += [Judgement(f"q{number}", "d0", 0) for number in range(1, 4)]
    whole = Collection(
        documents=[Document(f"d{number}", f"document {number}") for number in range(4)],
        queries=[Query(f"q{number}", f"query {number}") for number in range(4)],
        judgements={"test": judgements},
    )
    parted = whole.hold_out(share=0.5, seed=0, into="held", source="test")
    assert parted.splits == ("test", "held")
    assert len(parted.judgements("held")) == 2


def test_apart_by_query_alone() -> None:
    """Whatever documents they ask for; but not the same text on both sides."""
    links = [(number, number // 10) for number in range(100)]
    texts = dict.fromkeys(range(80, 100), "again and again")
    whole = collection(links, texts=texts)
    parted = whole.hold_out(share=0.1, seed=0, apart="query")
    kept, held = parted.judgements("train"), parted.judgements("dev")
    assert (len(kept), len(held)) == (90, 10)
    asked = {document for judged in kept.values() for document in judged}
    assert sum(not asked.isdisjoint(judged) for judged in held.values()) >= 9
    assert len({query in held for query in (f"q{number}" for number in range(80, 100))}) == 1
    by_document = whole.hold_out(share=0.1, seed=0).judgements("dev")
    assert {document for judged in by_document.values() for document in judged}.isdisjoint(
        {document for judged in whole.hold_out(share=0.1, seed=0).judgements("train").values() for document in judged}
    )


def test_queries_of_one_text_cannot_be_parted() -> None:
    whole = collection([(1, 1), (2, 2)], texts={1: "the same", 2: "The  same"})
    with pytest.raises(ArgumentError, match=r"^the 2 queries of 'train' cannot be parted: too many share their text;"):
        whole.hold_out(share=0.5, seed=0, apart="query")


def test_triples_move_with_their_queries() -> None:
    rows = [{"query": f"q{number}", "positive": f"p{number}", "negative": f"n{number}"} for number in range(10)]
    parted = Collection.from_pairs(rows).hold_out(share=0.3, seed=0)
    pairs = {(example.query, example.negatives) for split in ("train", "dev") for example in parted.examples(split)}
    assert pairs == {(f"q{number}", (f"n{number}",)) for number in range(10)}
    assert len(parted.examples("dev")) == 3


@given(
    links=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, unique=True),
    share=st.floats(0.01, 0.99),
    seed=st.integers(),
)
def test_nothing_leaks(links: list[tuple[int, int]], share: float, seed: int) -> None:
    whole = collection(links)
    try:
        parted = whole.hold_out(share=share, seed=seed)
    except ArgumentError as error:
        assert "cannot be parted" in str(error)  # noqa: PT017 - it need not be raised
        return
    kept, held = parted.judgements("train"), parted.judgements("dev")
    documents = [{document for judged in part.values() for document in judged} for part in (kept, held)]
    assert documents[0].isdisjoint(documents[1])
    assert {**kept, **held} == whole.judgements("train")
    assert 0 < len(held) <= max(1, round(share * (len(kept) + len(held))))


def test_what_cannot_be_held_out() -> None:
    whole = collection([(1, 1), (2, 1), (2, 2), (3, 2)])
    with pytest.raises(ArgumentError) as caught:
        whole.hold_out(share=0.5, seed=0)
    assert str(caught.value) == (
        "the 3 queries of 'train' cannot be parted: too many share relevant documents with each other; "
        "a greater share may work, or to hold them apart by query alone, or a split of another origin"
    )
    with pytest.raises(ArgumentError, match=r"^apart is 'documents'; choose one of query, document$"):
        whole.hold_out(share=0.5, seed=0, apart="documents")  # type: ignore[arg-type]
    for share in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(ArgumentError, match=rf"^share is {share}; it must lie between 0 and 1$"):
            whole.hold_out(share=share, seed=0)
    with pytest.raises(ArgumentError, match=r"^the split 'train' is there already; choose another name for what is held out$"):
        whole.hold_out(share=0.5, seed=0, into="train")
    with pytest.raises(ArgumentError, match=r"^the split is '\.\./x'; expected a name of letters"):
        whole.hold_out(share=0.5, seed=0, into="../x")
    with pytest.raises(DataError, match=r"^there is no split 'dev' in this collection; there are: train$"):
        whole.hold_out(share=0.5, seed=0, into="x", source="dev")
