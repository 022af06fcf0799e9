"""Scanning the lists whose centres are nearest to a query, by integer products of codes with a query of bytes."""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

import numpy as np
from numba.extending import overload
from numpy.typing import NDArray

from biencoder.index.kernels import Codes, fetch_row, key_of, near, padded, row_of, score_of, turn, weigh
from biencoder.index.native import LINE, byte_products, compiled, multiplies_bytes, nibble_products
from biencoder.index.scalar_codes import Shape, padded_query, shape_numbers
from biencoder.index.sharing import share_out
from biencoder.scoring import FloatArray, RowArray

_BINS = 1024
"""Of a histogram by which the nearest centres are told from the others."""
_LEAST_UNIT = 1e-30
"""Of a query's bytes; what is less is nothing, and its inverse too great for a float32."""
_KEPT = 256
"""Keys that are collected, at least, before the best of them are sorted out."""
_AHEAD = 16
"""Rows whose codes are asked for before they are compared."""


class Lists(NamedTuple):
    """Rows by the centre that they are nearest to.

    Attributes:
        basis: takes queries to the dimensions of centres and codes, shape (d, D).
        centres: shape (lists, d).
        starts: where each list begins, shape (lists + 1,).
        codes: shape (n, size), list by list.
        factors: of each code, shape (n,).
        rows: whose code it is, shape (n,); ascending within a list.
        steps: of wide and narrow dimensions, shape (2,).
    """

    basis: FloatArray
    centres: FloatArray
    starts: NDArray[np.int64]
    codes: NDArray[np.uint8]
    factors: FloatArray
    rows: NDArray[np.int32]
    steps: FloatArray


class _Scratch(NamedTuple):
    """What a thread needs while it scans."""

    query: FloatArray
    weights: FloatArray
    coarse: NDArray[np.int8]
    own: NDArray[np.int8]
    scores: NDArray[np.int32]
    bins: NDArray[np.int32]
    probed: NDArray[np.int64]
    best: NDArray[np.int64]


class Scan:
    """Lists, ready to be searched by any number of threads.

    Args:
        lists: the rows.
        shape: of the codes.
    """

    def __init__(self, lists: Lists, shape: Shape) -> None:
        self._lists, self._shape = lists, shape
        self._centres = byte_codes(lists.centres)
        self._local = threading.local()

    def search(self, queries: FloatArray, *, probes: int, k: int) -> tuple[FloatArray, RowArray]:
        """The best rows of each query, best first; of equal scores the lower row first.

        Args:
            queries: shape (m, D).
            probes: how many lists are scanned.
            k: how many rows are wanted.

        Returns:
            Estimated inner products and rows, shape (m, k); -1 where the lists held fewer.
        """

        def some(part: FloatArray, found: tuple[FloatArray, RowArray]) -> None:
            _search(
                part,
                self._lists,
                self._centres,
                shape_numbers(self._shape),
                self._scratch(k),
                (min(probes, len(self._lists.centres)), k),
                found,
            )

        return share_out(queries, k, some)

    def _scratch(self, k: int) -> _Scratch:
        found: _Scratch | None = getattr(self._local, "value", None)
        if found is None or len(found.best) < 2 * k:
            lists, dimension = self._lists.centres.shape
            width = self._centres.matrix.shape[1]
            found = self._local.value = _Scratch(
                query=np.zeros(dimension, np.float32),
                weights=np.zeros(width, np.float32),
                coarse=np.zeros(width, np.int8),
                own=padded_query(self._shape),
                scores=np.empty(lists, np.int32),
                bins=np.empty(_BINS, np.int32),
                probed=np.empty(lists, np.int64),
                best=np.empty(max(2 * k, _KEPT), np.int64),
            )
        return found


def byte_codes(vectors: FloatArray) -> Codes:
    """Vectors with a byte for each dimension, between its least and its greatest number.

    >>> byte_codes(np.array([[0, 3], [1, 3]], np.float32)).matrix[:, :2].tolist()
    [[0, 0], [255, 0]]
    """
    least, greatest = vectors.min(axis=0), vectors.max(axis=0)
    unit = ((greatest - least) / 255).astype(np.float32)
    levels = np.divide(vectors - least, unit, out=np.zeros_like(vectors), where=unit > 0)
    return padded(np.rint(levels).clip(0, 255).astype(np.uint8), unit, least.astype(np.float32))


def _products(code: Any, query: Any, wide_bytes: Any, narrow_bytes: Any) -> Any:
    """Inner products of the wide and of the narrow dimensions, by address; chosen by the processor while compiling."""
    raise NotImplementedError


def _products_here(code: Any, query: Any, wide_bytes: Any, narrow_bytes: Any) -> Any:  # noqa: ARG001
    by_loops, by_lines = _products_kernels()
    return by_lines if multiplies_bytes() else by_loops


overload(_products)(_products_here)


