"""The collection of the Python on this machine."""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from biencoder.data.near_duplicates import near_duplicates
from biencoder.data.python_files import standard_library
from biencoder.data.python_source import PythonSource, python_collection, read_python_source
from biencoder.errors import ArgumentError, DataError
from biencoder.progress import Progress
from biencoder.records import Judgement


@pytest.fixture(scope="module")
def source() -> PythonSource:
    return read_python_source()


def plant(root: Path, count: int) -> None:
    """Files whose functions resemble one another in nothing but their form."""
    for number in range(count):
        path = root / f"package{number % 3}" / f"module{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            "".join(
                f"class C{number}:\n    def f{number}x{part}(self):\n"
                f'        """Return the {word} of thing{number}."""\n        return {word}{number}(self.{word}{part})\n'
                for part, word in enumerate(("size", "name"))
            )
        )


def files_by_split(source: PythonSource) -> dict[str, set[str]]:
    return {
        split: {judged.document_id.rpartition(":")[0] for judged in judgements}
        for split, judgements in source.judgements.items()
    }


def test_the_standard_library_is_large_enough_and_not_too_large(source: PythonSource) -> None:
    queries = {split: len({judged.query_id for judged in found}) for split, found in source.judgements.items()}
    assert 4500 < len(source.documents) < 7000
    assert queries["test"] >= 500
    assert queries["dev"] >= 300
    assert sum(queries.values()) == len(source.queries)
    for split, share in {"train": 0.80, "dev": 0.08, "test": 0.12}.items():
        assert queries[split] / len(source.queries) == pytest.approx(share, abs=0.02)


def test_splits_are_disjoint_by_file_and_query(source: PythonSource) -> None:
    files = files_by_split(source)
    for one, other in pairwise(["train", "dev", "test", "train"]):
        assert not files[one] & files[other]
    texts = Counter(query.text.casefold() for query in source.queries)
    assert set(texts.values()) == {1}


def test_near_duplicates_do_not_straddle_splits(source: PythonSource) -> None:
    split_of = {file: split for split, files in files_by_split(source).items() for file in files}
    pairs = near_duplicates([document.text for document in source.documents], threshold=0.7)
    files = [(source.documents[i].metadata["file"], source.documents[j].metadata["file"]) for i, j in pairs]
    assert sum(one != other for one, other in files) > 20
    assert all(split_of[one] == split_of[other] for one, other in files)


def test_every_document_is_judged_and_every_judgement_points_somewhere(source: PythonSource) -> None:
    documents = [document.id for document in source.documents]
    judged = Counter(judged.document_id for found in source.judgements.values() for judged in found)
    assert len(set(documents)) == len(documents)
    assert judged == Counter(documents)


def test_nothing_is_lost_in_silence(source: PythonSource) -> None:
    assert source.functions == len(source.documents) + sum(source.skipped_functions.values())
    read = {document.metadata["file"] for document in source.documents}
    assert len(read) <= source.files - sum(source.skipped_files.values())
    assert source.unreadable == ()
    assert all(count > 0 for count in (*source.skipped_files.values(), *source.skipped_functions.values()))


def test_no_document_holds_its_query(source: PythonSource) -> None:
    texts = {document.id: " ".join(document.text.casefold().split()) for document in source.documents}
    questions = {query.id: query.text.casefold() for query in source.queries}
    for found in source.judgements.values():
        for judged in found:
            assert f" {questions[judged.query_id]}." not in texts[judged.document_id]


def test_queries_read_as_sentences(source: PythonSource) -> None:
    for query in source.queries:
        assert query.text == " ".join(query.text.split())
        assert not re.search(r"``|>>>|:\w+:`|\*\*\w+\*\*|\.$|:$", query.text)
        assert 3 <= len(query.text.split()) <= 40


def test_a_known_function(source: PythonSource) -> None:
    [document] = [one for one in source.documents if one.metadata["name"] == "JSONDecoder.raw_decode"]
    line = document.metadata["line"]
    assert document.id == f"json/decoder.py:{line}"
    assert document.title == "json.decoder.JSONDecoder"
    assert document.metadata["module"] == "json.decoder"
    assert document.text.startswith("def raw_decode(self, s, idx=0):\n")
    assert (standard_library() / "json" / "decoder.py").read_text().split("\n")[line - 1].strip() == document.text.split("\n")[
        0
    ]
    [query] = [one for one in source.queries if one.id == f"q:{document.id}"]
    assert (
        query.text == "Decode a JSON document from s (a str beginning with a JSON document) and return a 2-tuple of the "
        "Python representation and the index in s where the document ended"
    )


