"""FAISS, loaded so that its matrix products run at the processor's speed.

FAISS's wheel brings an OpenBLAS of its own (0.3.15, of 2021). Processors newer than that are unknown to it and get kernels for
SSE3, which makes training lists and projecting queries three to five times slower than need be. OpenBLAS takes the name of a
family from the environment instead; it is set while FAISS is loaded, and only then, where the processor can run its kernels.
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any

_VARIABLE = "OPENBLAS_CORETYPE"
_FAMILIES = (
    ("SKYLAKEX", frozenset({"avx512f", "avx512dq", "avx512cd", "avx512bw", "avx512vl", "fma"})),
    ("HASWELL", frozenset({"avx2", "fma"})),
)
"""OpenBLAS's names, the fastest first, with the flags that the kernel reports of a processor that can run its kernels."""


def kernel_family(processor: str) -> str | None:
    """The fastest family of kernels that a processor can run; None where OpenBLAS's own choice stands.

    Args:
        processor: what the kernel says of it (``/proc/cpuinfo``).

    >>> kernel_family("flags : fma sse3 avx2")
    'HASWELL'
    """
    line = next((line for line in processor.splitlines() if line.startswith("flags")), "")
    flags = frozenset(line.split())
    return next((family for family, needed in _FAMILIES if needed <= flags), None)


def load_faiss(processor: Path = Path("/proc/cpuinfo")) -> Any:
    """The module; a user's own ``OPENBLAS_CORETYPE`` stands."""
    try:
        family = None if _VARIABLE in os.environ else kernel_family(processor.read_text(encoding="utf-8"))
    except OSError:  # not Linux
        family = None
    if family is None:
        return import_module("faiss")
    os.environ[_VARIABLE] = family
    try:
        return import_module("faiss")
    finally:
        del os.environ[_VARIABLE]


faiss: Any = load_faiss()
"""FAISS, whose stubs know only a part of it."""
