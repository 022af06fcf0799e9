"""Folders that are whole or absent.

A folder is written beside its place, flushed to the disk, and put in place in one step. Where the place is taken, the two
folders change places atomically (`renameat2` with `RENAME_EXCHANGE` on Linux, `renamex_np` with `RENAME_SWAP` on macOS), so
that a reader sees the old folder or the new one, and files that it has open or mapped stay as they were.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import glob
import os
import shutil
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from biencoder.errors import BiencoderError, LockedError, StorageError
from biencoder.storage.manifest import peek_manifest

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_RENAME_SWAP = 2


@contextmanager
def explain_os_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusal (full disk, read-only, no permission) into one line.

    Raises:
        StorageError: in place of any OSError, with the path and what to do.
    """
    hints = {
        errno.ENOSPC: "the disk is full: free some space or choose another place; what was there before is untouched",
        errno.EDQUOT: "the disk quota is used up: free some space or choose another place",
        errno.EFBIG: "the file-size limit is reached: raise it (ulimit -f) or choose another place",
        errno.EROFS: "the file system is read-only: choose another place",
        errno.EACCES: "permission denied: choose another place, or mend its permissions",
        errno.EPERM: "permission denied: choose another place, or mend its permissions",
        errno.ENOTDIR: "a part of this path is a file, not a folder",
    }
    try:
        yield
    except BiencoderError:
        raise
    except OSError as error:
        if error.errno is None:  # NumPy's short write: "N requested and M written"
            hint = f"not all bytes could be written ({error}): free some space or choose another place"
        else:
            hint = hints.get(error.errno, error.strerror or str(error))
        raise StorageError(f"{error.filename or path}: {hint}") from error


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Write a folder that appears at ``path`` whole, or not at all.

    The block writes into the folder that it is given. When the block ends well, the folder is flushed and put in place; when
    it raises, the folder is removed and whatever stood at ``path`` before is untouched.

    Args:
        path: where the folder shall stand; an existing folder is replaced in one step.

    Raises:
        StorageError: where the place cannot be written.
        LockedError: where another process is writing the same folder.

    >>> import tempfile
    >>> place = Path(tempfile.mkdtemp()) / "folder"
    >>> with writing(place) as new:
    ...     _ = (new / "a.txt").write_text("whole")
    >>> (place / "a.txt").read_text()
    'whole'
    """
    target = Path(path).absolute()
    with explain_os_errors(target), locked(target):
        sweep(target)
        new = target.with_name(f".{target.name}.new-{uuid.uuid4().hex[:8]}")
        new.mkdir()
        try:
            yield new
            flush_tree(new)
            put_in_place(new, target)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """Keep other writers away from ``target`` while the block runs; the lock goes with the process that held it.

    Raises:
        LockedError: where another process holds the lock.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(target.with_name(f".{target.name}.lock"), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LockedError(f"{target}: another process is writing this folder; wait for it to end") from error
        yield
    finally:
        os.close(descriptor)


def sweep(target: Path) -> None:
    """Remove what killed writers of ``target`` left beside it; only to be called under its lock."""
    for left in target.parent.glob(f".{glob.escape(target.name)}.new-*"):
        shutil.rmtree(left, ignore_errors=True)


def remove_folder(folder: Path) -> None:
    """Remove a folder, in one step as far as its name goes: what a killed removal leaves is called otherwise.

    >>> import tempfile
    >>> place = Path(tempfile.mkdtemp()) / "folder"
    >>> place.mkdir()
    >>> remove_folder(place)
    >>> remove_folder(place)
    >>> list(place.parent.iterdir())
    []
    """
    gone = folder.with_name(f".{folder.name.removeprefix('.')}.gone")
    shutil.rmtree(gone, ignore_errors=True)
    if folder.exists():
        folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def put_in_place(new: Path, target: Path) -> None:
    """Move the folder ``new`` to ``target`` in one step; an old folder there is removed afterwards."""
    if target.is_symlink():
        target = target.resolve()
    if not target.exists():
        new.rename(target)
    else:
        if not target.is_dir():
            raise StorageError(f"{target}: a file stands where the folder should go; choose another place")
        exchange(new, target)
        shutil.rmtree(new, ignore_errors=True)
    flush_directory(target.parent)


def check_replaceable(target: Path, *, kind: str) -> None:
    """Make sure that writing a folder of this kind to ``target`` destroys nothing else.

    Raises:
        StorageError: where a file, or a folder that is neither empty nor of this kind, stands there.
    """
    if not os.path.lexists(target) or (target.is_dir() and not any(target.iterdir())):
        return
    if not target.is_dir():
        raise StorageError(f"{target}: a file stands where the folder should go; choose another place")
    try:
        found = peek_manifest(target).kind
    except StorageError:
        raise StorageError(
            f"{target} exists and is no folder of kind {kind} that can be read; remove it, or choose another place"
        ) from None
    if found != kind:
        raise StorageError(
            f"{target} is a folder of kind {found}; one of kind {kind} will not replace it: choose another place"
        )


def exchange(left: Path, right: Path) -> None:
    """Let two folders of one file system change places atomically.

    Raises:
        StorageError: where neither the system nor the file system can do it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    a, b = os.fsencode(left), os.fsencode(right)
    if sys.platform == "darwin":
        failed = libc.renamex_np(a, b, _RENAME_SWAP)
    else:
        failed = libc.renameat2(_AT_FDCWD, a, _AT_FDCWD, b, _RENAME_EXCHANGE)
    if failed:
        code = ctypes.get_errno()
        raise StorageError(
            f"{right}: this file system cannot replace a folder in one step ({os.strerror(code)}); "
            "remove the old folder first, or choose another place"
        )


def folder_bytes(folder: Path) -> int:
    """Size of all files below a folder together."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def disk_bytes(folder: Path) -> int:
    """What all files below a folder take on the disk, where the holes of sparse files take nothing."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def write_file(path: Path, data: bytes) -> None:
    """Replace one file atomically and durably: the old bytes or the new ones, never a part."""
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    flush_directory(path.parent)


def flush_tree(folder: Path) -> None:
    """Flush every file and folder below ``folder`` to the disk."""
    for root, _, names in os.walk(folder):
        for name in names:
            descriptor = os.open(os.path.join(root, name), os.O_RDONLY)  # noqa: PTH118 - a hot loop over strings
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        flush_directory(Path(root))


def flush_directory(folder: Path) -> None:
    """Flush a folder's own entries (names, not contents) to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
