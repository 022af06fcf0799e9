"""What lies in a run's folder, beside what every run has (`biencoder.run_folder`).

```
run.json                 configuration, start, digests of pairs, dev and documents; who finds another one there leaves it alone
plan.json                the plan
schedule.json            the time spent so far, and the epochs of each unit that has begun
dev/                     dev evaluations with their per-query values, by the model's fingerprint
teacher/                 the cross-encoder, where one was trained, and what it was trained on
units/01-in-batch/       examples.jsonl and result.json; model/ and training/ until the run is finished
measures.json            the story in one file
model/                   the chosen model; with it, the run is finished
```
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from biencoder.errors import StorageError
from biencoder.pipeline.plan import Unit

PLAN = "plan.json"
SCHEDULE = "schedule.json"
RESULT = "result.json"


def folder_name(number: int, unit: Unit) -> str:
    """Of a unit, by its place, counted from 1: two stages' units can have the same name."""
    return f"{number:02d}-{unit.name}"


def read_json(path: Path) -> dict[str, Any] | None:
    """An object that the run wrote earlier; None where it did not.

    Raises:
        StorageError: where it is damaged.
    """
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise StorageError(f"{path} is damaged ({error}); remove the run folder and fit again") from None
    return found
