from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from biencoder.data.collection import Collection
from biencoder.errors import DataError, StorageError
from biencoder.records import Document, Judgement, Query
from tests.data.folders import FILES, HEADER, beir_folder


def failure(place: Path, changes: dict[str, str | bytes | None]) -> str:
    with pytest.raises(DataError) as caught:
        Collection.read(beir_folder(place, changes))
    return str(caught.value).replace(f"{place}/", "")


def same(left: Collection, right: Collection) -> None:
    assert list(left.documents) == list(right.documents)
    assert left.queries() == right.queries()
    assert left.splits == right.splits
    for split in left.splits:
        assert left.judgements(split) == right.judgements(split)
        assert left.examples(split) == right.examples(split)


def test_a_folder_is_read(tmp_path: Path) -> None:
    collection = Collection.read(beir_folder(tmp_path))
    assert list(collection.documents) == [Document("d1", "rises by yeast.", "Bread"), Document("d2", "Paris")]
    assert collection.queries() == [Query("q1", "why does dough rise"), Query("q2", "capital of France")]
    assert collection.splits == ("train", "test")
    assert collection.judgements("test") == {"q2": {"d2": 2, "d1": 0}}


def test_a_packed_folder_is_the_same(tmp_path: Path) -> None:
    packed: dict[str, str | bytes | None] = dict.fromkeys(FILES)
    packed |= {f"{name}.gz": gzip.compress(content.encode()) for name, content in FILES.items()}
    same(Collection.read(beir_folder(tmp_path / "packed", packed)), Collection.read(beir_folder(tmp_path / "plain")))


def test_marks_line_ends_and_blank_lines_at_the_end_do_not_matter(tmp_path: Path) -> None:
    odd = {name: ("\ufeff" + content + "\n\n").replace("\n", "\r\n").encode() for name, content in FILES.items()}
    same(Collection.read(beir_folder(tmp_path / "odd", odd)), Collection.read(beir_folder(tmp_path / "plain")))


def test_hidden_files_are_nobodys(tmp_path: Path) -> None:
    assert Collection.read(beir_folder(tmp_path, {"qrels/.DS_Store": "x"})).splits == ("train", "test")


