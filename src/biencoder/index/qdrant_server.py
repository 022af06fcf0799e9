"""A live store in a Qdrant server or cluster."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from biencoder.errors import ArgumentError, BiencoderError, StorageError, require
from biencoder.index.base import Metric
from biencoder.index.conditions import Json
from biencoder.index.fields import FieldKind, Fields, check_fields
from biencoder.index.points import OVERSAMPLING, Point, PointId, Points, Scored, StoreOptions
from biencoder.scoring import FloatArray

API_KEY = "QDRANT_API_KEY"
"""The environment variable that holds the server's key, where it wants one."""

_WAIT = 0.2
"""Seconds between two looks at a collection that is being optimised."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """How a collection is spread.

    Args:
        shard_number: parts of the collection, each on one node; None leaves it to the server.
        replication_factor: copies of each part, on different nodes.
        timeout: seconds that a request may take.

    Raises:
        ArgumentError: for a number below 1.
    """

    shard_number: int | None = None
    replication_factor: int = 1
    timeout: int = 60

    def __post_init__(self) -> None:
        for name in ("shard_number", "replication_factor", "timeout"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ArgumentError(f"{name} is {value}; it must be at least 1")


class ServerPoints(Points):
    """A collection of a server, which many processes may use at a time.

    A request is answered when the server has it in its log and has applied it (``wait=True``), so that there is nothing left
    for `flush` to do. What a new store declares (metric, fields, options) is kept in the collection's own settings.

    >>> ServerPoints.open("http://localhost:1", "documents")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    biencoder.errors.StorageError: http://localhost:1, collection documents: the server does not answer ...
    """

    def __init__(self, client: Any, place: str, name: str, *, timeout: int = 60) -> None:
        self._client, self._place, self._name, self._timeout = client, f"{place}, collection {name}", name, timeout
        with self._errors():
            if not client.collection_exists(name):
                raise StorageError(f"{self._place}: there is no such collection; create it")
            info = client.get_collection(name)
        vectors, graph = info.config.params.vectors, info.config.hnsw_config
        models = _models()
        if not isinstance(vectors, models.VectorParams) or vectors.distance != models.Distance.DOT:
            raise StorageError(
                f"{self._place}: it was not created by biencoder: one unnamed vector of distance Dot was expected"
            )
        told = info.config.metadata or {}
        fields = {one: FieldKind(kind) for one, kind in told.get("fields", {}).items()}
        options = StoreOptions(**told.get("options", {"links": graph.m, "ef_construction": graph.ef_construct}))
        super().__init__(dimension=vectors.size, metric=told.get("metric", "dot"), fields=fields, options=options)

    @classmethod
    def create(
        cls,
        url: str,
        name: str,
        *,
        dimension: int,
        metric: Metric = "cosine",
        fields: Fields | None = None,
        options: StoreOptions | None = None,
        cluster: Cluster | None = None,
    ) -> Self:
        """Make an empty collection and open it; the API key is read from ``QDRANT_API_KEY``.

        Args:
            url: of the server, such as ``http://localhost:6333``.
            name: of the collection; none may be called so.
            dimension: of each vector.
            metric: ``cosine`` says that the vectors have length 1; both are inner products.
            fields: what filters may look at.
            options: how the graph is built.
            cluster: how the collection is spread.

        Raises:
            ArgumentError: for a dimension, field or option that cannot be.
            StorageError: where the server does not answer, refuses, or has a collection of this name.
            MissingDependencyError: where the client is not installed.
        """
        cluster = cluster or Cluster()
        client = _client(url, cluster.timeout)
        return cls._create(client, url, name, dimension, metric, check_fields(fields or {}), options or StoreOptions(), cluster)

    @classmethod
    def open(cls, url: str, name: str, *, timeout: int = 60) -> Self:
        """Open a collection that `create` made; the API key is read from ``QDRANT_API_KEY``.

        Raises:
            StorageError: where the server does not answer, or has no such collection.
            MissingDependencyError: where the client is not installed.
        """
        return cls(_client(url, timeout), url, name, timeout=timeout)

    @classmethod
    def _create(
        cls,
        client: Any,
        place: str,
        name: str,
        dimension: int,
        metric: Metric,
        fields: dict[str, FieldKind],
        options: StoreOptions,
        cluster: Cluster,
    ) -> Self:
        if dimension < 1:
            raise ArgumentError(f"dimension is {dimension}; it must be at least 1")
        models = _models()
        int8 = models.ScalarQuantization(scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=True))
        with _server_errors(f"{place}, collection {name}"):
            if client.collection_exists(name):
                raise StorageError(f"{place}, collection {name}: there is one of this name already; open it, or choose another")
            client.create_collection(
                name,
                # The server's cosine distance would scale the vectors: both metrics are inner products.
                vectors_config=models.VectorParams(size=dimension, distance=models.Distance.DOT),
                hnsw_config=_graph(options, dimension, options.ef_construction),
                quantization_config=int8 if options.codes == "int8" else None,
                shard_number=cluster.shard_number,
                replication_factor=cluster.replication_factor,
                metadata=_told(metric, fields, options),
            )
            _index_fields(client, name, fields)
        return cls(client, place, name, timeout=cluster.timeout)

    def flush(self) -> None:
        """Nothing: what was acknowledged is in the server's log."""

    def optimize(self) -> None:
        """Have the server build graphs over all points, however few, and wait for it."""
        models = _models()
        with self._errors():
            self._client.update_collection(self._name, optimizers_config=models.OptimizersConfigDiff(indexing_threshold=1))
            self._wait()

    def close(self) -> None:
        """Give back the connections."""
        self._client.close()

    def _upsert(self, points: list[Point]) -> None:
        models = _models()
        batch = [models.PointStruct(id=one.id, vector=one.vector.tolist(), payload=dict(one.payload)) for one in points]
        with self._errors():
            self._client.upsert(self._name, points=batch, wait=True)

    def _delete(self, ids: list[PointId]) -> None:
        with self._errors():
            self._client.delete(self._name, points_selector=_models().PointIdsList(points=ids), wait=True)

    def _delete_where(self, conditions: Json) -> None:
        models = _models()
        with self._errors():
            self._client.delete(self._name, points_selector=models.FilterSelector(filter=_filter(conditions)), wait=True)

    def _search(self, queries: FloatArray, *, k: int, conditions: Json | None, effort: int) -> list[list[Scored]]:
        models = _models()
        codes = models.QuantizationSearchParams(rescore=True, oversampling=OVERSAMPLING)  # int8 is not rescored by itself
        parameters = models.SearchParams(hnsw_ef=effort, quantization=codes)
        requests = [
            models.QueryRequest(query=row.tolist(), limit=k, filter=_filter(conditions), params=parameters, with_payload=True)
            for row in queries
        ]
        with self._errors():
            answers = self._client.query_batch_points(self._name, requests)
        return [[Scored(hit.id, hit.score, hit.payload or {}) for hit in answer.points] for answer in answers]

    def _get(self, ids: list[PointId]) -> list[Point]:
        with self._errors():
            return [_point(record) for record in self._client.retrieve(self._name, ids, with_payload=True, with_vectors=True)]

    def _page(self, start: PointId | None, conditions: Json | None, size: int) -> tuple[list[Point], PointId | None]:
        with self._errors():
            records, after = self._client.scroll(
                self._name, _filter(conditions), limit=size, offset=start, with_payload=True, with_vectors=True
            )
        return [_point(record) for record in records], after

    def _count(self, conditions: Json | None) -> int:
        with self._errors():
            return int(self._client.count(self._name, _filter(conditions), exact=True).count)

    def _add_fields(self, fields: Fields) -> None:
        with self._errors():
            _index_fields(self._client, self._name, fields)
            told = _told(self.metric, {**self.fields, **fields}, self.options)
            built = self._client.get_collection(self._name).config.hnsw_config.ef_construct
            graph = _graph(self.options, self.dimension, self.options.rebuilt(built))
            self._client.update_collection(self._name, hnsw_config=graph, metadata=told)
            self._wait()

    def _wait(self) -> None:
        """Until the server has nothing left to optimise; a collection that it optimises is yellow, or grey before it begins."""
        models = _models()
        while True:
            time.sleep(_WAIT)
            info = self._client.get_collection(self._name)
            if info.status == models.CollectionStatus.RED or info.optimizer_status != models.OptimizersStatusOneOf.OK:
                raise StorageError(f"{self._place}: the server cannot optimise it ({info.optimizer_status})")
            if info.status == models.CollectionStatus.GREEN:
                return

    def _errors(self) -> Any:
        return _server_errors(self._place)


