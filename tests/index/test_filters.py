from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from biencoder.errors import ArgumentError
from biencoder.index.fields import FieldKind, check_fields, check_filter, infer_fields
from biencoder.index.filter_tree import RESERVED, as_instant
from biencoder.index.filters import Among, And, Comparison, Filter, Not, Or, Scalar, parse_filter

METADATA = {
    "year": 2020,
    "score": 2.5,
    "draft": False,
    "tags": ["en", "de", 7],
    "none": None,
    "empty": [],
    "author": {"name": "O'Hara", "born": "1950-07-01", "papers": [{"year": 1}]},
    "date": "2024-05-01T02:00:00+02:00",
    "nested": [[1]],
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("year = 2020", True),
        ("year = 2020.0", True),
        ("year != 2020", False),
        ("year = '2020'", False),
        ("year >= 2020 and year < 2021", True),
        ("score > 2 and score <= 2.5", True),
        ("score > 2.5", False),
        ("draft = false", True),
        ("draft = 0", False),
        ("draft < 1", False),
        ("tags = en", True),
        ("tags != en", False),
        ("tags = 7 and tags > 6", True),
        ("tags in (fr, de)", True),
        ("tags not in (fr, it)", True),
        ("missing = 1", False),
        ("missing != 1", True),
        ("missing not in (1, 2)", True),
        ("not missing > 1", True),
        ("none = 1 or none > 0 or none = ''", False),
        ("empty = 1", False),
        ("empty != 1", True),
        ("author.name = 'O\\'Hara'", True),
        ('author.name = "O\'Hara"', True),
        ("author.born < 1950-07-02", True),
        ("author.papers.year = 1", False),
        ("author = 1", False),
        ("year.x = 1", False),
        ("nested = 1", False),
        ("date >= '2024-05-01' and date < '2024-05-01 00:00:00.000001'", True),
        ("date = '2024-05-01'", False),
        ("year > 2024-01-01", False),
        ("YEAR = 2020", False),
        ("year = 1 or year = 2 and year = 3 or year = 2020", True),
        ("(year = 2020 or year = 2) and year = 3", False),
        ("not year = 1 and year = 2020", True),
        ("NOT (year = 1 OR year IN (2, 3)) AND draft = FALSE", True),
    ],
)
def test_what_filters_mean(text: str, *, expected: bool) -> None:
    assert parse_filter(text).matches(METADATA) is expected


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a = 1", Comparison("a", "=", 1)),
        ("a.b-c=-1.5e3", Comparison("a.b-c", "=", -1500.0)),
        ("zip = 00501", Comparison("zip", "=", "00501")),
        ("a = 1.2.3", Comparison("a", "=", "1.2.3")),
        ("a = x-y_z", Comparison("a", "=", "x-y_z")),
        ('a = "\\"\\\\"', Comparison("a", "=", '"\\')),
        ("a = ''", Comparison("a", "=", "")),
        ("ä >= 2024-05-01T10:00:00Z", Comparison("ä", ">=", "2024-05-01T10:00:00Z")),
        ("a not in(1,'b' ,true)", Not(Among("a", (1, "b", True)))),
        ("not a != 1", Not(Not(Comparison("a", "=", 1)))),
        (
            "a=1 and(b=2 or c=3)and d=4",
            And((Comparison("a", "=", 1), Or((Comparison("b", "=", 2), Comparison("c", "=", 3))), Comparison("d", "=", 4))),
        ),
    ],
)
def test_the_tree_of_a_text(text: str, tree: Filter) -> None:
    assert parse_filter(text) == tree


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "filter, position 1: a field was expected, but the text ends"),
        ("  ", "filter, position 3: a field was expected, but the text ends"),
        ("= 1", "filter, position 1: a field was expected, found '='"),
        ("a..b = 1", "filter, position 1: a field was expected, found 'a..b'"),
        ("'a' = 1", "filter, position 1: a field was expected, found \"'a'\""),
        ("and = 1", "filter, position 1: a field was expected, found 'and'"),
        (
            "year",
            "filter, position 5: after 'year', an operator was expected (=, !=, <, <=, >, >=, in, not in), but the text ends",
        ),
        ("a is 1", "filter, position 3: after 'a', an operator was expected (=, !=, <, <=, >, >=, in, not in), found 'is'"),
        ("a not 1", "filter, position 7: after 'a', an operator was expected (=, !=, <, <=, >, >=, in, not in), found '1'"),
        ("a == 1", "filter, position 4: a value was expected, found '='"),
        ("a = or", "filter, position 5: a value was expected, found 'or'; put it in quotes if it is one"),
        ("a = ", "filter, position 5: a value was expected, but the text ends"),
        ("a = 1 b = 2", "filter, position 7: 'and', 'or' or the end was expected, found 'b'"),
        ("(a = 1", "filter, position 7: ')' was expected, but the text ends"),
        ("a in ()", "filter, position 7: a value was expected, found ')'"),
        ("a in 1", "filter, position 6: '(' was expected, found '1'"),
        ("a in (1", "filter, position 8: ',' or ')' was expected, but the text ends"),
        ("a = $", "filter, position 5: '$' cannot stand in a filter outside quotes"),
        (
            "a = 'b",
            "filter, position 5: the quote ' is not closed, or a backslash stands before what is no quote or backslash",
        ),
        (
            "x = 1 and name < b",
            "filter, position 11: name < 'b': only numbers and dates (2024-05-01) have an order",
        ),
        ("a = 9223372036854775808", "filter, position 1: a: 9223372036854775808 does not fit into 64 bits"),
        ("a = 1e999", "filter, position 1: a: inf is not finite"),
        ("(" * 51 + "a = 1" + ")" * 51, "filter, position 51: more than 50 levels of parentheses and 'not'"),
        ("not " * 51 + "a = 1", "filter, position 201: more than 50 levels of parentheses and 'not'"),
        ("a" * 10_001, "the filter has 10,001 characters; at most 10,000 are read"),
    ],
)
def test_text_that_is_no_filter(text: str, message: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        parse_filter(text)
    assert str(caught.value) == message


def test_filters_that_cannot_be() -> None:
    for make, message in (
        (lambda: And((Comparison("a", "=", 1),)), "And joins at least two conditions; 1 given"),
        (lambda: Among("a", ()), "a in (): at least one value is needed"),
        (lambda: Comparison("a", "~", 1), "there is no operator '~'; choose one of: =, <, <=, >, >="),  # type: ignore[arg-type]
        (lambda: Comparison("a", "=", None), "a: None is no number, text or truth value"),  # type: ignore[arg-type]
        (lambda: Comparison("a", "=", "\ud800"), "a: the text '\\ud800' is not valid Unicode"),
    ):
        with pytest.raises(ArgumentError) as caught:
            make()
        assert str(caught.value) == message
    with pytest.raises(
        ArgumentError, match=r"^'a b' cannot be a field: names hold letters, digits, _ and -, dots between them"
    ):
        Comparison("a b", "=", 1)


words = st.text(string.ascii_letters + string.digits + "_-ä", min_size=1, max_size=5).filter(
    lambda name: name.lower() not in RESERVED
)
names = st.lists(words, min_size=1, max_size=2).map(".".join)
numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
scalars: st.SearchStrategy[Scalar] = st.booleans() | numbers | texts
leaves: st.SearchStrategy[Filter] = (
    st.builds(Comparison, names, st.just("="), scalars)
    | st.builds(Comparison, names, st.sampled_from(["<", "<=", ">", ">="]), numbers | st.dates().map(str))
    | st.builds(Among, names, st.lists(scalars, min_size=1, max_size=3).map(tuple))
)
trees = st.recursive(
    leaves,
    lambda parts: (
        st.builds(Not, parts)
        | st.builds(And, st.lists(parts, min_size=2, max_size=3).map(tuple))
        | st.builds(Or, st.lists(parts, min_size=2, max_size=3).map(tuple))
    ),
    max_leaves=6,
)
values: st.SearchStrategy[Any] = st.none() | st.booleans() | st.integers(0, 3) | st.floats(0, 3) | st.sampled_from(["a", "b"])
records = st.dictionaries(st.sampled_from("abc"), values | st.lists(values, max_size=3), max_size=3)


@given(trees)
def test_a_filter_written_and_read_is_the_same(tree: Filter) -> None:
    assert parse_filter(str(tree)) == tree


@given(st.text("ab=!<>()'\"\\ ,.01-notrdi", max_size=30))
def test_hostile_text_is_a_filter_or_an_error_of_one_line(text: str) -> None:
    message = ""
    try:
        found = parse_filter(text)
    except ArgumentError as error:
        message = str(error)
    else:
        assert parse_filter(str(found)) == found
    assert "\n" not in message


@given(trees, trees, records)
def test_the_laws_of_logic(one: Filter, other: Filter, record: dict[str, Any]) -> None:
    a, b = one.matches(record), other.matches(record)
    assert Not(one).matches(record) is not a
    assert And((one, other)).matches(record) is (a and b)
    assert Or((one, other)).matches(record) is (a or b)


@given(records, st.sampled_from("abc"), st.sampled_from([1, 2.5, "a", True]))
def test_in_is_any_equality_and_unequal_is_its_opposite(record: dict[str, Any], field: str, value: Scalar) -> None:
    equal = Comparison(field, "=", value).matches(record)
    assert Among(field, (value, "absent")).matches(record) is equal
    assert parse_filter(f"{field} != {str(value).lower()}").matches(record) is not equal


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-05-01", "2024-05-01T00:00:00+00:00"),
        ("2024-05-01 10:30", "2024-05-01T10:30:00+00:00"),
        ("2024-05-01T10:30:59.1234567z", "2024-05-01T10:30:59.123456+00:00"),
        ("2024-05-01T00:00:00-01:30", "2024-05-01T01:30:00+00:00"),
        *((text, None) for text in ("2024", "20240501", "2024-02-30", "2024-05-01T24:00", "2024-05-01T10", "0000-01-01", "")),
        ("0001-01-01T00:00:00+01:00", None),
        ("2024-05-01T10:30+01:00", None),
        (" 2024-05-01", None),
    ],
)
def test_moments(text: str, expected: str | None) -> None:
    found = as_instant(text)
    assert (found and found.isoformat()) == expected


