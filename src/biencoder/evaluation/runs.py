"""TREC run files: what a search answered, one hit a line, in the form that every evaluation tool reads.

A line is ``QUERY Q0 DOCUMENT RANK SCORE TAG``. Tools sort by the score, some in single precision, and break ties each in its
own way; so scores are written strictly decreasing, in single precision too, and every tool sees the same ranking.
"""

from __future__ import annotations

import gzip
import math
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from biencoder.errors import ArgumentError, DataError
from biencoder.storage.folder import explain_os_errors, write_file

Run = dict[str, dict[str, float]]
"""Query id to document id to score, the documents best first."""

_LARGEST_SCORE = 1e38  # single precision ends at 3.4e38; the rest is room for lowering ties


def strictly_decreasing(scores: Sequence[float]) -> list[float]:
    """Lower tied scores by the least that single precision can tell apart; others stay as they are.

    Args:
        scores: never increasing.

    Raises:
        ArgumentError: where a score is above the one before it, or is not a finite number within ±1e38.

    >>> strictly_decreasing([2.0, 2.0, 2.0, 1.0])
    [2.0, 1.9999998807907104, 1.999999761581421, 1.0]
    """
    exact = np.asarray(scores, dtype=np.float64)
    usable = np.abs(exact) <= _LARGEST_SCORE
    if not usable.all():
        raise ArgumentError(f"a score is {exact[~usable][0]}; it must be a finite number within ±1e38")
    if (np.diff(exact) > 0).any():
        place = int(np.argmax(np.diff(exact) > 0))
        raise ArgumentError(
            f"rank {place + 2} has the score {exact[place + 1]}, above the {exact[place]} of rank {place + 1}; "
            "hits must come best first"
        )
    single = exact.astype(np.float32)
    result: list[float] = exact.tolist()
    if (np.diff(single) < 0).all():
        return result
    for rank in range(1, len(result)):
        if single[rank] >= single[rank - 1]:
            single[rank] = np.nextafter(single[rank - 1], np.float32(-np.inf))
            result[rank] = float(single[rank])
    return result


def ranked(run: Mapping[str, Mapping[str, float]]) -> Run:
    """The run with each query's documents best first and strictly decreasing scores; ties keep their order.

    Raises:
        ArgumentError: where a score is not a finite number within ±1e38; the message names the query.

    >>> ranked({"q": {"a": 1.0, "b": 2.0}})
    {'q': {'b': 2.0, 'a': 1.0}}
    """
    result: Run = {}
    for query, scores in run.items():
        best_first = sorted(scores.items(), key=_descending)
        try:
            decreasing = strictly_decreasing([score for _, score in best_first])
        except ArgumentError as error:
            raise ArgumentError(f"query {query!r}: {error}") from error
        result[query] = dict(zip((document for document, _ in best_first), decreasing, strict=True))
    return result


def write_run(run: Mapping[str, Mapping[str, float]], path: str | os.PathLike[str], *, tag: str = "biencoder") -> None:
    """Write a TREC run file, compressed where the name ends in `.gz`, in one step.

    Args:
        run: query id to document id to score.
        path: the file; an old one is replaced, missing folders are made.
        tag: the run's name, the last field of every line.

    Raises:
        ArgumentError: where an id or the tag is empty or holds white space, which the format cannot hold.
        StorageError: where the file cannot be written.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "run.trec"
    >>> write_run({"q1": {"d7": 0.5, "d2": 0.5}}, file)
    >>> print(file.read_text(), end="")
    q1 Q0 d7 1 0.5 biencoder
    q1 Q0 d2 2 0.4999999701976776 biencoder
    """
    _check_field("the tag", tag)
    data = "".join(_lines(ranked(run), tag)).encode()
    target = Path(path)
    with explain_os_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        write_file(target, gzip.compress(data, compresslevel=6, mtime=0) if target.suffix == ".gz" else data)