def _models() -> Any:
    return require("qdrant_client.models", extra="qdrant")


def _client(url: str, timeout: int) -> Any:
    module = require("qdrant_client", extra="qdrant")
    with _server_errors(url), warnings.catch_warnings():
        # A key over plain HTTP is the user's choice: behind a proxy, or on this machine.
        warnings.filterwarnings("ignore", message="Api key is used with an insecure connection")
        return module.QdrantClient(url=url, api_key=os.environ.get(API_KEY) or None, timeout=timeout, check_compatibility=False)


def _graph(options: StoreOptions, dimension: int, candidates: int) -> Any:
    threshold = options.scan_kib(dimension)
    return _models().HnswConfigDiff(m=options.links, ef_construct=candidates, full_scan_threshold=threshold)


def _told(metric: Metric, fields: Fields, options: StoreOptions) -> Json:
    """What the collection's settings do not say by themselves."""
    return {"metric": metric, "fields": {name: kind.value for name, kind in fields.items()}, "options": asdict(options)}


def _index_fields(client: Any, name: str, fields: Fields) -> None:
    for field, kind in fields.items():
        client.create_payload_index(name, field, field_schema=_models().PayloadSchemaType(kind.value), wait=True)


def _filter(conditions: Json | None) -> Any:
    return None if conditions is None else _models().Filter.model_validate(conditions)


def _point(record: Any) -> Point:
    return Point(record.id, np.array(record.vector, dtype=np.float32), record.payload or {})


@contextmanager
def _server_errors(place: str) -> Iterator[None]:
    """Turn the client's errors into one line.

    Raises:
        StorageError: in place of any of them.
    """
    exceptions = require("qdrant_client.http.exceptions", extra="qdrant")
    try:
        yield
    except BiencoderError:
        raise
    except exceptions.UnexpectedResponse as error:
        said = " ".join((error.content or b"").decode(errors="replace").split())[:300]
        hint = f"; set {API_KEY}" if error.status_code in {401, 403} else ""
        raise StorageError(
            f"{place}: the server refuses with status {error.status_code}: {said or 'no reason'}{hint}"
        ) from error
    except (exceptions.ResponseHandlingException, OSError) as error:
        said = " ".join(str(error).split())[:300]
        raise StorageError(f"{place}: the server does not answer ({said}); check the address and the network") from error
    except ValueError as error:
        raise StorageError(f"{place}: the client refuses: {' '.join(str(error).split())[:300]}") from error
