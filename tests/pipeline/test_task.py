from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from biencoder.data.collection import Collection
from biencoder.data.sampling import sample
from biencoder.data.training_split import asked_apart
from biencoder.errors import ArgumentError, DataError
from biencoder.pipeline import FitOptions
from biencoder.pipeline.task import Task, dev_sample, read_task
from biencoder.records import Document, Judgement, Query
from tests.training.tasks import Interrupting


def options(**given: Any) -> FitOptions:
    return FitOptions.model_validate(given)


def read(collection: Collection, **given: Any) -> tuple[Task, list[str]]:
    notes = Interrupting(-1)
    return read_task(collection, options(**given), notes), notes.said


def pairs(*, count: int = 40, split: str = "train") -> Collection:
    """Each query has a document of its own."""
    return Collection(
        documents=[Document(f"d{number}", f"text {number}") for number in range(count)],
        queries=[Query(f"q{number}", f"query {number}") for number in range(count)],
        judgements={split: [Judgement(f"q{number}", f"d{number}") for number in range(count)]},
    )


def ids(records: Iterable[Document | Query]) -> set[str]:
    return {record.id for record in records}


def test_a_collection_with_both_splits_is_taken_as_it_is(tiny_collection: Collection) -> None:
    task, said = read(tiny_collection)
    assert task == Task(tiny_collection, tiny_collection.examples("train"), held_out=False, made_up=False)
    assert said == []


def test_splits_of_other_names(tiny_collection: Collection) -> None:
    task, said = read(tiny_collection, train_split="test", dev_split="train")
    assert task.examples == tiny_collection.examples("test")
    assert (task.collection, said) == (tiny_collection, [])


def test_dev_is_held_out() -> None:
    whole = pairs()
    task, said = read(whole, dev_share=0.2, dev_split="held", training={"seed": 3})
    assert said == ["no held split: 8 queries of train are held out"]
    assert (task.held_out, task.made_up) == (True, False)
    expected = whole.hold_out(share=0.2, seed=3, into="held", apart="query")
    assert task.collection.judgements("held") == expected.judgements("held")
    assert task.examples == expected.examples("train")
    held = {query.text for query in task.collection.queries("held")}
    assert len(held) == 8
    assert {example.query for example in task.examples} | held == {f"query {number}" for number in range(40)}
    assert held.isdisjoint(example.query for example in task.examples)


def shared_documents() -> Collection:
    """Two queries ask for each document."""
    return Collection(
        documents=[Document(f"d{number}", f"text {number}") for number in range(20)],
        queries=[Query(f"q{number}", f"query {number}") for number in range(40)],
        judgements={"train": [Judgement(f"q{number}", f"d{number // 2}") for number in range(40)]},
    )


def test_dev_may_ask_for_the_documents_of_train() -> None:
    task, said = read(shared_documents(), dev_share=0.2)
    asked = {document for judged in task.collection.judgements("train").values() for document in judged}
    known = sum(not asked.isdisjoint(judged) for judged in task.collection.judgements("dev").values())
    assert known > 0
    assert said == [f"no dev split: 8 queries of train are held out; {known} of them ask for documents that train asks for too"]


def test_dev_apart_by_document() -> None:
    whole = shared_documents()
    task, said = read(whole, dev_share=0.2, dev_apart="document")
    assert task.collection.judgements("dev") == whole.hold_out(share=0.2, seed=0).judgements("dev")
    assert asked_apart(task.collection, train="train", dev="dev") == set(task.collection.judgements("dev"))
    assert said == ["no dev split: 8 queries of train are held out"]


def test_queries_are_made_where_there_are_none() -> None:
    documents = [
        Document(f"d{number}", f"one two three four five six seven {number}", f"title {number}") for number in range(20)
    ]
    task, said = read(Collection(documents=documents), training={"seed": 1})
    assert (task.held_out, task.made_up) == (True, True)
    assert said == [
        (
            "no queries: 20 are made from the documents, each a title or a crop. What is learned from them is a start, and the "
            "dev score says nothing of real queries: collect some; a hundred pairs tell more"
        ),
        "no dev split: 4 queries of train are held out",
    ]
    held = {query.id.removeprefix("made-d") for query in task.collection.queries("dev")}
    assert [(example.query, example.positive) for example in task.examples] == [
        (f"title {number}", f"one two three four five six seven {number}") for number in range(20) if str(number) not in held
    ]


def test_queries_without_judgements_are_no_split_and_others_are_made() -> None:
    documents = [Document(f"d{number}", "one two three four five six seven eight", "title") for number in range(3)]
    documents += [Document("d3", "one two three four five six seven eight", "another")]
    task, _ = read(Collection(documents=documents, queries=[Query("q", "what?")]), dev_share=0.5)
    assert {example.query for example in task.examples} == {"title"}  # three of one text, on one side
    assert [query.text for query in task.collection.queries("dev")] == ["another"]


