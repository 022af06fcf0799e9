"""From a docstring to the sentence that a person would search with, or the reason why there is none.

Docstrings in the wild start with signatures, hold reStructuredText, Markdown, Epydoc and GNU quotes, run into parameter
lists and doctests, or say nothing. Every rule here answers to something that stands in installed Python source.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

DOCSTRING_LIMIT = 4000
"""Characters of a docstring that are read: a first sentence further down is none, and hostile input stays cheap."""

LONGEST_SENTENCE = 40
"""Words; nobody types more, and most of what is longer is a table or a listing without full stops."""

_USAGE = re.compile(r"(?:(?i:usage:).*|[^A-Z\n].{0,79}[^.\n])\n+(?=[A-Z])")
_CALL = re.compile(r"[\w.]+\(")
_RESULT = re.compile(r"\s*(?:->|=>|<?==?>?)\s*(.*)")
_RESULT_NAME = re.compile(r".{0,40}? --? |\w{1,12}, (?=[a-z]+ )|.{1,20}\.\s+(?=[A-Z])")
_REMARK = re.compile(r"[.\s]*(?:--?|:|—|–)\s+(?=\S)")

_SECTION = r"(?:args?|arguments?|param(?:eter)?s?|returns?|raises?|yields?|examples?|notes?|usage|attributes?|keywords?)"
_SECTION_LINE = re.compile(rf"\s*{_SECTION}(?: \w+)?\s*::?\s*", re.IGNORECASE)
_ASIDE = re.compile(
    r"\s*(?:\.\. |!!! |[-*+•] +\S|\(?\d+[.)] |[:@]\w[^:@]{0,60}:|@\w+ |\||\w+ \([^()]{1,80}(?:\([^()]*\)[^()]*)?\)\s*:)"
)
_UNDERLINE = re.compile(r"\s*([-=~^#*\"'`+.])\1{2,}\s*")

_STOP = re.compile(r"[.!?]+[\"')\]”’]*(\s+|$)")
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\[\"'])(?:(?i:e\.?g|i\.?e|vs|cf|viz|resp|approx|dr|mrs?|prof|no|fig|eq|sec|ref|al|ca|inc|ltd|w\.r\.t|aka)|[A-Z])$"
)
_WORD_BEFORE = re.compile(r"[^\W\d_]{4,}[\"')\]]*$")
_DANGLING = re.compile(
    r"[\s,;(]+(?:e\.?g|i\.?e|for example|for instance|such as|as follows|the following|namely|defined (?:as|by)|given by)$",
    re.IGNORECASE,
)

_KIND = r"(?: (?:function|method|helper|routine|api|use|usage|only|constructor))*"
_LABEL = re.compile(
    r"\W*(?:(?:for )?internal|private|helper|convenience|utility|public|abstract|class|static|default|deprecated|experimental"
    rf"|beta|property|constructor|initiali[sz]er){_KIND}\W*",
    re.IGNORECASE,
)
_SIGN = re.compile(r"\A(?:[+#/!>|=~*-]+ +|\[[A-Z]+\] *)+")
_LABEL_PREFIX = re.compile(rf"\A(?:\w+ )?(?:internal|private|helper){_KIND}: *", re.IGNORECASE)

_MARKUP: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"!?\[([^\[\]]+)\]\((?:https?:|#|/|\.)[^()\s]*\)"), r"\1"),  # Markdown: [text](https://…)
    (re.compile(r"\s?\[[\w#*]+\]_"), ""),  # footnotes and citations: [1]_
    (re.compile(r"(?::[\w+.-]+){1,2}:`~(?:[^`<>]*\.)?([^`<>.]+)`"), r"\1"),  # :class:`~package.Name`
    (re.compile(r"(?::[\w+.-]+){1,2}:`[!.]?([^`<>]+?)(?:\s*<[^`<>]*>)?`"), r"\1"),  # :func:`name`, :ref:`text <target>`
    (re.compile(r"\[`~(?:[^`<>]*\.)?([^`<>.]+)`\]"), r"\1"),  # [`~package.Name`]
    (re.compile(r"\[`([^`]+)`\]"), r"\1"),  # [`Name`]
    (re.compile(r"`([^`<>]+?)\s*<[^`<>]*>`__?"), r"\1"),  # `text <https://…>`_
    (re.compile(r"``([^`]+)``"), r"\1"),  # ``literal``
    (re.compile(r"`([^`']+)`(?:__?(?!\w))?"), r"\1"),  # `name`, `reference`_
    (re.compile(r"`([^`'\s](?:[^`']*[^`'\s])?)'(?!\w)"), r"\1"),  # `GNU quotes'
    (re.compile(r"`([^`]+)`"), r"\1"),  # `name['key']`
    (re.compile(r"\b[BCEILMU]\{([^{}]*)\}"), r"\1"),  # Epydoc: C{name}
    (re.compile(r"(?<![\w*])\*\*([^\s*](?:[^*]*[^\s*])?)\*\*(?![\w*])"), r"\1"),  # **strong**
    (re.compile(r"(?<![\w*])\*([^\s*](?:[^*]*[^\s*])?)\*(?![\w*])"), r"\1"),  # *emphasis*
    (re.compile(r"\\([*_`|\\])"), r"\1"),  # \*args
)

_PLAIN_WORD = re.compile(r"(?<!\S)[\"'(]*(?:[^\W\d_][\w'’/-]*\w|[aA](?= [^\W\d_]{2}))[\"'),.;:!?]*(?!\S)")


_UNINFORMATIVE = re.compile(
    r"\W*deprecated\b.*"
    r"|\W*(?:to ?do|fixme|xxx|tbd|not documented|undocumented|not (?:yet )?implemented)\b.*"
    r"|(?:see|refer to) (?!if\b|whether\b).*"
    r"|(?:overrid\w+|overload\w*|extend\w*|implement\w*|inherit\w*|same as|like|as)\b.{0,40}"
    r"\b(?:base|parent|super\w*|abstract|interface|underlying|original)\b.{0,20}"
    r"|(?:initiali[sz]e[sd]?|constructs?|creates?|instantiates?) (?:a |an |the |this )?(?:new )?"
    r"(?:instance|object|class|self|attributes|variables|options|parameters|fields)(?: (?:of|for) (?:this|the) class)?"
    r"|(?:the )?(?:class |default |main )?(?:constructor|initiali[sz]er|destructor|entry point)"
    r"(?: (?:of|for) (?:this|the) \w+)?"
    r"|.{0,20}\bmethod\W{1,3}(?:which|that|to be)\b.{0,20}\b(?:inherit|overrid|overwrit)\w*.{0,20}",
    re.IGNORECASE,
)
_UNFINISHED = re.compile(r".*\b(?:an|the|and|or|by|where|because|one of|used to)")
_DEFINITION = re.compile(r"\S+ (?::|=|:=|::=) .*")


def unusable(sentence: str) -> str | None:
    """Why nobody would search with a sentence, or None where it will do.

    >>> unusable("Return the longest common prefix"), unusable("Lock it"), unusable("See the base class")
    (None, 'fewer than three words', 'says nothing of the function')
    """
    faults = {
        "no sentence": not sentence,
        "fewer than three words": plain_words(sentence) < 3,
        f"more than {LONGEST_SENTENCE} words": len(sentence.split()) > LONGEST_SENTENCE,
        "characters that nobody types": not sentence.isprintable(),
        "says nothing of the function": _DEFINITION.fullmatch(sentence) or _UNINFORMATIVE.fullmatch(sentence),
        "breaks off": _UNFINISHED.fullmatch(sentence),
    }
    return next((reason for reason, fault in faults.items() if fault), None)


def plain_words(sentence: str) -> int:
    """How many words of a sentence are language rather than code.

    >>> plain_words("Return a list of the names"), plain_words("Same as a + b"), plain_words("Return repr(self)")
    (6, 2, 1)
    """
    return len(_PLAIN_WORD.findall(sentence))


def first_sentence(docstring: str) -> str:
    r"""The first sentence of a docstring that says what the function does, as plain text on one line.

    Signatures in front of it and labels such as "Internal function." are passed over; markup is taken off; parameter
    lists, sections and doctests end the search. The final full stop goes too, as nobody types it.

    Returns:
        The sentence, or "" where the docstring holds none.

    >>> first_sentence("load(name) -> module\n\nLoad the :class:`~types.ModuleType` called ``name``, e.g. json.  Slow.")
    'Load the ModuleType called name, e.g. json'
    >>> first_sentence(":param name: what to load")
    ''
    """
    prose = _prose(_without_signature(inspect.cleandoc(docstring[:DOCSTRING_LIMIT])))
    for paragraph in re.split(r"\n\s*\n", prose):
        for sentence in _sentences(_without_markup(paragraph)):
            if sentence and not _LABEL.fullmatch(sentence):
                return sentence
    return ""


def _without_signature(text: str) -> str:
    """Drop usage lines and ``name(arguments) -> result`` in front of the prose; keep a remark that follows on the line."""
    while True:
        text = text.lstrip()
        usage = _USAGE.match(text)
        if usage and plain_words(usage[0]) < 4:
            text = text[usage.end() :]
            continue
        after = _after_call(text)
        if after is None:
            return text
        line, _, rest = after.partition("\n")
        if result := _RESULT.fullmatch(line):
            line = _RESULT_NAME.sub("", result[1], count=1)
            if plain_words(line) >= 3:
                return f"{line}\n{rest}"
        elif remark := _REMARK.match(line):
            return after[remark.end() :]
        elif line.strip(" .:"):
            return text
        text = rest


def _after_call(text: str) -> str | None:
    """What follows a leading ``name(…)``, or None where the text does not start with one."""
    call = _CALL.match(text)
    if call is None:
        return None
    depth = 1
    for position in range(call.end(), len(text)):
        depth += {"(": 1, ")": -1}.get(text[position], 0)
        if depth == 0:
            return text[position + 1 :]
    return None


def _prose(text: str) -> str:
    """The text up to the first list, field, section or doctest; the line under a leading heading is dropped."""
    lines: list[str] = []
    for line in text.partition(">>>")[0].split("\n"):
        if _UNDERLINE.fullmatch(line):
            titles = [title for title in lines if title.strip()]
            if len(titles) > 1 or (titles and _SECTION_LINE.fullmatch(f"{titles[0]}:")):
                return "\n".join(lines[:-1])
            lines.append("")
        elif _ASIDE.match(line) or _SECTION_LINE.fullmatch(line):
            break
        else:
            lines.append(line)
    return "\n".join(lines)


def _without_markup(text: str) -> str:
    for pattern, replacement in _MARKUP:
        text = pattern.sub(replacement, text)
    return text


def _sentences(paragraph: str) -> Iterator[str]:
    start = 0
    for stop in _STOP.finditer(paragraph):
        if _ends_sentence(paragraph, stop):
            yield _joined(paragraph[start : stop.end()])
            start = stop.end()
    if remainder := _joined(paragraph[start:]):
        yield remainder


def _ends_sentence(paragraph: str, stop: re.Match[str]) -> bool:
    """Whether a stop closes a sentence: not after an abbreviation, and in front of a lower-case letter only after a word."""
    before, gap, following = paragraph[max(0, stop.start() - 12) : stop.start()], stop[1], paragraph[stop.end() :][:1]
    if not following:
        return True
    if _ABBREVIATION.search(before):
        return len(gap) > 1 and not following.islower()
    if following.islower() and gap == " ":
        return paragraph[stop.start()] == "." and _WORD_BEFORE.search(before) is not None
    return True


def _joined(sentence: str) -> str:
    bare = _LABEL_PREFIX.sub("", _SIGN.sub("", " ".join(sentence.split())))
    return _DANGLING.sub("", bare.rstrip(" .:;,"))
