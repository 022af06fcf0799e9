"""Mined pairs as people read them: the query, then a line for its positive and one for each negative."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from biencoder.cli.hits import figure, plain

if TYPE_CHECKING:
    from biencoder.mining import MinedPair

_TEXT = 100
"""Columns of a text that are shown, at most."""
_READ = 1000
"""Characters of a text that are looked at."""


def pair_lines(pair: MinedPair, *, width: int) -> Iterator[str]:
    r"""Sign, rank, score, the teacher's score where there is one, and the first words of each document.

    Args:
        pair: a line of a mined file.
        width: columns; no line takes more, but on a very narrow terminal.

    >>> from biencoder.mining import MinedPair
    >>> pair = MinedPair(
    ...     query_id="q", query="is aspirin safe?", source="model",
    ...     positive_id="a", positive_rank=2, positive_score=0.8125, positive="It is, mostly.",
    ...     negative_ids=["b"], negative_ranks=[1], negative_scores=[0.75], negatives=["It is cheap."],
    ... )
    >>> print("\n".join(pair_lines(pair, width=60)))
    » is aspirin safe?
         rank   score
      +     2  0.8125  It is, mostly.
      -     1  0.7500  It is cheap.
    """
    teacher = pair.scores is not None
    yield _cut("» " + plain(pair.query[:_READ]), width)
    yield "     rank   score" + ("  teacher" if teacher else "")
    ranks = [pair.positive_rank, *pair.negative_ranks]
    scores = [pair.positive_score, *pair.negative_scores]
    texts = [pair.positive, *pair.negatives]
    for place, (rank, score, text) in enumerate(zip(ranks, scores, texts, strict=True)):
        head = f"  {'-' if place else '+'}  {'none' if rank is None else rank:>4}  {figure(score)}"
        if pair.scores is not None:
            head += f"  {pair.scores[place]:7.2f}"
        yield f"{head}  {_cut(plain(text[:_READ]), min(_TEXT, max(width - len(head) - 2, 1)))}"


def _cut(text: str, width: int) -> str:
    from rich.text import Text

    shown = Text(text)
    shown.truncate(width, overflow="ellipsis")
    return shown.plain
