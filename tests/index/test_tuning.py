from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from biencoder.errors import ArgumentError
from biencoder.index import tuning
from biencoder.index.base import Metric
from biencoder.index.designs import Design, designs
from biencoder.index.exact import ExactIndex
from biencoder.index.hnsw import HnswIndex
from biencoder.index.measuring import Point, Trial, Truth, latencies
from biencoder.index.tuning import Goal, built, least_effort, measure, tune
from biencoder.scoring import FloatArray, dot, normalise, top_k


def clustered(count: int, *, seed: int, dimension: int = 96) -> FloatArray:
    """Vectors around a few hundred centres, most of whose difference lies in few directions, as of text."""
    centres = np.random.default_rng(7).standard_normal((300, dimension)) / np.arange(1, dimension + 1) ** 0.5
    drawn = np.random.default_rng(seed)
    noise = drawn.standard_normal((count, dimension)) / np.arange(1, dimension + 1) ** 0.5
    return normalise((centres[drawn.integers(300, size=count)] + 0.6 * noise).astype(np.float32))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small rounds; exact search is never quick enough."""
    monkeypatch.setattr(tuning, "_SAMPLES", (500, 1500))
    monkeypatch.setattr(tuning, "_TIMED", 40)
    monkeypatch.setattr(tuning, "_QUICK_MS", 0.0)


def recall_on(index: HnswIndex | ExactIndex, matrix: FloatArray, queries: FloatArray) -> FloatArray:
    truth = top_k(dot(queries, matrix), k=10)[1]
    rows = index.search(queries, k=10)[1]
    return np.array([len(set(a) & set(b)) / 10 for a, b in zip(rows.tolist(), truth.tolist(), strict=True)])


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("engine", ["auto", "hnsw", "ivfpq", "ivfrabitq", "ivfsq"])
def test_the_recall_holds_for_queries_that_tuning_has_not_seen(engine: str) -> None:
    matrix, queries = clustered(5000, seed=1), clustered(1500, seed=2)
    told: list[tuple[int, int, str]] = []
    said: list[str] = []
    found = tune(
        matrix,
        queries[:500],
        goal=Goal(0.95),
        metric="cosine",
        engine=engine,
        progress=lambda *counts: told.append(counts),
        say=said.append,
    )
    recalls = recall_on(found.index, matrix, queries[500:])  # type: ignore[arg-type]
    assert recalls.mean() >= 0.95 - 2 * recalls.std() / 1000**0.5
    assert found.index.engine == found.point.engine
    assert engine in {"auto", found.index.engine}
    assert found.point.rows == len(found.index) == 5000
    assert found.point.recall >= 0.95
    assert 0.5 < found.point.recall_worst_decile <= found.point.recall
    assert 0 < found.point.p50_ms <= found.point.p99_ms
    assert {point.rows for point in found.frontier} == {500, 1500, 5000}
    assert found.point == min(
        (point for point in found.frontier if point.rows == 5000 and point.recall >= 0.95), key=lambda point: point.p50_ms
    )
    assert told[-1] == (told[-1][1], told[-1][1], "")
    assert len(said) == 2
    assert found.as_dict()["chosen"]["parameters"] == found.index.parameters


@pytest.mark.usefixtures("quick")
def test_memory_is_a_ceiling() -> None:
    matrix, queries = clustered(4000, seed=1), clustered(200, seed=2)
    told: list[tuple[int, int, str]] = []
    found = tune(
        matrix, queries, goal=Goal(0.9, memory=4000 * 200), metric="cosine", progress=lambda *counts: told.append(counts)
    )
    assert found.point.bytes_per_vector <= 200
    assert found.point.recall >= 0.9
    assert all(point.bytes_per_vector <= 300 for point in found.frontier if point.rows > 500)  # the others went no further
    assert told[-1] == (told[-1][1], told[-1][1], "")
    with pytest.raises(ArgumentError) as caught:
        tune(matrix, queries, goal=Goal(0.9, memory=4000 * 20), metric="cosine", engine="hnsw")
    assert str(caught.value).startswith(
        "nothing was found that reaches recall@10 0.9, at most 80,000 bytes; the nearest is hnsw ("
    )


@pytest.mark.parametrize(
    "design",
    [
        Design("exact"),
        Design("hnsw"),
        Design("hnsw", {"codes": "int8", "dimension": 48, "rescore": "float16"}),
        Design("ivfpq", {"rescore": "int8"}),
        Design("ivfrabitq", {"bits": 5}),
        Design("ivfrabitq", {"bits": 5, "dimension": 80}),
        Design("ivfsq"),
    ],
    ids=str,
)
def test_a_sample_tells_the_bytes_of_the_whole(design: Design) -> None:
    matrix, queries = clustered(16_000, seed=1), clustered(10, seed=2)
    small, whole = (built(design, Truth.of(rows, queries, k=10), "cosine") for rows in (matrix[:2000], matrix))
    reckoned = small.point({}, timed=1).bytes_at(16_000) / 16_000
    assert reckoned == pytest.approx(whole.bytes_per_vector, rel=0.1)  # lists are a power of two
    assert 0 < (whole.index.row_bytes() or 0) <= whole.bytes_per_vector


@pytest.mark.usefixtures("quick")
def test_what_cannot_be_reached_shows_what_comes_nearest() -> None:
    matrix, queries = clustered(1000, seed=1), clustered(100, seed=2)
    with pytest.raises(ArgumentError) as caught:
        tune(matrix, queries, goal=Goal(0.9, latency_ms=1e-6), metric="cosine", engine="hnsw")
    assert "reaches recall@10 0.9, p50 at most 1e-06 ms; the nearest is hnsw (" in str(caught.value)
    assert str(caught.value).endswith("bytes a vector: ask for less")


@pytest.mark.usefixtures("quick")
def test_where_no_finalist_reaches_the_goal_the_next_designs_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "_SAMPLES", (500,))
    matrix, queries = clustered(3000, seed=1), clustered(150, seed=2)
    kept = tuning.measure

    def spoilt(trial: Trial, design: Design, goal: Goal) -> list[Point]:
        points = kept(trial, design, goal)
        whole = len(trial.index) == 3000
        return [replace(point, recall=0.1) if whole and len(tried) <= 3 else point for point in points]

    tried: list[str] = []

    def noted(design: Design, truth: Truth, metric: Metric) -> Trial:
        if len(truth.vectors) == 3000:
            tried.append(str(design))
        return built(design, truth, metric)

    monkeypatch.setattr(tuning, "measure", spoilt)
    monkeypatch.setattr(tuning, "built", noted)
    found = tune(matrix, queries, goal=Goal(0.9), metric="cosine", engine="hnsw")
    assert len(tried) == len(set(tried)) == 4
    assert found.point.recall >= 0.9
    assert found.index.parameters == found.point.parameters


def test_exact_search_is_taken_while_it_is_quick() -> None:
    found = tune(clustered(300, seed=1), clustered(30, seed=2), goal=Goal(0.95), metric="cosine")
    assert found.index.engine == "exact"
    assert (found.point.recall, found.point.bytes_per_vector) == (1.0, 384.0)
    assert found.reason.startswith("exact search takes 0.")
    assert found.reason.endswith(" ms a query here and loses nothing")


def test_it_needs_queries_and_a_share() -> None:
    with pytest.raises(ArgumentError, match=r"^there are no queries to tune with; at least one is needed$"):
        tune(clustered(30, seed=1), np.empty((0, 96), np.float32), goal=Goal(0.95), metric="cosine")
    for recall in (0, 1.5, -1):
        with pytest.raises(ArgumentError, match=r"; a share above 0 and at most 1 was expected$"):
            Goal(recall)


def test_ties_count_by_score() -> None:
    matrix = np.repeat(np.eye(3, dtype=np.float32), 4, axis=0)
    truth = Truth.of(matrix, np.eye(3, dtype=np.float32), k=2)

    class Last(ExactIndex):
        """Finds the last of the equal rows."""

        def _search(self, *arguments: object, **options: object) -> tuple[FloatArray, np.ndarray]:
            scores, rows = super()._search(*arguments, **options)  # type: ignore[arg-type]
            return scores, rows + 2

    assert truth.recalls(Last.build(matrix, metric="dot"), {}).tolist() == [1.0, 1.0, 1.0]

    class Wrong(ExactIndex):
        def _search(self, *arguments: object, **options: object) -> tuple[FloatArray, np.ndarray]:
            scores, rows = super()._search(*arguments, **options)  # type: ignore[arg-type]
            return scores, (rows + 3) % 12

    assert truth.recalls(Wrong.build(matrix, metric="dot"), {}).tolist() == [0.5, 0.5, 0.5]


@pytest.mark.parametrize("recall", [0.6, 0.9, 0.99, 0.999])
def test_the_least_effort_is_the_first_of_the_ladder_that_reaches_the_recall(recall: float) -> None:
    matrix, queries = clustered(3000, seed=1), clustered(200, seed=2)
    design = Design("hnsw", {"links": 4, "ef_construction": 20})
    trial = built(design, Truth.of(matrix, queries, k=10), "cosine")
    found = least_effort(trial, design, {}, recall)
    reaching = [effort for effort in design.efforts if trial.recall({"ef_search": effort}) >= recall]
    assert (None if found is None else found["ef_search"]) == (reaching[0] if reaching else None)


def test_what_never_reaches_the_recall_is_measured_at_its_most() -> None:
    matrix, queries = clustered(600, seed=1), clustered(50, seed=2)
    design = Design("ivfrabitq", {"bits": 1})
    trial = built(design, Truth.of(matrix, queries, k=10), "cosine")
    points = measure(trial, design, Goal(0.999))
    assert [point.parameters["nprobe"] for point in points] == [design.efforts[-1]]
    assert points[0].recall < 0.999


def test_designs_of_an_engine() -> None:
    assert [str(design) for design in designs("exact", dimension=384)] == ["exact"]
    assert {design.engine for design in designs("auto", dimension=384)} == {"hnsw", "ivfpq", "ivfrabitq", "ivfsq"}
    assert all(design.parameters.get("dimension", 0) == 0 for design in designs("auto", dimension=64))
    assert Design("hnsw", {"rescore": "int8"}).candidates(50) == (80, 160, 320, 640)
    assert Design("hnsw").candidates(50) == (None,)
    assert designs("auto", dimension=384)[0].efforts[:5] == (10, 11, 12, 13, 14)


def test_times_are_of_single_queries() -> None:
    matrix = clustered(100, seed=1)
    asked: list[tuple[int, ...]] = []

    class Watched(ExactIndex):
        def _search(self, queries: FloatArray, **options: object) -> tuple[FloatArray, np.ndarray]:
            asked.append(queries.shape)
            return super()._search(queries, **options)  # type: ignore[arg-type]

    found = latencies(Watched.build(matrix, metric="dot"), matrix[:30], k=3, parameters={})
    assert set(asked) == {(1, 96)}
    assert len(asked) == 50
    assert (found > 0).sum() == len(found) == 30
