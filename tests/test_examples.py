from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_own_pairs(
    tmp_path: Path, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["own_pairs.py", str(tiny_model_folder), str(tmp_path)])
    runpy.run_path(str(EXAMPLES / "own_pairs.py"), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert [line[:2] for line in lines[:3]] == ["1.", "2.", "3."]
    assert lines[3].startswith("{'nDCG@10': ")
    assert all(path.read_text().count("\n") <= 60 for path in EXAMPLES.glob("*.py"))
