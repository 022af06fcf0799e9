"""Runs a command in this process, the way its entry point does."""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from biencoder.cli.main import main


@dataclass(frozen=True)
class Outcome:
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def cli(*arguments: object, stdin: bytes = b"") -> Outcome:
    """Status and output of ``biencoder ARGUMENTS``."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    given = io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8")
    with redirect_stdout(out), redirect_stderr(err), patch.object(sys, "stdin", given):
        status = main([str(argument) for argument in arguments])
    return Outcome(status, _written(out), _written(err))


def _written(stream: io.TextIOWrapper) -> str:
    buffer = stream.detach()
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode()


def failure(*arguments: object, stdin: bytes = b"", status: int = 1) -> str:
    """The one line that a failing command leaves."""
    outcome = cli(*arguments, stdin=stdin)
    lines = outcome.err.splitlines()
    assert (outcome.status, len(lines)) == (status, 1), outcome
    assert lines[0].startswith("biencoder: error: ")
    return lines[0].removeprefix("biencoder: error: ")