def test_one_sentence_over_several_functions_is_one_query_with_several_answers(tmp_path: Path) -> None:
    plant(tmp_path, 20)
    for name in ("a.py", "b.py"):
        body = "return open_the_gate()" if name == "a.py" else "raise self.alarm(3)"
        (tmp_path / name).write_text(
            f'def {name[0]}():\n    """Guard the gate {"." if name == "a.py" else ""}"""\n    {body}\n'
        )
    source = read_python_source(roots=[tmp_path])
    [query] = [one for one in source.queries if one.text == "Guard the gate"]
    [found] = [found for found in source.judgements.values() if any(one.query_id == query.id for one in found)]
    assert [one for one in found if one.query_id == query.id] == [
        Judgement("q:a.py:1", "a.py:1"),
        Judgement("q:a.py:1", "b.py:1"),
    ]


def test_the_place_and_the_order_of_files_have_no_say_and_the_seed_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path / "one", 30)
    shutil.copytree(tmp_path / "one", tmp_path / "else" / "where")
    first = read_python_source(roots=[tmp_path / "one"])
    walk = os.walk
    monkeypatch.setattr("os.walk", lambda *args, **kwargs: _backwards(walk(*args, **kwargs)))
    assert read_python_source(roots=[tmp_path / "else" / "where"]) == first
    other = read_python_source(roots=[tmp_path / "one"], seed=1)
    assert other.documents == first.documents
    assert other.judgements != first.judgements


def _backwards(walk: Iterator[tuple[str, list[str], list[str]]]) -> Iterator[tuple[str, list[str], list[str]]]:
    for folder, folders, names in walk:
        folders.reverse()
        yield folder, folders, names[::-1]


def test_a_limit_draws_whole_files(tmp_path: Path) -> None:
    plant(tmp_path, 60)
    source = read_python_source(roots=[tmp_path], limit=41)
    assert len(source.documents) == 40
    assert set(Counter(document.metadata["file"] for document in source.documents).values()) == {2}
    assert source.skipped_files == {"beyond the limit": 40}
    other = read_python_source(roots=[tmp_path], limit=41, seed=1)
    assert {one.id for one in other.documents} != {one.id for one in source.documents}


def test_undocumented_functions_answer_nothing(tmp_path: Path) -> None:
    plant(tmp_path, 20)
    (tmp_path / "bare.py").write_text("def bare(): return 1\n")
    plain = read_python_source(roots=[tmp_path])
    source = read_python_source(roots=[tmp_path], undocumented=True)
    assert {one.id for one in source.documents} - {one.id for one in plain.documents} == {"bare.py:1"}
    assert source.judgements == plain.judgements
    assert source.skipped_functions == {}


def test_the_summary(tmp_path: Path) -> None:
    plant(tmp_path, 20)
    (tmp_path / "bare.py").write_text("def bare(): return 1\n")
    (tmp_path / "wrong.py").write_text("def bare(:\n")
    source = read_python_source(roots=[tmp_path])
    assert source.summary() == (
        "22 files, 21 read\n  1 skipped: not Python of this version\n"
        "41 functions, 40 documents\n  1 skipped: no docstring\n"
        "40 queries: 30 train, 4 dev, 6 test"
    )


def test_progress_is_told(tmp_path: Path) -> None:
    plant(tmp_path, 20)
    told: list[tuple[str, int, int]] = []

    class Recorder(Progress):
        def __call__(self, stage: str, done: int, total: int, facts: str = "") -> None:
            told.append((stage + facts, done, total))

    read_python_source(roots=[tmp_path], progress=Recorder())
    assert told == [("reading", done, 20) for done in range(1, 21)]


def test_the_collection_holds_what_was_read(tmp_path: Path) -> None:
    plant(tmp_path, 20)
    source, collection = read_python_source(roots=[tmp_path]), python_collection(roots=[tmp_path])
    assert list(collection.documents) == list(source.documents)
    collection.write(tmp_path / "out")
    written = (tmp_path / "out" / "qrels" / "test.tsv").read_text().splitlines()[1:]
    assert written == [f"{one.query_id}\t{one.document_id}\t{one.grade}" for one in source.judgements["test"]]


def test_a_limit_below_one() -> None:
    with pytest.raises(ArgumentError, match="limit is 0; it must be at least 1"):
        read_python_source(limit=0)


def test_no_usable_docstring(tmp_path: Path) -> None:
    (tmp_path / "bare.py").write_text("def bare(): return 1\n")
    with pytest.raises(DataError) as caught:
        read_python_source(roots=[tmp_path])
    assert str(caught.value) == f"{tmp_path}: no function with a usable docstring"


def test_too_few_files(tmp_path: Path) -> None:
    plant(tmp_path, 2)
    with pytest.raises(DataError) as caught:
        read_python_source(roots=[tmp_path])
    assert str(caught.value) == "2 groups of files hold 4 queries, too few for a train split; give more source files"
