"""`biencoder delete`: documents out of an index."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from biencoder.cli.opening import check_index
from biencoder.cli.options import IndexArgument, Json, Quiet
from biencoder.cli.terminal import TerminalProgress, print_facts, print_json
from biencoder.errors import DataError

EXAMPLE = "biencoder delete scifact.index 4983 5836"


def command(
    index: IndexArgument,
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Of documents.", show_default=False)] = None,
    *,
    file: Annotated[Path | None, typer.Option("--ids", metavar="FILE", help="Ids, one a line.")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Take documents out of an index, by id. Nobody finds them from then on; `biencoder compact` frees their place."""
    wanted = [*(ids or []), *([] if file is None else _read(file))]
    if not wanted:
        raise typer.BadParameter("there are no ids; name them, or give --ids FILE")
    check_index(index)
    with TerminalProgress(quiet=quiet) as progress:
        from biencoder.search import delete_documents

        progress.phase(f"deleting from {index}")
        done = delete_documents(index, wanted, progress=progress)
    if json:
        facts = {"deleted": done.deleted, "unknown": list(done.unknown), "documents": done.documents}
        print_json({"path": index, **facts})
        return
    shown = ", ".join(done.unknown[:5]) + (", …" if len(done.unknown) > 5 else "")
    print_facts(
        [
            ("deleted", f"{done.deleted:,}"),
            *([("not there", f"{len(done.unknown):,}  ({shown})")] if done.unknown else []),
            ("documents", f"{done.documents:,}"),
            ("folder", index),
        ]
    )


def _read(file: Path) -> list[str]:
    """The lines of a file that are not empty."""
    try:
        return [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise DataError("the file is not UTF-8", path=file, hint="save it as UTF-8, one id a line") from None
