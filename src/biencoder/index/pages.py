"""Arrays in large pages: what is read here and there, all over hundreds of megabytes, is found sooner in them.

A processor looks up where each page lies, and remembers a few thousand of them. In pages of 4 KiB almost every vector that a
graph walk compares lies in a page that is not remembered; in pages of 2 MiB a million short vectors take a few hundred.
"""

from __future__ import annotations

import mmap
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_LARGE = 2**21
"""Bytes of a large page, on x86 and on most ARM systems."""

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


def roomy_zeros(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Zeros in memory of their own, aligned to and in large pages where the system grants them.

    >>> zeros = roomy_zeros((3, 64), np.uint8)
    >>> zeros.shape, int(zeros.sum()), zeros.ctypes.data % 64
    ((3, 64), 0, 0)
    """
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    area = mmap.mmap(-1, size + _LARGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(AttributeError, OSError):  # not Linux, or a kernel without large pages
        area.madvise(mmap.MADV_HUGEPAGE)
    whole = np.frombuffer(area, np.uint8)
    start = -whole.ctypes.data % _LARGE
    return whole[start : start + size].view(dtype).reshape(shape)


def free_memory(meminfo: Path = _MEMINFO, cgroup: Path = _CGROUP) -> int:
    """Bytes that this process may still take without pushing others out; a great number where nobody says.

    Args:
        meminfo: what the kernel says of the machine.
        cgroup: where the control groups are mounted.

    >>> free_memory() > 0
    True
    """
    return max(0, min(_machine(meminfo), _group(cgroup)))


def _machine(meminfo: Path) -> int:
    try:
        lines = meminfo.read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return 2**62
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), 2**62)


def _group(cgroup: Path) -> int:
    """What the control group leaves; pages of files, which the kernel gives up when it must, are left too."""
    try:
        limit = int((cgroup / "memory.max").read_text())
        taken = int((cgroup / "memory.current").read_text())
        statistics = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no such group, or one without a limit
        return 2**62
    return limit - taken + int(statistics.get("inactive_file", 0))
