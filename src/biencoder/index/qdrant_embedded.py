"""A live store in a folder: Qdrant's embedded engine, without a server."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np

from biencoder.cores import available_cores
from biencoder.errors import ArgumentError, BiencoderError, CorruptError, StorageError, require
from biencoder.index.base import Metric
from biencoder.index.conditions import Json
from biencoder.index.fields import Fields, check_fields
from biencoder.index.points import OVERSAMPLING, Point, PointId, Points, Scored, StoreOptions
from biencoder.scoring import FloatArray
from biencoder.storage.folder import explain_os_errors, locked, write_file, writing

_FACTS = "points.json"
_SHARD = "shard"
_FORMAT = 1
_Result = TypeVar("_Result")


class EmbeddedPoints(Points):
    """A store in a folder, which one process at a time has open.

    The folder holds the engine's shard and ``points.json`` (dimension, metric, fields, options). Every change goes through the
    engine's write-ahead log: a process that is killed loses nothing that was acknowledged, and a machine that loses its power
    nothing that was flushed. Threads may share a store; the engine lets one of them work at a time, also while it optimises.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp()) / "store"
    >>> with EmbeddedPoints.create(folder, dimension=2, fields={"year": "integer"}) as store:
    ...     _ = store.upsert([Point(7, np.array([0.6, 0.8]), {"year": 2020})])
    >>> with EmbeddedPoints.open(folder) as store:
    ...     [hit.payload for hit in store.search(np.array([[1.0, 0.0]]), k=1)[0]]
    [{'year': 2020}]
    """

    def __init__(self, folder: Path, facts: Mapping[str, Any], held: ExitStack) -> None:
        super().__init__(
            dimension=int(facts["dimension"]),
            metric=facts["metric"],
            fields=check_fields(facts["fields"]),
            options=StoreOptions(**facts["options"]),
        )
        self.folder = folder
        self._held = held
        self._lock = threading.RLock()
        self._shard: Any = load_shard(folder / _SHARD, dimension=self.dimension, hint="restore it from a copy")

    @classmethod
    def create(
        cls,
        folder: Path,
        *,
        dimension: int,
        metric: Metric = "cosine",
        fields: Fields | None = None,
        options: StoreOptions | None = None,
    ) -> Self:
        """Make an empty store and open it.

        Args:
            folder: where; nothing may stand there but an empty folder.
            dimension: of each vector.
            metric: ``cosine`` says that the vectors have length 1; both are inner products.
            fields: what filters may look at.
            options: how the graph is built.

        Raises:
            ArgumentError: for a dimension, field or option that cannot be.
            StorageError: where the folder is taken or cannot be written.
            LockedError: where another process is writing it.
            MissingDependencyError: where the engine is not installed.
        """
        edge = require("qdrant_edge", extra="qdrant")
        if dimension < 1:
            raise ArgumentError(f"dimension is {dimension}; it must be at least 1")
        options, checked = options or StoreOptions(), check_fields(fields or {})
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise StorageError(f"{folder}: something stands there already; open it, or choose another place")
        facts = {"version": _FORMAT, "dimension": dimension, "metric": metric, "fields": checked, "options": asdict(options)}
        with writing(folder) as new, engine_errors(folder):
            (new / _SHARD).mkdir()
            shard = edge.EdgeShard.create(str(new / _SHARD), shard_config(dimension, options, log=True))
            _index_fields(shard, checked)
            shard.flush()
            shard.close()
            write_file(new / _FACTS, json.dumps(facts).encode())
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open a store for reading and writing.

        Raises:
            StorageError: where the folder is no store, or of another format.
            CorruptError: where it is damaged.
            LockedError: where another process, or another object of this one, has it open.
            MissingDependencyError: where the engine is not installed.
        """
        require("qdrant_edge", extra="qdrant")
        facts = _read_facts(folder)
        held = ExitStack()
        try:
            with explain_os_errors(folder):
                held.enter_context(locked(folder.absolute()))
            return cls(folder, facts, held)
        except BaseException:
            held.close()
            raise

    def flush(self) -> None:
        """Make all that was upserted and deleted before durable: the log first, then the segments."""
        self._call(lambda shard: shard.flush())

    def optimize(self) -> None:
        """Build the graph over all points; no thread of this process runs Python meanwhile."""
        self._call(lambda shard: shard.optimize())

    def close(self) -> None:
        """Flush and let the folder go."""
        with self._lock:
            shard, self._shard = self._shard, None
            if shard is None:
                return
            with self._held, engine_errors(self.folder):
                shard.flush()
                shard.close()

    def _call(self, work: Callable[[Any], _Result]) -> _Result:
        """Let the engine work, for one thread at a time.

        The engine holds the interpreter's own lock while it works, so that this one costs no parallelism; without it, the shard
        that `add_fields` loads anew would be missing for a moment.
        """
        with self._lock:
            if self._shard is None:
                raise StorageError(f"{self.folder}: the store is closed; open it again")
            with engine_errors(self.folder):
                return work(self._shard)

    def _upsert(self, points: list[Point]) -> None:
        edge = require("qdrant_edge", extra="qdrant")
        batch = [edge.Point(point.id, point.vector, point.payload) for point in points]
        self._call(lambda shard: shard.update(edge.UpdateOperation.upsert_points(batch)))

    def _delete(self, ids: list[PointId]) -> None:
        edge = require("qdrant_edge", extra="qdrant")
        self._call(lambda shard: shard.update(edge.UpdateOperation.delete_points(ids)))

    def _delete_where(self, conditions: Json) -> None:
        edge = require("qdrant_edge", extra="qdrant")
        found = as_filter(conditions)
        self._call(lambda shard: shard.update(edge.UpdateOperation.delete_points_by_filter(found)))

    def _search(self, queries: FloatArray, *, k: int, conditions: Json | None, effort: int) -> list[list[Scored]]:
        request = search_request(queries, limit=k, where=as_filter(conditions), effort=effort, payload=True)
        answers = self._call(lambda shard: shard.query_batch(request))
        return [[Scored(plain_id(hit.id), hit.score, hit.payload or {}) for hit in hits] for hits in answers]

    def _get(self, ids: list[PointId]) -> list[Point]:
        return [_point(record) for record in self._call(lambda shard: shard.retrieve(ids, True, True))]

    def _page(self, start: PointId | None, conditions: Json | None, size: int) -> tuple[list[Point], PointId | None]:
        edge = require("qdrant_edge", extra="qdrant")
        request = edge.ScrollRequest(start, size, as_filter(conditions), with_payload=True, with_vector=True)
        records, after = self._call(lambda shard: shard.scroll(request))
        return [_point(record) for record in records], None if after is None else plain_id(after)

    def _count(self, conditions: Json | None) -> int:
        edge = require("qdrant_edge", extra="qdrant")
        return int(self._call(lambda shard: shard.count(edge.CountRequest(exact=True, filter=as_filter(conditions)))))

    def _add_fields(self, fields: Fields) -> None:
        def work(shard: Any) -> None:
            _index_fields(shard, fields)
            shard.flush()
            facts = _read_facts(self.folder)
            facts["fields"] = {**facts["fields"], **fields}
            write_file(self.folder / _FACTS, json.dumps(facts).encode())
            self._rebuild(shard)

        self._call(work)

    def _rebuild(self, shard: Any) -> None:
        """Build the graph again, which the engine does for another setting only, and not for a new payload index.

        One candidate more or fewer while building is another setting.
        """
        edge = require("qdrant_edge", extra="qdrant")
        place = self.folder / _SHARD
        built = json.loads((place / "edge_config.json").read_text())["hnsw_config"]["ef_construct"]
        config = shard_config(self.dimension, self.options, log=True, candidates=self.options.rebuilt(built))
        shard.close()
        self._shard = edge.EdgeShard.load(str(place), config)
        self._shard.optimize()
        self._shard.flush()


