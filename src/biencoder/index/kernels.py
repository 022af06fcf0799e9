"""Compiled parts that searches are made of: inner products with stored rows, keys that sort, a list of the best."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba.extending import overload
from numpy.typing import NDArray

from biencoder.index.native import (
    FASTMATH,
    LINE,
    bits_of,
    byte_products,
    compiled,
    float_of,
    half,
    multiplies_bytes,
    prefetch,
)
from biencoder.index.pages import roomy_zeros
from biencoder.scoring import FloatArray

_LAST = 2**31 - 1
"""The greatest row there can be."""


class Codes(NamedTuple):
    """Vectors as they are stored.

    Attributes:
        matrix: shape (n, width): float32, the bits of float16, or bytes; what is walked over has each row padded with zeros to
            whole cache lines.
        scale: what a byte's unit is worth in each dimension, shape (d,); ones where codes are floating-point.
        offset: what a byte of 0 stands for, shape (d,); zeros where codes are floating-point.
    """

    matrix: NDArray[Any]
    scale: FloatArray
    offset: FloatArray


def padded(codes: NDArray[Any], scale: FloatArray, offset: FloatArray) -> Codes:
    """A copy of codes, in large pages, their rows padded to whole cache lines.

    >>> padded(np.ones((2, 3), np.uint16), np.ones(3, np.float32), np.zeros(3, np.float32)).matrix.shape
    (2, 32)
    """
    unit = LINE // codes.itemsize
    matrix = roomy_zeros((len(codes), -(-codes.shape[1] // unit) * unit), codes.dtype)
    matrix[:, : codes.shape[1]] = codes
    return Codes(matrix, scale, offset)


def near(matrix: Any, row: Any, query: Any) -> Any:
    """The inner product of a stored row with a query of the matrix's width; chosen by the types while compiling."""
    raise NotImplementedError


def _near_by_type(matrix: Any, row: Any, query: Any) -> Any:  # noqa: ARG001
    by_bytes, by_halves, by_floats, by_lines = _near_kernels()
    if str(query.dtype) == "int8":
        return by_lines if multiplies_bytes() else by_bytes
    return by_halves if str(matrix.dtype) == "uint16" else by_floats


overload(near, jit_options={"fastmath": FASTMATH})(_near_by_type)


def _near_kernels() -> tuple[Any, Any, Any, Any]:
    """One for each pair of types, and one for the processors that multiply bytes."""

    def by_bytes(matrix: Any, row: Any, query: Any) -> Any:
        total, own = np.int32(0), matrix[row]
        for place in range(query.shape[0]):
            total = np.int32(total + np.int32(own[place]) * np.int32(query[place]))
        return total

    def by_halves(matrix: Any, row: Any, query: Any) -> Any:
        total, own = np.float32(0), matrix[row]
        for place in range(query.shape[0]):
            total += half(own[place]) * query[place]
        return total

    def by_floats(matrix: Any, row: Any, query: Any) -> Any:
        total, own = np.float32(0), matrix[row]
        for place in range(query.shape[0]):
            total += np.float32(own[place]) * query[place]
        return total

    def by_lines(matrix: Any, row: Any, query: Any) -> Any:
        width = matrix.shape[1]
        own = np.uintp(matrix.ctypes.data) + np.uintp(row) * np.uintp(width)
        return byte_products(own, np.uintp(query.ctypes.data), width // LINE)

    return by_bytes, by_halves, by_floats, by_lines


@compiled
def _flipped(bits: Any) -> Any:
    """From a float's bits to an integer that sorts like it, and back."""
    return bits if bits >= 0 else np.int32(bits ^ np.int32(0x7FFFFFFF))


def _order(score: Any) -> Any:
    """An int32 that sorts like a score; chosen by its type while compiling."""
    raise NotImplementedError


def _order_by_type(score: Any) -> Any:
    def of_integer(score: Any) -> Any:
        return score

    def of_float(score: Any) -> Any:
        return _flipped(np.int32(0) if score == 0 else bits_of(score))  # there are two zeros

    return of_float if str(score) == "float32" else of_integer


overload(_order)(_order_by_type)


@compiled
def key_of(score: Any, row: Any) -> Any:
    """Sorts by score, then by row, the lower one above; its last bit, set later, says that a row's links were followed."""
    return (np.int64(_order(score)) << 32) | (np.int64(_LAST - row) << 1)


@compiled
def row_of(key: Any) -> Any:
    """The row of a key."""
    return _LAST - ((key >> 1) & _LAST)


@compiled
def score_of(key: Any) -> Any:
    """The score of a key that was made of a floating-point one."""
    return float_of(_flipped(np.int32(key >> 32)))


@compiled
def fetch_row(matrix: Any, row: Any, lines: Any) -> None:
    """Ask for a row's first lines."""
    own = np.uintp(matrix.ctypes.data) + np.uintp(row) * np.uintp(matrix.strides[0])
    for line in range(lines):
        prefetch(own + np.uintp(line * LINE))


@compiled
def turn(query: Any, matrix: Any, turned: Any) -> None:
    """A query times each row of a matrix."""
    for place in range(matrix.shape[0]):
        total, own = np.float32(0), matrix[place]
        for at in range(query.shape[0]):
            total += own[at] * query[at]
        turned[place] = total


@compiled
def weigh(query: Any, codes: Codes, weights: Any) -> Any:
    """What each unit of a code adds to the inner product; returns what codes of zeros have."""
    bias = np.float32(0)
    for place in range(query.shape[0]):
        weights[place] = query[place] * codes.scale[place]
        bias += query[place] * codes.offset[place]
    return bias


@compiled
def insert(beam: Any, count: Any, effort: Any, key: Any) -> Any:
    """Put a key where it belongs among so many, best first; returns the place."""
    low, high = 0, count
    while low < high:
        middle = (low + high) >> 1
        if beam[middle] > key:
            low = middle + 1
        else:
            high = middle
    for place in range(min(count, effort - 1), low, -1):
        beam[place] = beam[place - 1]
    beam[low] = key
    return low
