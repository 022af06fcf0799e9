"""Query-document pairs and triples into a collection: what most users have instead of judgements.

Identical texts become one document, identical queries one query; ids are hashes of the contents, so that the same text has
the same id in every file.
"""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from biencoder.data.contents import Contents, Grades, Triple
from biencoder.data.documents import choose
from biencoder.data.judgements import as_grade, as_scores
from biencoder.data.tables import Row, Table
from biencoder.data.values import ValueProblem, as_split, as_text, kind
from biencoder.errors import DataError, InputWarning
from biencoder.records import Document, Query

QUERY_COLUMNS = ("query", "question", "anchor")
POSITIVE_COLUMNS = ("positive", "pos", "document", "doc", "answer", "passage", "text")
NEGATIVE_COLUMNS = ("negative", "neg", "negatives")
SCORES_COLUMNS = ("scores",)
GRADE_COLUMNS = ("grade", "label", "relevance")
SPLIT_COLUMNS = ("split",)

_NUMBERED = re.compile(r"neg(?:ative)?_[0-9]+")
_ID_BYTES = 12  # two of a hundred million texts share an id with a probability below 1e-13


@dataclass(frozen=True, slots=True)
class PairColumns:
    """Which columns of a pair file hold what; None stands for the first of the usual names that a row has.

    Args:
        query: the query; usual names: query, question, anchor.
        positive: a relevant document, or a list of them; positive, pos, document, doc, answer, passage, text.
        negatives: documents that are not relevant, each column one text or a list; negative, neg, negatives, negative_1, ….
        scores: a teacher's, a list with the positive's first and then one for each negative; scores.
        grade: how relevant the positive is, a whole number, 0 or less for not at all; grade, label, relevance.
        split: the split that the pair belongs to, train where it is empty; split.
    """

    query: str | None = None
    positive: str | None = None
    negatives: Sequence[str] | None = None
    scores: str | None = None
    grade: str | None = None
    split: str | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """One row of a pair file."""

    query: str
    positives: tuple[str, ...]
    negatives: tuple[str, ...]
    scores: tuple[float, ...] | None
    grade: int
    split: str

    @property
    def documents(self) -> tuple[str, ...]:
        """All texts that the row brings, in order."""
        return (*self.positives, *self.negatives)


def pairs_to_contents(table: Table, columns: PairColumns | None = None) -> Contents:
    """Read pairs once; no document text is kept, only ids and one byte for every mention of a document.

    A warning names the columns that are not read.

    Raises:
        DataError: at the first row that is no pair, or contradicts an earlier one, and where no row has a named column.
    """
    reader = PairReader(table, columns or PairColumns())
    collector = _Collector()
    for number, pair in reader.pairs():
        try:
            collector.add(pair)
        except ValueProblem as error:
            raise table.fault(number, str(error)) from error
    reader.report_columns()
    triples = {split: part for split, part in collector.triples.items() if part}
    return Contents(PairDocuments(reader, bytes(collector.first_mentions)), collector.queries, collector.grades, triples)


