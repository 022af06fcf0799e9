from __future__ import annotations

import re

import pytest

from biencoder import errors
from biencoder.errors import BiencoderError, DataError, MissingDependencyError, require


def test_the_tree_is_the_one_drawn() -> None:
    drawn = re.findall(r"^([│├└─ ]*)(\w+Error)", errors.__doc__ or "", re.MULTILINE)
    stack: list[str] = []
    for indent, name in drawn:
        depth = len(indent) // 4
        found = getattr(errors, name)
        if depth:
            assert found.__bases__[0].__name__ == stack[depth - 1]
        stack[depth:] = [name]
    raised = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert {name for _, name in drawn} == raised - {"InputWarning"}


@pytest.mark.parametrize(("name", "builtin"), [("ArgumentError", ValueError), ("MissingDependencyError", ImportError)])
def test_what_is_also_a_builtin(name: str, builtin: type[Exception]) -> None:
    assert issubclass(getattr(errors, name), builtin)
    assert issubclass(getattr(errors, name), BiencoderError)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "bad"),
        ({"path": "a.jsonl"}, "a.jsonl: bad"),
        ({"path": "a.jsonl", "line": 3}, "a.jsonl, line 3: bad"),
        ({"path": "a.jsonl", "line": 3, "hint": "mend it"}, "a.jsonl, line 3: bad; mend it"),
        ({"hint": "mend it"}, "bad; mend it"),
    ],
)
def test_data_error(options: dict[str, str | int], expected: str) -> None:
    error = DataError("bad", **options)  # type: ignore[arg-type]
    assert str(error) == expected
    assert (error.path, error.line) == (options.get("path"), options.get("line"))


def test_require() -> None:
    assert require("json", extra="all").__name__ == "json"
    with pytest.raises(MissingDependencyError) as caught:
        require("nothing_here.at_all", extra="huggingface")
    assert str(caught.value) == "nothing_here is not installed; run: pip install 'biencoder[huggingface]'"
