"""What a long task tells its user while it runs."""

from __future__ import annotations


class Progress:
    """Shows nothing; a command overrides what it wants to show.

    >>> Progress()("encoding", 10, 100)
    """

    def __call__(self, stage: str, done: int, total: int, facts: str = "") -> None:
        """Is told a stage (``encoding``, ``training``), how much of it is done, how much there is, and what else is known."""

    def say(self, message: str) -> None:
        """Is told, in one line, what was decided: reused, resumed, chosen, kept."""
