from __future__ import annotations

from datetime import UTC, datetime, time
from decimal import Decimal

import pytest

from biencoder.data.values import ValueProblem, as_id, as_metadata, as_split, as_text, check_unicode, metadata_of


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "the field 'id' is null; an id is a string or a whole number"),
        (1.0, "the field 'id' is a number; an id is a string or a whole number"),
        (True, "the field 'id' is a boolean; an id is a string or a whole number"),
        (" ", "the field 'id' is empty; every row needs an id"),
        ("a\nb", "the id 'a\\nb' holds a tab or a line break; use ids without them"),
    ],
)
def test_what_is_no_id(value: object, message: str) -> None:
    with pytest.raises(ValueProblem) as caught:
        as_id(value, field="id")
    assert str(caught.value) == message


def test_what_is_no_text() -> None:
    with pytest.raises(ValueProblem, match=r"^the field 'text' is a list; expected a string$"):
        as_text([], field="text")


@pytest.mark.parametrize("name", ["../up", "a b", ".hidden", "a/b", "-x", 3])
def test_what_is_no_split(name: object) -> None:
    with pytest.raises(ValueProblem) as caught:
        as_split(name)
    expected = "expected a name of letters, digits, '-', '_' and '.', such as train"
    assert str(caught.value) == f"the split is {name!r}; {expected}"


def test_metadata_becomes_json() -> None:
    given = {
        "at": datetime(2024, 5, 1, 12, tzinfo=UTC),
        "time": time(8, 30),
        "price": Decimal("1.50"),
        "parts": ({"x": float("nan")}, [True, None, 2]),
    }
    assert as_metadata(given, field="facts") == {
        "at": "2024-05-01T12:00:00+00:00",
        "time": "08:30:00",
        "price": "1.50",
        "parts": [{"x": None}, [True, None, 2]],
    }


@pytest.mark.parametrize(("value", "kind"), [(b"x", "a bytes"), (float("inf"), "a number"), ({1}, "a set")])
def test_what_metadata_cannot_keep(value: object, kind: str) -> None:
    with pytest.raises(ValueProblem) as caught:
        as_metadata([value], field="image")
    assert str(caught.value) == f"the field 'image' holds {kind}, which metadata cannot keep; leave the field out"


def test_half_a_surrogate_pair_is_no_character() -> None:
    check_unicode({"deep": ["🙂", 1, None]})
    for value in ("x\ud800", {"deep": ["\ud800"]}, {"\ud800": 1}):
        with pytest.raises(ValueProblem, match=r"^\\ud800 is half of a surrogate pair, not a character; remove it$"):
            check_unicode(value)


@pytest.mark.parametrize(
    ("fields", "metadata"),
    [
        ({"metadata": {}}, {}),
        ({"metadata": None, "a": 1}, {"a": 1}),
        ({"metadata": "as text"}, {"metadata": "as text"}),
        ({"metadata": {"metadata": {"b": 2}}}, {"metadata": {"b": 2}}),
        ({"a": 1, "metadata": {"a": 1, "b": 2}}, {"a": 1, "b": 2}),
    ],
)
def test_the_metadata_object_is_merged(fields: dict[str, object], metadata: dict[str, object]) -> None:
    assert metadata_of(fields) == metadata


def test_metadata_that_contradicts_itself() -> None:
    with pytest.raises(ValueProblem, match=r"^'a' stands both beside and inside 'metadata', with different values; keep one$"):
        metadata_of({"a": 1, "metadata": {"a": 2}})
