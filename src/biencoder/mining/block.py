"""Some queries at a time: their rankings, their pairs' candidates, the choice among them, and the lines that come of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import repeat

import numpy as np

from biencoder.mining.candidates import Others, below
from biencoder.mining.corpus import Corpus
from biencoder.mining.duplicates import NearDuplicates
from biencoder.mining.examples import MinedPair
from biencoder.mining.lookup import Found, Lookup
from biencoder.mining.options import MiningOptions
from biencoder.mining.questions import Question
from biencoder.mining.selection import MARGIN, Selection, choose, queue_of
from biencoder.mining.teacher import Teacher, TeacherScores
from biencoder.scoring import FloatArray, RowArray

PAIRS, NEGATIVES, WITHOUT = "pairs", "negatives", "pairs without negatives"
"""What is counted, beside what is dropped."""

_DEEPER = 4
"""Times as deep a block is ranked again where texts that stand in the corpus many times fill its window."""
_DIGITS = 6
"""Decimals of the scores that are written: what float32 has."""


@dataclass(frozen=True, slots=True)
class _Ranked:
    """A question with its ranking."""

    question: Question
    found: Found
    keys: RowArray
    relevant: tuple[int, ...]
    others: Others


@dataclass(frozen=True, slots=True)
class _Pair:
    """A query-document pair whose negatives are chosen."""

    ranked: _Ranked
    positive_id: str
    score: float
    selection: Selection


class Miner:
    """Turns blocks of questions into lines.

    Args:
        corpus: the documents.
        lookup: gives rankings and scores.
        options: which candidates, and how many.
        teacher: scores what is kept, and refuses some; None for none.
    """

    def __init__(self, corpus: Corpus, lookup: Lookup, options: MiningOptions, teacher: Teacher | None) -> None:
        self._corpus = corpus
        self._lookup = lookup
        self._options = options
        self._teacher = teacher
        self._duplicates = NearDuplicates(corpus.documents, threshold=options.near_duplicate)

    def lines(self, block: Sequence[Question], counts: Counter[str]) -> Iterator[bytes]:
        """The lines of a block, in the order of its questions and their positives.

        Args:
            block: questions that are looked up together.
            counts: is added to.
        """
        teacher = None if self._teacher is None else TeacherScores(self._teacher, self._corpus.documents)
        pairs = [pair for ranked in self._ranked(block) for pair in self._pairs(ranked, counts)]
        choose([pair.selection for pair in pairs], teacher, denoise=self._options.denoise, dropped=counts)
        for pair in pairs:
            mined = self._mined(pair, teacher)
            counts.update({PAIRS: 1, NEGATIVES: len(mined.negatives), WITHOUT: int(not mined.negatives)})
            yield mined.line()

    def _ranked(self, block: Sequence[Question]) -> Iterator[_Ranked]:
        """Rankings deep enough to hold the window behind all that is passed over."""
        corpus = self._corpus
        known = [self._known(question) for question in block]
        depth = self._options.last_rank + max(corpus.count(np.unique(corpus.keys[list(numbers)])) for numbers in known)
        while True:
            depth = min(depth, len(corpus))
            found = self._lookup([question.text for question in block], depth)
            others = [
                Others.of(own.ranking, corpus.keys[own.ranking], known=corpus.keys[list(numbers)])
                for own, numbers in zip(found, known, strict=True)
            ]
            if depth == len(corpus) or not any(map(self._cut_short, found, others, repeat(depth))):
                break
            depth *= _DEEPER
        for question, own, rest in zip(block, found, others, strict=True):
            relevant = tuple(corpus.number(identifier) for identifier in question.relevant)
            yield _Ranked(question, own, corpus.keys[own.ranking], relevant, rest)

    def _cut_short(self, found: Found, others: Others, depth: int) -> bool:
        """Whether a ranking ends within the window, though it goes on: texts that stand in the corpus many times filled it."""
        return len(others.numbers) < self._options.last_rank and len(found.ranking) >= depth

    def _known(self, question: Question) -> list[int]:
        """The numbers of the documents that are relevant, and of the one that is the query itself."""
        numbers = [self._corpus.number(identifier) for identifier in question.relevant]
        own = self._corpus.own_document(question.id)
        return numbers if own is None else [*numbers, own]

    def _pairs(self, ranked: _Ranked, counts: Counter[str]) -> Iterator[_Pair]:
        """The pairs of a question, each with the queue of its own candidates."""
        options, question = self._options, ranked.question
        window = slice(options.first_rank - 1, options.last_rank)
        candidates, keys = ranked.others.numbers[window], ranked.others.keys[window]
        candidate_scores = ranked.found.score(candidates)
        positives = [self._corpus.number(identifier) for identifier in question.positives]
        scores = ranked.found.score(np.array(positives)).tolist()
        is_near = cache(partial(self._duplicates.of_any, positives=ranked.relevant))  # one answer for all pairs of the query
        for identifier, positive, score, own_keys in zip(
            question.positives, positives, scores, question.own_negatives, strict=True
        ):
            own = self._own_negatives(ranked, own_keys)
            new = ~np.isin(keys, self._corpus.keys[own])
            fitting = below(candidate_scores, score, options)
            counts[MARGIN] += int((new & ~fitting).sum())
            left = candidates[new & fitting].tolist()
            queue = queue_of(left, options, query_id=question.id, positive_id=identifier)
            selection = Selection(question.text, positive, own, queue, options.negatives - len(own), is_near)
            yield _Pair(ranked, identifier, score, selection)

    def _own_negatives(self, ranked: _Ranked, keys: Sequence[int]) -> list[int]:
        """The collection's own negatives of a pair, but for those that are relevant in another split or the query itself."""
        known = set(self._corpus.keys[self._known(ranked.question)].tolist())
        found = [self._corpus.find(key) for key in keys if key not in known]
        return [number for number in found if number is not None][: self._options.negatives]

    def _mined(self, pair: _Pair, teacher: TeacherScores | None) -> MinedPair:
        ranked, selection = pair.ranked, pair.selection
        documents, question, keys = self._corpus.documents, ranked.question, self._corpus.keys
        by_rank = ranked.others.numbers
        negatives = [*selection.own, *by_rank[np.isin(by_rank, selection.kept)].tolist()]
        chosen = [documents[number] for number in negatives]
        scores = None
        if teacher is not None:
            scores = [round(teacher[question.text, number], _DIGITS) for number in (selection.positive, *negatives)]
        return MinedPair(
            query_id=question.id,
            query=question.text,
            source=self._options.source,
            positive_id=pair.positive_id,
            positive_rank=_rank_of(ranked, int(keys[selection.positive])),
            positive_score=round(pair.score, _DIGITS),
            positive=documents[selection.positive].content,
            negative_ids=[document.id for document in chosen],
            negative_ranks=[ranked.others.rank_of(int(keys[number])) for number in negatives],
            negative_scores=_rounded(ranked.found.score(np.array(negatives, dtype=np.int64))),
            negatives=[document.content for document in chosen],
            scores=scores,
        )


def _rank_of(ranked: _Ranked, key: int) -> int | None:
    places = np.flatnonzero(ranked.keys == key)
    return ranked.others.rank_at(int(places[0])) if len(places) else None


def _rounded(scores: FloatArray) -> list[float]:
    return [round(score, _DIGITS) for score in scores.tolist()]
