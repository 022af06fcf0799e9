"""One suite over every live store, against `Filter.matches` and inner products."""

from __future__ import annotations

import json
import os
import signal
import sys
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import run
from typing import Any

import numpy as np
import pytest

from biencoder.errors import ArgumentError, CorruptError, LockedError, StorageError
from biencoder.index.fields import FieldKind, Fields
from biencoder.index.filters import Filter, parse_filter
from biencoder.index.points import Point, Points, Scored, StoreOptions
from biencoder.index.qdrant_embedded import EmbeddedPoints
from biencoder.index.qdrant_index import QdrantIndex
from biencoder.index.qdrant_server import Cluster, ServerPoints
from biencoder.scoring import FloatArray, normalise

URL = os.environ.get("QDRANT_URL", "")
FIELDS: Fields = {
    "year": FieldKind.INTEGER,
    "lang": FieldKind.KEYWORD,
    "draft": FieldKind.BOOL,
    "price": FieldKind.FLOAT,
    "date": FieldKind.DATETIME,
    "by.name": FieldKind.KEYWORD,
}
FILTERS = [
    "year = 2003",
    "year != 2003",
    "year >= 2010 and year < 2012",
    "year > 2010.5 and year <= 2012.5",
    "year in (2001, 2002.0, 2003.5)",
    "lang = en",
    "lang != en",
    "lang in (de, fr) and not draft = true",
    "lang not in (de, fr)",
    "draft = false",
    "draft != false",
    "draft in (true, false)",
    "price = 1.5 or price = 2",
    "price > 1.5",
    "date >= '2024-01-10' and date < '2024-01-20T12:00:00+02:00'",
    "date = '2024-01-05'",
    "date != '2024-01-05'",
    'by.name in (Ann, "O\'Hara")',
    "not (year < 2015 or lang = en) or (draft = true and not price > 0)",
]
Make = Callable[..., Points]


def random_payload(chance: np.random.Generator) -> dict[str, Any]:
    """Some fields missing, some null, some lists, some of another kind."""
    choices: dict[str, list[Any]] = {
        "year": [*range(2000, 2020), [2001, 2003], "2003", True],
        "lang": ["en", "de", "fr", ["en", "de"], 7, "EN"],
        "draft": [True, False, [True, False], 1, "true"],
        "price": [0.0, 1.5, 2, 2.5, [1.5, 9], "2"],
        "date": [*(f"2024-01-{day:02}" for day in range(1, 31)), "2024-01-05T00:00:00Z", "2024-01-20T10:00:00", "soon"],
        "by": [{"name": "Ann"}, {"name": ["Bo", "O'Hara"]}, [{"name": "Ann"}], "Ann"],
    }
    payload = {name: some[chance.integers(len(some))] for name, some in choices.items() if chance.random() < 0.85}
    return payload | ({"year": None} if chance.random() < 0.05 else {})


def random_points(count: int, dimension: int = 8, *, seed: int = 0) -> list[Point]:
    chance = np.random.default_rng(seed)
    rows = normalise(chance.standard_normal((count, dimension)).astype(np.float32))
    return [Point(number, row, random_payload(chance)) for number, row in enumerate(rows)]


def expected(points: list[Point], query: FloatArray, where: Filter | None, k: int) -> list[float]:
    scores = [float(query @ point.vector) for point in points if where is None or where.matches(point.payload)]
    return sorted(scores, reverse=True)[:k]


