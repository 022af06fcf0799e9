"""How many processor cores this process may really use."""

from __future__ import annotations

import math
import os
from pathlib import Path

from biencoder.errors import ArgumentError

_CGROUP = Path("/sys/fs/cgroup")


def available_cores(root: Path = _CGROUP) -> int:
    """Cores by affinity, and no more than a container's quota allows.

    Args:
        root: where the control groups are mounted.

    >>> available_cores() >= 1
    True
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, math.ceil(_quota(root))))


def _quota(root: Path) -> float:
    """Cores that the control group grants; infinite where it sets no limit."""
    try:
        limit, period = (root / "cpu.max").read_text().split()  # version 2
    except (OSError, ValueError):
        try:
            limit = (root / "cpu" / "cpu.cfs_quota_us").read_text().strip()  # version 1
            period = (root / "cpu" / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return float(2**31)
    if limit in {"max", "-1"}:
        return float(2**31)
    return int(limit) / int(period)


def threads_to_use(asked: int | None = None) -> int:
    """Threads for encoding: what is asked for, else this process's share of the machine, or less by ``OMP_NUM_THREADS``.

    Raises:
        ArgumentError: where fewer than 1 are asked for.

    >>> threads_to_use(3)
    3
    """
    if asked is not None:
        if asked < 1:
            raise ArgumentError(f"threads is {asked}; it must be at least 1")
        return asked
    limit = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    return max(1, min(available_cores(), int(limit) if limit.isdigit() else 2**31))