def read_run(path: str | os.PathLike[str]) -> Run:
    """Read a TREC run file, also one compressed as `.gz`.

    As in trec_eval the score decides, not the rank; of equal scores the lower rank comes first. Blank lines hold nothing and
    are passed over.

    Returns:
        Query id to document id to score, best first; the scores as they stand in the file.

    Raises:
        DataError: where a line is not a hit, or a document comes twice for a query; names file and line.
        StorageError: where the file cannot be read.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "run.trec"
    >>> _ = file.write_text("q1 Q0 d2 2 0.5 mine" + chr(10) + "q1 Q0 d7 1 0.9 mine")
    >>> read_run(file)
    {'q1': {'d7': 0.9, 'd2': 0.5}}
    """
    hits: dict[str, dict[str, tuple[float, int]]] = {}
    for number, line in _numbered_lines(Path(path)):
        if not line.strip():
            continue
        query, document, rank, score = _parse_line(line, path, number)
        documents = hits.setdefault(query, {})
        if document in documents:
            raise DataError(
                f"document {document!r} comes a second time for query {query!r}",
                path=path,
                line=number,
                hint="a run ranks a document once a query",
            )
        documents[document] = (score, rank)
    if not hits:
        raise DataError("the file holds no hits", path=path, hint="a line is: QUERY Q0 DOCUMENT RANK SCORE TAG")
    return {query: _best_first(documents) for query, documents in hits.items()}


def _descending(hit: tuple[str, float]) -> float:
    return -hit[1]


def _best_first(documents: Mapping[str, tuple[float, int]]) -> dict[str, float]:
    order = sorted(documents.items(), key=_score_then_rank)
    return {document: score for document, (score, _) in order}


def _score_then_rank(hit: tuple[str, tuple[float, int]]) -> tuple[float, int]:
    score, rank = hit[1]
    return -score, rank


def _lines(run: Run, tag: str) -> Iterator[str]:
    for query, scores in run.items():
        _check_field("a query's id", query)
        for rank, (document, score) in enumerate(scores.items(), start=1):
            _check_field(f"the id of a document of query {query!r}", document)
            yield f"{query} Q0 {document} {rank} {score!r} {tag}\n"


def _check_field(what: str, value: str) -> None:
    """Readers split at white space, some of them at Unicode's too, and drop a byte-order mark."""
    if value.split() != [value] or value.startswith("\ufeff"):
        raise ArgumentError(
            f"{what} is {value!r}; a TREC run file can hold no empty field and no white space inside one: choose another id"
        )
    if not _encodable(value):
        raise ArgumentError(f"{what} is {value!r}, which cannot be written as UTF-8; choose another id")


def _encodable(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with explain_os_errors(path), gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        try:
            yield from enumerate(_without_mark(file), start=1)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(f"the compressed file is damaged ({error})", path=path, hint="copy it again") from error


def _without_mark(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The lines without the byte-order mark that some editors put first."""
    for number, line in enumerate(lines):
        yield line.removeprefix(b"\xef\xbb\xbf") if number == 0 else line


def _parse_line(line: bytes, path: object, number: int) -> tuple[str, str, int, float]:
    try:
        fields = [field.decode() for field in line.split()]
    except UnicodeDecodeError as error:
        raise DataError("the line is not UTF-8", path=path, line=number, hint="save the file as UTF-8") from error
    if len(fields) != 6:
        raise DataError(
            f"the line has {len(fields)} fields, expected 6",
            path=path,
            line=number,
            hint="a line is: QUERY Q0 DOCUMENT RANK SCORE TAG",
        )
    query, _, document, rank, score, _ = fields
    return query, document, _whole(rank, path, number), _finite(score, path, number)


def _whole(text: str, path: object, number: int) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise DataError(f"the rank is {text!r}, expected a whole number", path=path, line=number) from error


def _finite(text: str, path: object, number: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) <= _LARGEST_SCORE:
        raise DataError(f"the score is {text!r}, expected a finite number within ±1e38", path=path, line=number)
    return value
