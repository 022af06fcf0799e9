"""First sentences, from docstrings as they stand in installed packages."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from biencoder.data.docstrings import DOCSTRING_LIMIT, first_sentence, plain_words, unusable


@pytest.mark.parametrize(
    ("docstring", "sentence"),
    [
        ("Return the name.", "Return the name"),
        ("\n    Return the\n    longest   name.\n\n    More.\n    ", "Return the longest name"),
        ("Return it. Then forget it.", "Return it"),
        ("Is it open? Say so.", "Is it open?"),
        ("Split by words, e.g. Python ones, i.e. names vs. numbers. Slow.", None),
        ("Return a string as RFC 2822 says, e.g.:\n\n    Fri, 09 Nov 2001", "Return a string as RFC 2822 says"),
        ("Open a tar archive. mode is either 'r' or 'w'.", "Open a tar archive"),
        ("Write to std. out", "Write to std. out"),
        ("Return a > b.  Computed from the rest.", "Return a > b"),
        ("Return version 3.11 of it. Done.", "Return version 3.11 of it"),
        ("Close it (and its parent.) Then stop.", "Close it (and its parent.)"),
        ("By J. Smith and others. Old.", "By J. Smith and others"),
        ("Return a dict with:\n\n- names", "Return a dict with"),
    ],
)
def test_first_sentence_ends_where_it_ends(docstring: str, sentence: str | None) -> None:
    expected = "Split by words, e.g. Python ones, i.e. names vs. numbers" if sentence is None else sentence
    assert first_sentence(docstring) == expected


@pytest.mark.parametrize(
    ("docstring", "sentence"),
    [
        (
            "load_module(fullname) -> module.\n\nLoad the module specified by 'fullname'.",
            "Load the module specified by 'fullname'",
        ),
        ("strcoll(string,string) -> int.\nCompares two strings.", "Compares two strings"),
        ("S.append(value) -- append value to the end", "append value to the end"),
        ("S.pop([index]) -> item -- remove and return item at index.", "remove and return item at index"),
        ("D.pop(k[,d]) -> v, remove the key and return its value.", "remove the key and return its value"),
        ("D.keys() -> a set-like object with a view of the keys", "a set-like object with a view of the keys"),
        ("od.clear() -> None.  Remove all items from od.", "Remove all items from od"),
        ("f(a)\nf(a, b=(1, 2))\n\nReturn the sum.", "Return the sum"),
        ("urlopen(url,\n        data=None) -> response\n\nOpen the address.", "Open the address"),
        ("divmod(a, b): The pair of quotient and rest.", "The pair of quotient and rest"),
        ("t.clone() returns a new template.", "t.clone() returns a new template"),
        ("w(here)\nPrint a stack trace.", "Print a stack trace"),
        ("Usage: p expression\n\nPrint the value.", "Print the value"),
        ("(typ, [data]) = <instance>.capability()\nFetch the capabilities.", "Fetch the capabilities"),
        ("od.__iter__() <==> iter(od)", ""),
        ("f(unclosed, and the text goes on", "f(unclosed, and the text goes on"),
    ],
)
def test_signatures_are_passed_over(docstring: str, sentence: str) -> None:
    assert first_sentence(docstring) == sentence


@pytest.mark.parametrize(
    ("markup", "plain"),
    [
        ("Call :func:`open` first", "Call open first"),
        ("Call :py:meth:`~pathlib.Path.open` first", "Call open first"),
        ("Read :ref:`the guide <guide>` first", "Read the guide first"),
        ("Return ``x`` and `y` now", "Return x and y now"),
        ("Return `d['key']` now", "Return d['key'] now"),
        ("Open archive `name' for reading", "Open archive name for reading"),
        ("Read `the site <https://example.org>`_ first", "Read the site first"),
        ("Read [the site](https://example.org) first", "Read the site first"),
        ("Return a [`~datasets.Dataset`] of [`Image`] rows", "Return a Dataset of Image rows"),
        ("Sort as Knuth [1]_ did", "Sort as Knuth did"),
        ("Return C{True} for B{all}", "Return True for all"),
        ("Return *every* value of **all** kinds", "Return every value of all kinds"),
        ("Call with *args and **kwargs as given", "Call with *args and **kwargs as given"),
        ("Return a * b * c or 2*x*3 as is", "Return a * b * c or 2*x*3 as is"),
        (r"Call with \*args and \**kwargs", "Call with *args and **kwargs"),
        ("+\nThe name is kept", "The name is kept"),
        ("# Open the door", "Open the door"),
        ("Return the\nname of it", "Return the name of it"),
        ("[DEPRECATED] Get the address", "Get the address"),
    ],
)
def test_markup_is_taken_off(markup: str, plain: str) -> None:
    assert first_sentence(markup + ".") == plain


@pytest.mark.parametrize(
    ("docstring", "sentence"),
    [
        ("Internal function.", ""),
        ("Internal function. Calling it will end the process.", "Calling it will end the process"),
        ("**DEPRECATED**\n\nReturn the path of the cache.", "Return the path of the cache"),
        ("Internal: send one line to the server.", "send one line to the server"),
        ("...\n\nReturn the name.", "Return the name"),
        ("Constructor.\n\nArgs:\n    x: a number", ""),
        (":param name: what to load", ""),
        ("@param count true iff it counts", ""),
        ("blank_token (str, *optional*, defaults to (1)): The blank token.", ""),
        ("Parameters\n----------\nx : int\n    A number.", ""),
        ("Args:\n    x: a number", ""),
        (">>> f(1)\n2", ""),
        ("Add one to it >>> f(1)\n2", "Add one to it"),
        ("=========\nThe title\n=========\n\nMore text.", "The title"),
        ("Add one\n\nReturns\n-------\nint", "Add one"),
        ("The title\n=========\n\nMore text.", "The title"),
        ("Add one\n>>> f(1)\n2", "Add one"),
        ("", ""),
        (" \n\t\n", ""),
    ],
)
def test_labels_lists_sections_and_doctests_are_no_sentences(docstring: str, sentence: str) -> None:
    assert first_sentence(docstring) == sentence


@given(st.text(alphabet="aB .:`'*_()[]-=>\n\\#@é1", max_size=120) | st.text(max_size=60))
def test_any_text_gives_one_clean_line(docstring: str) -> None:
    sentence = first_sentence(docstring)
    assert sentence == " ".join(sentence.split())
    assert not sentence.endswith((".", ":", ";", ","))
    assert ">>>" not in sentence


@pytest.mark.parametrize(
    "hostile", [". a", "*a ", "`a ", "f(", ":a", "[`~a.", "x (a(b", "a\n---\n", "internal function ", "A. "]
)
def test_hostile_docstrings_are_cheap(hostile: str) -> None:
    start = time.perf_counter()
    unusable(first_sentence(hostile * 1_000_000))
    assert time.perf_counter() - start < 2


def test_a_sentence_beyond_the_limit_is_not_read() -> None:
    assert first_sentence("\n" * DOCSTRING_LIMIT + "Return the name.") == ""


@pytest.mark.parametrize(
    ("sentence", "count"),
    [
        ("Lock the mailbox", 3),
        ("Emit a record", 3),
        ("self + other", 2),
        ("a - b", 0),
        ("Return self==value", 1),
        ("Löse die Gleichung", 3),
    ],
)
def test_plain_words(sentence: str, count: int) -> None:
    assert plain_words(sentence) == count


@pytest.mark.parametrize(
    ("sentence", "reason"),
    [
        ("", "no sentence"),
        ("Same as a + b", "fewer than three words"),
        ("Return repr(self)", "fewer than three words"),
        (" ".join(["word"] * 41), "more than 40 words"),
        (" ".join(["word"] * 40), None),
        ("Return \x07 the bell sign", "characters that nobody types"),
        ("Return \ud800 the half sign", "characters that nobody types"),
        ("See the base class", "says nothing of the function"),
        ("See if this logger has any handlers", None),
        ("Override base method", "says nothing of the function"),
        ("Override this abstract method to handle messages from the client", None),
        ("Initialize a new instance", "says nothing of the function"),
        ("Initialize a Maildir instance", None),
        ("Deprecated, use read_file instead", "says nothing of the function"),
        ("TODO remove this from here", "says nothing of the function"),
        ("dummy method - to be overwritten by child class", "says nothing of the function"),
        ("addr-spec = local-part or domain part", "says nothing of the function"),
        ("Read the files and", "breaks off"),
        ("Return the longest common prefix", None),
    ],
)
def test_unusable(sentence: str, reason: str | None) -> None:
    assert unusable(sentence) == reason
