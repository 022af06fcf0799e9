"""One suite over every engine, against `scoring`."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import run

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from biencoder.cores import available_cores
from biencoder.errors import ArgumentError, CorruptError
from biencoder.index import (
    Capabilities,
    EngineOptions,
    VectorIndex,
    choose_engine,
    engine_class,
    engine_names,
    ivf,
    reduction,
)
from biencoder.index import exact as exact_module
from biencoder.index.base import Value
from biencoder.index.exact import ExactIndex, best_columns
from biencoder.index.hnsw import HnswIndex
from biencoder.index.ivf import IvfPqIndex
from biencoder.index.reduction import spread_sample
from biencoder.scoring import FloatArray, dot, normalise, top_k

ENGINES = [name for name in engine_names() if name != "auto"]
LEAST = {"exact": 1.0, "hnsw": 0.99, "ivfpq": 0.97, "ivfrabitq": 0.82, "ivfsq": 0.95, "qdrant": 0.99}
"""Recall@10 on 2,000 random vectors of 16 dimensions, which are harder than text: 32 lists of 64 are probed."""
TOLERANCE = {"exact": 1e-6, "hnsw": 1e-6, "ivfpq": 1e-3, "ivfrabitq": 0.1, "ivfsq": 2e-2, "qdrant": 1e-6}
"""Of scores: rescored ones are as exact as the format of the vectors kept for it."""
engines = pytest.mark.parametrize("engine", ENGINES)


def vectors(count: int, dimension: int = 16, *, seed: int = 0) -> FloatArray:
    drawn = np.random.default_rng(seed).standard_normal((count, dimension))
    return normalise(drawn.astype(np.float32))


def built(engine: str, matrix: FloatArray) -> VectorIndex:
    return engine_class(engine).build(matrix, metric="cosine")


@engines
def test_it_finds_what_the_oracle_finds(engine: str) -> None:
    matrix, queries = vectors(2000), vectors(50, seed=1)
    scores, rows = built(engine, matrix).search(queries, k=10)
    expected_scores, expected_rows = top_k(dot(queries, matrix), k=10)
    assert scores.dtype == np.float32
    assert rows.dtype == np.int64
    found = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(rows.tolist(), expected_rows.tolist(), strict=True)])
    assert found >= LEAST[engine]
    np.testing.assert_allclose(scores[:, 0], expected_scores[:, 0], atol=TOLERANCE[engine])
    assert (np.diff(scores, axis=1) <= 0).all()


@engines
def test_saved_and_loaded_it_finds_the_same(engine: str, tmp_path: Path) -> None:
    index, queries = built(engine, vectors(300)), vectors(5, seed=1)
    index.save(tmp_path)
    again = engine_class(engine).load(tmp_path, metric=index.metric, parameters=index.parameters)
    assert (len(again), again.dimension, again.metric, again.parameters) == (300, 16, "cosine", index.parameters)
    for one, other in zip(index.search(queries, k=300), again.search(queries, k=300), strict=True):
        np.testing.assert_array_equal(one, other)


@engines
@pytest.mark.parametrize("k", [1, 7, 8, 10**6])
def test_k_above_the_index_gives_all_of_it(engine: str, k: int) -> None:
    scores, rows = built(engine, vectors(8)).search(vectors(3, seed=1), k=k)
    assert scores.shape == rows.shape == (3, min(k, 8))
    if k >= 8:
        assert np.sort(rows, axis=1).tolist() == [list(range(8))] * 3


@engines
def test_equal_vectors_come_in_their_order(engine: str) -> None:
    """A thousand copies of one vector tear a graph apart; all of them must still be found."""
    matrix = np.repeat(vectors(2, 8), 1000, axis=0)
    scores, rows = built(engine, matrix).search(matrix[:1], k=2000)
    assert rows[0].tolist() == list(range(2000)) or not engine_class(engine).capabilities.exact
    assert sorted(rows[0].tolist()) == list(range(2000))
    assert rows[0, :1000].tolist() == list(range(1000))
    assert np.unique(scores[0, :1000]).tolist() == pytest.approx([1.0], abs=TOLERANCE[engine])


@engines
def test_lengths_count_where_vectors_are_not_normalised(engine: str) -> None:
    matrix = np.array([[1, 0], [3, 0], [2, 0]], dtype=np.float32)
    index = engine_class(engine).build(matrix, metric="dot")
    scores, rows = index.search(np.array([[2, 0]], dtype=np.float32), k=3)
    assert rows.tolist() == [[1, 2, 0]]
    np.testing.assert_allclose(scores, [[6, 4, 2]], atol=TOLERANCE[engine] if engine == "ivfsq" else 0)


@engines
def test_no_queries_give_no_hits(engine: str) -> None:
    scores, rows = built(engine, vectors(8)).search(np.empty((0, 16), np.float32), k=3)
    assert scores.shape == rows.shape == (0, 3)


@engines
@pytest.mark.parametrize(
    ("queries", "k", "message"),
    [
        (vectors(1), 0, "k is 0; it must be at least 1"),
        (vectors(1), -3, "k is -3; it must be at least 1"),
        (vectors(1)[0], 1, "queries have shape (16,); (n, 16) was expected"),
        (vectors(1, 15), 1, "queries have shape (1, 15); (n, 16) was expected"),
        (vectors(1).astype(np.int32), 1, "queries are int32; floating-point numbers were expected"),
        (np.full((1, 16), np.nan, np.float32), 1, "a query vector is not finite: it holds NaN or infinity"),
        (np.full((1, 16), 1e300), 1, "a query vector is not finite: it holds NaN or infinity"),
    ],
)
def test_queries_that_do_not_fit(engine: str, queries: FloatArray, k: int, message: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        built(engine, vectors(8)).search(queries, k=k)
    assert str(caught.value) == message


@pytest.mark.parametrize("engine", ["ivfpq", "ivfrabitq", "ivfsq"])
def test_numbers_beyond_what_kmeans_takes_are_refused(engine: str) -> None:
    matrix = vectors(300)
    matrix[7, 3] = -1e19
    with pytest.raises(ArgumentError) as caught:
        built(engine, matrix)
    assert str(caught.value) == f"the vector in row 7 holds 1e+19; engine {engine} takes numbers up to 1e+15"


@engines
@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.zeros((2, 2)), "vectors are float64 of shape (2, 2); a float32 matrix was expected"),
        (np.zeros(2, np.float32), "vectors are float32 of shape (2,); a float32 matrix was expected"),
        (np.zeros((0, 2), np.float32), "there are no vectors to index; at least one is needed"),
        (np.array([[0, 1], [np.inf, 0]], np.float32), "the vector in row 1 is not finite: it holds NaN or infinity"),
    ],
)
def test_vectors_that_cannot_be_indexed(engine: str, matrix: FloatArray, message: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        engine_class(engine).build(matrix, metric="dot")
    assert str(caught.value) == message


@engines
def test_progress_ends_with_all_rows(engine: str) -> None:
    told: list[tuple[int, int]] = []
    quick = {"ef_construction": 8} if engine in {"hnsw", "qdrant"} else {}
    engine_class(engine).build(
        vectors(9000, 4), metric="cosine", parameters=quick, progress=lambda done, total: told.append((done, total))
    )
    assert told[-1] == (9000, 9000)
    assert told == sorted(told)


@engines
def test_many_threads_find_what_one_finds(engine: str) -> None:
    index, queries = built(engine, vectors(1500)), vectors(64, seed=1)
    expected = index.search(queries, k=5)[1]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda row: index.search(queries[row : row + 1], k=5)[1][0], range(64)))
    assert np.mean(np.array(found) == expected) >= (1.0 if index.capabilities.exact else 0.99)


SHORT: dict[str, Value] = {
    "dimension": 12,
    "reduction": "truncate",
    "codes": "float16",
    "rescore": "float32",
    "candidates": 256,
}
VARIANTS: list[tuple[str, dict[str, Value], float, float]] = [
    ("hnsw", {"codes": "float16"}, 0.99, 1e-3),
    ("hnsw", {"codes": "int8"}, 0.95, 2e-2),
    ("hnsw", {"codes": "int8", "rescore": "float32"}, 0.99, 1e-6),
    ("hnsw", {"dimension": 12, "rescore": "float16", "candidates": 256}, 0.97, 1e-3),
    ("hnsw", SHORT, 0.98, 1e-6),
    ("ivfpq", {"nprobe": 64, "bits": 8, "rescore": "float32"}, 0.99, 1e-6),
    ("ivfpq", {"nprobe": 64, "bits": 8, "rescore": "none"}, 0.85, 0.1),
    ("ivfpq", {"nprobe": 64, "dimension": 12, "groups": 12, "rescore": "int8", "candidates": 256}, 0.93, 2e-2),
    ("ivfrabitq", {"nprobe": 64, "bits": 1, "rescore": "float32", "candidates": 500}, 0.95, 1e-6),
    ("ivfrabitq", {"nprobe": 64, "bits": 8}, 0.95, 2e-2),
    ("ivfsq", {"nprobe": 64}, 0.97, 1e-2),
    ("qdrant", {"scan_rows": 100}, 0.99, 1e-6),
    ("qdrant", {"scan_rows": 100, "codes": "int8"}, 0.98, 1e-6),
]
"""Engine, parameters, least recall@10, tolerance of scores."""


@pytest.mark.parametrize(("engine", "parameters", "least", "tolerance"), VARIANTS)
def test_short_and_quantised_vectors(
    engine: str, parameters: dict[str, Value], least: float, tolerance: float, tmp_path: Path
) -> None:
    matrix, queries = vectors(2000), vectors(50, seed=1)
    index = engine_class(engine).build(matrix, metric="cosine", parameters=parameters)
    scores, rows = index.search(queries, k=10)
    truth = top_k(dot(queries, matrix), k=10)[1]
    found = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(rows.tolist(), truth.tolist(), strict=True)])
    assert found >= least
    np.testing.assert_allclose(scores, np.take_along_axis(dot(queries, matrix), rows, axis=1), atol=tolerance)
    assert (np.diff(scores, axis=1) <= 0).all()
    index.save(tmp_path)
    again = engine_class(engine).load(tmp_path, metric="cosine", parameters=index.parameters)
    for one, other in zip((scores, rows), again.search(queries, k=10), strict=True):
        np.testing.assert_array_equal(one, other)


def test_lists_whose_centres_are_searched_by_a_graph(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ivf, "_GRAPH_FROM", 16)
    matrix, queries = vectors(2000), vectors(50, seed=1)
    index = IvfPqIndex.build(matrix, metric="cosine", parameters={"nprobe": 64})
    index.save(tmp_path)
    again = IvfPqIndex.load(tmp_path, metric="cosine", parameters=index.parameters)
    truth = top_k(dot(queries, matrix), k=10)[1]
    for one in (index, again):
        rows = one.search(queries, k=10)[1]
        assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(rows.tolist(), truth.tolist(), strict=True)]) >= 0.97


def test_a_dimension_beyond_the_vectors_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"^dimension is 17; the vectors have 16$"):
        HnswIndex.build(vectors(8), metric="cosine", parameters={"dimension": 17})
    with pytest.raises(ArgumentError, match=r"^groups is 5; it must divide the 16 dimensions$"):
        IvfPqIndex.build(vectors(8), metric="cosine", parameters={"groups": 5})


@pytest.mark.parametrize("count", [1, 3, 10, 11, 5000])
def test_a_sample_is_spread_over_the_rows(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reduction, "_BLOCK", 7)
    matrix = np.arange(33, dtype=np.float32)[:, None]
    found = spread_sample(matrix, count)[:, 0].tolist()
    assert found == np.linspace(0, 32, count).astype(int).tolist() if count < 33 else list(range(33))


small = st.integers(-2, 2).map(float)


@given(arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 30)), elements=small), st.integers(1, 40))
def test_best_columns_is_top_k_ties_included(scores: FloatArray, k: int) -> None:
    for one, other in zip(best_columns(scores, k=k), top_k(scores, k=k), strict=True):
        np.testing.assert_array_equal(one, other)


@given(
    matrix=arrays(np.float32, st.tuples(st.integers(1, 40), st.just(3)), elements=small),
    queries=arrays(np.float32, st.tuples(st.integers(1, 5), st.just(3)), elements=small),
    k=st.integers(1, 50),
    block=st.integers(1, 64),
)
def test_exact_search_in_blocks_is_the_oracle(matrix: FloatArray, queries: FloatArray, k: int, block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact_module, "_SCORES", block)
        patch.setattr(exact_module, "_QUERIES", 2)
        found = ExactIndex.build(matrix, metric="dot").search(queries, k=k)
    for one, other in zip(found, top_k(dot(queries, matrix), k=k), strict=True):
        np.testing.assert_array_equal(one, other)


def test_effort_is_told_with_each_call_and_changes_nothing() -> None:
    matrix, queries = vectors(5000, 64), vectors(100, 64, seed=1)
    index = HnswIndex.build(matrix, metric="cosine", parameters={"ef_construction": 40, "ef_search": 10})
    truth = top_k(dot(queries, matrix), k=10)[1]

    def recall(parameters: dict[str, Value] | None) -> float:
        rows = index.search(queries, k=10, parameters=parameters)[1]
        return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(rows.tolist(), truth.tolist(), strict=True)]))

    before = recall(None)
    assert recall({"ef_search": 1000}) > 0.99 > before + 0.1
    assert recall(None) == before
    assert index.parameters == {**HnswIndex.build_defaults, "ef_construction": 40, "ef_search": 10, "candidates": 100}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (EngineOptions("hsnw"), "there is no engine 'hsnw'; choose one of: auto, exact, hnsw, ivfpq, ivfrabitq, ivfsq, qdrant"),
        (EngineOptions("exact", {"links": 4}), "engine exact has no parameter 'links' here; it has: none"),
        (EngineOptions("hnsw", {"links": 0}), "links is 0; it must be at least 1"),
        (EngineOptions("hnsw", {"dimension": -1}), "dimension is -1; it must be at least 0"),
        (EngineOptions("hnsw", {"links": "many"}), "links is 'many'; a whole number was expected"),
        (EngineOptions("hnsw", {"codes": "int4"}), "codes is 'int4'; choose one of: float32, float16, int8"),
        (EngineOptions("ivfpq", {"bits": 5}), "bits is 5; choose one of: 4, 8"),
        (EngineOptions("ivfrabitq", {"rescore": 8}), "rescore is 8; choose one of: none, int8, float16, float32"),
        (EngineOptions("auto", {"links": 4}), "parameters belong to an engine, and auto may choose any; name the engine"),
    ],
)
def test_engines_that_cannot_be_asked_for(options: EngineOptions, message: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        options.check()
    assert str(caught.value) == message


def test_a_build_parameter_is_no_search_parameter() -> None:
    with pytest.raises(ArgumentError) as caught:
        built("hnsw", vectors(8)).search(vectors(1), k=1, parameters={"links": 8})
    assert str(caught.value) == "engine hnsw has no parameter 'links' here; it has: candidates, ef_search"
    with pytest.raises(
        ArgumentError, match=r"^there is no engine 'auto'; choose one of: exact, hnsw, ivfpq, ivfrabitq, ivfsq, qdrant$"
    ):
        engine_class("auto")


def test_what_engines_declare() -> None:
    assert ExactIndex.capabilities == Capabilities(exact=True, delete=False, filter=False)
    assert HnswIndex.capabilities == Capabilities(exact=False, delete=False, filter=False)


@pytest.mark.parametrize(
    ("name", "rows", "dimension", "engine"),
    [("auto", 7000, 384, "exact"), ("auto", 7001, 384, "hnsw"), ("auto", 21000, 128, "exact"), ("exact", 10**8, 384, "exact")],
)
def test_auto_is_exact_while_that_is_quick(name: str, rows: int, dimension: int, engine: str) -> None:
    assert choose_engine(name, rows=rows, dimension=dimension).engine == engine


def test_the_reason_is_told() -> None:
    assert choose_engine("hnsw", rows=1, dimension=1).reason == "asked for"
    assert choose_engine("auto", rows=10, dimension=384).reason == (
        "exact search of 10 x 384 numbers takes at most about a millisecond (up to 7,000 vectors), and loses nothing"
    )


def test_damaged_graphs_raise_and_do_not_crash(tmp_path: Path) -> None:
    index = built("hnsw", vectors(200))
    index.save(tmp_path)
    path = tmp_path / "hnsw.faiss"
    whole = path.read_bytes()
    chance = np.random.default_rng(0)
    refused: list[str] = []
    for position in [*range(40), *chance.integers(len(whole), size=60).tolist()]:
        changed = bytearray(whole)
        changed[position] = 255 - changed[position]
        path.write_bytes(changed)
        try:
            again = HnswIndex.load(tmp_path, metric="cosine", parameters=index.parameters)
        except CorruptError as error:
            refused.append(str(error))
        else:
            assert again.dimension == 16
    assert len(refused) > 20
    assert {message.partition("(")[0] for message in refused} == {f"{path} is damaged: FAISS cannot read it "}
    assert {message.rpartition(")")[2] for message in refused} == {"; build the index again"}
    path.write_bytes(whole[:1000])
    with pytest.raises(CorruptError, match=r"hnsw.faiss is damaged"):
        HnswIndex.load(tmp_path, metric="cosine", parameters={})


def test_faiss_keeps_to_these_cores() -> None:
    built("hnsw", vectors(8))
    assert faiss.omp_get_max_threads() <= available_cores()


def test_an_index_needs_no_torch() -> None:
    code = "import sys, biencoder.index, biencoder.index.faiss_index; sys.exit('torch' in sys.modules)"
    assert run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_reduction_is_rotated_for_codes_that_want_like_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = np.random.default_rng(0)
    spread = (np.arange(1, 129) ** -0.7).astype(np.float32)  # as principal components are
    vectors = normalise(chance.standard_normal((3000, 128)).astype(np.float32) * spread)
    queries = normalise(chance.standard_normal((100, 128)).astype(np.float32) * spread)
    truth = top_k(dot(queries, vectors), k=10)[1]

    def ceiling() -> float:
        chosen = {"bits": 3, "dimension": 120, "nprobe": 1000}
        found = engine_class("ivfrabitq").build(vectors, metric="cosine", parameters=chosen).search(queries, k=10)[1]
        return float(
            np.mean([len(set(own) & set(wanted)) / 10 for own, wanted in zip(found.tolist(), truth.tolist(), strict=True)])
        )

    rotated = ceiling()
    monkeypatch.setattr(engine_class("ivfrabitq"), "mixes", False)
    assert rotated > ceiling() + 0.05
