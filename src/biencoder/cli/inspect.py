"""`biencoder inspect`: what a folder is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from biencoder.cli.options import Json
from biencoder.cli.terminal import TerminalProgress, print_facts, print_json, size_of

EXAMPLE = "biencoder inspect scifact.index --verify"


def command(
    path: Annotated[
        str, typer.Argument(metavar="PATH", help="A model, reranker, run, index, vectors or collection.", show_default=False)
    ],
    *,
    verify: Annotated[bool, typer.Option("--verify", help="Check every byte against what was written.")] = False,
    json: Json = False,
) -> None:
    """Say what a model, reranker, run, index, vectors or collection folder is, and with --verify whether it is whole."""
    with TerminalProgress() as progress:
        from biencoder.cli.describe import describe

        progress.phase(f"{'verifying' if verify else 'reading'} {path}")
        facts = describe(path, verify=verify)
    if json:
        print_json(facts)
    else:
        print_facts(list(_flat(facts)))


def _flat(facts: dict[str, Any], front: str = "") -> Iterator[tuple[str, str]]:
    """Names, as in the JSON, and values as lines; what is unknown or empty has none."""
    for key, value in facts.items():
        name = front + key
        if isinstance(value, dict):
            yield from _flat(value, f"{name}.")
        elif value is not None and value != []:
            yield name, _shown(key, value)


def _shown(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key == "bytes":
        return size_of(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list) and isinstance(value[0], dict):  # stages, units: what they did stands in the JSON
        return ", ".join(str(one.get("name", one)) for one in value)
    if isinstance(value, list):
        return ", ".join(map(str, value)) if len(value) <= 8 else f"{len(value):,} values, {value[0]} … {value[-1]}"
    return repr(value) if key == "prompt" else str(value)
