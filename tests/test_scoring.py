"""The oracle against loops that are slower still."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biencoder.errors import ArgumentError
from biencoder.scoring import FloatArray, cosine, dot, max_sim, normalise, top_k, truncate

NUMBERS = st.integers(-3, 3).map(float)


def matrices(width: int = 3) -> st.SearchStrategy[FloatArray]:
    rows = st.lists(st.lists(NUMBERS, min_size=width, max_size=width), min_size=1, max_size=5)
    return rows.map(lambda own: np.array(own, dtype=np.float32))


@given(queries=matrices(), documents=matrices())
def test_dot_and_cosine(queries: FloatArray, documents: FloatArray) -> None:
    dots, cosines = dot(queries, documents), cosine(queries, documents)
    assert dots.dtype == cosines.dtype == np.float32
    for row, query in enumerate(queries.tolist()):
        for column, document in enumerate(documents.tolist()):
            product = sum(a * b for a, b in zip(query, document, strict=True))
            lengths = math.hypot(*query) * math.hypot(*document)
            assert dots[row, column] == product
            assert cosines[row, column] == pytest.approx(product / lengths if lengths else 0.0, abs=1e-6)


@given(vectors=matrices())
def test_normalise(vectors: FloatArray) -> None:
    lengths = np.linalg.norm(normalise(vectors), axis=1)
    np.testing.assert_allclose(lengths, (vectors != 0).any(axis=1), atol=1e-6)
    np.testing.assert_allclose(normalise(normalise(vectors)), normalise(vectors), atol=1e-6)


@given(query=matrices(), document=matrices())
def test_max_sim(query: FloatArray, document: FloatArray) -> None:
    expected = sum(max(float(own @ other) for other in document) for own in query)
    assert max_sim(query, document) == expected


@given(vectors=matrices(4), dim=st.integers(1, 4))
def test_truncate(vectors: FloatArray, dim: int) -> None:
    np.testing.assert_array_equal(truncate(vectors, dim=dim), normalise(vectors[:, :dim]))


@pytest.mark.parametrize("dim", [-1, 0, 5])
def test_truncate_to_what_is_not_there(dim: int) -> None:
    with pytest.raises(ArgumentError, match=f"^dim is {dim}; it must be between 1 and the vectors' own 4$"):
        truncate(np.ones((2, 4), dtype=np.float32), dim=dim)


@given(scores=matrices(6), k=st.integers(1, 9))
def test_top_k(scores: FloatArray, k: int) -> None:
    values, columns = top_k(scores, k=k)
    for row, own in enumerate(scores.tolist()):
        expected = sorted(range(len(own)), key=lambda column: (-own[column], column))[:k]
        assert columns[row].tolist() == expected
        assert values[row].tolist() == [own[column] for column in expected]


@pytest.mark.parametrize("k", [0, -2])
def test_top_k_of_nothing(k: int) -> None:
    with pytest.raises(ArgumentError, match=f"^k is {k}; it must be at least 1$"):
        top_k(np.ones((1, 2), dtype=np.float32), k=k)
