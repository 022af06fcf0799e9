from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    yield from _mounted(tmp_path / "disk", "size=256k")


def _mounted(place: Path, options: str) -> Iterator[Path]:
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True, check=False)  # noqa: S607
    if made.returncode:
        pytest.skip("a tmpfs cannot be mounted here (not root, or no such right)")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)  # noqa: S607


@pytest.fixture
def read_only_disk(small_disk: Path) -> Path:
    """A file system that can only be read; it holds a folder `old` with one file."""
    (small_disk / "old").mkdir()
    (small_disk / "old" / "a.txt").write_text("old")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)  # noqa: S607
    return small_disk