def shard_config(dimension: int, options: StoreOptions, *, log: bool, candidates: int | None = None) -> Any:
    """The engine's settings.

    Args:
        dimension: of each vector.
        options: of the store.
        log: whether changes go through a write-ahead log.
        candidates: looked at while building, if not as the options say.
    """
    edge = require("qdrant_edge", extra="qdrant")
    return edge.EdgeConfig(
        vectors=_vectors(dimension),
        hnsw_config=edge.HnswIndexConfig(
            m=options.links,
            ef_construct=candidates or options.ef_construction,
            full_scan_threshold=options.scan_kib(dimension),
            max_indexing_threads=available_cores(),
        ),
        quantization_config=edge.ScalarQuantizationConfig(edge.ScalarType.Int8) if options.codes == "int8" else None,
        # One segment, in which a filter's estimate is one; and a graph for each that `optimize` finds, however small.
        optimizers=edge.EdgeOptimizersConfig(default_segment_number=1, indexing_threshold=1),
        max_search_threads=available_cores(),
        wal_enabled=log,
    )


def load_shard(place: Path, *, dimension: int, hint: str) -> Any:
    """Open a shard with the settings that it has, and as many threads as this machine.

    Args:
        place: its folder.
        dimension: of each vector.
        hint: what to do where it is damaged.

    Raises:
        CorruptError: where the engine cannot open it.
    """
    edge = require("qdrant_edge", extra="qdrant")
    try:
        config = edge.EdgeConfig(vectors=_vectors(dimension), max_search_threads=available_cores())
        return edge.EdgeShard.load(str(place), config)
    except BaseException as error:
        # The engine's broken assumptions come as an exception that is no Exception, and whose class it does not show.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        reason = " ".join(str(error).split())[:300]
        raise CorruptError(f"{place} is damaged: Qdrant cannot open it ({reason}); {hint}") from error


