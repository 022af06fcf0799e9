from __future__ import annotations

from pathlib import Path

import pytest

from biencoder.errors import ArgumentError, StorageError
from biencoder.run_folder import claim, read_run, write_json


def test_a_folder_is_claimed_once(tmp_path: Path) -> None:
    run = tmp_path / "a" / "run"
    claim(run, {"kind": "run", "options": {"epochs": 2, "dims": (1, 2)}})
    claim(run, {"kind": "run", "options": {"epochs": 2, "dims": (1, 2)}})
    assert read_run(run) == {"kind": "run", "options": {"epochs": 2, "dims": [1, 2]}}
    with pytest.raises(ArgumentError) as caught:
        claim(run, {"kind": "run", "options": {"epochs": 3, "dims": (1, 2)}})
    assert str(caught.value) == (
        f"{run} holds another run (options: epochs: 2, now 3); choose another place, or remove the folder to begin again"
    )


def test_a_folder_of_other_things(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("precious")
    with pytest.raises(StorageError) as caught:
        claim(tmp_path, {})
    assert str(caught.value) == f"{tmp_path} is not empty and no run; choose another place"
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(StorageError, match=r"run\.json cannot be read \(.+\); is this a run folder\?$"):
        claim(tmp_path, {})
    (tmp_path / "run.json").unlink()
    with pytest.raises(StorageError, match=r"run\.json cannot be read \(.+\); is this a run folder\?$"):
        read_run(tmp_path)


def test_json_is_replaced(tmp_path: Path) -> None:
    for value in ({"a": "é"}, {"b": [1.5, None]}):
        write_json(tmp_path / "x.json", value)
    assert (tmp_path / "x.json").read_text(encoding="utf-8") == '{\n  "b": [\n    1.5,\n    null\n  ]\n}\n'
