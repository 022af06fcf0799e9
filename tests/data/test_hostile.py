"""Whatever bytes a file holds, readers give records or a DataError of one line; whatever a collection holds, it comes back."""

from __future__ import annotations

import gzip
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from biencoder.data.collection import Collection
from biencoder.data.readers import read_documents
from biencoder.errors import DataError
from biencoder.records import Document, Judgement, Query
from tests.data.folders import FILES, HEADER, beir_folder

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ANY_TEXTS = st.text(st.characters(), max_size=20)
IDS = TEXTS.filter(lambda text: text.strip() and not set(text) & set("\t\r\n"))
SAID = TEXTS.filter(str.strip)
METADATA = st.dictionaries(
    TEXTS,
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
        max_leaves=5,
    ),
    max_size=3,
)
GRADES = st.integers(-9, 9)

JSONISH = st.lists(
    st.sampled_from(
        [
            '{"_id": "1", "text": "x"}',
            '{"_id": "2"',
            "}",
            "\n",
            "\r",
            "[",
            '"',
            "\\ud800",
            "é",
            "\ufeff",
            "\x00",
            "1e999",
            "NaN",
        ]
    )
    | TEXTS
).map(lambda parts: "".join(parts).encode())
CSVISH = st.lists(st.sampled_from(["id,text", "\n", "\r\n", '"', ",", "\t", "1,x", "é", "\ufeff", "\x00"]) | TEXTS).map(
    lambda parts: "".join(parts).encode()
)
BYTES = st.binary(max_size=200) | JSONISH | CSVISH


some = settings(max_examples=50)
few = settings(max_examples=25)  # each waits for the disk several times


def one_line(error: DataError) -> None:
    assert "\n" not in str(error)
    assert str(error)


@st.composite
def collections(draw: st.DrawFn) -> Collection:
    documents = [
        Document(name, draw(SAID), draw(TEXTS), draw(METADATA))
        for name in draw(st.lists(IDS, min_size=1, max_size=4, unique=True))
    ]
    queries = [Query(name, draw(SAID), draw(METADATA)) for name in draw(st.lists(IDS, min_size=1, max_size=4, unique=True))]
    pairs = st.tuples(st.sampled_from(queries), st.sampled_from(documents), GRADES)
    judgements = {}
    for split in draw(st.lists(st.sampled_from(["train", "dev", "test", "x.y-z", "ü"]), unique=True)):
        rows = draw(st.lists(pairs, min_size=1, max_size=5, unique_by=lambda row: (row[0].id, row[1].id)))
        judgements[split] = [Judgement(query.id, document.id, grade) for query, document, grade in rows]
    return Collection(documents=documents, queries=queries, judgements=judgements)


@given(collection=collections(), compress=st.booleans())
@few
def test_what_is_written_is_read_back(collection: Collection, compress: bool) -> None:
    with tempfile.TemporaryDirectory() as place:
        collection.write(Path(place, "new"), compress=compress)
        again = Collection.read(Path(place, "new"))
        assert list(again.documents) == list(collection.documents)
        assert again.queries() == collection.queries()
        assert again.splits == collection.splits
        for split in collection.splits:
            assert again.judgements(split) == collection.judgements(split)
            assert again.examples(split) == collection.examples(split)


@given(identifier=ANY_TEXTS, title=ANY_TEXTS, text=ANY_TEXTS)
@example("d", "", "\ud800")
@example("d", "\udfff", "x")
@example("\udc80", "", "x")
@some
def test_text_comes_back_or_is_refused(identifier: str, title: str, text: str) -> None:
    document = Document(identifier, text, title)
    try:
        collection = Collection(documents=[document])
    except DataError as error:
        one_line(error)
        return
    with tempfile.TemporaryDirectory() as place:
        collection.write(Path(place, "new"))
        assert list(Collection.read(Path(place, "new")).documents) == [document]


@given(content=BYTES, packed=st.booleans(), name=st.sampled_from(["a.jsonl", "a.csv", "a.tsv"]))
@some
def test_any_bytes_are_documents_or_an_error(content: bytes, packed: bool, name: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, name + ".gz" if packed else name)
        path.write_bytes(gzip.compress(content, 1) if packed else content)
        try:
            documents = read_documents(path)
        except DataError as error:
            one_line(error)
            return
        assert len(list(documents)) == len(documents) > 0


@given(content=BYTES, name=st.sampled_from(["a.jsonl", "a.csv", "a.tsv"]))
@some
@pytest.mark.filterwarnings("ignore:.*columns that are not read")
def test_any_bytes_are_pairs_or_an_error(content: bytes, name: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, name)
        path.write_bytes(b"query,answer\n" + content if name == "a.csv" else content)
        try:
            collection = Collection.read(path)
        except DataError as error:
            one_line(error)
            return
        assert len(list(collection.documents)) == len(collection.documents) > 0


@given(content=BYTES, name=st.sampled_from(sorted(FILES)), keep=st.booleans())
@some
def test_any_bytes_in_a_beir_folder_are_a_collection_or_an_error(content: bytes, name: str, keep: bool) -> None:
    before = FILES[name].encode() if keep else HEADER.encode() if name.startswith("qrels") else b""
    with tempfile.TemporaryDirectory() as place:
        try:
            assert len(Collection.read(beir_folder(Path(place), {name: before + content})).documents) > 0
        except DataError as error:
            one_line(error)


@given(content=st.binary(max_size=300), packed=st.booleans())
@some
def test_any_bytes_that_claim_to_be_packed(content: bytes, packed: bool) -> None:
    data = gzip.compress(FILES["corpus.jsonl"].encode(), 1)
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "a.jsonl.gz")
        path.write_bytes(data[: len(content)] + content if packed else content)
        try:
            assert len(read_documents(path)) > 0
        except DataError as error:
            one_line(error)


@given(content=st.binary(max_size=60))
@some
@pytest.mark.filterwarnings("ignore:.*no text and left out")
def test_any_bytes_in_a_folder_of_texts(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as place:
        Path(place, "a.md").write_bytes(content)
        try:
            assert [document.id for document in read_documents(place)] == ["a.md"]
        except DataError as error:
            one_line(error)


@pytest.fixture(scope="module")
def parquet() -> bytes:
    with tempfile.TemporaryDirectory() as place:
        rows = [{"id": str(number), "text": f"text {number}", "on": [number, None]} for number in range(50)]
        pa.parquet.write_table(pa.Table.from_pylist(rows), Path(place, "a.parquet"))
        return Path(place, "a.parquet").read_bytes()


@given(data=st.data())
@some
def test_a_parquet_file_with_flipped_bytes(parquet: bytes, data: st.DataObject) -> None:
    damaged = bytearray(parquet)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(4, len(damaged) - 9))] = data.draw(st.integers(0, 255))
    end = data.draw(st.sampled_from([len(damaged), len(damaged), len(damaged) // 2]))
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "a.parquet")
        path.write_bytes(damaged[:end])
        try:
            list(read_documents(path))
        except DataError as error:
            one_line(error)