def test_a_corpus_alone_and_a_corpus_with_queries(tmp_path: Path) -> None:
    none: dict[str, str | bytes | None] = {"qrels/train.tsv": None, "qrels/test.tsv": None}
    with_queries = Collection.read(beir_folder(tmp_path / "a", none))
    assert (with_queries.splits, len(with_queries.queries())) == ((), 2)
    alone = Collection.read(beir_folder(tmp_path / "b", {**none, "queries.jsonl": None}))
    assert (len(alone.documents), alone.queries()) == (2, [])


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"corpus.jsonl": ""}, "corpus.jsonl: empty: it holds no rows; at least one is needed"),
        ({"queries.jsonl": "\n"}, "queries.jsonl: empty: it holds no rows; at least one is needed"),
        ({"qrels/test.tsv": ""}, "qrels/test.tsv: empty: it holds no rows; at least one is needed"),
        ({"qrels/test.tsv": HEADER}, "qrels/test.tsv: empty: it holds no rows; at least one is needed"),
        (
            {"corpus.jsonl": '{"_id": "d1"'},
            ("corpus.jsonl, line 1: not JSON: Expecting ',' delimiter at column 13; expected one JSON object a line"),
        ),
        (
            {"corpus.jsonl": '{"text": "x"}'},
            (
                "corpus.jsonl, line 1: there is no id: expected a field '_id' or 'id' or 'doc_id' "
                "or 'docid'; the fields here are 'text'"
            ),
        ),
        (
            {"corpus.jsonl": FILES["corpus.jsonl"] + '{"_id": "d1", "text": "x"}'},
            "corpus.jsonl, line 3: the id 'd1' stands on line 1 already; ids must differ",
        ),
        (
            {"corpus.jsonl": b'{"_id": "d1", "text": "caf\xe9"}'},
            (
                "corpus.jsonl, line 1: byte 0xe9 at position 27 is not UTF-8; "
                "convert the file, for instance with iconv -f latin1 -t utf-8"
            ),
        ),
        (
            {"queries.jsonl": '{"_id": "q1", "text": " "}'},
            ("queries.jsonl, line 1: the query 'q1' is empty; give it a text, or remove it and its judgements"),
        ),
        ({"queries.jsonl": None}, "corpus.jsonl: there are judgements here, but no queries; add queries.jsonl"),
        ({"corpus.jsonl.gz": b""}, "corpus.jsonl stands here plain and packed (.gz); remove one of the two"),
        ({"qrels/test.tsv.gz": b""}, "test.tsv stands here plain and packed (.gz); remove one of the two"),
        ({"qrels/notes.txt": "x"}, "qrels/notes.txt: this is no file of a split; expected SPLIT.tsv or SPLIT.tsv.gz"),
        (
            {"qrels/a b.tsv": "x"},
            ("qrels/a b.tsv: the split is 'a b'; expected a name of letters, digits, '-', '_' and '.', such as train"),
        ),
        ({"qrels/.tsv": "x", "qrels/tsv": "x"}, "qrels/tsv: this is no file of a split; expected SPLIT.tsv or SPLIT.tsv.gz"),
        (
            {"qrels/test.tsv": "q2\td2\t1\n"},
            (
                "qrels/test.tsv, line 1: the header is 'q2', 'd2', '1'; expected 'query-id', "
                "'corpus-id', 'score', separated by '\\t'"
            ),
        ),
        (
            {"qrels/test.tsv": "q2 0 d2 1\n"},
            (
                "qrels/test.tsv, line 1: the header is 'q2 0 d2 1'; expected 'query-id', "
                "'corpus-id', 'score', separated by '\\t'"
            ),
        ),
        (
            {"qrels/test.tsv": HEADER + "q2\td2\n"},
            ("qrels/test.tsv, line 2: found 2 fields; the header has 3 columns; quote fields that hold separators"),
        ),
        (
            {"qrels/test.tsv": HEADER + "q2\td2\thigh\n"},
            ("qrels/test.tsv, line 2: the field 'score' is 'high'; a grade is a whole number, above 0 where relevant"),
        ),
        (
            {"qrels/test.tsv": HEADER + "q2\t\t1\n"},
            "qrels/test.tsv, line 2: the field 'corpus-id' is empty; every row needs an id",
        ),
        (
            {"qrels/test.tsv": HEADER + "q2\td2\t1\nq9\td2\t1\n"},
            "qrels/test.tsv, line 3: the query 'q9' is not in queries.jsonl; add it or remove this row",
        ),
        (
            {"qrels/test.tsv": HEADER + "q2\td2\t1\nq2\td9\t0\n"},
            "qrels/test.tsv, line 3: the document 'd9' is not in corpus.jsonl; add it or remove this row",
        ),
        (
            {"qrels/test.tsv": HEADER + "q2\td2\t1\nq2\td1\t1\nq2\td2\t0\n"},
            "qrels/test.tsv, line 4: query 'q2' and document 'd2' are judged 0 here, but 1 on line 2; keep one of the two",
        ),
        (
            {"triples/train.jsonl": '{"query_id": "q1", "positive_id": "d2"}'},
            (
                "triples/train.jsonl, line 1: document 'd2' is not judged relevant for query 'q1' in this split; add "
                "the judgement or remove this row"
            ),
        ),
        (
            {"triples/train.jsonl": '{"query_id": "q1", "positive_id": "d1", "negative_ids": ["d9"]}'},
            "triples/train.jsonl, line 1: the document 'd9' is not in corpus.jsonl; add it or remove this row",
        ),
        (
            {"triples/new.jsonl": '{"query_id": "q1", "positive_id": "d1"}'},
            (
                "triples/new.jsonl, line 1: document 'd1' is not judged relevant for query 'q1' in this split; add "
                "the judgement or remove this row"
            ),
        ),
    ],
)
def test_a_damaged_folder_names_file_and_line(tmp_path: Path, changes: dict[str, str | bytes | None], problem: str) -> None:
    assert failure(tmp_path, changes).removeprefix(f"{tmp_path}: ").removeprefix("qrels: ") == problem


def test_qrels_that_are_no_folder(tmp_path: Path) -> None:
    folder = beir_folder(tmp_path, {"qrels/train.tsv": None, "qrels/test.tsv": None})
    (folder / "qrels").write_text("x")
    with pytest.raises(DataError, match=r"qrels: cannot be read \(Not a directory\)$"):
        Collection.read(folder)


