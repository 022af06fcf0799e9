from __future__ import annotations

import math
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biencoder.errors import ArgumentError, CorruptError, DataError, StorageError
from biencoder.records import Document, Hit
from biencoder.search import KeywordOptions, KeywordSearcher
from biencoder.search.keywords import KeywordIndex, languages
from tests.search.fakes import corpus, tree

DOCUMENTS = [
    Document("d1", "Aspirin lowers the risk of cancer.", "Aspirin", {"year": 1}),
    Document("d2", "Ibuprofen against fevers."),
    Document("d3", "A fever."),
]


def bm25(texts: list[list[str]], query: list[str], *, k1: float = 0.9, b: float = 0.4) -> list[float]:
    """The Lucene variant, term by term."""
    mean = sum(map(len, texts)) / len(texts)
    scores = []
    for text in texts:
        score = 0.0
        for term in query:
            frequency, holders = Counter(text)[term], sum(term in other for other in texts)
            weight = math.log(1 + (len(texts) - holders + 0.5) / (holders + 0.5))
            score += weight * frequency / (frequency + k1 * (1 - b + b * len(text) / mean))
        scores.append(score)
    return scores


def test_hits_carry_the_document() -> None:
    found = KeywordSearcher.build(DOCUMENTS).search("aspirin")
    expected = bm25(
        [["aspirin", "aspirin", "lower", "risk", "cancer"], ["ibuprofen", "against", "fever"], ["fever"]], ["aspirin"]
    )
    assert found == [Hit(1, "d1", pytest.approx(expected[0]), "Aspirin", DOCUMENTS[0].text, {"year": 1})]  # type: ignore[arg-type]


def test_a_document_that_shares_no_term_is_no_hit() -> None:
    searcher = KeywordSearcher.build(DOCUMENTS)
    assert [hit.id for hit in searcher.search("Fever!", k=10**6)] == ["d3", "d2"]
    assert searcher.search("the of zzz", k=3) == []
    assert searcher.search("?!", k=3) == []


words = st.sampled_from(["red", "green", "blue", "black", "white"])


@settings(max_examples=40)
@given(
    st.lists(st.lists(words, max_size=6), min_size=1, max_size=8), st.lists(words, min_size=1, max_size=6), st.integers(1, 10)
)
def test_it_is_the_formula_and_ties_come_in_order(texts: list[list[str]], query: list[str], k: int) -> None:
    index = KeywordIndex.build([" ".join(text) for text in texts], options=KeywordOptions("none"))
    scores, rows = index.search(" ".join(query), k=k)
    expected = bm25(texts, query) if any(texts) else [0.0] * len(texts)
    order = sorted((row for row in range(len(texts)) if expected[row] > 0), key=lambda row: (-round(expected[row], 4), row))
    assert scores.tolist() == pytest.approx([expected[row] for row in order[:k]], rel=1e-5)
    assert [round(expected[row], 4) for row in rows] == [round(expected[row], 4) for row in order[:k]]
    assert len(set(rows.tolist())) == len(rows)


def test_equal_documents_come_in_their_order() -> None:
    searcher = KeywordSearcher.build([Document(f"d{row}", "the same words") for row in range(50)])
    assert [hit.id for hit in searcher.search("same words", k=5)] == ["d0", "d1", "d2", "d3", "d4"]


def test_saved_and_loaded_it_finds_the_same(tmp_path: Path) -> None:
    searcher = KeywordSearcher.build(corpus(100), options=KeywordOptions("german", k1=1.2, b=0.75))
    searcher.save(tmp_path / "k")
    again = KeywordSearcher.load(tmp_path / "k")
    assert again.search("aspirin heart", k=20) == searcher.search("aspirin heart", k=20)
    assert again.index.options == KeywordOptions("german", 1.2, 0.75)
    again.save(tmp_path / "k")
    files = tree(tmp_path / "k")
    assert {Path(name).suffix for name in files} == {".json", ".jsonl", ".npy"}
    assert not any(b"\x80\x04" in data[:16] or b"'O'" in data[:128] for data in files.values())  # no pickle, no objects


