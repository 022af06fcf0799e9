"""What is known of a mined file: what decided it, and whether it is whole. It lies beside it as `FILE.meta.json`."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biencoder.errors import StorageError
from biencoder.storage.folder import write_file
from biencoder.storage.manifest import file_digest

KIND = "mined"
VERSION = 1

Purpose = dict[str, Any]
"""All that decides a mined file, as JSON: model, corpus, queries and judgements, options, teacher."""


def record_path(examples: Path) -> Path:
    """Where the record of a mined file lies.

    >>> record_path(Path("negatives.jsonl")).name
    'negatives.jsonl.meta.json'
    """
    return examples.with_name(f"{examples.name}.meta.json")


@dataclass(frozen=True, slots=True)
class Record:
    """What a mined file's record says.

    Args:
        purpose: what decided it.
        size: of the file, in bytes.
        sha256: of its bytes.
        counts: of pairs, negatives, and candidates dropped, by name.
    """

    purpose: Purpose
    size: int
    sha256: str
    counts: Counter[str]

    @classmethod
    def read(cls, examples: Path) -> Record | None:
        """The record of a mined file; None where there is none that can be read."""
        try:
            found = json.loads(record_path(examples).read_bytes())
            if (found["kind"], found["version"]) != (KIND, VERSION):
                return None
            file = found["file"]
            return cls(found["made_of"], int(file["bytes"]), str(file["sha256"]), Counter(found["counts"]))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def write(self, examples: Path) -> None:
        """Write the record beside the file, atomically and durably."""
        body = {
            "kind": KIND,
            "version": VERSION,
            "file": {"bytes": self.size, "sha256": self.sha256},
            "counts": dict(sorted(self.counts.items())),
            "made_of": self.purpose,
        }
        write_file(record_path(examples), (json.dumps(body, indent=2, ensure_ascii=False) + "\n").encode())

    def is_whole(self, examples: Path) -> bool:
        """Whether the file's bytes are those that were written."""
        try:
            return examples.stat().st_size == self.size and file_digest(examples) == self.sha256
        except OSError:
            return False


def check_replaceable(examples: Path) -> None:
    """Make sure that writing a mined file to a place destroys nothing else.

    Raises:
        StorageError: where a folder stands there, or a file without the record of one that was mined.
    """
    if examples.is_dir():
        raise StorageError(f"{examples}: a folder stands where the file should go; choose another place")
    if examples.exists() and Record.read(examples) is None:
        raise StorageError(
            f"{examples} exists and was not mined, or its record {record_path(examples).name} is gone; "
            "remove it, or choose another place"
        )