@pytest.mark.parametrize("compress", [False, True])
def test_what_is_written_is_read_back(tmp_path: Path, compress: bool) -> None:
    collection = Collection(
        documents=[Document("a b", 'tab\tline\nquote"\u2028🙂\0', 'T "t"', {"n": [1, None, {"x": "é"}]}), Document('"q"', "x")],
        queries=[Query("q\u2028", "?", {"k": True}), Query("p", "!")],
        judgements={"dev": [Judgement("q\u2028", '"q"', -2), Judgement("p", "a b", 3)], "own": [Judgement("p", "a b")]},
    )
    collection.write(tmp_path / "new", compress=compress)
    again = Collection.read(tmp_path / "new")
    same(again, collection)
    assert next(iter(again.documents)).metadata == {"n": [1, None, {"x": "é"}]}
    suffix = ".gz" if compress else ""
    assert sorted(path.relative_to(tmp_path / "new").as_posix() for path in (tmp_path / "new").rglob("*.*")) == [
        f"corpus.jsonl{suffix}",
        f"qrels/dev.tsv{suffix}",
        f"qrels/own.tsv{suffix}",
        f"queries.jsonl{suffix}",
    ]


def test_the_files_are_what_other_tools_expect(tmp_path: Path) -> None:
    Collection.read(beir_folder(tmp_path / "old")).write(tmp_path / "new")
    assert (tmp_path / "new/corpus.jsonl").read_text() == (
        '{"_id": "d1", "title": "Bread", "text": "rises by yeast."}\n{"_id": "d2", "title": "", "text": "Paris"}\n'
    )
    assert json.loads((tmp_path / "new/queries.jsonl").read_text().splitlines()[0]) == {
        "_id": "q1",
        "text": "why does dough rise",
    }
    with (tmp_path / "new/qrels/test.tsv").open() as file:
        rows = list(csv.reader(file, delimiter="\t"))
    assert rows == [["query-id", "corpus-id", "score"], ["q2", "d2", "2"], ["q2", "d1", "0"]]


def test_the_same_collection_packs_to_the_same_bytes(tmp_path: Path) -> None:
    collection = Collection.read(beir_folder(tmp_path / "old"))
    for name in ("a", "b"):
        collection.write(tmp_path / name, compress=True)
    for path in (tmp_path / "a").rglob("*.gz"):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()


def test_triples_are_written_and_read_back(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"query": "q", "positive": "a", "negatives": ["n", "m"], "scores": [2, 1, 0.5]},
        {"query": "p", "positive": "b", "negative": "n", "split": "dev"},
        {"query": "o", "positive": "c"},
    ]
    pairs = Collection.from_pairs(rows)
    pairs.write(tmp_path / "new")
    same(Collection.read(tmp_path / "new"), pairs)
    assert Collection.read(tmp_path / "new").examples("train")[0].scores == (2.0, 1.0, 0.5)


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    folder = beir_folder(tmp_path / "old")
    collection = Collection.read(folder)
    with pytest.raises(StorageError) as caught:
        collection.write(folder)
    assert str(caught.value) == f"{folder}: this folder is not empty; choose another, or remove it first"
    assert (folder / "corpus.jsonl").read_text() == FILES["corpus.jsonl"]
    (tmp_path / "empty").mkdir()
    collection.write(tmp_path / "empty")
    same(Collection.read(tmp_path / "empty"), collection)
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="a file stands where the folder should go"):
        collection.write(tmp_path / "file")


class Failing:
    """A corpus that can be read once and then breaks."""

    def __init__(self) -> None:
        self.readings = 0

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Document]:
        self.readings += 1
        yield Document("d1", "x")
        if self.readings > 1:
            raise DataError("gone")


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^gone$"):
        Collection(documents=Failing()).write(tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"a": float("nan")}, "Out of range float values are not JSON compliant"),
        ({"a": b"x"}, "Object of type bytes is not JSON serializable"),
        ({"a": "\ud800"}, "'utf-8' codec can't encode character '\\ud800'"),
    ],
)
def test_metadata_that_is_not_json(tmp_path: Path, metadata: dict[str, object], reason: str) -> None:
    collection = Collection(documents=[Document("d1", "x", "", metadata)])
    with pytest.raises(DataError) as caught:
        collection.write(tmp_path / "new")
    assert str(caught.value).startswith(f"the metadata of document 'd1' cannot be written as JSON ({reason}")
