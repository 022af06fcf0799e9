"""SIGKILL at random moments: the file is absent, old or new, never half, and the work is gone on with."""

from __future__ import annotations

from pathlib import Path

import pytest

from biencoder.mining import mine, mining
from tests.mining.fakes import FakeTeacher
from tests.mining.test_resuming import CHOSEN, judged
from tests.search.fakes import FakeModel
from tests.search.test_killing import kill_often


def mine_slowly(out: Path) -> None:
    mining.BLOCK = 1
    mine(FakeModel(delay=0.02), judged(), out=out, options=CHOSEN, teacher=FakeTeacher({}))


@pytest.mark.parametrize("replacing", [False, True])
def test_mine(tmp_path: Path, replacing: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mining, "BLOCK", 1)
    mine(FakeModel("b"), judged(), out=tmp_path / "old.jsonl", options=CHOSEN)
    mine_slowly(tmp_path / "whole.jsonl")
    old, new = (tmp_path / "old.jsonl").read_bytes(), (tmp_path / "whole.jsonl").read_bytes()

    def place(number: int) -> Path:
        out = tmp_path / f"n{number}.jsonl"
        if replacing:
            mine(FakeModel("b"), judged(), out=out, options=CHOSEN)
        return out

    def check(out: Path, ended: bool) -> None:
        if ended:
            assert out.read_bytes() == new
            assert not out.with_name(f".{out.name}.partial").exists()
        elif replacing:
            assert out.read_bytes() in (old, new)
        else:
            assert not out.exists() or out.read_bytes() == new

    assert kill_often(mine_slowly, place, check) >= 1
