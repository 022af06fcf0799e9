"""Qdrant's graph as an engine: rows are point ids."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, cast

import numpy as np

from biencoder.errors import ArgumentError, CorruptError, require
from biencoder.index.base import Capabilities, Metric, Parameters, RowProgress, VectorIndex
from biencoder.index.faiss_index import number
from biencoder.index.points import StoreOptions
from biencoder.index.qdrant_embedded import engine_errors, load_shard, search_request, shard_config
from biencoder.scoring import FloatArray, RowArray
from biencoder.storage.vectors import blocks

_BLOCK = 4096
"""Rows added at once."""

_QUERIES = 64
"""Queries that share one call."""

_NEIGHBOURS = 32
"""Results beyond k that are looked at, so that of equal scores at the cut the lower row is kept."""

_FACTS = "qdrant.json"
_SHARD = "shard"
_WORKING = "biencoder-qdrant-"
_READ_ONLY = frozenset({"matrix.dat", "graph.bin", "links.bin", "links_compressed.bin", "quantized.data"})
"""The large files, which the engine maps for reading alone."""


class QdrantIndex(VectorIndex):
    """A graph that Qdrant's embedded engine holds; rows can be deleted, and a search kept to some of them.

    ``codes`` says what the walk compares, ``float32`` or ``int8``; scores are of the whole vectors with both. Where no more
    than ``scan_rows`` rows are to be looked at, they are compared one by one.

    >>> index = QdrantIndex.build(np.eye(4, dtype=np.float32), metric="cosine")
    >>> index.search(np.array([[0.0, 0.6, 0.8, 0.0]], dtype=np.float32), k=2)[1].tolist()
    [[2, 1]]
    """

    engine: ClassVar[str] = "qdrant"
    capabilities: ClassVar[Capabilities] = Capabilities(exact=False, delete=True, filter=True)
    build_defaults: ClassVar[Parameters] = asdict(StoreOptions())
    search_defaults: ClassVar[Parameters] = {"ef_search": 128}
    choices: ClassVar[Mapping[str, Any]] = {"codes": ("float32", "int8")}

    def __init__(self, folder: Path, shard: Any, *, metric: Metric, dimension: int, parameters: Parameters) -> None:
        super().__init__(metric=metric, dimension=dimension, parameters=parameters)
        self._folder = folder
        self._shard = shard
        self._count = int(shard.info().points_count)
        self._end = weakref.finalize(self, _give_back, shard, folder, os.getpid())

    def __len__(self) -> int:
        return self._count

    def save(self, folder: Path) -> None:
        """Copy the shard, and leave the number of rows in ``qdrant.json``."""
        with engine_errors(folder):
            self._shard.flush()
            # Vectors of less than a KiB get no graph; where there is one, it holds all, and the other segment is empty.
            whole = int(self._shard.info().indexed_vectors_count) < len(self)
        _copy_shard(self._folder / _SHARD, folder / _SHARD, graphs_only=not whole, link=False)
        facts = {"dimension": self.dimension, "vectors": len(self)}
        (folder / _FACTS).write_text(json.dumps(facts), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, *, metric: Metric, parameters: Parameters) -> Self:
        """Open a working copy of the folder.

        The engine writes while it opens a shard (its settings, an empty segment for new points), keeps small files mapped for
        writing, and wants a folder for itself; an index folder's bytes are checked, and several processes read one. So the
        large files, which it only reads, are linked, and the small ones copied.
        """
        try:
            facts = json.loads((folder / _FACTS).read_bytes())
            dimension, count = int(facts["dimension"]), int(facts["vectors"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CorruptError(f"{folder / _FACTS} is damaged ({error}); build the index again") from None
        working = _working_folder()
        try:
            _copy_shard(folder / _SHARD, working / _SHARD, graphs_only=False, link=True)
            shard = load_shard(working / _SHARD, dimension=dimension, hint="build the index again")
        except BaseException as error:
            shutil.rmtree(working, ignore_errors=True)
            if isinstance(error, CorruptError):
                raise CorruptError(str(error).replace(str(working), str(folder))) from None
            raise
        index = cls(working, shard, metric=metric, dimension=dimension, parameters=parameters)
        if len(index) != count:
            raise CorruptError(f"{folder / _SHARD} holds {len(index):,} of {count:,} vectors; build the index again")
        return index

    def delete(self, rows: Iterable[int]) -> None:
        """Take rows out; the others keep their numbers. Not while another thread searches.

        Raises:
            ArgumentError: for a negative row; one that the index does not hold changes nothing.

        >>> index = QdrantIndex.build(np.eye(3, dtype=np.float32), metric="cosine")
        >>> index.delete([0])
        >>> index.search(np.array([[1.0, 0.0, 0.0]]), k=3)[1].tolist()
        [[1, 2]]
        """
        edge = require("qdrant_edge", extra="qdrant")
        with engine_errors(self._folder):
            self._shard.update(edge.UpdateOperation.delete_points(_checked_rows(rows)))
            self._count = int(self._shard.count(edge.CountRequest(exact=True)))

    def search_among(
        self, queries: FloatArray, *, k: int, rows: Iterable[int], parameters: Parameters | None = None
    ) -> tuple[FloatArray, RowArray]:
        """`search`, kept to some of the rows.

        Args:
            queries: shape (n, d), finite.
            k: how many.
            rows: those that may be found.
            parameters: as of `search`.

        Returns:
            Inner products and rows, each of shape (n, min(k, of these rows those that the index holds)).

        Raises:
            ArgumentError: as of `search`, and for a negative row.

        >>> index = QdrantIndex.build(np.eye(4, dtype=np.float32), metric="cosine")
        >>> index.search_among(np.array([[0.0, 0.6, 0.8, 0.0]], dtype=np.float32), k=1, rows=[0, 1])[1].tolist()
        [[1]]
        """
        edge = require("qdrant_edge", extra="qdrant")
        if k < 1:
            raise ArgumentError(f"k is {k}; it must be at least 1")
        own = {name: self.parameters.get(name, value) for name, value in self.search_defaults.items()}
        resolved = self.resolve(parameters, own)
        where = edge.Filter(must=[edge.HasIdCondition(set(_checked_rows(rows)))])
        with engine_errors(self._folder):
            there = int(self._shard.count(edge.CountRequest(exact=True, filter=where)))
        vectors, k = self._check_queries(queries), min(k, there)
        if not len(vectors) or not k:
            return np.empty((len(vectors), k), np.float32), np.empty((len(vectors), k), np.int64)
        return self._found(vectors, k, resolved, where)

    @classmethod
    def _build(cls, vectors: FloatArray, *, metric: Metric, parameters: Parameters, progress: RowProgress) -> Self:
        edge = require("qdrant_edge", extra="qdrant")
        options = store_options(parameters)
        folder = _working_folder()
        with engine_errors(folder):
            (folder / _SHARD).mkdir()
            # Without a log: a build that is interrupted starts anew, and the log alone would take 64 MiB.
            shard = edge.EdgeShard.create(str(folder / _SHARD), shard_config(vectors.shape[1], options, log=False))
            for part, rows in enumerate(blocks(vectors, size=_BLOCK)):
                first = part * _BLOCK
                points = [edge.Point(first + at, row) for at, row in enumerate(np.ascontiguousarray(rows))]
                shard.update(edge.UpdateOperation.upsert_points(points))
                if first + len(rows) < len(vectors):
                    progress(first + len(rows), len(vectors))
            shard.optimize()
            shard.flush()
        progress(len(vectors), len(vectors))
        return cls(folder, shard, metric=metric, dimension=vectors.shape[1], parameters=parameters)

    def _search(self, queries: FloatArray, *, k: int, parameters: Parameters) -> tuple[FloatArray, RowArray]:
        return self._found(queries, k, parameters, None)

    def _found(self, queries: FloatArray, k: int, parameters: Parameters, where: Any) -> tuple[FloatArray, RowArray]:
        """The best k rows of each query; there are as many."""
        scores, rows = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
        effort, fetch = number(parameters, "ef_search"), min(k + _NEIGHBOURS, len(self))
        for start in range(0, len(queries), _QUERIES):
            some = queries[start : start + _QUERIES]
            for at, hits in enumerate(self._hits(some, fetch, effort, where), start):
                if len(hits) < k:  # a graph over many equal vectors falls apart, and a walk through it can end with too few
                    hits = self._hits(queries[at : at + 1], fetch, effort, where, exact=True)[0]  # noqa: PLW2901
                best = sorted(hits, key=lambda hit: (-hit.score, hit.id))[:k]
                scores[at], rows[at] = [hit.score for hit in best], [hit.id for hit in best]
        return scores, rows

    def _hits(self, queries: FloatArray, fetch: int, effort: int, where: Any, *, exact: bool = False) -> list[list[Any]]:
        request = search_request(queries, limit=fetch, where=where, effort=max(effort, fetch), payload=False, exact=exact)
        with engine_errors(self._folder):
            return cast(list[list[Any]], self._shard.query_batch(request))


def store_options(parameters: Parameters) -> StoreOptions:
    """How a graph is built, from the engine's parameters."""
    return StoreOptions(
        links=number(parameters, "links"),
        ef_construction=number(parameters, "ef_construction"),
        codes=cast(Literal["float32", "int8"], parameters["codes"]),
        scan_rows=number(parameters, "scan_rows"),
    )


