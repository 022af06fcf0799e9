"""A folder of text and Markdown files as a corpus: one file, one document."""

from __future__ import annotations

import codecs
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

from biencoder.data.documents import check_not_empty
from biencoder.data.lines import LONGEST_LINE, not_utf8, unreadable
from biencoder.data.values import ValueProblem, as_id, check_unicode
from biencoder.errors import DataError, InputWarning
from biencoder.records import Document

MARKDOWN_SUFFIXES = (".md", ".markdown")
SUFFIXES = (*MARKDOWN_SUFFIXES, ".txt", ".text")

_FENCE = re.compile(r" {0,3}(```|~~~)")
_HEADING = re.compile(r" {0,3}#{1,6}[ \t]+(.*?)(?:[ \t]+#+)?[ \t]*")
_UNDERLINE = re.compile(r" {0,3}=+[ \t]*")


class FolderDocuments:
    """Every text and Markdown file below a folder, in the order of their relative paths, which are the ids.

    The title of a Markdown file is its first heading; where nothing stands before the heading, the text goes on after it, so
    that no word is read twice. Hidden files and folders (a leading dot) are no part of the corpus. A warning counts the files
    of other kinds.

    Raises:
        DataError: where no file is a text, where a symbolic link leads out of the folder, and, naming the file, where one is
            empty, is not UTF-8, cannot be read or is larger than 64 MiB.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        found, others = _files(folder)
        self._names = sorted(found)
        if not self._names:
            raise DataError(f"no {', '.join(SUFFIXES)} file is in this folder", path=folder, hint=_advice(others))
        if others:
            count = f"{len(others)} file{'s are' if len(others) > 1 else ' is'}"
            warnings.warn(f"{folder}: {count} no text and left out, such as {min(others)}", InputWarning, stacklevel=3)
        for _ in self:
            pass

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[Document]:
        return (self._document(name) for name in self._names)

    def _document(self, name: str) -> Document:
        path = self._folder / name
        text = _read(path)
        title = ""
        if path.suffix.lower() in MARKDOWN_SUFFIXES:
            title, text = split_title(text)
        try:
            identifier = as_id(name, field="id")
            check_unicode(name)
            check_not_empty(title, text)
        except ValueProblem as error:
            raise DataError(str(error), path=path) from error
        return Document(identifier, text.strip(), title)


def split_title(markdown: str) -> tuple[str, str]:
    r"""The first heading of a Markdown text, and the text without it where it is the first thing in it.

    >>> split_title("# Install\n\nRun it.")
    ('Install', 'Run it.')
    >>> split_title("Read me.\n\n## Then")
    ('Then', 'Read me.\n\n## Then')
    """
    lines = markdown.split("\n")
    fence = ""
    for place, line in enumerate(lines):
        mark = _FENCE.match(line)
        if mark and fence in {"", mark[1]}:
            fence = "" if fence else mark[1]
        elif not fence:
            title, taken = _heading(line, lines[place + 1] if place + 1 < len(lines) else "")
            if title:
                first = not any(before.strip() for before in lines[:place])
                return title, "\n".join(lines[place + taken :]).strip() if first else markdown
    return "", markdown


def _heading(line: str, following: str) -> tuple[str, int]:
    """The heading that starts at a line, if any, and how many lines it takes."""
    marked = _HEADING.fullmatch(line.rstrip("\r"))
    if marked:
        return marked[1].strip(), 1
    if line.strip() and _UNDERLINE.fullmatch(following.rstrip("\r")):
        return line.strip(), 2
    return "", 0


def _read(path: Path) -> str:
    try:
        if not path.is_file():
            raise DataError("this is not a regular file", path=path, hint="remove it from the folder")
        if path.stat().st_size > LONGEST_LINE:
            raise DataError("a text of more than 64 MiB", path=path, hint="split it into several files")
        data = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        raise unreadable(error, path=path) from error
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise not_utf8(error, path=path, line=data.count(b"\n", 0, error.start) + 1) from error


def _files(folder: Path) -> tuple[list[str], list[str]]:
    """Relative paths of the texts and of the other files."""
    texts: list[str] = []
    others: list[str] = []
    root = folder.resolve()
    for place, folders, files in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in (*folders, *files):
            path = Path(place, name)
            if path.is_symlink() and not name.startswith("."):
                _check_link(path, root)
        for name in files:
            if not name.startswith("."):
                path = Path(place, name)
                (texts if path.suffix.lower() in SUFFIXES else others).append(path.relative_to(folder).as_posix())
    return texts, others


def _check_link(path: Path, root: Path) -> None:
    """A link to a folder inside is not followed: what it leads to is read in its own place."""
    try:
        target = path.resolve()
    except (OSError, RuntimeError) as error:
        raise DataError("a symbolic link that leads nowhere", path=path, hint="remove it") from error
    if not target.is_relative_to(root):
        raise DataError(f"a symbolic link to {target}, outside the folder", path=path, hint="copy the files or remove it")


def _refuse(error: OSError) -> None:
    raise unreadable(error, path=error.filename) from error


def _advice(others: list[str]) -> str:
    if not others:
        return "it is empty"
    return f"it holds {len(others)} other file{'s' if len(others) > 1 else ''}, such as {min(others)}"
