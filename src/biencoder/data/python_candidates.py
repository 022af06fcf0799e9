"""From Python files to the functions that are worth searching for, and the sentence that asks for each.

Whatever is left out is counted under its reason.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from biencoder.data.docstrings import first_sentence, unusable
from biencoder.data.python_files import PythonFile
from biencoder.data.python_functions import PythonFunction, python_functions, read_python
from biencoder.records import Document

MOST_ANSWERS = 10
"""A sentence over more functions than this ("Emit a record.") names none of them: no first page could hold them all."""

SIZE_LIMIT = 1_000_000
"""Bytes; a larger file is a table, not code, and would take the parser a hundred times its size in memory."""

NO_DOCSTRING = "no docstring"
EMPTY = "only a placeholder as a body"
QUOTED = "the code itself holds the sentence"
COPY = "the same name, code and sentence as a function before it"
FORMULA = f"a sentence over more than {MOST_ANSWERS} functions"

LOCKED = "cannot be read"
UNDECODED = "not text in the encoding that it declares"
UNPARSED = "not Python of this version"
GENERATED = "generated, as its first lines say"
TOO_LARGE = "larger than a megabyte"
BEYOND_LIMIT = "beyond the limit"

_GENERATED_MARK = re.compile(r"auto-?generated|automatically generated|@generated|do not edit", re.IGNORECASE)
_SPACE = re.compile(r"[\s%]")
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A function that may become a document; without a sentence it answers no query."""

    file: PythonFile
    function: PythonFunction
    sentence: str

    @property
    def question(self) -> str:
        """What makes two sentences one query."""
        return self.sentence.casefold()

    @property
    def document(self) -> Document:
        """Its title is the module or class that holds it; its identifier has no spaces, which TREC files cannot hold."""
        scope = self.function.name.rpartition(".")[0]
        return Document(
            id=_SPACE.sub(lambda found: quote(found[0]), f"{self.file.name}:{self.function.line}"),
            title=f"{self.file.module}.{scope}" if scope else self.file.module,
            text=self.function.code,
            metadata={
                "file": self.file.name,
                "line": self.function.line,
                "module": self.file.module,
                "name": self.function.name,
            },
        )


class CandidateReader:
    """Reads file after file and counts what it leaves out.

    Args:
        limit: how many functions with a sentence to take; a file that would go beyond it is left out whole.
        undocumented: take functions without a usable sentence as well.
    """

    def __init__(self, *, limit: int | None = None, undocumented: bool = False) -> None:
        self._room = math.inf if limit is None else limit
        self._undocumented = undocumented
        self._candidates: list[Candidate] = []
        self.functions = 0
        self.skipped_files: Counter[str] = Counter()
        self.skipped_functions: Counter[str] = Counter()
        self.unreadable: list[str] = []

    def read(self, file: PythonFile) -> None:
        """Take the functions of a file, or count the file as skipped."""
        functions = [] if self._room == 0 else self._functions(file)
        if functions is None:
            return
        judged = [(function, *_judge(function)) for function in functions]
        usable = sum(reason is None for _, _, reason in judged)
        if self._room == 0 or usable > self._room:
            self.skipped_files[BEYOND_LIMIT] += 1
            return
        self._room -= usable
        self.functions += len(functions)
        for function, sentence, reason in judged:
            if reason is None or (self._undocumented and reason != EMPTY):
                self._candidates.append(Candidate(file, function, "" if reason else sentence))
            else:
                self.skipped_functions[reason] += 1

    def finish(self) -> list[Candidate]:
        """The candidates of all files in order of file and line, without copies, and without sentences that name nothing."""
        found = self._without_copies(sorted(self._candidates, key=lambda one: (one.file.name, one.function.line)))
        answers = Counter(candidate.question for candidate in found)
        formulas = {question for question, count in answers.items() if question and count > MOST_ANSWERS}
        if self._undocumented:
            return [replace(one, sentence="") if one.question in formulas else one for one in found]
        for question in formulas:
            self.skipped_functions[FORMULA] += answers[question]
        return [candidate for candidate in found if candidate.question not in formulas]

    def _without_copies(self, candidates: Iterable[Candidate]) -> list[Candidate]:
        """Packages carry copies of one another: who searches wants each function once."""
        first: dict[tuple[str, str, str], Candidate] = {}
        for candidate in candidates:
            key = (candidate.function.name, candidate.function.code, candidate.sentence)
            if first.setdefault(key, candidate) is not candidate:
                self.skipped_functions[COPY] += 1
        return list(first.values())

    def _functions(self, file: PythonFile) -> list[PythonFunction] | None:
        try:
            return _parse(file.path)
        except _SkippedError as skipped:
            self.skipped_files[str(skipped)] += 1
            if skipped.__cause__ is not None:
                self.unreadable.append(f"{file.name}: {skipped}: {skipped.__cause__}")
            return None


class _SkippedError(Exception):
    """A file is left out; the argument is the reason, and the cause, where there is one, what went wrong."""


def _parse(path: Path) -> list[PythonFunction]:
    try:
        if path.stat().st_size > SIZE_LIMIT:
            raise _SkippedError(TOO_LARGE)
        source = read_python(path)
    except OSError as error:
        raise _SkippedError(LOCKED) from error
    except (SyntaxError, ValueError, LookupError) as error:
        raise _SkippedError(UNDECODED) from error
    if _GENERATED_MARK.search(source, 0, 500):
        raise _SkippedError(GENERATED)
    try:
        return list(python_functions(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _SkippedError(UNPARSED) from error


def _judge(function: PythonFunction) -> tuple[str, str | None]:
    """The function's sentence, and the reason why it is no query, or None."""
    if function.empty:
        return "", EMPTY
    if not function.docstring.strip():
        return "", NO_DOCSTRING
    sentence = first_sentence(function.docstring)
    return sentence, unusable(sentence) or (QUOTED if _holds(function.code, sentence) else None)


def _holds(code: str, sentence: str) -> bool:
    """Whether a comment or a string repeats the sentence, whatever the case, line breaks and comment signs."""
    asked, answered = (" ".join(_WORD.findall(text.casefold())) for text in (sentence, code))
    return f" {asked} " in f" {answered} "
