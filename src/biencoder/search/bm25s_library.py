"""bm25s, imported without JAX.

Where JAX is installed, bm25s starts it when it is imported, to take the largest of an array by it; we never ask it for that.
JAX then claims three quarters of a GPU's memory for this process, so that the model and other processes have none. Whoever
imports JAX for the first time in another thread while this import runs is told that it is not there.
"""

from __future__ import annotations

import sys
import threading
from importlib import import_module
from typing import Any

_IMPORTING = threading.Lock()


def bm25s(part: str = "bm25s") -> Any:
    """The package, or one of its modules, which then does without JAX.

    >>> bm25s().BM25.__name__
    'BM25'
    """
    with _IMPORTING:
        if "bm25s" in sys.modules:
            return import_module(part)
        hidden: list[str] = [name for name in ("jax", "jax.lax") if name in sys.modules]
        before = {name: sys.modules.pop(name) for name in hidden}
        sys.modules["jax"] = None  # type: ignore[assignment]  # Python's own way to say that it cannot be imported
        try:
            return import_module(part)
        finally:
            sys.modules.pop("jax", None)
            sys.modules.update(before)
