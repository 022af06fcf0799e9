"""The entry point: runs a command, and turns whatever goes wrong into one line and an exit status.

| status | meaning |
|---|---|
| 0 | done |
| 1 | failed, with a one-line reason on standard error |
| 2 | wrong usage |
| 130 | interrupted with Ctrl-C |
| 141 | whoever read the output closed it |
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from contextlib import suppress

from biencoder.errors import InputWarning

DEBUG = "BIENCODER_DEBUG"
"""The environment variable that, like ``--debug``, lets tracebacks through."""

_RESUMABLE = frozenset({"quickstart", "fit", "mine", "rerank-fit", "encode", "index", "add"})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: of the command line, without the program's name; by default those of this process.

    Returns:
        The exit status.

    >>> main(["--version"])
    biencoder 0.1.0
    0
    """
    given, debug = _without_debug(sys.argv[1:] if arguments is None else list(arguments))
    try:
        with warnings.catch_warnings():
            if not debug:
                _silence()
            status = _run(given)
            sys.stdout.flush()
            return status
    except KeyboardInterrupt:
        resumes = given and given[0] in _RESUMABLE
        print("\nbiencoder: interrupted" + ("; the same command resumes" if resumes else ""), file=sys.stderr)
        return 130
    except BrokenPipeError:
        _leave_output()
        return 141
    except Exception as error:  # noqa: BLE001 - no traceback reaches a user who has not asked for it
        if debug:
            traceback.print_exc()
        print(f"biencoder: error: {_reason(error, debug=debug)}", file=sys.stderr)
        _leave_output()
        return 1


def _without_debug(arguments: list[str]) -> tuple[list[str], bool]:
    """``--debug`` is accepted anywhere, since it is added to a command that has just failed."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    kept = [argument for argument in arguments[:end] if argument != "--debug"] + arguments[end:]
    return kept, len(kept) < len(arguments) or bool(os.environ.get(DEBUG))


def _silence() -> None:
    """Keep the chatter of the libraries below off the terminal."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
        warnings.simplefilter("default", InputWarning)
        warnings.showwarning = _show
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")  # else tokenizers warns whenever a process is started
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    for name in ("bm25s", "transformers", "huggingface_hub", "datasets"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _show(message: Warning | str, *_: object, **__: object) -> None:
    """What was left out of the input, in one line."""
    print(f"biencoder: note: {message}", file=sys.stderr)


def _run(arguments: list[str]) -> int:
    from typer import Exit

    from biencoder.cli.app import command

    try:
        with command().make_context("biencoder", arguments) as context:
            context.command.invoke(context)
    except Exit as done:
        return done.exit_code
    except Exception as error:
        if not hasattr(error, "format_message"):  # what typer raises for wrong usage, whichever click it brings
            raise
        return _wrong_usage(error)
    return 0


def _wrong_usage(error: Exception) -> int:
    context = getattr(error, "ctx", None)
    if type(error).__name__.startswith("NoArgs"):  # a program without arguments asks for help
        print(context.get_help() if context else "")
        return 2
    path = context.command_path if context else "biencoder"
    print(f"biencoder: error: {_line(error.format_message())} (see: {path} --help)", file=sys.stderr)  # type: ignore[attr-defined]
    return 2


def _reason(error: Exception, *, debug: bool) -> str:
    from biencoder.errors import BiencoderError

    if isinstance(error, BiencoderError):
        return _line(str(error))
    if isinstance(error, OSError) and error.strerror:
        return _line(f"{error.filename}: {error.strerror}" if error.filename else error.strerror)
    hint = "" if debug else f"; add --debug (or set {DEBUG}=1) to see where"
    return _line(f"{type(error).__name__}: {error}") + hint


def _line(text: str) -> str:
    return " ".join(line.strip() for line in text.splitlines() if line.strip())


def _leave_output() -> None:
    """What could not be written is not tried again when the interpreter ends."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
