"""FAISS's graph and codes as arrays, for the walk."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from biencoder.errors import CorruptError
from biencoder.index.faiss_index import Layers
from biencoder.index.faiss_library import faiss
from biencoder.index.kernels import Codes, padded
from biencoder.index.pages import roomy_zeros
from biencoder.index.walk import Graph, Walk, split_links
from biencoder.scoring import FloatArray


def walk_of(layers: Layers) -> Walk:
    """A walk through an HNSW core.

    Codes and links are copied; vectors for rescoring stay where FAISS has them.

    Raises:
        CorruptError: where FAISS has read what no walk can be trusted to.
    """
    _check(layers)
    hnsw, storage = layers.core.hnsw, faiss.downcast_index(layers.core.storage)
    levels = faiss.vector_to_array(hnsw.cum_nneighbor_per_level).astype(np.int64)
    links, starts = _view(hnsw.neighbors), _view(hnsw.offsets)
    ground = roomy_zeros((len(starts) - 1, int(levels[1])), np.int32)
    upper, upper_starts = np.empty(len(links) - ground.size, np.int32), np.empty(len(starts), np.int64)
    split_links(links, starts, ground, upper, upper_starts)
    graph = Graph(ground, upper, upper_starts, levels[1:] - levels[1], int(hnsw.max_level), int(hnsw.entry_point))
    codes, scale, offset = _codes(storage)
    rescorer = None if layers.rescorer is None else Codes(*_codes(layers.rescorer))
    return Walk(graph, padded(codes, scale, offset), _projection(layers), rescorer, layers)


def _check(layers: Layers) -> None:
    """What FAISS does not make sure of when it reads a file: compiled kernels go where they are sent."""
    core, whole, rescorer = layers.core, layers.whole, layers.rescorer
    hnsw = core.hnsw
    sound = (
        0 <= hnsw.entry_point < whole.ntotal
        and 0 <= hnsw.max_level < hnsw.cum_nneighbor_per_level.size() - 1
        and hnsw.levels.size() == core.ntotal == whole.ntotal
        and hnsw.levels.at(hnsw.entry_point) == hnsw.max_level + 1
        and (rescorer is None or (rescorer.ntotal == whole.ntotal and rescorer.d == whole.d))
        and (layers.transform is not None or core.d == whole.d)
    )
    if not sound:
        raise CorruptError("the graph is damaged: its parts do not belong together; build the index again")


def _view(vector: Any) -> NDArray[Any]:
    """FAISS's own memory; it lives as long as the index."""
    return np.asarray(faiss.rev_swig_ptr(vector.data(), vector.size()))


def _codes(storage: Any) -> tuple[NDArray[Any], FloatArray, FloatArray]:
    """Codes as they lie, with the worth of a byte's unit and of a byte of 0 in each dimension."""
    size, ones, zeros = storage.d, np.ones(storage.d, np.float32), np.zeros(storage.d, np.float32)
    bytes_ = _view(storage.codes).reshape(storage.ntotal, storage.code_size)
    if isinstance(storage, faiss.IndexFlat):
        return bytes_.view(np.float32), ones, zeros
    if storage.sq.qtype == faiss.ScalarQuantizer.QT_fp16:
        return bytes_.view(np.uint16), ones, zeros
    trained = faiss.vector_to_array(storage.sq.trained)
    # A byte c stands for the middle of its bin: least + width * (c + 1/2) / 255.
    unit = (trained[size:] / 255).astype(np.float32)
    return bytes_, unit, (trained[:size] + unit / 2).astype(np.float32)


def _projection(layers: Layers) -> FloatArray:
    if layers.transform is None:
        return np.empty((0, layers.whole.d), np.float32)
    linear = faiss.downcast_VectorTransform(layers.transform)
    return np.asarray(faiss.vector_to_array(linear.A), np.float32).reshape(linear.d_out, linear.d_in)
