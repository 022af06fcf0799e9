"""What an update of an index did."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Updated:
    """What an update of an index did.

    Attributes:
        added: documents whose ids were not there.
        replaced: documents whose ids were there.
        deleted: documents that are gone.
        unknown: ids to be deleted that were not there.
        documents: in the index now.
    """

    added: int = 0
    replaced: int = 0
    deleted: int = 0
    unknown: tuple[str, ...] = ()
    documents: int = 0