def test_documents_too_short_to_ask_for() -> None:
    with pytest.raises(DataError) as caught:
        read(Collection(documents=[Document("d", "short", "title"), Document("e", "one two three")]))
    expected = "none of the 2 documents is long enough to make a query from; give queries and judgements"
    assert str(caught.value) == expected


def test_no_such_split() -> None:
    with pytest.raises(DataError) as caught:
        read(pairs(split="trian"))
    assert str(caught.value) == ("the collection has no split 'train' to train on; did you mean 'trian'? there are: trian")


def test_nothing_relevant() -> None:
    whole = pairs()
    judgements = {"train": [Judgement("q1", "d1", 0)], "dev": [Judgement("q2", "d2")]}
    with pytest.raises(DataError) as caught:
        read(Collection(documents=whole.documents, queries=whole.queries(), judgements=judgements))
    assert str(caught.value) == "the split 'train' has no relevant document to train on; grades above 0 are needed"


def test_nothing_to_hold_out() -> None:
    with pytest.raises(ArgumentError) as caught:
        read(pairs(count=1))
    assert str(caught.value) == (
        "the 1 queries of 'train' cannot be parted: two at least are needed; add some, or a split of another origin"
    )


ASPIRIN = ["aspirin dose", "aspirin dose for the heart", "aspirin", "a day without aspirin", "aspirin and its many other uses"]


def haystack(*, straw: int = 60) -> Task:
    """One document answers the dev query; four share a word with it, and all others none."""
    documents = [Document(f"straw{number}", f"text {number}") for number in range(straw)]
    for place, text in enumerate(ASPIRIN):
        documents.insert(place * 9, Document(f"aspirin{place}", text))
    collection = Collection(
        documents=documents,
        queries=[Query("q", "which dose of aspirin?"), Query("t", "text")],
        judgements={"dev": [Judgement("q", "aspirin0")], "train": [Judgement("t", "straw1")]},
    )
    return Task(collection, collection.examples("train"), held_out=False, made_up=False)


@given(seed=st.integers(0, 99), documents=st.integers(10, 64))
def test_the_dev_sample_holds_what_keywords_confuse(seed: int, documents: int) -> None:
    task, chosen = haystack(), options(training={"seed": seed})
    found = dev_sample(task, chosen, documents=documents)
    assert {f"aspirin{place}" for place in range(5)} <= ids(found.documents)
    assert len(ids(found.documents)) == documents
    assert ids(found.queries()) == {"q"}
    assert found.judgements("dev") == {"q": {"aspirin0": 1}}
    assert ids(dev_sample(task, chosen, documents=documents).documents) == ids(found.documents)


def test_chance_alone_gives_the_sample_few_of_them() -> None:
    plain = sample(haystack().collection, "dev", queries=500, documents=10, seed=0)
    assert {name for name in ids(plain.documents) if name.startswith("aspirin")} == {"aspirin0", "aspirin2"}


def test_half_of_the_dev_sample_at_most_is_chosen_best_ranks_first() -> None:
    found = dev_sample(haystack(), options(), documents=4)
    named = {name for name in ids(found.documents) if name.startswith("aspirin")}
    assert named == {"aspirin0", "aspirin1"}  # both words of the query stand in these alone
    assert len(ids(found.documents)) == 4


def test_the_best_of_each_query_come_before_the_second_of_any() -> None:
    things = ["fever", "salt", "sugar"]
    documents = [Document(f"{thing}{place}", f"{thing} " * 3 + "word " * place) for thing in things for place in range(5)]
    documents += [Document(f"straw{number}", f"text {number}") for number in range(80)]
    queries = [Query(f"q{thing}", thing) for thing in things]
    judgements = {"dev": [Judgement(query.id, f"straw{place}") for place, query in enumerate(queries)]}
    task = Task(Collection(documents=documents, queries=queries, judgements=judgements), [], held_out=False, made_up=False)
    found = ids(dev_sample(task, options(), documents=12).documents)
    assert {name for name in found if not name.startswith("straw")} == {
        f"{thing}{place}" for thing in things for place in (0, 1)
    }
    assert {"straw0", "straw1", "straw2"} <= found
    assert len(found) == 12


def test_a_dev_sample_of_the_whole_has_all_documents_in_their_order(tiny_collection: Collection) -> None:
    task, _ = read(tiny_collection)
    for documents in (60, 1000):
        found = dev_sample(task, options(), documents=documents)
        assert list(found.documents) == list(tiny_collection.documents)
        assert found.judgements("dev") == tiny_collection.judgements("dev")


def test_a_dev_sample_has_as_many_queries_as_are_asked_for(tiny_collection: Collection) -> None:
    task, _ = read(tiny_collection)
    for documents in (30, 60):
        found = dev_sample(task, options(dev_queries=5, training={"seed": 2}), documents=documents)
        expected = sample(tiny_collection, "dev", queries=5, documents=documents, seed=2)
        assert ids(found.queries()) == ids(expected.queries())
        assert len(found.queries()) == 5
        assert found.judgements("dev") == expected.judgements("dev")