def _checked_rows(rows: Iterable[int]) -> list[int]:
    checked = [int(row) for row in rows]
    if checked and min(checked) < 0:
        raise ArgumentError(f"row {min(checked)} cannot be; rows are numbered from 0")
    return checked


def _working_folder() -> Path:
    """A new folder for the engine, named after this process; those of processes that were killed are removed."""
    place = Path(tempfile.gettempdir())
    for left in place.glob(f"{_WORKING}*"):
        owner = left.name.removeprefix(_WORKING).partition("-")[0]
        if owner.isdigit() and not _runs(int(owner)):
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{_WORKING}{os.getpid()}-"))


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's, or a number beyond any process's
        return True
    return True


def _give_back(shard: Any, folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # a forked child shares the folder
        shard.close()
        shutil.rmtree(folder, ignore_errors=True)


def _copy_shard(source: Path, target: Path, *, graphs_only: bool, link: bool) -> None:
    """Copy a shard's settings and segments, or of these only those that hold a graph; the engine makes an empty one anew."""
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source)
        if path.is_dir() or (graphs_only and not _belongs(source, name)):
            continue
        place = target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if link and path.name in _READ_ONLY:
            place.symlink_to(path.absolute())
        else:
            _copy_sparse(path, place)


def _belongs(source: Path, name: Path) -> bool:
    """Whether a file is of the shard itself or of a segment with a graph."""
    return name.parts[0] != "segments" or (source / "segments" / name.parts[1] / "vector_index").is_dir()


def _copy_sparse(source: Path, target: Path) -> None:
    """Copy a file, its holes staying holes: without payloads, 32 MiB of a segment's payload storage are one hole."""
    with source.open("rb") as reader, target.open("wb") as writer:
        size = os.fstat(reader.fileno()).st_size
        writer.truncate(size)
        at = 0
        while at < size:
            try:
                at = os.lseek(reader.fileno(), at, os.SEEK_DATA)
            except OSError:  # nothing but a hole up to the end
                return
            end = os.lseek(reader.fileno(), at, os.SEEK_HOLE)
            writer.seek(at)
            reader.seek(at)
            while at < end and (data := reader.read(min(2**20, end - at))):
                writer.write(data)
                at += len(data)
