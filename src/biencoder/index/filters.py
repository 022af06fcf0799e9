"""Filters on metadata, read from text.

    year >= 2020 and lang in (en, 'de') and not draft = true

A scanner, and a parser of one method a rule:

    rule    = all {"or" all}
    all     = one {"and" one}
    one     = "not" one | "(" rule ")" | field comparison
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

from biencoder.errors import ArgumentError
from biencoder.index.filter_tree import RESERVED, Among, And, Comparison, Filter, Not, Operator, Or, Scalar, is_field

__all__ = ["DEEPEST", "LONGEST", "Among", "And", "Comparison", "Filter", "Not", "Operator", "Or", "Scalar", "parse_filter"]

LONGEST = 10_000
"""Characters of a filter: more than people write, little enough to be read in milliseconds."""

DEEPEST = 50
"""Levels of parentheses and ``not``, far from the depth at which Python's own stack ends."""

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![\w.:+-]))
    | (?P<word>[\w.:+-]+)
    | (?P<quoted>'(?:[^'\\]|\\['"\\])*'|"(?:[^"\\]|\\['"\\])*")
    | (?P<sign><=|>=|!=|[=<>(),])
    | (?P<end>\Z)
    )""",
    re.VERBOSE,
)


def parse_filter(text: str) -> Filter:
    """Read a filter; `biencoder.index.filter_tree` says what it means.

    Args:
        text: comparisons (``=``, ``!=``, ``<``, ``<=``, ``>``, ``>=``, ``in (a, b)``, ``not in (a, b)``), joined by ``and``,
            ``or``, ``not`` and parentheses; ``not`` binds closest, then ``and``. Values are numbers, ``true``, ``false``,
            words, and text in single or double quotes, where a backslash escapes a quote or a backslash. A number that begins
            with 0, such as a postcode, is a word.

    Raises:
        ArgumentError: where the text is no filter; says at which character, counted from 1, and what was expected.

    >>> parse_filter("year >= 2020 and lang in (en, 'de')").matches({"year": 2021, "lang": "de"})
    True
    >>> parse_filter("year >= and")
    Traceback (most recent call last):
    biencoder.errors.ArgumentError: filter, position 9: a value was expected, found 'and'; put it in quotes if it is one
    """
    return _Parser(text).parse()


@dataclass(frozen=True, slots=True)
class _Token:
    """A piece of a filter's text: its sort, its text, and where it begins, counted from 0."""

    sort: str
    text: str
    start: int

    def says(self, *words: str) -> bool:
        """Whether it is one of these words or signs; words in any case."""
        return self.sort in {"word", "sign"} and self.text.lower() in words


class _Parser:
    """Reads one text."""

    def __init__(self, text: str) -> None:
        if len(text) > LONGEST:
            raise ArgumentError(f"the filter has {len(text):,} characters; at most {LONGEST:,} are read")
        self._tokens = _scan(text)
        self._at = 0
        self._depth = 0

    def parse(self) -> Filter:
        """The whole text as a filter.

        Raises:
            ArgumentError: where it is none.
        """
        found = self._rule()
        if self._next.sort != "end":
            raise self._wrong("'and', 'or' or the end was expected")
        return found

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _take(self) -> _Token:
        self._at += 1
        return self._tokens[self._at - 1]

    def _rule(self) -> Filter:
        parts = [self._all()]
        while self._next.says("or"):
            self._take()
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _all(self) -> Filter:
        parts = [self._one()]
        while self._next.says("and"):
            self._take()
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _one(self) -> Filter:
        if not self._next.says("not", "("):
            return self._comparison()
        if self._depth == DEEPEST:
            raise _error(self._next.start, f"more than {DEEPEST} levels of parentheses and 'not'")
        self._depth += 1
        if self._take().text == "(":
            found = self._rule()
            self._expect(")")
        else:
            found = Not(self._one())
        self._depth -= 1
        return found

    def _comparison(self) -> Filter:
        start = self._next.start
        if self._next.sort not in {"word", "number"} or not is_field(self._next.text):
            raise self._wrong("a field was expected")
        field = self._take().text
        if self._next.says("=", "!=", "<", "<=", ">", ">="):
            sign = self._take().text
            value = self._value()
            with _placed(start):
                if sign == "!=":
                    return Not(Comparison(field, "=", value))
                return Comparison(field, cast(Operator, sign), value)
        negated = self._next.says("not")
        if negated:
            self._take()
        if not self._next.says("in"):
            raise self._wrong(f"after {field!r}, an operator was expected (=, !=, <, <=, >, >=, in, not in)")
        self._take()
        values = self._values()
        with _placed(start):
            return Not(Among(field, values)) if negated else Among(field, values)

    def _values(self) -> tuple[Scalar, ...]:
        self._expect("(")
        found = [self._value()]
        while self._next.says(","):
            self._take()
            found.append(self._value())
        self._expect(")", before="',' or ")
        return tuple(found)

    def _value(self) -> Scalar:
        token = self._next
        if token.sort in {"sign", "end"}:
            raise self._wrong("a value was expected")
        word = token.text.lower()
        if token.sort == "word" and word in RESERVED - {"true", "false"}:
            raise self._wrong("a value was expected", hint="; put it in quotes if it is one")
        self._take()
        if token.sort == "quoted":
            return re.sub(r"\\(.)", r"\1", token.text[1:-1])
        if token.sort == "number":
            return int(token.text) if re.fullmatch("-?[0-9]+", token.text) else float(token.text)
        return word == "true" if word in {"true", "false"} else token.text

    def _expect(self, sign: str, *, before: str = "") -> None:
        if not self._next.says(sign):
            raise self._wrong(f"{before}{sign!r} was expected")
        self._take()

    def _wrong(self, expected: str, *, hint: str = "") -> ArgumentError:
        token = self._next
        found = "but the text ends" if token.sort == "end" else f"found {token.text!r}"
        return _error(token.start, f"{expected}, {found}{hint}")


@contextmanager
def _placed(start: int) -> Iterator[None]:
    """Say of a comparison that cannot be where it stands."""
    try:
        yield
    except ArgumentError as error:
        raise _error(start, str(error)) from None


def _scan(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    at = 0
    while not tokens or tokens[-1].sort != "end":
        found = _TOKEN.match(text, at)
        if found is None or found.lastgroup is None:
            raise _unreadable(text, at)
        tokens.append(_Token(found.lastgroup, found[found.lastgroup], found.start(found.lastgroup)))
        at = found.end()
    return tokens


def _unreadable(text: str, at: int) -> ArgumentError:
    start = at + len(text[at:]) - len(text[at:].lstrip())
    if text[start] in "'\"":
        problem = f"the quote {text[start]} is not closed, or a backslash stands before what is no quote or backslash"
        return _error(start, problem)
    return _error(start, f"{text[start]!r} cannot stand in a filter outside quotes")


def _error(start: int, problem: str) -> ArgumentError:
    return ArgumentError(f"filter, position {start + 1}: {problem}")