class PairReader:
    """Pairs from the rows of a table, read anew each time."""

    def __init__(self, table: Table, columns: PairColumns) -> None:
        self.table = table
        self._columns = columns
        self._seen: set[str] = set()
        self._unread: set[str] = set()

    def pairs(self) -> Iterator[tuple[int, Pair]]:
        """Every pair with the number of its row."""
        for number, row in self.table.rows():
            self._seen.update(row)
            try:
                pair = self._pair(row)
            except ValueProblem as error:
                raise self.table.fault(number, str(error)) from error
            self._unread.update(row)
            yield number, pair

    def report_columns(self) -> None:
        """Say which columns the rows have that were not read, and which they do not have that should be.

        Raises:
            DataError: where a column was named that no row has.
        """
        columns = self._columns
        optional = (*(columns.negatives or ()), columns.scores, columns.grade, columns.split)
        for name in optional:
            if name is not None and name not in self._seen:
                here = ", ".join(map(repr, sorted(self._seen)))
                raise DataError(f"no row has a column {name!r}; the columns are {here}", path=self.table.path)
        if self._unread:
            names = ", ".join(map(repr, sorted(self._unread)))
            warnings.warn(f"{self.table.path}: columns that are not read: {names}", InputWarning, stacklevel=2)

    def _pair(self, row: Row) -> Pair:
        """Take a pair out of a row; what stays in the row was not read."""
        named = self._columns
        query = as_text(
            row.pop(choose(row, named.query, QUERY_COLUMNS, what="query", option="PairColumns.query")), field="query"
        )
        if not query or query.isspace():
            raise ValueProblem("the query is empty; give it a text or remove the row")
        positive = choose(row, named.positive, POSITIVE_COLUMNS, what="document", option="PairColumns.positive")
        positives = self._texts(row, positive)
        if not positives:
            raise ValueProblem("the document is empty; give it a text or remove the row")
        negatives = self._negatives(row)
        scores = self._scores(row, positives, negatives)
        if not set(negatives).isdisjoint(positives):
            raise ValueProblem("a negative is the same text as the positive; remove one of the two")
        if scores is not None and len(set(negatives)) < len(negatives):
            raise ValueProblem("the same negative is scored twice; keep one of the two")
        grade = _first(row, named.grade, GRADE_COLUMNS)
        split = _first(row, named.split, SPLIT_COLUMNS)
        return Pair(
            query,
            positives,
            tuple(dict.fromkeys(negatives)),
            scores,
            1 if grade is None else as_grade(row.pop(grade), field=grade),
            as_split(None if split is None else row.pop(split)),
        )

    def _negatives(self, row: Row) -> tuple[str, ...]:
        names = self._columns.negatives
        if names is None:
            names = [name for name in row if name in NEGATIVE_COLUMNS or _NUMBERED.fullmatch(name)]
        return tuple(text for name in names for text in self._texts(row, name))

    def _scores(self, row: Row, positives: tuple[str, ...], negatives: tuple[str, ...]) -> tuple[float, ...] | None:
        name = _first(row, self._columns.scores, SCORES_COLUMNS)
        value = None if name is None else row.pop(name)
        if name is None or value is None or value == "":
            return None
        if len(positives) > 1:
            raise ValueProblem("there are scores, but several positives; give each positive a row of its own")
        if self.table.only_strings:
            value = _from_json(value, field=name)
        return as_scores(value, count=1 + len(negatives), field=name)

    def _texts(self, row: Row, name: str) -> tuple[str, ...]:
        """The texts in a cell: one, several, or none."""
        value = row.pop(name, None)
        if value is None or value == "":
            return ()
        if self.table.only_strings and name == "negatives":
            value = _from_json(value, field=name)
        texts = value if isinstance(value, (list, tuple)) else (value,)
        for text in texts:
            if not isinstance(text, str):
                raise ValueProblem(f"the field {name!r} holds {kind(text)}; expected a string or a list of strings")
            if not text or text.isspace():
                raise ValueProblem(f"the field {name!r} holds an empty text; remove it")
        return tuple(texts)


@dataclass(frozen=True, slots=True)
class PairDocuments:
    """The distinct documents of a pair file, in the order of their first mention, streamed from the file."""

    reader: PairReader
    first_mentions: bytes = field(repr=False)
    """For every mention of a document in the file: 1 where it is the first."""

    def __len__(self) -> int:
        return self.first_mentions.count(1)

    def __iter__(self) -> Iterator[Document]:
        mentions = iter(self.first_mentions)
        for number, pair in self.reader.pairs():
            for text in pair.documents:
                first = next(mentions, None)
                if first is None:
                    raise self.reader.table.fault(number, "the file has changed since it was first read", "read it again")
                if first:
                    yield Document(document_id(text), text)
        if next(mentions, None) is not None:
            raise DataError("the file has become shorter since it was first read; read it again", path=self.reader.table.path)


