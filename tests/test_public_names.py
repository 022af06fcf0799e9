from __future__ import annotations

import subprocess
import sys

import pytest

import biencoder

HEAVY = ("torch", "transformers", "faiss", "pyarrow", "scipy", "numpy", "pydantic")


@pytest.mark.parametrize("name", biencoder.__all__)
def test_every_public_name_is_there(name: str) -> None:
    found = getattr(biencoder, name)
    assert found.__name__ == name
    assert found.__doc__


def test_the_names_are_sorted_and_all_of_them() -> None:
    assert sorted(biencoder.__all__) == biencoder.__all__
    assert set(biencoder.__all__) == set(biencoder._HOMES)
    assert dir(biencoder) == biencoder.__all__


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match=r"^module 'biencoder' has no attribute 'Retriever'$"):
        _ = biencoder.Retriever


def imported_by(statement: str) -> set[str]:
    """Which heavy packages a fresh process has imported after a statement."""
    code = f"import sys; {statement}; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_biencoder_imports_nothing_heavy() -> None:
    assert imported_by("import biencoder") == set()


def test_opening_and_searching_an_index_needs_no_torch() -> None:
    statement = "import biencoder.index, biencoder.search, biencoder.storage, biencoder.scoring, biencoder.evaluation"
    assert not imported_by(statement) & {"torch", "transformers"}
