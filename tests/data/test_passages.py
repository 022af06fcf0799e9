from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biencoder.data.passages import PassageOptions, best_per_document, split_document
from biencoder.errors import ArgumentError
from biencoder.records import Document


def test_passages_overlap_and_the_last_one_is_whole() -> None:
    text = "a b c d e f g h"
    assert split_document(Document("d", text), PassageOptions(size=4, overlap=2)) == ["a b c d", "c d e f", "e f g h"]
    assert split_document(Document("d", text), PassageOptions(size=5, overlap=0)) == ["a b c d e", "d e f g h"]


def test_every_passage_has_the_title_and_its_own_white_space() -> None:
    document = Document("d", "  if x:\n    return\n  else:\n", "Code")
    assert split_document(document, PassageOptions(size=2, overlap=0)) == ["Code if x:", "Code return\n  else:"]


@pytest.mark.parametrize("text", ["", "  a  b ", "a b c"])
def test_a_short_document_is_its_content(text: str) -> None:
    document = Document("d", text, "T")
    assert split_document(document, PassageOptions(size=3, overlap=1)) == [document.content]


@given(words=st.integers(0, 200), size=st.integers(1, 40), overlap=st.integers(0, 39))
def test_passages_cover_the_text(words: int, size: int, overlap: int) -> None:
    if overlap >= size:
        return
    text = " ".join(map(str, range(words)))
    passages = [passage.split() for passage in split_document(Document("d", text), PassageOptions(size, overlap))]
    assert {word for passage in passages for word in passage} == set(text.split())
    if words > size:
        assert {len(passage) for passage in passages} == {size}
        for left, right in itertools.pairwise(passages):
            shared = set(left) & set(right)
            assert overlap <= len(shared) < size


@pytest.mark.parametrize(
    ("size", "overlap", "message"),
    [
        (0, 0, "the passage size is 0; it must be at least 1 word"),
        (5, 5, "the passage overlap is 5; it must be from 0 to 4, below the size"),
        (5, -1, "the passage overlap is -1; it must be from 0 to 4, below the size"),
    ],
)
def test_options_out_of_range(size: int, overlap: int, message: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        PassageOptions(size=size, overlap=overlap)
    assert str(caught.value) == message


def best(owners: list[int], scores: list[float], rows: list[int], k: int) -> tuple[list[float], list[int]]:
    values, documents = best_per_document(
        np.array(owners, dtype=np.int64), np.array(scores, dtype=np.float32), np.array(rows, dtype=np.int64), k=k
    )
    assert values.dtype == np.float32
    assert documents.dtype == np.int64
    return values.tolist(), documents.tolist()


def test_a_document_scores_as_its_best_passage() -> None:
    owners = [0, 0, 1, 2, 2]
    assert best(owners, [4, 3, 2, 1], [3, 4, 0, 2], 5) == ([4, 2, 1], [2, 0, 1])
    assert best(owners, [4, 3, 2, 1], [3, 4, 0, 2], 2) == ([4, 2], [2, 0])
    assert best(owners, [1, 1, 1], [4, 2, 1], 3) == ([1, 1, 1], [0, 1, 2])
    assert best(owners, [1, -5], [2, -1], 3) == ([1], [1])
    assert best(owners, [-5], [-1], 3) == ([], [])
    with pytest.raises(ArgumentError, match=r"^k is 0; it must be at least 1$"):
        best(owners, [1], [0], 0)


@given(data=st.data(), count=st.integers(1, 30), k=st.integers(1, 40))
def test_best_documents_against_a_dictionary(data: Any, count: int, k: int) -> None:
    owners = data.draw(st.lists(st.integers(0, 8), min_size=count, max_size=count))
    rows = data.draw(st.permutations(range(count)))[: data.draw(st.integers(0, count))]
    scores = data.draw(st.lists(st.integers(-3, 3).map(float), min_size=len(rows), max_size=len(rows)))
    table: dict[int, float] = {}
    for row, score in zip(rows, scores, strict=True):
        table[owners[row]] = max(score, table.get(owners[row], score))
    expected = sorted(table.items(), key=lambda item: (-item[1], item[0]))[:k]
    assert best(owners, scores, list(rows), k) == ([score for _, score in expected], [name for name, _ in expected])
