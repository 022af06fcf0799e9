"""Queries out of documents, where there are no others: titles, and crops that are taken out of the text.

A title asks for its text; where there is none, a few words cropped at random ask for the rest (inverse cloze task: Lee, Chang
and Toutanova, Latent retrieval, 2019). What became the query is left out of the document, else the task would be to find the
same words again.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from biencoder.data.collection import Collection
from biencoder.data.documents import Documents
from biencoder.errors import DataError
from biencoder.records import Document, Judgement, Query

_MOST = 100_000
"""Queries made at most; more than an hour of training takes."""
_CROP = (5, 24)
"""Words of a crop, least and most: a query's length."""
_REST = 8
"""Words that must remain of a document."""
_LONGEST_WORDS = 15
"""Characters of a word, on average, above which they are taken for words written together (Chinese, Japanese, Thai)."""


def self_supervised(documents: Documents, *, split: str, seed: int, most: int = _MOST) -> Collection:
    """A collection whose queries are made from its documents.

    Args:
        documents: streamed several times; those that are too short for it have no query.
        split: what the queries' judgements are called.
        seed: decides the crops, and which documents are asked for where there are more than ``most``.
        most: queries at most.

    Raises:
        DataError: where no document is long enough.

    >>> texts = ["one two three four five six seven eight nine ten eleven twelve thirteen"] * 2
    >>> made = self_supervised([Document(str(at), text) for at, text in enumerate(texts)], split="train", seed=0)
    >>> [query.text for query in made.queries("train")]
    ['five six seven eight nine', 'three four five six seven']
    >>> [example.positive for example in made.examples("train")][0]
    'one two three four ten eleven twelve thirteen'
    """
    made = _Made(documents, seed, most)
    queries = [Query(f"made-{document.id}", query) for document, query in made.asked()]
    if not queries:
        raise DataError(
            f"none of the {len(documents)} documents is long enough to make a query from; give queries and judgements"
        )
    judgements = [Judgement(query.id, query.id.removeprefix("made-")) for query in queries]
    return Collection(documents=made, queries=queries, judgements={split: judgements})


@dataclass(frozen=True, slots=True)
class _Made:
    """The documents without what became their queries, streamed."""

    documents: Documents
    seed: int
    most: int

    def __len__(self) -> int:
        return len(self.documents)

    def __iter__(self) -> Iterator[Document]:
        return (rest for rest, _ in self._parted())

    def asked(self) -> Iterator[tuple[Document, str]]:
        """Documents that have a query, with it."""
        return ((rest, query) for rest, query in self._parted() if query is not None)

    def _parted(self) -> Iterator[tuple[Document, str | None]]:
        share, left = min(1.0, self.most / max(1, len(self.documents))), self.most
        for document in self.documents:
            digest = hashlib.sha256(f"{self.seed}/{document.id}".encode("utf-8", "surrogatepass")).digest()
            chance = random.Random(digest)  # noqa: S311 - a sample, not a secret
            asked = chance.random() < share and left > 0
            rest, query = _part(document, chance) if asked else (document, None)
            left -= query is not None
            yield rest, query


def _part(document: Document, chance: random.Random) -> tuple[Document, str | None]:
    """A document without its query, and the query; the whole document where it is too short for one."""
    words, between = _words(document.text)
    if document.title.strip() and len(words) >= _REST:
        return replace(document, title=""), document.title
    longest = min(_CROP[1], len(words) - _REST)
    if longest < _CROP[0]:
        return document, None
    length = chance.randint(_CROP[0], longest)
    start = chance.randint(0, len(words) - length)
    rest = between.join(words[:start] + words[start + length :])
    return replace(document, text=rest), between.join(words[start : start + length]).strip()


def _words(text: str) -> tuple[list[str], str]:
    """A text's words and what stands between them; its characters where its script does not part words.

    >>> _words("to be"), _words("阿司匹林是一种常用的解热镇痛药物。")[0][:4]
    ((['to', 'be'], ' '), ['阿', '司', '匹', '林'])
    """
    words = text.split()
    together = sum(map(len, words)) > _LONGEST_WORDS * len(words)
    return (list(" ".join(words)), "") if together else (words, " ")