def test_fields_are_inferred_from_metadata() -> None:
    metadata: list[dict[str, Any]] = [
        {"year": 2020, "mixed": 1, "lang": ["en", "de"], "on": True, "by": {"name": "Ann", "deep": {"er": 1.5}}},
        {"year": None, "mixed": "x", "lang": [], "date": "2024-05-01", "both": 1, "sum": 1, "long": "x" * 257},
        {
            "date": "2024-05-02T10:00:00Z",
            "both": True,
            "sum": 1.5,
            "a.b": 1,
            "a b": 2,
            "not": 3,
            "list": [{"a": 1}],
            "on": False,
        },
        {"half": "2024-05-01"},
        {"half": "soon"},
    ]
    assert infer_fields(metadata) == {
        "year": "integer",
        "mixed": "keyword",
        "lang": "keyword",
        "on": "bool",
        "by.name": "keyword",
        "by.deep.er": "float",
        "date": "datetime",
        "sum": "float",
        "half": "keyword",
    }
    assert infer_fields(metadata, limit=2) == {"mixed": "keyword", "on": "bool"}
    assert infer_fields([]) == {}
    assert len(infer_fields(({f"f{n}": n} for n in range(5000)), limit=10**6)) == 1000
    with pytest.raises(ArgumentError, match=r"^limit is 0; it must be at least 1$"):
        infer_fields([], limit=0)


