"""Sizes and times as people type them."""

from __future__ import annotations

import re

import typer

_SIZES = {"b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12, "kib": 2.0**10, "mib": 2.0**20, "gib": 2.0**30, "tib": 2.0**40}
_TIMES = {"us": 1e-3, "ms": 1.0, "s": 1e3}
_WRITTEN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]+)\s*")


def size_in_bytes(written: str) -> float:
    """A size such as ``2GB`` or ``512MiB``.

    Raises:
        typer.BadParameter: where it is none.

    >>> size_in_bytes("1.5KB")
    1500.0
    """
    return _read(written, _SIZES, "a size such as 2GB or 512MiB")


def milliseconds(written: str) -> float:
    """A time such as ``1ms`` or ``500us``.

    Raises:
        typer.BadParameter: where it is none.

    >>> milliseconds("500us")
    0.5
    """
    return _read(written, _TIMES, "a time such as 1ms or 500us")


def _read(written: str, units: dict[str, float], expected: str) -> float:
    found = _WRITTEN.fullmatch(written)
    if found is None or found[2].lower() not in units or float(found[1]) == 0:
        raise typer.BadParameter(f"{written!r} was given, {expected} expected")
    return float(found[1]) * units[found[2].lower()]
