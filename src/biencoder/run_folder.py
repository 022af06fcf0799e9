"""A run's folder: whose it is, and the JSON in it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from biencoder.configuration import first_difference
from biencoder.errors import ArgumentError, StorageError
from biencoder.records import Example
from biencoder.storage.folder import write_file

RUN = "run.json"
"""What decides a run; whoever finds another one there leaves it alone."""
MEASURES = "measures.json"
"""What came of it."""
EXAMPLES = "examples.jsonl"
"""What was trained on."""


def read_run(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """What a run folder says of itself.

    Raises:
        StorageError: where it is no run folder.
    """
    path = Path(folder) / RUN
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} cannot be read ({error}); is this a run folder?") from None
    return record


def claim(folder: Path, configuration: dict[str, Any]) -> None:
    """Make the folder this run's, or make sure that it is; only to be called under its lock.

    Raises:
        ArgumentError: where it holds another run.
        StorageError: where it holds something else.
    """
    if (folder / RUN).exists():
        found, wanted = read_run(folder), json.loads(json.dumps(configuration))
        if found != wanted:
            raise ArgumentError(
                f"{folder} holds another run ({first_difference(found, wanted)}); choose another place, or remove "
                "the folder to begin again"
            )
        return
    if folder.is_dir() and any(folder.iterdir()):
        raise StorageError(f"{folder} is not empty and no run; choose another place")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / RUN, configuration)


def write_json(path: Path, value: Any) -> None:
    """Replace a file in one step."""
    write_file(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def write_examples(path: Path, examples: Iterable[Example]) -> None:
    """The training pairs as lines that a person can read."""
    records = (asdict(example) | {"known_positives": len(example.known_positives)} for example in examples)
    write_file(path, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode())
