"""Copies of tokenizers that cut and never pad.

Truncation and padding are a tokenizer's mutable state: a copy has them set once, so that threads cannot race, and they never
change what a fingerprint sees.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from biencoder.errors import ArgumentError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

CHARACTERS_A_TOKEN = 32
"""A text of more characters than this for each token that fits is tried by its head first: tokens are seldom so long, and
where they are, the head gives too few of them and the whole text is tokenised after all."""


def head(text: str, *, characters: int) -> str:
    """The text, or its first words where it is very long; cut at a space, which no token spans.

    Other white space will not do: tokenizers drop some of it (a form feed), and what stood on both sides is one word.

    >>> head("aspirin lowers fever", characters=12)
    'aspirin'
    """
    if len(text) <= characters:
        return text
    return text[:characters].rpartition(" ")[0].rstrip(" ") or text


def plain_tokenizer(tokenizer: PreTrainedTokenizerFast) -> str:
    """The tokenizer as JSON without truncation and padding, which callers switch and which must not change its identity."""
    body: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    body["truncation"] = body["padding"] = None
    return json.dumps(body, sort_keys=True, ensure_ascii=False)


def cutting_tokenizer(tokenizer: PreTrainedTokenizerFast, max_length: int, *, pairs: bool = False) -> Any:
    """A copy of the tokenizer that cuts to ``max_length`` and never pads.

    Args:
        tokenizer: is not changed.
        max_length: tokens, the special ones included.
        pairs: for pairs of texts; the longer one is cut until both fit.

    Raises:
        ArgumentError: where the special tokens leave no room, of a pair for a token of each text.
    """
    from tokenizers import Tokenizer

    cutter = Tokenizer.from_str(plain_tokenizer(tokenizer))
    room = cutter.num_special_tokens_to_add(is_pair=pairs)
    if max_length < room + (2 if pairs else 1):
        beside = " and a token of each text" if pairs else ""
        raise ArgumentError(f"max_length is {max_length}; it must leave room beside the {room} special tokens{beside}")
    cutter.enable_truncation(max_length, strategy="longest_first")
    return cutter
