"""The compiled walk beside FAISS's own through the same graph."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from biencoder.errors import CorruptError
from biencoder.index import faiss_graph, hnsw, kernels
from biencoder.index.base import Value
from biencoder.index.faiss_index import FaissIndex
from biencoder.index.hnsw import HnswIndex
from biencoder.index.kernels import Codes, padded
from biencoder.index.native import compiled, multiplies_bytes
from biencoder.scoring import FloatArray, RowArray, normalise

K = 10
EFFORT = {"ef_search": 40, "candidates": 40}
DESIGNS: list[dict[str, Value]] = [
    {"codes": "float32", "dimension": 0, "rescore": "none"},
    {"codes": "float16", "dimension": 24, "rescore": "none"},
    {"codes": "int8", "dimension": 0, "rescore": "none"},
    {"codes": "float16", "dimension": 24, "rescore": "float32"},
    {"codes": "int8", "dimension": 24, "rescore": "float16"},
]
designs = pytest.mark.parametrize("design", DESIGNS, ids=lambda design: "-".join(map(str, design.values())))


def vectors(count: int, *, seed: int) -> FloatArray:
    """40 dimensions, of which the first differ most; no multiple of a cache line."""
    drawn = np.random.default_rng(seed).standard_normal((count, 40)) * np.linspace(2, 0.2, 40)
    return normalise(drawn.astype(np.float32))


MATRIX, QUERIES = vectors(3000, seed=0), vectors(200, seed=1)


def built(design: dict[str, Value]) -> HnswIndex:
    return HnswIndex.build(MATRIX, metric="cosine", parameters={**design, "ef_construction": 40})


def by_faiss(index: HnswIndex, monkeypatch: pytest.MonkeyPatch, **kwargs: Any) -> tuple[FloatArray, RowArray]:
    """What FAISS's own walk finds."""
    with monkeypatch.context() as patch:
        patch.setattr(HnswIndex, "_found", FaissIndex._found)
        return index.search(QUERIES, k=K, **kwargs)


def share(found: RowArray, expected: RowArray) -> float:
    return float(np.mean([len(set(a) & set(b)) / K for a, b in zip(found.tolist(), expected.tolist(), strict=True)]))


@designs
def test_it_finds_what_faiss_finds_in_the_same_graph(design: dict[str, Value], monkeypatch: pytest.MonkeyPatch) -> None:
    index = built(design)
    scores, rows = index.search(QUERIES, k=K, parameters=EFFORT)
    expected_scores, expected = by_faiss(index, monkeypatch, parameters=EFFORT)
    assert share(rows, expected) >= 0.985
    same = rows == expected
    np.testing.assert_allclose(scores[same], expected_scores[same], atol=2e-6)
    assert (np.diff(scores, axis=1) <= 0).all()
    truth = np.argsort(-(QUERIES @ MATRIX.T), axis=1)[:, :K]
    assert share(rows, truth) >= share(expected, truth) - 0.01


@designs
def test_from_a_file_and_alone_a_query_finds_the_same(design: dict[str, Value], tmp_path: Path) -> None:
    index = built(design)
    index.save(tmp_path)
    again = HnswIndex.load(tmp_path, metric="cosine", parameters=index.parameters)
    expected = index.search(QUERIES, k=K)
    for one, other in zip(expected, again.search(QUERIES, k=K), strict=True):
        np.testing.assert_array_equal(one, other)
    alone = [again.search(query[None], k=K) for query in QUERIES[:20]]
    np.testing.assert_array_equal(np.concatenate([rows for _, rows in alone]), expected[1][:20])


def test_threads_share_an_index_with_efforts_of_their_own() -> None:
    index = built({"codes": "int8", "rescore": "float16"})
    efforts = [10, 700, 50, 300] * 25
    expected = [index.search(QUERIES[:1], k=K, parameters={"ef_search": effort})[1].tolist() for effort in efforts]
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda effort: index.search(QUERIES[:1], k=K, parameters={"ef_search": effort})[1].tolist(), efforts)
        assert list(found) == expected


def test_more_effort_finds_more_until_all_is_found() -> None:
    index = built({"codes": "int8", "rescore": "float32"})
    truth = np.argsort(-(QUERIES @ MATRIX.T), axis=1)[:, :K]
    found = [
        share(index.search(QUERIES, k=K, parameters={"ef_search": effort, "candidates": effort})[1], truth)
        for effort in (10, 40, 160, 3000)
    ]
    assert found == sorted(found)
    assert found[0] < 0.9
    assert found[-1] >= 0.999


def test_a_thousand_results() -> None:
    index = built({})
    scores, rows = index.search(QUERIES[:3], k=1000)
    truth = np.argsort(-(QUERIES[:3] @ MATRIX.T), axis=1)[:, :1000]
    assert [len(set(row)) for row in rows.tolist()] == [1000] * 3
    assert np.mean([len(set(a) & set(b)) for a, b in zip(rows.tolist(), truth.tolist(), strict=True)]) >= 990
    np.testing.assert_allclose(scores, np.take_along_axis(QUERIES[:3] @ MATRIX.T, rows, axis=1), atol=1e-6)


