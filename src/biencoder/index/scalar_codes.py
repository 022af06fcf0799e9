"""Codes of a byte for the dimensions that differ most, of half a byte for the others, of what a row differs from a centre by.

Rows are turned so that their dimensions are sorted by spread (principal components); within the wide dimensions, and within the
narrow ones, they are then mixed by a random rotation, so that one step fits all of a group. What a row differs from its
centre by is brought to length 1, rounded to codes, and given a factor that makes inner products with it right in the mean, as
RaBitQ does (Gao et al., 2025). Spending bits where the spread is follows the rule of transform coding (Huang and
Schultheiss, 1963): over sentence embeddings of 384 dimensions, 64 bytes and 320 half bytes lose less than 5 bits of each do.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from biencoder.index.native import LINE, compiled
from biencoder.index.reduction import projection, rotation
from biencoder.scoring import FloatArray

_HALF = LINE // 2
_WIDE_REACH, _NARROW_REACH = 4.7, 2.9
"""Standard deviations to either side that 256 and 16 steps of equal width cover with the least error, for normal numbers."""
_WIDE_SHARE = 6
"""One dimension of so many is wide, at least a line of them."""


class Shape(NamedTuple):
    """How dimensions lie in a code.

    Attributes:
        wide: dimensions of a byte.
        narrow: dimensions of half a byte.
    """

    wide: int
    narrow: int

    @property
    def wide_bytes(self) -> int:
        """Padded to whole cache lines."""
        return -(-self.wide // LINE) * LINE

    @property
    def narrow_bytes(self) -> int:
        """Padded to half lines, each of which holds 64 dimensions."""
        return -(-self.narrow // LINE) * _HALF

    @property
    def size(self) -> int:
        """Bytes of a code."""
        return self.wide_bytes + self.narrow_bytes


def shape_of(dimension: int) -> Shape:
    """A sixth of the dimensions wide, in whole cache lines, and at least one line.

    >>> shape_of(384), shape_of(384).size, shape_of(1024), shape_of(16)
    (Shape(wide=64, narrow=320), 224, Shape(wide=192, narrow=832), Shape(wide=16, narrow=0))
    """
    wide = max(1, round(dimension / _WIDE_SHARE / LINE)) * LINE
    return Shape(min(wide, dimension), max(0, dimension - wide))


def basis(sample: FloatArray, dimension: int) -> FloatArray:
    """The matrix that sorts dimensions by spread and mixes each group, shape (dimension, d), orthonormal rows."""
    wide, narrow = shape_of(dimension)
    sorted_ = projection(sample, dimension=dimension, reduction="pca")
    mixed = [rotation(wide) @ sorted_[:wide]]
    if narrow:
        mixed.append(rotation(narrow) @ sorted_[wide:])
    return np.ascontiguousarray(np.concatenate(mixed), np.float32)


def steps(differences: FloatArray) -> FloatArray:
    """Widths of a step of the wide and of the narrow dimensions, from what a sample differs from its centres by."""
    wide, _ = shape_of(differences.shape[1])
    lengths = np.linalg.norm(differences, axis=1, keepdims=True)
    unit = np.divide(differences, lengths, out=np.zeros_like(differences), where=lengths > 0)
    spread = [float(np.sqrt(np.mean(part**2))) if part.size else 0.0 for part in (unit[:, :wide], unit[:, wide:])]
    # Where nothing differs there is nothing to code, and any step will do.
    found = [2 * _WIDE_REACH * spread[0] / 256 or 1.0, 2 * _NARROW_REACH * spread[1] / 16 or 1.0]
    return np.asarray(found, np.float32)


@compiled
def encode(
    rows: FloatArray,
    centres: FloatArray,
    assigned: NDArray[np.int32],
    places: NDArray[np.int64],
    shape: tuple[int, int, int],
    steps: FloatArray,
    codes: NDArray[np.uint8],
    factors: FloatArray,
) -> None:
    """Write codes and factors of rows to their places.

    Args:
        rows: in the basis, shape (n, d).
        centres: shape (lists, d).
        assigned: the centre of each row.
        places: where each row's code goes.
        shape: wide dimensions, the bytes that they take, narrow dimensions.
        steps: of the two groups.
        codes: shape (all rows, size), zeros.
        factors: shape (all rows,).
    """
    wide, wide_bytes, narrow = shape
    for number in range(rows.shape[0]):
        own, centre, place = rows[number], centres[assigned[number]], places[number]
        length = np.float32(0)
        for at in range(wide + narrow):
            length += (own[at] - centre[at]) ** 2
        length = np.sqrt(length)
        kept = np.float32(0)
        for at in range(wide if length > 0 else 0):
            unit = (own[at] - centre[at]) / length
            level = min(max(np.floor(unit / steps[0]) + 128, 0), 255)
            kept += unit * (level - np.float32(127.5)) * steps[0]
            codes[place, at] = np.uint8(level)
        for at in range(narrow if length > 0 else 0):
            unit = (own[wide + at] - centre[wide + at]) / length
            level = min(max(np.floor(unit / steps[1]) + 8, 0), 15)
            kept += unit * (level - np.float32(7.5)) * steps[1]
            block, rest = at // 64, at % 64
            codes[place, wide_bytes + 32 * block + rest % 32] |= np.uint8(int(level) << (4 * (rest // 32)))
        factors[place] = length / kept if kept > 0 else np.float32(0)


def shape_numbers(shape: Shape) -> tuple[int, int, int]:
    """A shape as `encode` and the scan take it."""
    return shape.wide, shape.wide_bytes, shape.narrow


def padded_query(shape: Shape) -> NDArray[Any]:
    """Room for a query's bytes, the narrow dimensions behind the wide ones."""
    return np.zeros(shape.wide_bytes + 2 * shape.narrow_bytes, np.int8)
