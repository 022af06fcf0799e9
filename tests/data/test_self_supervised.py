from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from biencoder.data.collection import Collection
from biencoder.data.self_supervised import self_supervised
from biencoder.errors import DataError
from biencoder.records import Document

THIRTEEN = "one two three four five six seven eight nine ten eleven twelve thirteen"


def made(collection: Collection) -> dict[str, tuple[str, str]]:
    """Document id to its query and to what is left of it."""
    left = {document.id: document.content for document in collection.documents}
    (split,) = collection.splits
    (grades,) = {frozenset(judged.values()) for judged in collection.judgements(split).values()}
    assert grades == {1}
    texts = {query.id: query.text for query in collection.queries(split)}
    return {
        document: (texts[query], left[document])
        for query, judged in collection.judgements(split).items()
        for document in judged
    }


def numbered(count: int, *, words: int = 20) -> list[Document]:
    return [Document(f"d{at}", " ".join(f"w{at}.{place}" for place in range(words))) for at in range(count)]


def test_a_title_asks_for_its_text_and_is_taken_out() -> None:
    documents = [Document("d", "one two three four five six seven eight", "A title", {"year": 1999})]
    found = self_supervised(documents, split="train", seed=0)
    assert made(found) == {"d": ("A title", "one two three four five six seven eight")}
    assert list(found.documents) == [replace(documents[0], title="")]
    assert [query.id for query in found.queries("train")] == ["made-d"]


def test_a_crop_asks_for_the_rest_and_is_taken_out() -> None:
    found = self_supervised([Document("0", THIRTEEN), Document("1", THIRTEEN)], split="train", seed=0)
    assert made(found) == {
        "0": ("five six seven eight nine", "one two three four ten eleven twelve thirteen"),
        "1": ("three four five six seven", "one two eight nine ten eleven twelve thirteen"),
    }
    examples = [(example.query, example.positive) for example in found.examples("train")]
    assert examples == list(made(found).values())


def test_scripts_that_do_not_part_words_are_cropped_by_characters() -> None:
    text = "阿司匹林是一种常用的解热镇痛药物，也用于预防血栓。"
    documents = [Document("0", text), Document("1", text, "阿司匹林"), Document("2", text[:12])]
    found = made(self_supervised(documents, split="train", seed=0))
    assert found.keys() == {"0", "1"}  # of twelve characters, eight have to remain
    query, left = found["0"]
    assert 5 <= len(query) <= 24
    start = text.index(query)
    assert left == text[:start] + text[start + len(query) :]
    assert found["1"] == ("阿司匹林", text)


def test_white_space_makes_no_long_words() -> None:
    table = (" " * 200).join(f"cell{number}" for number in range(20))
    (found,) = made(self_supervised([Document("0", table)], split="train", seed=0)).values()
    assert all(word.startswith("cell") for part in found for word in part.split())
    assert 5 <= len(found[0].split()) <= 12


def test_a_title_of_nothing_is_none() -> None:
    found = self_supervised([Document("0", THIRTEEN, " \n")], split="train", seed=0)
    assert made(found)["0"] == ("five six seven eight nine", " \n one two three four ten eleven twelve thirteen")


@pytest.mark.parametrize(
    ("words", "title", "asked"),
    [(7, "title", False), (8, "title", True), (12, "", False), (13, "", True)],
)
def test_documents_that_are_too_short_stay_whole_and_have_no_query(words: int, title: str, asked: bool) -> None:
    short = Document("short", " ".join(f"w{place}" for place in range(words)), title)
    found = self_supervised([short, Document("long", THIRTEEN)], split="train", seed=0)
    assert ("short" in made(found)) is asked
    assert (short in found.documents) is not asked


