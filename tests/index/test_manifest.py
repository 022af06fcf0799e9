from __future__ import annotations

from pathlib import Path

import pytest

from biencoder.errors import CorruptError, StorageError
from biencoder.identity import Identity
from biencoder.index import IndexManifest
from biencoder.storage.manifest import write_manifest

MANIFEST = IndexManifest(
    engine="hnsw",
    reason="asked for",
    metric="cosine",
    dimension=384,
    count=10,
    vectors=12,
    bytes_per_vector=1808.1,
    identity=Identity("d" * 64, "q" * 64, "e" * 64),
    corpus="c" * 64,
    created="2026-01-01T00:00:00+00:00",
    biencoder="0.1.0",
    parameters={"links": 32},
    keywords=True,
    passages={"size": 100, "overlap": 20},
)


def test_written_and_read_it_is_the_same(tmp_path: Path) -> None:
    MANIFEST.write(tmp_path)
    assert IndexManifest.read(tmp_path) == MANIFEST


def test_fields_of_something_else(tmp_path: Path) -> None:
    write_manifest(tmp_path, kind="index", version=2, fields={"identity": {"document": "d", "query": "q"}, "colour": "red"})
    with pytest.raises(CorruptError, match=r"the manifest's fields are not those of an index .*'colour'"):
        IndexManifest.read(tmp_path)


def test_another_kind_of_folder(tmp_path: Path) -> None:
    write_manifest(tmp_path, kind="vectors", version=2, fields={})
    with pytest.raises(StorageError, match=r"is a folder of kind vectors; one of kind index was expected$"):
        IndexManifest.read(tmp_path)
