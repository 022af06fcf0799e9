from __future__ import annotations

from pathlib import Path

import pytest

from biencoder.data.collection import Collection

pytestmark = pytest.mark.collections


@pytest.mark.parametrize(
    ("name", "summary"),
    [
        ("scifact", "Collection(5183 documents, 1109 queries, train 809, test 300)"),
        ("medquad", "Collection(15809 documents, 14345 queries, train 11446, dev 1466, test 1433)"),
        ("cosqa", "Collection(6267 documents, 1000 queries, dev 500, test 500)"),
        ("arxiv_title", "Collection(74703 documents, 74703 queries, train 71048, dev 1823, test 1832)"),
    ],
)
def test_real_collections_are_read(collections_folder: Path, name: str, summary: str) -> None:
    assert repr(Collection.read(collections_folder / name)) == summary


def test_a_real_collection_is_written_and_read_back(collections_folder: Path, tmp_path: Path) -> None:
    collection = Collection.read(collections_folder / "medquad")
    collection.write(tmp_path / "new", compress=True)
    again = Collection.read(tmp_path / "new")
    assert all(left == right for left, right in zip(collection.documents, again.documents, strict=True))
    assert again.queries() == collection.queries()
    assert [again.examples(split) for split in again.splits] == [collection.examples(split) for split in collection.splits]


def test_a_dev_split_of_scifact_shares_no_document_with_train(collections_folder: Path) -> None:
    collection = Collection.read(collections_folder / "scifact").hold_out(share=0.2, seed=0)
    train, dev = (
        {document for judged in collection.judgements(split).values() for document in judged} for split in ("train", "dev")
    )
    assert train.isdisjoint(dev)
    assert len(collection.queries("dev")) == 162
