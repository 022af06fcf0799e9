from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from biencoder.index.pages import free_memory, roomy_zeros


@pytest.mark.parametrize("shape", [(0, 4), (1, 1), (3000, 1000)])
def test_zeros_can_be_written_to(shape: tuple[int, int]) -> None:
    matrix = roomy_zeros(shape, np.float32)
    assert matrix.shape == shape
    assert matrix.dtype == np.float32
    assert not matrix.any()
    matrix += 1
    assert float(matrix.sum()) == shape[0] * shape[1]
    assert matrix.ctypes.data % 2**21 == 0


def machine(folder: Path, *, kilobytes: int) -> Path:
    path = folder / "meminfo"
    path.write_text(f"MemTotal: 9999999 kB\nMemFree: 12 kB\nMemAvailable: {kilobytes} kB\n")
    return path


def group(folder: Path, *, limit: str, taken: int, files: int) -> Path:
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{taken}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {files}\n")
    return folder


@pytest.mark.parametrize(
    ("limit", "taken", "files", "free"),
    [("max", 900, 0, 2048), ("1000", 300, 100, 800), ("1000", 2000, 0, 0), ("4096", 0, 0, 2048), ("?", 0, 0, 2048)],
)
def test_the_lesser_of_what_machine_and_group_leave(limit: str, taken: int, files: int, free: int, tmp_path: Path) -> None:
    assert free_memory(machine(tmp_path, kilobytes=2), group(tmp_path, limit=limit, taken=taken, files=files)) == free


def test_where_nobody_says_there_is_plenty(tmp_path: Path) -> None:
    assert free_memory(tmp_path / "none", tmp_path / "none") == 2**62