class _Collector:
    """What the pairs amount to: queries, grades, triples and which mention of a document is its first."""

    def __init__(self) -> None:
        self.queries: dict[str, Query] = {}
        self.grades: dict[str, Grades] = {}
        self.triples: dict[str, dict[tuple[str, str], Triple]] = {}
        self.first_mentions = bytearray()
        self._ids: dict[str, str] = {}

    def add(self, pair: Pair) -> None:
        query = query_id(pair.query)
        self.queries.setdefault(query, Query(query, pair.query))
        ids = [self._mention(text) for text in pair.documents]
        judged = self.grades.setdefault(pair.split, {}).setdefault(query, {})
        for positive in ids[: len(pair.positives)]:
            if judged.setdefault(positive, pair.grade) != pair.grade:
                raise ValueProblem(
                    f"the same query and document have the grade {pair.grade} here and {judged[positive]} further up; "
                    "keep one of the two"
                )
            if pair.negatives or pair.scores:
                new = Triple(query, positive, tuple(ids[len(pair.positives) :]), pair.scores)
                self._add_triple(new, pair)

    def _add_triple(self, new: Triple, pair: Pair) -> None:
        if pair.grade <= 0:
            raise ValueProblem(f"there are negatives or scores, but the grade is {pair.grade}; they need a relevant document")
        triples = self.triples.setdefault(pair.split, {})
        key = (new.query_id, new.positive_id)
        triples[key] = merged(triples[key], new) if key in triples else new

    def _mention(self, text: str) -> str:
        identifier = document_id(text)
        self.first_mentions.append(identifier not in self._ids)
        return self._ids.setdefault(identifier, identifier)


def merged(old: Triple, new: Triple) -> Triple:
    """One triple of two that have the same query and positive.

    Raises:
        ValueProblem: where one has scores and the other none, or they disagree.

    >>> merged(Triple("q", "p", ("a",), (2.0, 0.5)), Triple("q", "p", ("a", "b"), (2.0, 0.5, 0.1)))
    Triple(query_id='q', positive_id='p', negative_ids=('a', 'b'), scores=(2.0, 0.5, 0.1))
    """
    if (old.scores is None) != (new.scores is None):
        raise ValueProblem("the same query and document have scores on one row and none on another; score both or neither")
    negatives = tuple(dict.fromkeys((*old.negative_ids, *new.negative_ids)))
    if old.scores is None or new.scores is None:
        return Triple(old.query_id, old.positive_id, negatives)
    before = dict(zip((old.positive_id, *old.negative_ids), old.scores, strict=True))
    after = dict(zip((new.positive_id, *new.negative_ids), new.scores, strict=True))
    if any(before[name] != after[name] for name in before.keys() & after.keys()):
        raise ValueProblem("the same query and document were scored otherwise further up; keep one of the two")
    known = before | after
    return Triple(old.query_id, old.positive_id, negatives, tuple(known[name] for name in (old.positive_id, *negatives)))


def query_id(text: str) -> str:
    """The id of a query by its text.

    >>> query_id("what is it?")
    'q0d501955d82e2d0dc2b5fa32'
    """
    return "q" + _digest(text)


def document_id(text: str) -> str:
    """The id of a document by its text.

    >>> document_id("what is it?")
    'd0d501955d82e2d0dc2b5fa32'
    """
    return "d" + _digest(text)


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=_ID_BYTES).hexdigest()


def _first(row: Row, given: str | None, usual: tuple[str, ...]) -> str | None:
    """The name of an optional column, None where the row has none."""
    return next((name for name in (usual if given is None else (given,)) if name in row), None)


def _from_json(value: str, *, field: str) -> list[object]:
    try:
        values = json.loads(value)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, list):
        raise ValueProblem(f"the field {field!r} is {value[:40]!r}; expected a JSON list, such as [1, 2]")
    return values
