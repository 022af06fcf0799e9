"""`manifest.json`: what a folder says of itself, and the checksums of everything in it.

The manifest lists each file with its size and SHA-256, and carries a checksum of its own. Opening a folder checks the
manifest, every size, and every byte of the files up to 64 MiB (tens of milliseconds); `verify` checks every byte of all.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biencoder.errors import CorruptError, StorageError

NAME = "manifest.json"
CHECKED_ON_OPENING = 64 * 2**20
"""Bytes: files up to this size are read whole and checked whenever their folder is opened."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A folder's kind, format version, own fields, and files (relative path to size and SHA-256)."""

    kind: str
    version: int
    fields: dict[str, Any]
    files: dict[str, dict[str, Any]]

    @property
    def bytes(self) -> int:
        """Size of all listed files together."""
        return sum(int(entry["bytes"]) for entry in self.files.values())


def write_manifest(folder: Path, *, kind: str, version: int, fields: dict[str, Any]) -> Manifest:
    """Describe every file that now lies in ``folder`` and write `manifest.json` beside them.

    Args:
        folder: the folder, complete but for its manifest.
        kind: what it is: ``index``, ``vectors``, ``model``, ``run``.
        version: of the format of this kind.
        fields: the folder's own facts, JSON values.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "a.txt").write_text("abc")
    >>> write_manifest(folder, kind="index", version=1, fields={"count": 3}).files["a.txt"]["bytes"]
    3
    >>> read_manifest(folder, kind="index", version=1).fields
    {'count': 3}
    """
    own = folder / NAME
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path != own)
    files = {path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": file_digest(path)} for path in paths}
    body: dict[str, Any] = {"kind": kind, "version": version, "fields": fields, "files": files}
    text = json.dumps(body | {"sha256": _own_digest(body)}, indent=2, ensure_ascii=False)
    own.write_text(text + "\n", encoding="utf-8")
    return Manifest(**body)


def read_manifest(folder: Path, *, kind: str, version: int) -> Manifest:
    """Read and check a folder's manifest, and the sizes and small files that it lists.

    Raises:
        StorageError: where the folder is none of this kind or has a newer format.
        CorruptError: where a byte of what was checked is not as it was written.
    """
    manifest = peek_manifest(folder)
    if manifest.kind != kind:
        raise StorageError(f"{folder} is a folder of kind {manifest.kind}; one of kind {kind} was expected")
    if manifest.version != version:
        raise StorageError(
            f"{folder} has format version {manifest.version} of kind {kind}; this biencoder reads version {version}: "
            "build the folder again, or install the biencoder that wrote it"
        )
    _check_files(folder, manifest, limit=CHECKED_ON_OPENING)
    return manifest


def peek_manifest(folder: Path) -> Manifest:
    """Read a manifest and check its own checksum, whatever kind of folder it describes.

    Raises:
        StorageError: where there is no manifest.
        CorruptError: where the manifest is damaged.
    """
    path = folder / NAME
    if not folder.is_dir():
        raise StorageError(f"{folder}: no such folder")
    try:
        body = json.loads(path.read_bytes())
        recorded = body.pop("sha256")
    except FileNotFoundError:
        raise StorageError(f"{folder} has no {NAME}: it was not written by biencoder") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise CorruptError(f"{path} is damaged: it cannot be read; build the folder again") from None
    if recorded != _own_digest(body):
        raise CorruptError(f"{path} is damaged: its checksum differs; build the folder again")
    return Manifest(**body)


def verify(folder: Path) -> Manifest:
    """Check every byte of a folder against its manifest.

    Raises:
        CorruptError: naming the first file that is missing or changed.
    """
    manifest = peek_manifest(folder)
    _check_files(folder, manifest, limit=None)
    return manifest


def _check_files(folder: Path, manifest: Manifest, *, limit: int | None) -> None:
    for name, entry in manifest.files.items():
        path = folder / name
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            raise CorruptError(f"{path} is missing; build the folder again") from None
        if size != entry["bytes"]:
            raise CorruptError(f"{path} is damaged: {size} bytes, {entry['bytes']} were written; build the folder again")
        if (limit is None or size <= limit) and file_digest(path) != entry["sha256"]:
            raise CorruptError(f"{path} is damaged: its checksum differs; build the folder again")


def _own_digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
