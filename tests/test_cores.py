from __future__ import annotations

from pathlib import Path

import pytest

from biencoder.cores import available_cores, threads_to_use
from biencoder.errors import ArgumentError


def test_cores_follow_the_control_group(tmp_path: Path) -> None:
    cores = available_cores(tmp_path)
    assert cores >= 1
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert available_cores(tmp_path) == cores
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert available_cores(tmp_path) == 1
    (tmp_path / "cpu.max").unlink()
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert available_cores(tmp_path) == cores
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("100000\n")
    assert available_cores(tmp_path) == 1


def test_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    assert threads_to_use(5) == 5
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert threads_to_use() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "1000")
    assert threads_to_use() == available_cores()
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    assert threads_to_use() == available_cores()
    with pytest.raises(ArgumentError, match=r"^threads is 0; it must be at least 1$"):
        threads_to_use(0)