def search_request(queries: FloatArray, *, limit: int, where: Any, effort: int, payload: bool, exact: bool = False) -> Any:
    """One request for several queries, shape (n, d)."""
    edge = require("qdrant_edge", extra="qdrant")
    codes = edge.QuantizationSearchParams(rescore=True, oversampling=OVERSAMPLING)  # int8 is not rescored by itself
    parameters = edge.SearchParams(hnsw_ef=effort, exact=exact, quantization=codes)
    return edge.QueryBatchRequest(
        [
            edge.QueryRequest(limit, query=edge.Query.Nearest(row), filter=where, params=parameters, with_payload=payload)
            for row in queries
        ]
    )


def as_filter(conditions: Json | None) -> Any:
    """Qdrant's conditions as the engine's objects."""
    if conditions is None:
        return None
    edge = require("qdrant_edge", extra="qdrant")
    if "key" not in conditions:
        return edge.Filter(**{name: [as_filter(part) for part in parts] for name, parts in conditions.items()})
    if "range" in conditions:
        bounds = conditions["range"]
        kind = edge.RangeDateTime if any(isinstance(bound, str) for bound in bounds.values()) else edge.RangeFloat
        return edge.FieldCondition(conditions["key"], range=kind(**bounds))
    match = conditions["match"]
    if "any" in match:
        return edge.FieldCondition(conditions["key"], match=edge.MatchAny(match["any"]))
    # Python's own truth values pass for numbers in the engine's eyes; NumPy's do not.
    value = np.bool_(match["value"]) if isinstance(match["value"], bool) else match["value"]
    return edge.FieldCondition(conditions["key"], match=edge.MatchValue(value))


def plain_id(given: Any) -> PointId:
    """An id as stores give it; the engine's are numbers or UUID objects."""
    return given if isinstance(given, int) else str(given)


@contextmanager
def engine_errors(place: Path) -> Iterator[None]:
    """Turn the engine's errors, which are of no class of their own, into one line.

    Raises:
        StorageError: in place of any of them.
    """
    try:
        yield
    except (BiencoderError, OSError):
        raise
    except Exception as error:
        raise StorageError(f"{place}: Qdrant cannot do this: {' '.join(str(error).split())[:300]}") from error


def _index_fields(shard: Any, fields: Fields) -> None:
    edge = require("qdrant_edge", extra="qdrant")
    for name, kind in fields.items():
        schema = getattr(edge.PayloadSchemaType, kind.value.capitalize())
        shard.update(edge.UpdateOperation.create_field_index(name, schema))


def _vectors(dimension: int) -> Any:
    """The engine's cosine distance would scale the vectors: both metrics are inner products, so both are its dot product."""
    edge = require("qdrant_edge", extra="qdrant")
    return edge.EdgeVectorParams(size=dimension, distance=edge.Distance.Dot)


def stored_fields(folder: Path) -> dict[str, str]:
    """The fields that a store's filters can look at, read without opening it.

    Raises:
        StorageError: where the folder is no store.
        CorruptError: where it is damaged.
    """
    return {name: str(kind) for name, kind in _read_facts(folder)["fields"].items()}


def _read_facts(folder: Path) -> dict[str, Any]:
    path = folder / _FACTS
    try:
        facts = json.loads(path.read_bytes())
        version, names = facts["version"], set(facts)
    except FileNotFoundError:
        raise StorageError(f"{folder} is no store of points: {_FACTS} was looked for") from None
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptError(f"{path} is damaged: it is not what a store writes ({error}); restore it from a copy") from None
    if version != _FORMAT:
        raise StorageError(f"{folder}: the store has format {version}; this version of biencoder reads format {_FORMAT}")
    if names != {"version", "dimension", "metric", "fields", "options"}:
        raise CorruptError(f"{path} is damaged: it is not what a store writes; restore it from a copy")
    return dict(facts)


def _point(record: Any) -> Point:
    return Point(plain_id(record.id), np.array(record.vector, dtype=np.float32), record.payload or {})