@pytest.mark.parametrize("codes", ["float32", "float16", "int8"])
def test_scores_below_zero_keep_their_order(codes: str) -> None:
    """The far side of a sphere: all inner products are negative."""
    matrix = normalise(np.abs(np.random.default_rng(0).standard_normal((300, 16))).astype(np.float32))
    index = HnswIndex.build(matrix, metric="cosine", parameters={"codes": codes, "rescore": "float32"})
    scores, rows = index.search(-matrix[:1], k=300, parameters={"ef_search": 300})
    assert rows[0].tolist() == np.lexsort((np.arange(300), matrix @ matrix[0])).tolist()
    assert (scores < 0).all()


def test_of_equal_scores_the_lower_row_comes_first_and_zeros_are_equal() -> None:
    matrix = np.array([[0, 1], [0, -1], [1, 0], [0, 1], [-1, 0]], np.float32)
    for codes in ("float32", "float16"):
        index = HnswIndex.build(matrix, metric="dot", parameters={"codes": codes})
        scores, rows = index.search(np.array([[1, 0]], np.float32), k=5)
        assert (rows.tolist(), scores.tolist()) == ([[2, 0, 1, 3, 4]], [[1, 0, 0, 0, -1]])


def test_without_room_faiss_walks(monkeypatch: pytest.MonkeyPatch) -> None:
    index = built({"codes": "int8", "rescore": "float32"})
    monkeypatch.setattr(hnsw, "free_memory", lambda: 3000 * 100)
    _, rows = index.search(QUERIES, k=K, parameters=EFFORT)
    expected = by_faiss(index, monkeypatch, parameters=EFFORT)[1]
    np.testing.assert_array_equal(rows, expected)
    assert index._walk() is None


def test_with_a_limit_of_its_own_faiss_walks_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("Cannot allocate memory")

    index = built({})
    monkeypatch.setattr(faiss_graph, "roomy_zeros", refuse)
    assert index.search(QUERIES[:1], k=K)[1].shape == (1, K)
    assert index._walk() is None


@pytest.mark.parametrize("damage", ["entry", "level", "rescorer"])
def test_graphs_that_no_walk_can_be_trusted_to(damage: str, tmp_path: Path) -> None:
    """FAISS reads them without a word."""
    index = built({"codes": "int8", "rescore": "float16"})
    core = index._layers.core.hnsw
    if damage == "entry":
        core.entry_point = -1
    elif damage == "level":
        core.max_level = 14
    elif index._layers.rescorer is not None:
        index._layers.rescorer.ntotal = 1
    index.save(tmp_path)
    with pytest.raises(CorruptError, match=r"is damaged.*; build the index again$"):
        HnswIndex.load(tmp_path, metric="cosine", parameters=index.parameters).search(QUERIES[:1], k=1)


def test_great_efforts_are_bounded_by_the_rows() -> None:
    index = built({})
    for effort in (3000, 10**9, 2**62):
        assert index.search(QUERIES[:1], k=K, parameters={"ef_search": effort})[1].shape == (1, K)
    walk = index._walk()
    assert walk is not None
    assert len(walk._own_scratch(1).beam) == 3000


def test_to_be_prepared_is_to_have_the_walk() -> None:
    index = built({})
    assert index._opened is None
    index.prepare()
    assert index._opened == (index._walk(),)


def codes_of(count: int, width: int) -> Codes:
    drawn = np.random.default_rng(2).integers(0, 256, (count, width)).astype(np.uint8)
    return padded(drawn, np.ones(width, np.float32), np.zeros(width, np.float32))


@pytest.mark.parametrize("width", [1, 63, 64, 65, 200, 1024])
def test_products_of_bytes_are_exact_by_loops_and_by_instructions(width: int) -> None:
    matrix = codes_of(7, width).matrix
    query = np.zeros(matrix.shape[1], np.int8)
    query[:width] = np.random.default_rng(3).integers(-127, 128, width)
    by_loops, _, _, by_lines = (compiled(kernel) for kernel in kernels._near_kernels())
    expected = (matrix.astype(np.int64) @ query).tolist()
    assert [int(by_loops(matrix, row, query)) for row in range(7)] == expected
    if not multiplies_bytes():
        pytest.skip("this processor has no AVX-512 VNNI")
    assert [int(by_lines(matrix, row, query)) for row in range(7)] == expected


def test_padding_is_zero_and_rows_begin_cache_lines() -> None:
    matrix = codes_of(5, 70).matrix
    assert matrix.shape == (5, 128)
    assert matrix.ctypes.data % 64 == 0
    assert int(matrix[:, 70:].max()) == 0
