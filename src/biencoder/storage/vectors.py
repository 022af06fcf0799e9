"""Vectors on disk: one `.npy` file, written in blocks, durable block by block, continued after an interruption."""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from biencoder.errors import CorruptError
from biencoder.storage.folder import write_file

FloatArray = NDArray[np.float32]

_HEADER = 128
"""Bytes kept for the `.npy` header (NumPy aligns headers to 64), so that it can be written last."""


class VectorWriter:
    """Appends blocks of float32 vectors to ``folder/vectors.npy``; a block that `append` has returned from is durable.

    ``state`` names everything that decides the vectors (model, corpus, options). A writer over a folder with the same state
    goes on behind the last durable block; with another state it starts afresh. The progress is kept beside the folder, not in
    it, so that a folder whose vectors are finished can still be gone on with until it is in its place.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp()) / "vectors"
    >>> folder.mkdir()
    >>> writer = VectorWriter(folder, dimension=2, state={"model": "a"})
    >>> writer.append(np.ones((3, 2), dtype=np.float32))
    >>> writer.close()
    >>> again = VectorWriter(folder, dimension=2, state={"model": "a"})
    >>> again.count
    3
    >>> again.finish()
    >>> open_vectors(folder).shape
    (3, 2)
    """

    def __init__(self, folder: Path, *, dimension: int, state: Mapping[str, Any]) -> None:
        self.dimension = dimension
        self._path = folder / "vectors.npy"
        self._progress = folder.with_name(f"{folder.name}.progress.json")
        self._state = dict(state) | {"dimension": dimension}
        self.count, self.mark = self._durable()
        if not self.count:  # or the next writer could take these rows for those of an older state
            self._progress.unlink(missing_ok=True)
        self._file: BinaryIO = self._path.open("r+b" if self.count else "w+b")
        self._file.truncate(_HEADER + self.count * dimension * 4)
        self._file.seek(0, os.SEEK_END)

    def append(self, block: FloatArray, *, mark: Any = None) -> None:
        """Add rows, shape (n, dimension), and make them durable.

        Args:
            block: the rows.
            mark: a JSON value that says where these rows end in their source; a later writer finds the last one as ``mark``.
        """
        if block.ndim != 2 or block.shape[1] != self.dimension:
            raise ValueError(f"a block of shape (n, {self.dimension}) was expected, found {block.shape}")
        self._file.write(np.ascontiguousarray(block, dtype="<f4").tobytes())
        self._sync()
        self.count += len(block)
        self.mark = mark
        record = {"count": self.count, "mark": mark, "state": self._state}
        write_file(self._progress, json.dumps(record, sort_keys=True).encode())

    def finish(self) -> None:
        """Write the header and close the file; the progress stays until its owner removes it with the rest."""
        self._file.seek(0)
        header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({self.count}, {self.dimension}), }}"
        body = header.ljust(_HEADER - 11) + "\n"  # 10 bytes of magic and length stand before it
        self._file.write(b"\x93NUMPY\x01\x00" + len(body).to_bytes(2, "little") + body.encode("ascii"))
        self._sync()
        self._file.close()

    def close(self) -> None:
        """Close the file and keep the progress, so that the next writer goes on."""
        self._file.close()

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def _durable(self) -> tuple[int, Any]:
        try:
            record = json.loads(self._progress.read_bytes())
            count, mark, state = int(record["count"]), record["mark"], record["state"]
            size = self._path.stat().st_size
        except (OSError, ValueError, KeyError, TypeError):
            return 0, None
        whole = count >= 0 and size >= _HEADER + count * self.dimension * 4
        return (count, mark) if whole and state == json.loads(json.dumps(self._state)) else (0, None)


def open_vectors(folder: Path) -> FloatArray:
    """Map ``folder/vectors.npy`` into memory, shape (count, dimension), float32, read-only.

    Raises:
        CorruptError: where the file is no float32 matrix.
    """
    path = folder / "vectors.npy"
    try:
        vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise CorruptError(f"{path} cannot be read ({error}); encode the documents again") from error
    if vectors.ndim != 2 or vectors.dtype != np.float32:
        raise CorruptError(f"{path} holds {vectors.dtype} of shape {vectors.shape}; a float32 matrix was expected")
    return vectors  # type: ignore[no-any-return]


def write_vectors(folder: Path, vectors: FloatArray, *, block: int = 16384) -> None:
    """Write a matrix as ``folder/vectors.npy``, ``block`` rows at a time.

    Args:
        folder: an existing folder.
        vectors: shape (n, d); may be mapped from a file.
        block: rows copied at once.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> write_vectors(folder, np.eye(3, dtype=np.float32), block=2)
    >>> open_vectors(folder).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    write_blocks(folder, blocks(vectors, size=block), shape=(len(vectors), vectors.shape[1]))


def write_blocks(folder: Path, rows: Iterable[FloatArray], *, shape: tuple[int, int]) -> None:
    """Write blocks of rows one below the other as ``folder/vectors.npy``.

    Args:
        folder: an existing folder.
        rows: each of shape (m, d).
        shape: of the whole.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> write_blocks(folder, [np.zeros((1, 2), np.float32), np.ones((2, 2), np.float32)], shape=(3, 2))
    >>> open_vectors(folder).tolist()
    [[0.0, 0.0], [1.0, 1.0], [1.0, 1.0]]
    """
    with (folder / "vectors.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
        for block in rows:
            file.write(np.ascontiguousarray(block, dtype="<f4").tobytes())


def blocks(vectors: FloatArray, *, size: int) -> Iterator[FloatArray]:
    """A matrix, some rows at a time; of one that is mapped from a file, rows that were passed leave memory.

    Args:
        vectors: shape (n, d).
        size: rows at once; the last block may have fewer.

    >>> [len(block) for block in blocks(np.eye(5, dtype=np.float32), size=2)]
    [2, 2, 1]
    """
    plain = np.asarray(vectors)  # a plain view: NumPy's memmap class is slow to slice
    # A mapped matrix's base is its mapping, whatever NumPy's types say; what was changed in a private mapping must stay.
    source: object = None if vectors.flags.writeable else vectors.base
    for start in range(0, len(plain), size):
        yield plain[start : start + size]
        if isinstance(source, mmap.mmap) and hasattr(source, "madvise"):
            source.madvise(mmap.MADV_DONTNEED)