@given(
    words=st.lists(st.integers(13, 60), min_size=1, max_size=5),
    spaces=st.sampled_from([" ", "\n", "\t  "]),
    seed=st.integers(0, 1000),
)
def test_a_crop_and_the_rest_are_the_whole(words: list[int], spaces: str, seed: int) -> None:
    documents = [Document(f"d{at}", spaces.join(f"w{place}" for place in range(count))) for at, count in enumerate(words)]
    found = made(self_supervised(documents, split="train", seed=seed))
    assert list(found) == [document.id for document in documents]
    for document, (query, rest) in zip(documents, found.values(), strict=True):
        whole, crop, left = document.text.split(), query.split(), rest.split()
        start = whole.index(crop[0])
        assert whole[start : start + len(crop)] == crop
        assert whole[:start] + whole[start + len(crop) :] == left
        assert 5 <= len(crop) <= 24
        assert len(left) >= 8


def test_crops_are_of_all_lengths_and_from_all_places() -> None:
    found = made(self_supervised(numbered(400, words=32), split="train", seed=0)).values()
    crops = [query.split() for query, _ in found]
    assert {len(crop) for crop in crops} == set(range(5, 25))
    starts = {int(crop[0].partition(".")[2]) for crop in crops}
    ends = {int(crop[-1].partition(".")[2]) for crop in crops}
    assert (min(starts), max(ends)) == (0, 31)


def test_the_seed_decides() -> None:
    documents = numbered(30)
    first = made(self_supervised(documents, split="train", seed=1))
    assert made(self_supervised(documents, split="train", seed=1)) == first
    other = made(self_supervised(documents, split="train", seed=2))
    assert sum(other[name] == first[name] for name in first) < 10


def test_a_documents_query_does_not_depend_on_the_others() -> None:
    documents = numbered(30)
    first = made(self_supervised(documents, split="train", seed=1))
    assert made(self_supervised(documents[:9:-1], split="train", seed=1)) == {f"d{at}": first[f"d{at}"] for at in range(10, 30)}


def test_streaming_again_gives_the_same() -> None:
    documents = [*numbered(20), *(Document(f"e{at}", THIRTEEN, f"title {at}") for at in range(20)), Document("f", "short")]
    found = self_supervised(documents, split="train", seed=3, most=25)
    assert list(found.documents) == list(found.documents)
    assert len(found.documents) == 41
    assert [document.id for document in found.documents] == [document.id for document in documents]
    assert len({query for query, _ in made(found).values()}) == len(found.queries())


def test_documents_are_not_held() -> None:
    class Counted:
        """A corpus that is read from the beginning each time."""

        def __init__(self) -> None:
            self.read = 0

        def __len__(self) -> int:
            return 5

        def __iter__(self) -> Iterator[Document]:
            self.read += 1
            return iter(numbered(5))

    corpus = Counted()
    found = self_supervised(corpus, split="train", seed=0)
    before = corpus.read
    list(found.documents)
    assert corpus.read == before + 1


@given(most=st.integers(1, 40), seed=st.integers(0, 100))
def test_no_more_queries_than_are_asked_for(most: int, seed: int) -> None:
    documents = numbered(30)
    try:
        found = self_supervised(documents, split="train", seed=seed, most=most)
    except DataError:
        assert most < 5  # chance may take none of a few
        return
    asked = made(found)
    assert len(asked) <= most
    assert most < 30 or len(asked) == 30
    whole = {document.id: document.text for document in documents}
    for document in found.documents:
        assert (document.text == whole[document.id]) is (document.id not in asked)


def test_about_as_many_queries_as_are_asked_for_from_all_over() -> None:
    found = self_supervised(numbered(400), split="train", seed=0, most=100)
    places = [int(name[1:]) for name in made(found)]
    assert 80 <= len(places) <= 100
    assert sum(place < 200 for place in places) in range(35, 65)


def test_the_split_has_the_name_that_is_given() -> None:
    assert self_supervised(numbered(2), split="mine", seed=0).splits == ("mine",)


def test_none_is_long_enough() -> None:
    with pytest.raises(DataError) as caught:
        self_supervised([Document("d", "too short", "title"), Document("e", "one two three four")], split="train", seed=0)
    assert str(caught.value) == ("none of the 2 documents is long enough to make a query from; give queries and judgements")