@pytest.fixture(params=["embedded", "wiring", "server"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Makes a store. ``wiring`` is the server's store over the client's stand-in of a server, which scans all points."""
    made: list[Points] = []

    def create(dimension: int = 8, fields: Fields = FIELDS, options: StoreOptions | None = None) -> Points:
        store: Points
        if request.param == "embedded":
            store = EmbeddedPoints.create(tmp_path / f"store{len(made)}", dimension=dimension, fields=fields, options=options)
        elif request.param == "server":
            name = f"biencoder-{uuid.uuid4().hex}"
            store = ServerPoints.create(URL, name, dimension=dimension, fields=fields, options=options)
        else:
            from qdrant_client import QdrantClient

            client = QdrantClient(":memory:")
            checked = {name: FieldKind(kind) for name, kind in fields.items()}
            facts = (dimension, "cosine", checked, options or StoreOptions(), Cluster())
            store = ServerPoints._create(client, "memory", "test", *facts)  # type: ignore[arg-type]
        made.append(store)
        return store

    if request.param == "server" and not URL:
        pytest.skip("QDRANT_URL names no server")
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Payload indexes have no effect in the local Qdrant|Local mode performs exact"
        )
        yield create
    for store in made:
        if request.param == "server" and isinstance(store, ServerPoints):
            store._client.delete_collection(store._name)
        store.close()


def test_filters_find_what_the_oracle_finds(make: Make) -> None:
    points, store = random_points(300), make()
    assert store.upsert(iter(points)) == 300
    queries = np.stack([point.vector for point in random_points(3, seed=1)])
    for optimised in (False, True):
        if optimised:
            store.optimize()
        for text in FILTERS:
            where = parse_filter(text)
            matching = [point.id for point in points if where.matches(point.payload)]
            assert [point.id for point in store.scroll(where)] == matching, text
            assert store.count(where) == len(matching), text
            for query, hits in zip(queries, store.search(queries, k=10, where=where), strict=True):
                scores = [hit.score for hit in hits]
                np.testing.assert_allclose(scores, expected(points, query, where, 10), atol=1e-6, err_msg=text)
                assert all(where.matches(hit.payload) for hit in hits), text
                assert [hit.score for hit in hits] == sorted(scores, reverse=True)


def test_points_come_are_replaced_and_go(make: Make) -> None:
    store, name = make(2), str(uuid.UUID(int=5))
    store.upsert([Point(one, np.array([1.0, 0.0]), {"year": 1}) for one in (3, 1, name.upper(), 2**64 - 1)])
    assert [point.id for point in store.scroll()] == [1, 3, 2**64 - 1, name]
    store.upsert(
        [Point(3, np.array([5.0, 0.0])), Point(3, np.array([0.0, 2.0], np.float32), {"year": 2, "x": [None, {"y": "ä"}]})]
    )
    found = store.get([name, 99, 3])
    assert [(point.id, point.vector.tolist(), point.payload) for point in found] == [
        (name, [1.0, 0.0], {"year": 1}),
        (3, [0.0, 2.0], {"year": 2, "x": [None, {"y": "ä"}]}),
    ]
    assert found[0].vector.dtype == np.float32
    assert store.search(np.array([[0.0, 1.0]]), k=1) == [[Scored(3, 2.0, {"year": 2, "x": [None, {"y": "ä"}]})]]
    store.delete([1, 77])
    assert (store.count(), store.count(parse_filter("year = 1"))) == (3, 2)
    store.delete_where(parse_filter("year = 1"))
    assert [point.id for point in store.scroll()] == [3]
    store.optimize()
    store.flush()
    assert [[hit.id for hit in hits] for hits in store.search(np.eye(2), k=5)] == [[3], [3]]
    store.delete([3])
    assert (store.search(np.eye(2), k=5), store.count(), list(store.scroll())) == ([[], []], 0, [])
    assert store.search(np.empty((0, 2), np.float32), k=1) == []


def test_more_than_a_batch(make: Make) -> None:
    store = make(2)
    points = [Point(number, np.array([1.0, number / 2000]), {"year": number}) for number in range(1300)]
    assert store.upsert(points) == 1300
    assert [point.id for point in store.scroll()] == list(range(1300))
    assert [point.id for point in store.get(list(range(1299, -1, -1)))] == list(range(1299, -1, -1))
    assert [hits[0].id for hits in store.search(np.tile(np.array([[0.0, 1.0]]), (130, 1)), k=1)] == [1299] * 130
    store.delete(range(1, 1300))
    assert store.count() == 1


def test_equal_scores_come_by_id(make: Make) -> None:
    store = make(2)
    store.upsert([Point(number, np.array([1.0, 0.0])) for number in (4, 2, 9, 1)])
    assert [hit.id for hit in store.search(np.array([[1.0, 0.0]]), k=4)[0]] == [1, 2, 4, 9]


def test_fields_are_added_later(make: Make) -> None:
    store = make(2, fields={})
    store.upsert([Point(number, np.array([1.0, number]), {"year": number % 3}) for number in range(30)])
    store.optimize()
    with pytest.raises(ArgumentError, match=r"^there is no filter on 'year'; the fields that were declared are: none$"):
        store.count(parse_filter("year = 1"))
    store.add_fields({"year": FieldKind.INTEGER})
    store.add_fields({"year": FieldKind.INTEGER})
    assert store.fields == {"year": "integer"}
    assert [hit.id for hit in store.search(np.array([[0.0, 1.0]]), k=2, where=parse_filter("year = 1"))[0]] == [28, 25]
    with pytest.raises(ArgumentError, match=r"^field 'year' is integer already; it cannot become float$"):
        store.add_fields({"year": FieldKind.FLOAT})


BAD: list[tuple[Callable[[Points], object], str]] = [
    (
        lambda s: s.upsert([Point(-1, np.ones(2))]),
        "-1 cannot be a point's id: neither a whole number from 0 to 2**64 - 1 nor a UUID",
    ),
    (lambda s: s.delete(["x"]), "'x' cannot be a point's id: neither a whole number from 0 to 2**64 - 1 nor a UUID"),
    (lambda s: s.get([True]), "True cannot be a point's id: neither a whole number from 0 to 2**64 - 1 nor a UUID"),
    (lambda s: s.upsert([Point(1, np.ones(3))]), "point 1: the vector has shape (3,); (2,) was expected"),
    (lambda s: s.upsert([Point(1, np.ones(2, int))]), "point 1: the vector is int64; floating-point numbers were expected"),
    (lambda s: s.upsert([Point(1, np.array([1e39, 0]))]), "point 1: the vector is not finite: it holds NaN or infinity"),
    (
        lambda s: s.upsert([Point(1, np.ones(2), {"a": {"b": float("nan")}})]),
        "point 1, a, b: nan (float) cannot be metadata: JSON and 64 bits must hold it",
    ),
    (
        lambda s: s.upsert([Point(1, np.ones(2), {"a": b"x"})]),
        "point 1, a: b'x' (bytes) cannot be metadata: JSON and 64 bits must hold it",
    ),
    (lambda s: s.upsert([Point(1, np.ones(2), {"a": "\ud800"})]), "point 1, a: '\\ud800' is not Unicode text"),
    (lambda s: s.upsert([Point(1, np.ones(2), {1: 2})]), "point 1: 1 is not Unicode text"),  # type: ignore[dict-item]
    (
        lambda s: s.upsert([Point(1, np.ones(2), {"year": [1, 2.5]})]),
        "point 1: year is 2.5, and the field was declared integer; declare it float",
    ),
    (lambda s: s.search(np.ones((1, 2)), k=0), "k is 0; it must be at least 1"),
    (lambda s: s.search(np.ones((1, 3)), k=1), "queries have shape (1, 3); (n, 2) was expected"),
    (lambda s: s.search(np.full((1, 2), np.nan), k=1), "a query vector is not finite: it holds NaN or infinity"),
    (lambda s: s.search(np.ones((1, 2)), k=1, parameters={"ef": 1}), "a store has no parameter 'ef' here; it has: ef_search"),
    (
        lambda s: s.search(np.ones((1, 2)), k=1, parameters={"ef_search": 0}),
        "ef_search is 0; a whole number of at least 1 was expected",
    ),
]


@pytest.fixture(scope="module")
def strict_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Points]:
    with EmbeddedPoints.create(tmp_path_factory.mktemp("stores") / "strict", dimension=2, fields=FIELDS) as store:
        yield store


@pytest.mark.parametrize(("call", "message"), BAD)
def test_what_a_store_refuses(strict_store: Points, call: Callable[[Points], object], message: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        call(strict_store)
    assert (str(caught.value), strict_store.count()) == (message, 0)


def test_deep_metadata_is_refused(strict_store: Points) -> None:
    deep: dict[str, Any] = {}
    for _ in range(500):
        deep = {"a": deep}
    with pytest.raises(ArgumentError, match=r"metadata is nested more than 20 levels deep$"):
        strict_store.upsert([Point(1, np.ones(2), deep)])


def test_a_store_is_opened_again(tmp_path: Path) -> None:
    place, options = tmp_path / "store", StoreOptions(links=8, codes="int8", scan_rows=50)
    points = random_points(200)
    with EmbeddedPoints.create(place, dimension=8, metric="dot", fields=FIELDS, options=options) as store:
        store.upsert(points)
        store.optimize()
        store.add_fields({"more": FieldKind.KEYWORD})
        with pytest.raises(LockedError, match="another process is writing this folder"):
            EmbeddedPoints.open(place)
    store.close()
    with pytest.raises(StorageError, match=r"store: the store is closed; open it again$"):
        store.count()
    with pytest.raises(StorageError, match=r"store: something stands there already; open it, or choose another place$"):
        EmbeddedPoints.create(place, dimension=8)
    with EmbeddedPoints.open(place) as again:
        assert (again.dimension, again.metric, again.options) == (8, "dot", options)
        assert again.fields == {**FIELDS, "more": "keyword"}
        query = points[0].vector[None]
        scores = [hit.score for hit in again.search(query, k=10)[0]]
        np.testing.assert_allclose(scores, expected(points, query[0], None, 10), atol=1e-6)


def test_folders_that_are_no_store(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"is no store of points: points.json was looked for$"):
        EmbeddedPoints.open(tmp_path)
    EmbeddedPoints.create(tmp_path / "store", dimension=2).close()
    path = tmp_path / "store" / "points.json"
    facts = json.loads(path.read_text())
    path.write_text(json.dumps(facts | {"version": 9}))
    with pytest.raises(StorageError, match=r"the store has format 9; this version of biencoder reads format 1$"):
        EmbeddedPoints.open(tmp_path / "store")
    path.write_text("{")
    with pytest.raises(CorruptError, match=r"points.json is damaged: it is not what a store writes"):
        EmbeddedPoints.open(tmp_path / "store")
    path.write_text(json.dumps(facts))
    for part in (tmp_path / "store" / "shard" / "segments").rglob("segment.json"):
        part.write_bytes(b"x")
    with pytest.raises(CorruptError, match=r"shard is damaged: Qdrant cannot open it \(.*\); restore it from a copy$"):
        EmbeddedPoints.open(tmp_path / "store")


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from biencoder.index.points import Point
from biencoder.index.qdrant_embedded import EmbeddedPoints
store = EmbeddedPoints.open(Path(sys.argv[1]))
store.upsert(Point(number, np.array([1.0, number]), {"year": number}) for number in range(1000))
store.delete(range(0, 100))
if "optimise" in sys.argv: store.optimize()
store.flush()
store.upsert(Point(number, np.array([2.0, number]), {"year": number}) for number in range(500, 1500))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("words", [[], ["optimise"]])
def test_a_killed_process_loses_nothing_acknowledged(tmp_path: Path, words: list[str]) -> None:
    place = tmp_path / "store"
    EmbeddedPoints.create(place, dimension=2, fields={"year": FieldKind.INTEGER}).close()
    ended = run([sys.executable, "-c", KILLED, str(place), *words], check=False)
    assert ended.returncode == -signal.SIGKILL
    with EmbeddedPoints.open(place) as store:
        points = list(store.scroll())
        assert [point.id for point in points] == list(range(100, 1500))
        assert [point.vector[0] for point in points] == [1.0] * 400 + [2.0] * 1000
        assert store.count(parse_filter("year >= 1000")) == 500


def clustered(count: int, dimension: int, *, seed: int = 0) -> FloatArray:
    chance = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((100, dimension))
    return normalise(
        (centres[chance.integers(100, size=count)] + 0.7 * chance.standard_normal((count, dimension))).astype(np.float32)
    )


def recall(store: Points, matrix: FloatArray, queries: FloatArray, kept: FloatArray, where: Filter) -> float:
    """Recall@10 among the rows that are kept, by score."""
    rows = np.flatnonzero(kept)
    truth = -np.sort(-(queries @ matrix[rows].T), axis=1)[:, :10]
    found = store.search(queries, k=10, where=where)
    assert all(kept[int(hit.id)] for hits in found for hit in hits)
    return float(
        np.mean([sum(hit.score >= least - 1e-6 for hit in hits) / 10 for hits, least in zip(found, truth[:, 9], strict=True)])
    )


@pytest.mark.parametrize("scan_rows", [10_000, 10])
def test_narrow_filters_over_a_graph(tmp_path: Path, scan_rows: int) -> None:
    matrix, queries = clustered(5000, 16), clustered(50, 16, seed=1)
    years = np.random.default_rng(2).integers(100, size=5000)
    options = StoreOptions(scan_rows=scan_rows, ef_construction=64)
    with EmbeddedPoints.create(tmp_path / "store", dimension=16, fields={"year": FieldKind.INTEGER}, options=options) as store:
        store.upsert(Point(row, vector, {"year": int(years[row])}) for row, vector in enumerate(matrix))
        store.optimize()
        assert recall(store, matrix, queries, np.asarray(years == 7, np.float32), parse_filter("year = 7")) >= 0.95
        assert recall(store, matrix, queries, np.asarray(years < 50, np.float32), parse_filter("year < 50")) >= 0.95


@pytest.mark.slow
@pytest.mark.parametrize("codes", ["float32", "int8"])
def test_a_hundred_thousand_points(tmp_path: Path, codes: Any) -> None:
    matrix, queries = clustered(100_000, 64), clustered(100, 64, seed=1)
    years = np.random.default_rng(2).integers(100, size=100_000)
    place, fields = tmp_path / "store", {"year": FieldKind.INTEGER, "even": FieldKind.BOOL}
    kept = np.random.default_rng(3).random(100_000) >= 0.1
    with EmbeddedPoints.create(place, dimension=64, fields=fields, options=StoreOptions(codes=codes)) as store:
        metadata = ({"year": int(year), "even": row % 2 == 0} for row, year in enumerate(years))
        store.upsert(Point(row, vector, next(metadata)) for row, vector in enumerate(matrix))
        store.optimize()
        store.delete(np.flatnonzero(~kept).tolist())
        store.flush()
        assert store.count() == kept.sum()
        for text, mask in (
            ("year = 7", years == 7),
            ("year < 20", years < 20),
            ("even = true and year >= 60", (years >= 60) & (np.arange(100_000) % 2 == 0)),
            ("year >= 0", years >= 0),
        ):
            found = recall(store, matrix, queries, np.asarray(kept & mask, np.float32), parse_filter(text))
            assert found >= 0.95, (text, found)


def test_a_server_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QDRANT_API_KEY", "secret")
    with pytest.raises(StorageError) as caught:
        ServerPoints.create("http://localhost:1", "x", dimension=2)
    assert str(caught.value).startswith("http://localhost:1, collection x: the server does not answer (")
    assert "secret" not in str(caught.value)
    for cluster, message in (
        ({"shard_number": 0}, "shard_number is 0"),
        ({"replication_factor": 0}, "replication_factor is 0"),
    ):
        with pytest.raises(ArgumentError, match=f"^{message}; it must be at least 1$"):
            Cluster(**cluster)


def test_options_that_cannot_be() -> None:
    for options, message in (
        ({"links": 1}, "links is 1; it must be at least 2"),
        ({"ef_construction": 3}, "ef_construction is 3; it must be at least 4"),
        ({"scan_rows": 0}, "scan_rows is 0; it must be at least 1"),
        ({"codes": "int4"}, "codes is 'int4'; choose one of: float32, int8"),
    ):
        with pytest.raises(ArgumentError) as caught:
            StoreOptions(**options)
        assert str(caught.value) == message


def test_an_index_folder_stays_as_it_was_saved(tmp_path: Path) -> None:
    matrix = clustered(500, 16)
    saved = tmp_path / "saved"
    saved.mkdir()
    QdrantIndex.build(matrix, metric="cosine").save(saved)
    before = {path: path.read_bytes() for path in saved.rglob("*") if path.is_file()}
    one = QdrantIndex.load(saved, metric="cosine", parameters={})
    other = QdrantIndex.load(saved, metric="cosine", parameters={})
    one.delete([3])
    assert (len(one), len(other)) == (499, 500)
    assert (one.search(matrix[3:4], k=1)[1][0, 0] == 3, other.search(matrix[3:4], k=1)[1].tolist()) == (False, [[3]])
    assert one.search_among(matrix[5:6], k=9, rows=[3, 4, 5])[1].tolist()[0][0] == 5
    assert one.search_among(matrix[5:6], k=9, rows=[3])[1].shape == (1, 0)
    again = tmp_path / "again"
    again.mkdir()
    one.save(again)
    assert len(QdrantIndex.load(again, metric="cosine", parameters={})) == 499
    working = one._folder
    del one, other
    assert not working.exists()
    assert {path: path.read_bytes() for path in saved.rglob("*") if path.is_file()} == before


def test_damaged_index_folders(tmp_path: Path) -> None:
    QdrantIndex.build(clustered(50, 4), metric="cosine").save(tmp_path)
    (tmp_path / "qdrant.json").write_text('{"dimension": 4, "vectors": 51}')
    with pytest.raises(CorruptError, match=r"shard holds 50 of 51 vectors; build the index again$"):
        QdrantIndex.load(tmp_path, metric="cosine", parameters={})
    for path in tmp_path.rglob("segment.json"):
        path.write_text("{")
    with pytest.raises(CorruptError, match=r"shard is damaged: Qdrant cannot open it \(.*\); build the index again$"):
        QdrantIndex.load(tmp_path, metric="cosine", parameters={})
    (tmp_path / "qdrant.json").write_text("[]")
    with pytest.raises(CorruptError, match=r"qdrant.json is damaged"):
        QdrantIndex.load(tmp_path, metric="cosine", parameters={})


def test_what_needs_no_torch_and_no_engine() -> None:
    code = (
        "import sys, biencoder.index.points, biencoder.index.qdrant_index, biencoder.index.qdrant_server; "
        "sys.exit(bool({'torch', 'qdrant_edge', 'qdrant_client'} & set(sys.modules)))"
    )
    assert run([sys.executable, "-c", code], check=False).returncode == 0