def _products_kernels() -> tuple[Any, Any]:
    def by_loops(code: Any, query: Any, wide_bytes: Any, narrow_bytes: Any) -> Any:
        wide, narrow = np.int32(0), np.int32(0)
        for at in range(wide_bytes):
            wide = np.int32(wide + np.int32(code[at]) * np.int32(query[at]))
        for block in range(narrow_bytes // 32):
            for at in range(32):
                both, first = np.int32(code[wide_bytes + 32 * block + at]), wide_bytes + 64 * block + at
                narrow = np.int32(narrow + (both & 15) * np.int32(query[first]) + (both >> 4) * np.int32(query[first + 32]))
        return wide, narrow

    def by_lines(code: Any, query: Any, wide_bytes: Any, narrow_bytes: Any) -> Any:
        own, other = np.uintp(code.ctypes.data), np.uintp(query.ctypes.data)
        wide = byte_products(own, other, wide_bytes // LINE)
        past = np.uintp(wide_bytes)
        return wide, nibble_products(own + past, other + past, narrow_bytes // (LINE // 2))

    return by_loops, by_lines


@compiled
def _round(numbers: Any, rounded: Any) -> Any:
    """Numbers as bytes; returns the worth of one."""
    greatest = np.float32(0)
    for place in range(numbers.shape[0]):
        greatest = max(greatest, abs(numbers[place]))
    unit = greatest / np.float32(127)
    for place in range(numbers.shape[0]):
        rounded[place] = np.int8(np.rint(numbers[place] / unit)) if unit > _LEAST_UNIT else np.int8(0)
    return unit


@compiled
def _sum(numbers: Any) -> Any:
    total = 0
    for place in range(numbers.shape[0]):
        total += numbers[place]
    return total


@compiled
def _bin(above: Any, scale: Any) -> Any:
    return min(np.int64(np.float32(above) * scale), _BINS - 1)


@compiled
def _nearest_centres(centres: Codes, scratch: _Scratch, probes: Any) -> Any:
    """Collect the keys of the best centres and of a few behind them, the best last; returns how many."""
    scores, bins, probed = scratch.scores, scratch.bins, scratch.probed
    lists = scores.shape[0]
    least, greatest = np.int32(2**31 - 1), np.int32(-(2**31))
    for number in range(lists):
        score = near(centres.matrix, number, scratch.coarse)
        scores[number] = score
        least, greatest = min(least, score), max(greatest, score)
    bins[:] = 0
    scale = np.float32(_BINS - 1) / max(np.float32(greatest - least), np.float32(1))
    for number in range(lists):
        bins[_bin(scores[number] - least, scale)] += 1
    lowest, above = _BINS - 1, 0
    while lowest > 0 and above + bins[lowest] < probes:
        above += bins[lowest]
        lowest -= 1
    count = 0
    for number in range(lists):
        if _bin(scores[number] - least, scale) >= lowest:
            probed[count] = key_of(scores[number], number)
            count += 1
    probed[:count].sort()
    return count


@compiled
def _keep_best(keys: Any, k: Any) -> Any:
    """Put the best k first, best first; returns the last of them."""
    keys.sort()
    size = keys.shape[0]
    for place in range(size // 2):
        keys[place], keys[size - 1 - place] = keys[size - 1 - place], keys[place]
    return keys[k - 1]


@compiled
def _scan_list(lists: Lists, number: Any, scratch: _Scratch, units: Any, count: Any, least: Any, k: Any) -> Any:
    """Collect the keys of a list's rows that are above the least; returns how many there are now, and the least."""
    wide_bytes, narrow_bytes, wide_unit, narrow_unit, bias = units
    nearness = near(lists.centres, number, scratch.query)
    lines = -(-lists.codes.shape[1] // LINE)
    best = scratch.best
    for place in range(lists.starts[number], lists.starts[number + 1]):
        fetch_row(lists.codes, place + _AHEAD, lines)
        wide, narrow = _products(lists.codes[place], scratch.own, wide_bytes, narrow_bytes)
        difference = wide_unit * np.float32(wide) + narrow_unit * np.float32(narrow) + bias
        key = key_of(np.float32(nearness + lists.factors[place] * difference), lists.rows[place])
        if key > least:
            best[count] = key
            count += 1
            if count == best.shape[0]:
                least = _keep_best(best, k)
                count = k
    return count, least


@compiled
def _search(
    queries: FloatArray,
    lists: Lists,
    centres: Codes,
    shape: tuple[int, int, int],
    scratch: _Scratch,
    wanted: tuple[int, int],
    found: tuple[FloatArray, RowArray],
) -> None:
    probes, k = wanted
    scores, rows = found
    wide, wide_bytes, narrow = shape
    narrow_bytes = lists.codes.shape[1] - wide_bytes
    for number in range(queries.shape[0]):
        turn(queries[number], lists.basis, scratch.query)
        weigh(scratch.query, centres, scratch.weights)
        _round(scratch.weights[: wide + narrow], scratch.coarse)
        listed = _nearest_centres(centres, scratch, probes)
        own = scratch.own
        wide_unit = _round(scratch.query[:wide], own) * lists.steps[0]
        narrow_unit = _round(scratch.query[wide:], own[wide_bytes:]) * lists.steps[1]
        # The middle of a step: codes count from the lowest.
        bias = -wide_unit * np.float32(127.5) * _sum(own[:wide_bytes]) - narrow_unit * np.float32(7.5) * _sum(own[wide_bytes:])
        units = (wide_bytes, narrow_bytes, wide_unit, narrow_unit, np.float32(bias))
        count, least = 0, np.int64(-(2**63))
        for place in range(min(probes, listed)):
            centre = row_of(scratch.probed[listed - 1 - place])
            count, least = _scan_list(lists, centre, scratch, units, count, least, k)
        scratch.best[count:] = -(2**63)
        _keep_best(scratch.best, k)
        for place in range(k):
            rows[number, place] = row_of(scratch.best[place]) if place < count else -1
            scores[number, place] = score_of(scratch.best[place]) if place < count else -np.inf
