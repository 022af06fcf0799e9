"""Fingerprints: what tells one tower, and one way of running it, from another.

A fingerprint is the SHA-256 of everything that can change a vector. Three are kept apart: the *document side* (a new one
makes every stored vector worthless), the *query side* (a new one trained for the same document side is welcome), and the
*execution* (runtime, precision, versions: the same weights, rounded differently). Nothing is keyed by a model's name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from biencoder.errors import IdentityError


def fingerprint(parts: Mapping[str, Any]) -> str:
    """SHA-256 over named parts, independent of their order.

    Args:
        parts: JSON values; weights and tokenizers come in as digests of their own.

    Returns:
        64 hexadecimal digits.

    >>> fingerprint({"pooling": "mean", "length": 256}) == fingerprint({"length": 256, "pooling": "mean"})
    True
    """
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def short(digest: str) -> str:
    """The first 12 digits, which is what messages show.

    >>> short("0123456789abcdef")
    '0123456789ab'
    """
    return digest[:12]


@dataclass(frozen=True, slots=True)
class Identity:
    """The three fingerprints of a model as it is run."""

    document: str
    query: str
    execution: str = ""

    def as_dict(self) -> dict[str, str]:
        """A JSON object, for manifests."""
        return asdict(self)

    def check_documents(self, other: Identity, *, what: str) -> None:
        """Make sure that vectors made by ``other`` can be searched with this identity's query side.

        Args:
            other: the identity that the vectors carry.
            what: where the vectors lie, for the message.

        Raises:
            IdentityError: where the document sides differ; the message names both.

        >>> Identity("a" * 64, "b").check_documents(Identity("c" * 64, "b"), what="index")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        biencoder.errors.IdentityError: index holds vectors of document side cccccccccccc, but the model given is aaa...
        """
        if self.document != other.document:
            raise IdentityError(
                f"{what} holds vectors of document side {short(other.document)}, but the model given is "
                f"{short(self.document)}; encode the documents again with this model, or use the model that made them"
            )
