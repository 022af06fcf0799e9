"""Which Python files below some folders are worth reading, and why the others are not."""

from __future__ import annotations

import os
import site
import sysconfig
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from biencoder.errors import DataError

_TESTS = "tests: their docstrings say what is tested, not what a function is for"
_DEMOS = "demonstrations: scripts that nobody calls"
_PACKAGES = "installed packages: asked for by site_packages, not part of what holds them"
_GENERATED = "generated: no person wrote its text"

EXCLUDED_FOLDERS: Mapping[str, str] = {
    "test": _TESTS,
    "tests": _TESTS,
    "idle_test": _TESTS,
    "turtledemo": _DEMOS,
    "site-packages": _PACKAGES,
    "dist-packages": _PACKAGES,
    "node_modules": _PACKAGES,
    "__pycache__": "caches: not source",
    "pydoc_data": _GENERATED,
}
"""Folder names that are passed over wherever they stand below a root, with the reason."""

EXCLUDED_FILES: Mapping[str, str] = {
    "test_*.py": _TESTS,
    "*_test.py": _TESTS,
    "conftest.py": _TESTS,
    "*_pb2.py": _GENERATED,
    "*_pb2_grpc.py": _GENERATED,
    "_sysconfigdata_*.py": _GENERATED,
}
"""Patterns of file names that are passed over, with the reason."""

HIDDEN = "hidden folders: not importable"
ENVIRONMENT = "virtual environments: another interpreter's packages"
LINKED_FOLDER = "links to folders: their files stand elsewhere, or in a circle"
UNREADABLE_FOLDER = "folders that cannot be read"
NO_FILE = "neither files nor links to files"
REPEATED = "the same file again, through a link or another root"
SHADOWED = "the same path in an earlier root, which is the one that Python would import"


@dataclass(frozen=True, slots=True, order=True)
class PythonFile:
    """A file and its name: the path from its root, with slashes on every system."""

    name: str
    path: Path

    @property
    def module(self) -> str:
        """The dotted name that imports it.

        >>> PythonFile("json/decoder.py", Path("/x/json/decoder.py")).module
        'json.decoder'
        >>> PythonFile("json/__init__.py", Path("/x/json/__init__.py")).module
        'json'
        """
        parts = PurePosixPath(self.name).with_suffix("").parts
        return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


def standard_library() -> Path:
    """The folder of the running interpreter's standard library, also inside a virtual environment."""
    return Path(sysconfig.get_path("stdlib"))


def installed_packages() -> list[Path]:
    """The folders of the packages that the running interpreter can import, the user's own included."""
    folders = [*site.getsitepackages(), *([site.getusersitepackages()] if site.ENABLE_USER_SITE else [])]
    return [path for folder in folders if (path := Path(folder)).is_dir()]


def find_python_files(roots: Sequence[Path]) -> tuple[list[PythonFile], Counter[str]]:
    """The Python files below the roots, by name, and how many were passed over for each reason.

    A file that can be reached twice is taken once, as itself rather than through a link. Links to folders are not followed.

    Args:
        roots: import roots, that is, folders that hold modules and packages; of equal names the earlier root's is taken.

    Raises:
        DataError: where a root is not a folder.
    """
    skipped: Counter[str] = Counter()
    taken: dict[str, PythonFile] = {}
    real: set[str] = set()
    met = [found for root in roots for found in _walk(root, skipped)]
    for file in sorted(met, key=lambda file: file.path.is_symlink()):  # stable: roots stay in order
        target = os.path.realpath(file.path)
        if target in real:
            skipped[REPEATED] += 1
        elif file.name in taken:
            skipped[SHADOWED] += 1
        else:
            real.add(target)
            taken[file.name] = file
    return sorted(taken.values()), +skipped


def _walk(root: Path, skipped: Counter[str]) -> Iterator[PythonFile]:
    if not root.is_dir():
        raise DataError("is not a folder", path=root, hint="give folders that hold Python modules and packages")
    reasons: dict[Path, str | None] = {}

    def unreadable(_: OSError) -> None:
        skipped[UNREADABLE_FOLDER] += 1

    for place, folders, names in os.walk(root, onerror=unreadable):
        folder = Path(place)
        folders.sort()
        skipped[LINKED_FOLDER] += sum((folder / name).is_symlink() for name in folders)
        reasons[folder] = None if folder == root else reasons[folder.parent] or _folder_reason(folder, names)
        for name in sorted(name for name in names if name.endswith(".py")):
            path = folder / name
            if why := reasons[folder] or _file_reason(path):
                skipped[why] += 1
            else:
                yield PythonFile(path.relative_to(root).as_posix(), path)


def _folder_reason(folder: Path, names: Sequence[str]) -> str | None:
    if folder.name.startswith("."):
        return HIDDEN
    if "pyvenv.cfg" in names:
        return ENVIRONMENT
    return EXCLUDED_FOLDERS.get(folder.name)


def _file_reason(path: Path) -> str | None:
    if not path.is_file():
        return NO_FILE
    return next((reason for pattern, reason in EXCLUDED_FILES.items() if fnmatchcase(path.name, pattern)), None)
