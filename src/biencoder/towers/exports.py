"""Exported graphs, kept on the disk: made once for each set of weights, runtime and number format.

They lie in ``$BIENCODER_CACHE``, or ``biencoder`` in ``$XDG_CACHE_HOME`` or ``~/.cache``. A graph is keyed by the fingerprint
of everything in it (weights, architecture, pooling, projection, normalisation) and by the runtime's version, never by a name;
it is compiled for the processor whenever it is loaded. Every byte is checked before it is used, and the least recently used
ones make room for new ones.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from biencoder.errors import StorageError
from biencoder.identity import fingerprint, short
from biencoder.storage.folder import writing
from biencoder.storage.manifest import verify, write_manifest

KIND = "export"
VERSION = 1
KEPT = 12
"""Exports that stay: a model's three number formats for a few models."""


def cache_folder() -> Path:
    """Where things lie that can be made again."""
    own = os.environ.get("BIENCODER_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "biencoder"


def exported(key: dict[str, str], write: Callable[[Path], None]) -> Path:
    """The folder of an exported graph, which ``write`` makes where it is not there yet, or is damaged.

    Where the cache cannot be written (a read-only or full disk, another process that writes the same), the graph is made in a
    temporary folder that goes when the process ends.

    Args:
        key: everything that decides the graph.
        write: puts the graph's files into a folder.
    """
    place = cache_folder() / "exports" / short(fingerprint(key))
    with suppress(StorageError, OSError):
        if verify(place).fields == key:
            os.utime(place)
            return place
    try:
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with writing(place) as folder:
            write(folder)
            write_manifest(folder, kind=KIND, version=VERSION, fields=key)
        _make_room(place.parent)
    except (StorageError, OSError):
        place = Path(_temporary().name) / short(fingerprint(key))
        place.mkdir(exist_ok=True)
        write(place)
    return place


def _make_room(folder: Path) -> None:
    exports = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    for path in sorted(exports, key=lambda path: path.stat().st_mtime, reverse=True)[KEPT:]:
        shutil.rmtree(path, ignore_errors=True)
        path.with_name(f".{path.name}.lock").unlink(missing_ok=True)


_KEPT_ALIVE: list[tempfile.TemporaryDirectory[str]] = []


def _temporary() -> tempfile.TemporaryDirectory[str]:
    if not _KEPT_ALIVE:
        _KEPT_ALIVE.append(tempfile.TemporaryDirectory(prefix="biencoder-"))
    return _KEPT_ALIVE[0]
