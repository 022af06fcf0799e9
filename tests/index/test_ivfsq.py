"""Codes of bytes and half bytes, and the scan over them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from biencoder.errors import ArgumentError, CorruptError
from biencoder.index import ivfsq, scan
from biencoder.index.ivfsq import IvfSqIndex
from biencoder.index.native import compiled, multiplies_bytes
from biencoder.index.scalar_codes import basis, encode, shape_numbers, shape_of, steps
from biencoder.scoring import FloatArray, RowArray, normalise
from biencoder.storage.folder import folder_bytes

K = 10


def clustered(count: int, *, seed: int, dimension: int = 160) -> FloatArray:
    """Points around 50 centres, with dimensions that differ more and less."""
    drawn = np.random.default_rng(seed)
    centres = np.random.default_rng(9).standard_normal((50, dimension))
    noise = drawn.standard_normal((count, dimension)) * np.linspace(1.5, 0.1, dimension)
    return normalise((centres[drawn.integers(0, 50, count)] * 0.5 + noise).astype(np.float32))


MATRIX, QUERIES = clustered(4000, seed=0), clustered(100, seed=1)
TRUTH = np.argsort(-(QUERIES @ MATRIX.T), axis=1)[:, :K]


def share(found: RowArray) -> float:
    return float(np.mean([len(set(a) & set(b)) / K for a, b in zip(found.tolist(), TRUTH.tolist(), strict=True)]))


@pytest.fixture(scope="module")
def index() -> IvfSqIndex:
    return IvfSqIndex.build(MATRIX, metric="cosine", parameters={"lists": 64})


def test_more_lists_find_more_and_all_of_them_nearly_all(index: IvfSqIndex) -> None:
    found = [share(index.search(QUERIES, k=K, parameters={"nprobe": probes})[1]) for probes in (1, 4, 16, 64)]
    assert found == sorted(found)
    assert found[0] < 0.9
    assert found[-1] >= 0.93


def test_scores_are_inner_products_to_a_hundredth(index: IvfSqIndex) -> None:
    scores, rows = index.search(QUERIES, k=K, parameters={"nprobe": 64})
    true = np.take_along_axis(QUERIES @ MATRIX.T, rows, axis=1)
    assert float(np.abs(scores - true).max()) < 0.03
    assert float(np.sqrt(np.mean((scores - true) ** 2))) < 0.01
    assert (np.diff(scores, axis=1) <= 0).all()


def test_more_than_the_probed_lists_hold(index: IvfSqIndex) -> None:
    scores, rows = index.search(QUERIES[:2], k=4000, parameters={"nprobe": 1})
    assert np.sort(rows, axis=1).tolist() == [list(range(4000))] * 2
    assert (np.diff(scores, axis=1) <= 0).all()


def test_a_batch_finds_what_single_queries_find(index: IvfSqIndex) -> None:
    expected = index.search(QUERIES, k=K)
    alone = [index.search(query[None], k=K) for query in QUERIES]
    np.testing.assert_array_equal(np.concatenate([rows for _, rows in alone]), expected[1])
    np.testing.assert_array_equal(np.concatenate([scores for scores, _ in alone]), expected[0])


def test_fewer_dimensions_take_less_and_find_less(index: IvfSqIndex) -> None:
    short = IvfSqIndex.build(MATRIX, metric="cosine", parameters={"lists": 64, "dimension": 96})
    assert (short.dimension, short.row_bytes(), index.row_bytes()) == (160, 104, 136)
    less, more = (share(one.search(QUERIES, k=K, parameters={"nprobe": 64})[1]) for one in (short, index))
    assert 0.7 < less < more
    with pytest.raises(ArgumentError, match=r"^dimension is 161; the vectors have 160$"):
        IvfSqIndex.build(MATRIX, metric="cosine", parameters={"dimension": 161})


def test_its_files_are_as_large_as_it_says(index: IvfSqIndex, tmp_path: Path) -> None:
    index.save(tmp_path)
    lists = 64 * (160 * 4 + 8) + 160 * 160 * 4
    assert folder_bytes(tmp_path) == pytest.approx(4000 * index.row_bytes() + lists, rel=0.01)


def test_centres_by_a_graph_are_as_good(monkeypatch: pytest.MonkeyPatch, index: IvfSqIndex) -> None:
    monkeypatch.setattr(ivfsq, "CLUSTERED_BY_GRAPH_FROM", 32)
    by_graph = IvfSqIndex.build(MATRIX, metric="cosine", parameters={"lists": 64})
    for probes in (4, 16):
        found = share(by_graph.search(QUERIES, k=K, parameters={"nprobe": probes})[1])
        assert found >= share(index.search(QUERIES, k=K, parameters={"nprobe": probes})[1]) - 0.05


DAMAGE: list[tuple[str, Any]] = [
    ("codes", lambda array: array[:-1]),
    ("codes", lambda array: array[:, :10]),
    ("codes", np.asfortranarray),
    ("codes", lambda array: array.astype(np.int8)),
    ("rows", lambda array: array - 1),
    ("rows", lambda array: array + 1),
    ("rows", lambda array: array.astype(np.int64)),
    ("factors", lambda array: array[1:]),
    ("factors", lambda array: array.astype(np.float64)),
    ("starts", lambda array: array[:0]),
    ("starts", lambda array: array + 1),
    ("starts", lambda array: np.concatenate([array[:3], array[2:3] * 2, array[4:]])),
    ("centres", lambda array: np.concatenate([array, array])),
    ("centres", lambda array: np.ascontiguousarray(array[:, 1:])),
    ("basis", lambda array: array[0]),
    ("basis", lambda array: array[1:]),
    ("steps", lambda array: array[:1]),
    ("steps", lambda array: array[0]),
]


@pytest.mark.parametrize(("name", "change"), DAMAGE)
def test_files_that_do_not_belong_together_are_told(name: str, change: Any, index: IvfSqIndex, tmp_path: Path) -> None:
    """The scan is compiled without checks: what it is given must be sound."""
    index.save(tmp_path)
    IvfSqIndex.load(tmp_path, metric="cosine", parameters=index.parameters)
    np.save(tmp_path / f"{name}.npy", change(np.load(tmp_path / f"{name}.npy")))
    with pytest.raises(CorruptError, match=r"is damaged: its files do not belong together; build the index again$"):
        IvfSqIndex.load(tmp_path, metric="cosine", parameters=index.parameters)


@pytest.mark.parametrize("content", [None, b"", b"codes", b"PK\x03\x04", "short"])
def test_files_that_cannot_be_read_are_told(content: bytes | str | None, index: IvfSqIndex, tmp_path: Path) -> None:
    index.save(tmp_path)
    path = tmp_path / "codes.npy"
    if content is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] if isinstance(content, str) else content)
    with pytest.raises(CorruptError, match=r"codes.npy is damaged: it cannot be read \(.*\); build the index again$"):
        IvfSqIndex.load(tmp_path, metric="cosine", parameters=index.parameters)


def test_all_rows_of_many_are_sorted_out_as_few_are(index: IvfSqIndex) -> None:
    scores, rows = index.search(QUERIES[:1], k=3999, parameters={"nprobe": 64})
    assert len(set(rows[0].tolist())) == 3999
    few_scores, few = index.search(QUERIES[:1], k=300, parameters={"nprobe": 64})
    np.testing.assert_array_equal(rows[:, :300], few)
    np.testing.assert_array_equal(scores[:, :300], few_scores)


def test_a_query_of_nearly_nothing_and_one_of_nothing(index: IvfSqIndex) -> None:
    for query in (QUERIES[:1] * np.float32(1e-37), np.zeros((1, 160), np.float32)):
        scores, rows = index.search(query, k=3)
        assert np.abs(scores).max() <= 1e-35
        assert (rows >= 0).all()


def test_rows_that_are_their_centres_have_no_difference() -> None:
    matrix = np.eye(4, dtype=np.float32)
    index = IvfSqIndex.build(matrix, metric="cosine", parameters={"lists": 4})
    scores, rows = index.search(matrix[2:3], k=1)
    assert (rows.tolist(), scores.tolist()) == ([[2]], [[pytest.approx(1.0, abs=1e-6)]])


def decoded(shape: Any, code: Any, widths: FloatArray) -> FloatArray:
    """What a code stands for, before its factor."""
    wide = (code[: shape.wide].astype(np.float32) - 127.5) * widths[0]
    half_lines = code[shape.wide_bytes :].reshape(-1, 32)
    levels = np.concatenate([half_lines & 15, half_lines >> 4], axis=1).reshape(-1)[: shape.narrow]
    return np.concatenate([wide, (levels.astype(np.float32) - 7.5) * widths[1]])


@pytest.mark.parametrize("dimension", [10, 64, 100, 160, 200])
def test_codes_keep_the_inner_product_with_what_they_stand_for(dimension: int) -> None:
    """By its factor, a decoded row has with itself the inner product that it should have."""
    rows = clustered(300, seed=3, dimension=dimension)
    turn = basis(rows, dimension)
    np.testing.assert_allclose(turn @ turn.T, np.eye(dimension), atol=1e-5)
    turned, centres = rows @ turn.T, np.zeros((1, dimension), np.float32)
    shape, widths = shape_of(dimension), steps(turned)
    codes, factors = np.zeros((300, shape.size), np.uint8), np.empty(300, np.float32)
    encode(turned, centres, np.zeros(300, np.int32), np.arange(300)[::-1].copy(), shape_numbers(shape), widths, codes, factors)
    for number in range(300):
        again = factors[299 - number] * decoded(shape, codes[299 - number], widths)
        assert float(again @ turned[number]) == pytest.approx(1.0, abs=1e-4)
        assert float(np.linalg.norm(again - turned[number])) < 0.16


@pytest.mark.parametrize(("wide_bytes", "narrow_bytes"), [(64, 0), (64, 32), (128, 160), (192, 416)])
def test_products_are_exact_by_loops_and_by_instructions(wide_bytes: int, narrow_bytes: int) -> None:
    drawn = np.random.default_rng(4)
    code = drawn.integers(0, 256, wide_bytes + narrow_bytes).astype(np.uint8)
    query = drawn.integers(-127, 128, wide_bytes + 2 * narrow_bytes).astype(np.int8)
    half_lines = code[wide_bytes:].reshape(-1, 32)
    levels = np.concatenate([half_lines & 15, half_lines >> 4], axis=1).reshape(-1)
    expected = (
        int(code[:wide_bytes].astype(np.int64) @ query[:wide_bytes]),
        int(levels.astype(np.int64) @ query[wide_bytes:]),
    )
    by_loops, by_lines = (compiled(kernel) for kernel in scan._products_kernels())
    assert by_loops(code, query, wide_bytes, narrow_bytes) == expected
    if not multiplies_bytes():
        pytest.skip("this processor has no AVX-512 VNNI")
    assert by_lines(code, query, wide_bytes, narrow_bytes) == expected


@pytest.mark.parametrize("probes", [1, 7, 100, 499, 500])
def test_the_nearest_centres_are_the_nearest(probes: int) -> None:
    centres = scan.byte_codes(clustered(500, seed=5))
    query = np.zeros(centres.matrix.shape[1], np.int8)
    query[:160] = np.random.default_rng(6).integers(-127, 128, 160)
    none: Any = np.empty(0, np.float32)
    scores, bins, probed, best = (np.empty(size, kind) for size, kind in ((500, "i4"), (1024, "i4"), (500, "i8"), (1, "i8")))
    scratch = scan._Scratch(none, none, query, query, scores, bins, probed, best)
    count = scan._nearest_centres(centres, scratch, probes)
    assert probes <= count <= probes + 20
    products = centres.matrix.astype(np.int64) @ query
    expected = np.lexsort((np.arange(500), -products))[:probes]
    keys = scratch.probed[:count][::-1][:probes]
    assert [int(2**31 - 1 - ((key >> 1) & (2**31 - 1))) for key in keys] == expected.tolist()


def test_great_scores_do_not_leave_the_histogram() -> None:
    """Scores whose difference and whose own rounding disagree in the last bits."""
    half = np.concatenate([np.ones(2048), np.zeros(2048)]).astype(np.float32)
    centres = scan.byte_codes(np.stack([half, 1 - half]))
    query = np.full(4096, 127, np.int8)
    query[-1] = 124
    none: Any = np.empty(0, np.float32)
    scores, bins, probed, best = (np.zeros(size, kind) for size, kind in ((2, "i4"), (1025, "i4"), (2, "i8"), (1, "i8")))
    scratch = scan._Scratch(none, none, query, query, scores, bins[:1024], probed, best)
    assert scan._nearest_centres(centres, scratch, 1) == 1
    assert int(bins[1024]) == 0
