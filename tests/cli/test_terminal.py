from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout

from biencoder.cli.terminal import TerminalProgress, print_json, print_next


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def drive(stream: io.StringIO, *, quiet: bool = False) -> str:
    with redirect_stderr(stream), TerminalProgress(quiet=quiet) as progress:
        progress.phase("reading")
        progress("encoding", 10, 40, "fast [bold]")
        progress.say("engine [exact]: small")
        progress("encoding", 40, 40)
    return stream.getvalue()


def test_a_terminal_sees_the_bar_and_the_remarks() -> None:
    shown = drive(Terminal())
    assert "encoding" in shown
    assert "40/40" in shown
    assert "engine [exact]: small\n" in shown


def test_elsewhere_the_remarks_alone() -> None:
    assert drive(io.StringIO()) == "engine [exact]: small\n"


def test_quiet_is_silent() -> None:
    assert drive(Terminal(), quiet=True) == ""


def test_json_is_readable_where_the_output_takes_it() -> None:
    shown = []
    for encoding in ("utf-8", "ascii"):
        buffer = io.BytesIO()
        with redirect_stdout(io.TextIOWrapper(buffer, encoding=encoding)):
            print_json({"a": "é"}, indent=None)
            shown.append(buffer.getvalue())
    assert shown == ['{"a": "é"}\n'.encode(), b'{"a": "\\u00e9"}\n']


def test_what_to_type_next_is_quoted() -> None:
    out = io.StringIO()
    with redirect_stdout(out):
        print_next([["search", "my index", "it's"]])
    assert out.getvalue() == "\nnext:\n  biencoder search 'my index' 'it'\"'\"'s'\n"