def test_another_folder_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_text("")
    with pytest.raises(StorageError, match=r"photos exists and is no folder of kind keywords that can be read"):
        KeywordSearcher.build(DOCUMENTS).save(tmp_path / "photos")


def test_a_flipped_byte_in_any_file_is_found(tmp_path: Path) -> None:
    place = tmp_path / "k"
    KeywordSearcher.build(DOCUMENTS).save(place)
    for name, data in tree(place).items():
        (place / name).write_bytes(data[:-3] + bytes([data[-3] ^ 1]) + data[-2:])
        with pytest.raises(CorruptError):
            KeywordSearcher.load(place)
        (place / name).write_bytes(data)
    (place / "keywords" / "options.json").write_text("{}")
    (place / "keywords" / "indptr.csc.index.npy").write_bytes(b"no array")
    with pytest.raises(CorruptError, match=r"keywords is damaged: it cannot be read \(.*\); build the folder again$"):
        KeywordIndex.load(place / "keywords")


def test_a_query_of_a_million_characters() -> None:
    searcher = KeywordSearcher.build(corpus(2000))
    start = time.perf_counter()
    hits = searcher.search("aspirin " * 125_000, k=3, texts=False)
    assert time.perf_counter() - start < 5
    assert [hit.id for hit in hits] == [hit.id for hit in searcher.search("aspirin", k=3)]


def test_many_threads_find_what_one_finds() -> None:
    searcher = KeywordSearcher.build(corpus(300))
    queries = ["aspirin", "hearts and lungs", "sleeping fevers"] * 30
    expected = searcher.search_many(queries, k=5)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda query: searcher.search(query, k=5), queries)) == expected


def test_documents_without_any_term() -> None:
    searcher = KeywordSearcher.build([Document("d1", "?"), Document("d2", "!")])
    assert searcher.search("question", k=2) == []


def test_what_cannot_be_built() -> None:
    with pytest.raises(ArgumentError, match=r"^there are no documents; at least one is needed$"):
        KeywordSearcher.build([])
    with pytest.raises(ArgumentError, match=r"^there are no documents; at least one is needed$"):
        KeywordIndex.build([])
    with pytest.raises(DataError, match=r"^the id 'd1' belongs to documents 1 and 4; ids must differ$"):
        KeywordSearcher.build([*DOCUMENTS, Document("d1", "again")])
    with pytest.raises(
        DataError, match=r"^the metadata of document 'd9' cannot be written as JSON \(.*set.*\); use plain values$"
    ):
        KeywordSearcher.build([Document("d9", "text", metadata={"a": {1}})])


def test_what_cannot_be_asked() -> None:
    searcher = KeywordSearcher.build(DOCUMENTS)
    for query in ("", " \n"):
        with pytest.raises(ArgumentError, match=r"^the query is empty; give it at least one word$"):
            searcher.search(query)
    with pytest.raises(ArgumentError, match=r"^k is 0; it must be at least 1$"):
        searcher.search("a", k=0)
    with pytest.raises(
        ArgumentError, match=r"^one string was given in place of a list of queries; put it in a list, or call search$"
    ):
        searcher.search_many("aspirin")
    with pytest.raises(ArgumentError, match=r"^query 2 of 2 is a int; a string was expected$"):
        searcher.search_many(["a", 3])  # type: ignore[list-item]
    assert searcher.search_many([]) == []


def test_options_out_of_range() -> None:
    with pytest.raises(
        ArgumentError, match=r"^there is no stemmer for language 'klingon'; choose one of: none, arabic, .*english"
    ):
        KeywordOptions("klingon")
    with pytest.raises(ArgumentError, match=r"^k1 is -1; it must be at least 0$"):
        KeywordOptions(k1=-1)
    with pytest.raises(ArgumentError, match=r"^b is 1.5; it must be between 0 and 1$"):
        KeywordOptions(b=1.5)


@pytest.mark.parametrize("language", languages())
def test_every_language_finds_its_own_word(language: str) -> None:
    searcher = KeywordSearcher.build(DOCUMENTS, options=KeywordOptions(language))
    assert [hit.id for hit in searcher.search("Ibuprofen")] == ["d2"]
