"""The frontier that tuning measured, as JSON and as a picture."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from biencoder.errors import MissingDependencyError, require
from biencoder.index.measuring import Point
from biencoder.index.tuning import Goal, Tuned

JSON = "frontier.json"
PLOT = "frontier.svg"


def write_frontier(folder: Path, tuned: Tuned, goal: Goal, *, say: Callable[[str], None]) -> None:
    """Write ``frontier.json``, and ``frontier.svg`` where matplotlib is installed.

    Args:
        folder: of the index.
        tuned: what was measured and chosen.
        goal: what was asked for.
        say: is told where there is no plot, and why.
    """
    found = {"goal": str(goal), **tuned.as_dict()}
    (folder / JSON).write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    try:
        require("matplotlib", extra="report")
    except MissingDependencyError as error:
        say(f"no plot of the frontier: {error}")
        return
    _draw(folder / PLOT, tuned, goal)


def _draw(path: Path, tuned: Tuned, goal: Goal) -> None:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.ticker import StrMethodFormatter

    points = [point for point in tuned.frontier if point.rows == tuned.point.rows]
    figure = Figure(figsize=(7, 4.4), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    for name in dict.fromkeys(point.engine for point in points):
        own: list[Point] = [point for point in points if point.engine == name]
        axes.scatter([point.recall for point in own], [point.p50_ms for point in own], label=name, alpha=0.8)
    axes.scatter([tuned.point.recall], [tuned.point.p50_ms], s=160, facecolors="none", edgecolors="black", label="chosen")
    axes.axvline(goal.recall, linestyle=":", color="grey")
    axes.set(xlabel=f"recall@{goal.k}", ylabel="milliseconds a query (p50, one thread)", yscale="log")
    axes.set_title(f"{tuned.point.rows:,} vectors; asked for: {goal}", fontsize=10)
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(StrMethodFormatter("{x:g}"))
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=5, frameon=False)
    figure.savefig(path, metadata={"Date": None})