FIELDS = {
    "year": FieldKind.INTEGER,
    "lang": FieldKind.KEYWORD,
    "on": FieldKind.BOOL,
    "date": FieldKind.DATETIME,
    "x": FieldKind.FLOAT,
}
KNOWN = "date (datetime), lang (keyword), on (bool), x (float), year (integer)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "yaer = 2",
            f"there is no filter on 'yaer'; the fields that were declared are: {KNOWN}",
        ),
        ("year = '2020'", "year = '2020': the field holds whole numbers (integer), and '2020' is none; drop the quotes"),
        ("x in (1, true)", "x in (1, true): the field holds numbers (float), and true is none"),
        ("lang = 5", "lang = 5: the field holds text (keyword), and 5 is none; put it in quotes"),
        ("lang < 5", "lang < 5: the field holds text (keyword), which has no order"),
        ("on = yes", "on = 'yes': the field holds true or false (bool), and 'yes' is none; drop the quotes"),
        ("date > 2024", "date > 2024: the field holds dates such as '2024-05-01' (datetime), and 2024 is none"),
        ("date = soon", "date = 'soon': the field holds dates such as '2024-05-01' (datetime), and 'soon' is none"),
    ],
)
def test_filters_that_do_not_fit_the_fields(text: str, message: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        check_filter(And((parse_filter("year = 1"), parse_filter(text))), FIELDS)
    assert str(caught.value) == message


def test_fields_that_cannot_be() -> None:
    with pytest.raises(ArgumentError) as caught:
        check_fields({"a b": FieldKind.BOOL})
    assert str(caught.value) == "'a b' cannot be a field: names hold letters, digits, _ and -, and dots between them"
    with pytest.raises(ArgumentError) as caught:
        check_fields({"a": "text"})  # type: ignore[dict-item]
    assert str(caught.value) == "field 'a' is 'text'; choose one of: keyword, integer, float, bool, datetime"
