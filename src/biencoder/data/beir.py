"""The BEIR layout (Thakur et al., 2021), read and written: ``corpus.jsonl``, ``queries.jsonl``, ``qrels/SPLIT.tsv``.

Each file may be gzipped. One folder more is ours, and other tools do not mind it: ``triples/SPLIT.jsonl`` with the explicit
negatives and scores of pairs.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from biencoder.data.assembly import assemble
from biencoder.data.contents import Contents
from biencoder.data.judgements import QRELS_HEADER, JudgementTable, TripleTable
from biencoder.data.lines import require_file, unreadable
from biencoder.data.tables import CsvTable, JsonTable
from biencoder.data.values import ValueProblem, as_split
from biencoder.errors import DataError, StorageError
from biencoder.records import Document, Query
from biencoder.storage.folder import writing

LAYOUT = "corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv, each perhaps with .gz"


def find_corpus(folder: Path) -> Path | None:
    """The corpus file of a BEIR folder, or None where the folder has none.

    Raises:
        DataError: where it stands there twice, plain and packed.
    """
    return _find(folder, "corpus.jsonl")


def read_beir(folder: Path) -> Contents:
    """Read and check a BEIR folder in one pass over its corpus; no document text is kept.

    Raises:
        DataError: where something is missing, malformed, double, or points nowhere.
    """
    corpus, queries = find_corpus(folder), _find(folder, "queries.jsonl")
    if corpus is None:
        raise DataError("there is no corpus.jsonl in this folder", path=folder, hint=f"expected {LAYOUT}")
    judged = _by_split(folder, "qrels", ".tsv")
    triples = _by_split(folder, "triples", ".jsonl")
    return assemble(
        JsonTable(corpus),
        None if queries is None else JsonTable(queries),
        {split: JudgementTable(CsvTable(path, delimiter="\t", header=QRELS_HEADER)) for split, path in judged.items()},
        {split: TripleTable(JsonTable(path)) for split, path in triples.items()},
    )


def write_beir(contents: Contents, folder: Path, *, compress: bool) -> None:
    """Write a collection as a folder that is whole or absent.

    Raises:
        StorageError: where the folder is there and not empty, or cannot be written.
        DataError: where metadata is not JSON, or a document can no longer be read from its source.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise StorageError(f"{folder}: this folder is not empty; choose another, or remove it first")
    with writing(folder) as new:
        suffix = ".gz" if compress else ""
        with _text_file(new / f"corpus.jsonl{suffix}") as file:
            for document in contents.documents:
                file.write(_json_line("document", document))
        if contents.queries:
            with _text_file(new / f"queries.jsonl{suffix}") as file:
                file.writelines(_json_line("query", query) for query in contents.queries.values())
        for split in contents.grades:
            (new / "qrels").mkdir(exist_ok=True)
            _write_qrels(contents, split, new / "qrels" / f"{split}.tsv{suffix}")
        for split in contents.triples:
            (new / "triples").mkdir(exist_ok=True)
            _write_triples(contents, split, new / "triples" / f"{split}.jsonl{suffix}")


def _write_qrels(contents: Contents, split: str, path: Path) -> None:
    with _text_file(path) as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(QRELS_HEADER)
        for query, grades in contents.grades[split].items():
            writer.writerows((query, document, grade) for document, grade in grades.items())


def _write_triples(contents: Contents, split: str, path: Path) -> None:
    with _text_file(path) as file:
        for triple in contents.triples[split].values():
            row: dict[str, Any] = {
                "query_id": triple.query_id,
                "positive_id": triple.positive_id,
                "negative_ids": triple.negative_ids,
            }
            if triple.scores is not None:
                row["scores"] = triple.scores
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _json_line(what: str, record: Document | Query) -> str:
    row: dict[str, Any] = {"_id": record.id, "text": record.text}
    if isinstance(record, Document):
        row = {"_id": record.id, "title": record.title, "text": record.text}
    if record.metadata:
        row["metadata"] = dict(record.metadata)
    try:
        line = json.dumps(row, ensure_ascii=False, allow_nan=False)
        line.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(f"the metadata of {what} {record.id!r} cannot be written as JSON ({error})") from error
    return line + "\n"


@contextmanager
def _text_file(path: Path) -> Iterator[TextIO]:
    with path.open("wb") as raw:
        if path.suffix != ".gz":
            with io.TextIOWrapper(raw, encoding="utf-8", newline="\n") as file:
                yield file
            return
        # No name and no time inside: the same collection packs to the same bytes.
        packed = gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0)
        with packed, io.TextIOWrapper(packed, encoding="utf-8", newline="\n") as file:
            yield file


def _find(folder: Path, name: str) -> Path | None:
    """A file that may be packed."""
    there = [path for path in (folder / name, folder / f"{name}.gz") if path.exists()]
    if len(there) > 1:
        raise DataError(f"{name} stands here plain and packed (.gz)", path=folder, hint="remove one of the two")
    return require_file(there[0]) if there else None


def _by_split(folder: Path, name: str, suffix: str) -> dict[str, Path]:
    """The files of a folder by the split that they are named after; hidden files are nobody's."""
    place = folder / name
    files: dict[str, Path] = {}
    for path in _entries(place):
        split = path.name.removesuffix(".gz").removesuffix(suffix)
        if path.name not in {split + suffix, f"{split}{suffix}.gz"}:
            raise DataError("this is no file of a split", path=path, hint=f"expected SPLIT{suffix} or SPLIT{suffix}.gz")
        try:
            as_split(split)
        except ValueProblem as error:
            raise DataError(str(error), path=path) from error
        if split in files:
            raise DataError(f"{split}{suffix} stands here plain and packed (.gz)", path=place, hint="remove one of the two")
        files[split] = path
    return files


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise unreadable(error, path=folder) from error
