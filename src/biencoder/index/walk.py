"""The walk through a graph that FAISS has built: HNSW's search (Malkov and Yashunin, 2016), compiled for this processor.

A walk waits for memory: it compares some two thousand vectors, each somewhere else. So the codes of all neighbours are asked
for before the first is compared, graph and codes lie in large pages, and codes of a byte a dimension are compared by integer
products with a query of bytes. What the walk ranks best is scored anew with the floating-point query, by codes or by vectors.
"""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

import numpy as np
from numba.extending import overload
from numpy.typing import NDArray

from biencoder.index.kernels import Codes, fetch_row, insert, key_of, near, row_of, score_of, turn, weigh
from biencoder.index.native import LINE, compiled
from biencoder.index.sharing import share_out
from biencoder.scoring import FloatArray, RowArray

_AHEAD = 6
"""Cache lines of a code that are asked for; the processor sees by itself that a longer one goes on."""


class Graph(NamedTuple):
    """Who is linked to whom.

    Attributes:
        ground: neighbours on the ground level, shape (n, links), -1 after the last.
        upper: those on the levels above, row by row.
        starts: where a row's begin in `upper`, shape (n + 1,).
        levels: where those of level 1, of level 2 and so on begin within a row's.
        top: the highest level.
        entry: the row where every walk begins.
    """

    ground: NDArray[np.int32]
    upper: NDArray[np.int32]
    starts: NDArray[np.int64]
    levels: NDArray[np.int64]
    top: int
    entry: int


class _Scratch(NamedTuple):
    """What a thread needs while it walks."""

    seen: NDArray[np.uint64]
    touched: NDArray[np.int32]
    fresh: NDArray[np.int32]
    beam: NDArray[np.int64]
    short: FloatArray
    weights: FloatArray
    coarse: NDArray[np.int8]
    final: FloatArray


