"""Hits as people read them: two lines each, as wide as the terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from biencoder.records import Hit

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_WORD = re.compile(r"\w+")
_READ = 20_000
"""Characters of a document that are looked at for its snippet."""
_MARGIN = 14
"""Columns before a title: rank, score and the spaces between."""


def hit_lines(query: str, hits: Sequence[Hit], *, width: int) -> Iterator[str]:
    r"""Rank, score, title (or first words) and id, and below the sentence that shares most words with the query.

    Args:
        query: decides which sentence is shown.
        hits: best first.
        width: columns; no line takes more.

    >>> hit = Hit(1, "d7", 0.8125, "Aspirin", "It is cheap. It lowers the risk of cancer.")
    >>> print("\n".join(hit_lines("cancer risk", [hit], width=60)))
      1  0.8125  Aspirin  [d7]
                 It lowers the risk of cancer.
    """
    for hit in hits:
        head, body = _title_and_text(hit)
        label = f"  [{plain(hit.id)}]"
        room = width - _MARGIN
        if _columns(label) > room // 2:
            label = _cut(label, room // 2)
        yield f"{hit.rank:>3}  {figure(hit.score)}  {_cut(head, room - _columns(label))}{label}".rstrip()
        snippet = best_sentence(query, body)
        if snippet:
            yield " " * 13 + _cut(snippet, width - 13)


def best_sentence(query: str, text: str) -> str:
    """The sentence that shares most words with the query; the first of equals.

    >>> best_sentence("cheap drug", "Aspirin is old. The drug is cheap. It is a drug.")
    'The drug is cheap.'
    """
    asked = set(_WORD.findall(query.lower()))

    def shared(sentence: str) -> int:
        return len(asked & set(_WORD.findall(sentence.lower())))

    return max(_SENTENCE_END.split(text), key=shared)


def _title_and_text(hit: Hit) -> tuple[str, str]:
    """What stands on the first line, and the text that a snippet may come from."""
    text = plain(hit.text[:_READ])
    if hit.title:
        return plain(hit.title), text
    first, *rest = _SENTENCE_END.split(text, maxsplit=1)
    return first, rest[0] if rest else ""


def plain(text: str) -> str:
    """One line without control characters, which could move the cursor or worse."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def figure(score: float) -> str:
    """Six characters, whether cosines, inner products, fused ranks or a reranker's logits, which may be negative."""
    if not -10 < score < 10:
        return f"{score:6.1f}"
    return f"{score:6.4f}" if score >= 0 else f"{score:6.3f}"


def _columns(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)


def _cut(text: str, width: int) -> str:
    """The text, or its beginning and an ellipsis, in so many columns."""
    from rich.cells import set_cell_size

    if _columns(text) <= width:
        return text
    return set_cell_size(text, max(width - 1, 0)).rstrip() + "…"
