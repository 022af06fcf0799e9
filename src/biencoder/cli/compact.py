"""`biencoder compact`: an index and what changed since, made into one index again."""

from __future__ import annotations

from biencoder.cli.opening import check_index
from biencoder.cli.options import IndexArgument, Json, Quiet
from biencoder.cli.terminal import TerminalProgress, print_facts, print_json

EXAMPLE = "biencoder compact scifact.index"


def command(index: IndexArgument, *, json: Json = False, quiet: Quiet = False) -> None:
    """Build an index anew out of itself: what was added moves in, what was deleted goes. Nothing is encoded.

    Searches under way keep what they have open; the new index takes the old one's place in one step.
    """
    check_index(index)
    with TerminalProgress(quiet=quiet) as progress:
        from biencoder.search import compact_index

        progress.phase(f"compacting {index}")
        count = compact_index(index, progress=progress)
    if json:
        print_json({"path": index, "documents": count})
        return
    print_facts([("documents", f"{count:,}"), ("folder", index)])