class Walk:
    """A graph with the vectors that are compared along it, ready to be searched by any number of threads.

    Args:
        graph: the links.
        codes: what the walk compares.
        projection: takes queries into the codes' dimensions, shape (d, D); of no rows where there is nothing to reduce.
        vectors: in all dimensions, by which the best are scored anew; None where the codes themselves do that.
        owner: of the memory that arrays lie in, kept as long as they are.
    """

    def __init__(self, graph: Graph, codes: Codes, projection: FloatArray, vectors: Codes | None, owner: object) -> None:
        self._owner = owner
        self._graph, self._codes, self._projection = graph, codes, projection
        self._vectors = codes if vectors is None else vectors
        self._whole = vectors is not None
        self._scratch = threading.local()

    def search(self, queries: FloatArray, *, effort: int, fetch: int, k: int) -> tuple[FloatArray, RowArray]:
        """The best rows of each query, best first; of equal scores the lower row first.

        Args:
            queries: shape (m, D).
            effort: how many of the best are kept while walking (efSearch).
            fetch: how many of them are scored anew.
            k: how many are wanted, at most as many.

        Returns:
            Inner products and rows, shape (m, k); -1 where a walk found fewer.
        """

        def some(part: FloatArray, found: tuple[FloatArray, RowArray]) -> None:
            _search(
                part,
                self._graph,
                self._codes,
                self._projection,
                self._vectors,
                self._own_scratch(effort),
                (effort, fetch, self._whole),
                found,
            )

        return share_out(queries, k, some)

    def _own_scratch(self, effort: int) -> _Scratch:
        """This thread's, with room for so many."""
        found: _Scratch | None = getattr(self._scratch, "value", None)
        if found is None or len(found.beam) < effort:
            found = self._scratch.value = self._new_scratch(max(effort, 128))
        return found

    def _new_scratch(self, effort: int) -> _Scratch:
        rows, links = self._graph.ground.shape
        width = self._codes.matrix.shape[1]
        return _Scratch(
            seen=np.zeros(rows // 64 + 1, np.uint64),
            touched=np.empty(rows, np.int32),
            fresh=np.empty(links, np.int32),
            beam=np.empty(effort, np.int64),
            short=np.zeros(len(self._codes.scale), np.float32),
            weights=np.zeros(width, np.float32),
            coarse=np.zeros(width, np.int8),
            final=np.zeros(self._vectors.matrix.shape[1], np.float32),
        )


@compiled
def split_links(links: Any, starts: Any, ground: Any, upper: Any, upper_starts: Any) -> None:
    """Copy links, which lie row by row, to those of the ground level and those above.

    Args:
        links: of all levels.
        starts: where a row's begin, shape (n + 1,).
        ground: shape (n, links on the ground level).
        upper: room for all others.
        upper_starts: shape (n + 1,).
    """
    upper_starts[0] = 0
    for row in range(ground.shape[0]):
        start = np.int64(starts[row])
        for place in range(ground.shape[1]):
            ground[row, place] = links[start + place]
        start += ground.shape[1]
        others = np.int64(starts[row + 1]) - start
        for place in range(others):
            upper[upper_starts[row] + place] = links[start + place]
        upper_starts[row + 1] = upper_starts[row] + others


def _walking(matrix: Any, scratch: Any) -> Any:
    """The query in the form in which the walk compares it; chosen by the codes' type while compiling."""
    raise NotImplementedError


def _walking_by_type(matrix: Any, scratch: Any) -> Any:  # noqa: ARG001
    def coarse(matrix: Any, scratch: Any) -> Any:  # noqa: ARG001
        return scratch.coarse

    def fine(matrix: Any, scratch: Any) -> Any:  # noqa: ARG001
        return scratch.weights

    return coarse if str(matrix.dtype) == "uint8" else fine


overload(_walking)(_walking_by_type)


@compiled
def _prepare(query: Any, codes: Codes, projection: Any, scratch: _Scratch) -> Any:
    """The query in the codes' dimensions, with floating-point weights and with weights of a byte; returns the bias."""
    size = codes.scale.shape[0]
    if projection.shape[0]:
        turn(query, projection, scratch.short)
    else:
        scratch.short[:] = query
    bias = weigh(scratch.short, codes, scratch.weights)
    greatest = np.float32(0)
    for place in range(size):
        greatest = max(greatest, abs(scratch.weights[place]))
    unit = np.float32(127) / greatest if greatest > 0 else np.float32(0)
    for place in range(size):
        scratch.coarse[place] = np.int8(np.rint(scratch.weights[place] * unit))
    return bias


@compiled
def _descend(graph: Graph, matrix: Any, query: Any) -> Any:
    """From the top level to the ground, always to the nearest neighbour."""
    row = np.int64(graph.entry)
    best = near(matrix, row, query)
    for level in range(graph.top, 0, -1):
        moved = True
        while moved:
            moved = False
            start = graph.starts[row]
            # A damaged link could lead to a row that does not reach this level.
            end = min(start + graph.levels[level], graph.starts[row + 1])
            for place in range(start + graph.levels[level - 1], end):
                other = np.int64(graph.upper[place])
                if other < 0:
                    break
                score = near(matrix, other, query)
                if score > best:
                    best, row, moved = score, other, True
    return row


@compiled
def _unseen(linked: Any, matrix: Any, scratch: _Scratch, touched: Any) -> Any:
    """Collect the neighbours that were not met before, and ask for their codes; returns how many."""
    lines = min(_AHEAD, matrix.strides[0] // LINE)
    count = 0
    for place in range(linked.shape[0]):
        row = linked[place]
        if row < 0:
            break
        bit = np.uint64(1) << np.uint64(row & 63)
        word = scratch.seen[row >> 6]
        if word & bit:
            continue
        scratch.seen[row >> 6] = word | bit
        scratch.touched[touched + count] = row
        scratch.fresh[count] = row
        count += 1
        fetch_row(matrix, row, lines)
    return count


@compiled
def _next(beam: Any, place: Any, count: Any) -> Any:
    """The first place from this one on whose links were not followed yet."""
    while place < count and beam[place] & 1:
        place += 1
    return place


@compiled
def _walk(graph: Graph, matrix: Any, query: Any, start: Any, effort: Any, scratch: _Scratch) -> Any:
    """On the ground level, follow the best row's links until all that are kept were followed; returns how many are kept."""
    beam = scratch.beam
    beam[0] = key_of(near(matrix, start, query), start)
    scratch.seen[start >> 6] |= np.uint64(1) << np.uint64(start & 63)
    scratch.touched[0] = start
    count, touched, at = 1, 1, 0
    while at < count:
        linked = graph.ground[row_of(beam[at])]
        beam[at] |= 1
        following = _next(beam, at + 1, count)
        fresh = _unseen(linked, matrix, scratch, touched)
        touched += fresh
        if following < count:  # most often it is the next one indeed
            fetch_row(graph.ground, row_of(beam[following]), graph.ground.strides[0] // LINE)
        for place in range(fresh):
            row = scratch.fresh[place]
            key = key_of(near(matrix, row, query), row)
            if count == effort and key < beam[count - 1]:
                continue
            following = min(following, insert(beam, count, effort, key))
            count = min(count + 1, effort)
        at = _next(beam, following, count)
    for place in range(touched):
        scratch.seen[scratch.touched[place] >> 6] = 0
    return count


@compiled
def _rank(keys: Any, matrix: Any, query: Any, bias: Any, scores: Any, rows: Any) -> None:
    """Score rows anew, and give the best."""
    lines = matrix.strides[0] // LINE
    for place in range(min(_AHEAD, keys.shape[0])):
        fetch_row(matrix, row_of(keys[place]), lines)
    for place in range(keys.shape[0]):
        if place + _AHEAD < keys.shape[0]:
            fetch_row(matrix, row_of(keys[place + _AHEAD]), lines)
        row = row_of(keys[place])
        keys[place] = key_of(np.float32(near(matrix, row, query) + bias), row)
    keys.sort()
    for place in range(rows.shape[0]):
        behind = keys.shape[0] - 1 - place
        rows[place] = row_of(keys[behind]) if behind >= 0 else -1
        scores[place] = score_of(keys[behind]) if behind >= 0 else -np.inf


@compiled
def _search(
    queries: FloatArray,
    graph: Graph,
    codes: Codes,
    projection: FloatArray,
    vectors: Codes,
    scratch: _Scratch,
    wanted: tuple[int, int, bool],
    found: tuple[FloatArray, RowArray],
) -> None:
    effort, fetch, whole = wanted
    scores, rows = found
    for number in range(queries.shape[0]):
        bias = _prepare(queries[number], codes, projection, scratch)
        walking = _walking(codes.matrix, scratch)
        start = _descend(graph, codes.matrix, walking)
        count = _walk(graph, codes.matrix, walking, start, effort, scratch)
        if whole:
            bias = weigh(queries[number], vectors, scratch.final)
        else:
            scratch.final[:] = scratch.weights
        _rank(scratch.beam[: min(fetch, count)], vectors.matrix, scratch.final, bias, scores[number], rows[number])
