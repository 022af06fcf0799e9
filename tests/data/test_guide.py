"""The guide's snippets run as they stand and print what their comments say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

GUIDE = Path(__file__).parents[2] / "docs" / "collections.md"
BLOCK = re.compile(r"^```(\w+)[ ]?(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_snippets_of_the_guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    snippets = 0
    for language, name, content in BLOCK.findall(GUIDE.read_text()):
        if language != "python":
            Path(name).write_text(content)
        elif name != "no-run":
            exec(content, names)  # noqa: S102 - our own guide
            expected = re.findall(r"print\(.*\)  # (.*)$", content, re.MULTILINE)
            printed = capsys.readouterr().out.splitlines()
            for said, shown in zip(expected, printed, strict=True):
                assert shown.startswith(said.removesuffix("…]"))
            snippets += 1
    assert snippets == 6
