"""A model that compares by cosine but gives vectors of other lengths is searched by cosine, and one by dot product by that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import tee
from pathlib import Path

import numpy as np
import pytest

from biencoder.data.collection import Collection
from biencoder.errors import ArgumentError
from biencoder.records import Hit
from biencoder.scoring import FloatArray, cosine, dot, top_k
from biencoder.search import Searcher, build_index, encode
from biencoder.search.vectors import VectorsFolder
from biencoder.towers.bi_encoder import BiEncoder

RANKINGS = {"cosine": cosine, "dot": dot}
K = 5


@pytest.fixture
def make(tiny_model: BiEncoder) -> Callable[[str], BiEncoder]:
    """The tiny model without its normalisation, with vectors of very different lengths."""
    tower = tiny_model.document_tower
    raw = tower.twin(replace(tower.settings, normalise=False))

    def encoder(similarity: str) -> BiEncoder:
        return Uneven(raw, raw, similarity=similarity)

    return encoder


class Uneven(BiEncoder):
    """Long documents get long vectors."""

    def encode_documents(self, texts, *, progress=None):  # type: ignore[no-untyped-def]
        return super().encode_documents(texts, progress=progress) * _lengths(texts)

    def encode_document_windows(self, windows, *, progress=None):  # type: ignore[no-untyped-def]
        one, other = tee(windows)
        for vectors, texts in zip(super().encode_document_windows(other, progress=progress), one, strict=True):
            yield vectors * _lengths(texts)


def _lengths(texts: Sequence[str]) -> FloatArray:
    return np.array([[1 + len(text) % 7] for text in texts], dtype=np.float32)


def expected(model: BiEncoder, collection: Collection) -> list[list[tuple[str, float]]]:
    documents = list(collection.documents)
    vectors = model.encode_documents([document.content for document in documents])
    queries = model.encode_queries([query.text for query in collection.queries("test")])
    scores, rows = top_k(RANKINGS[model.similarity](queries, vectors), k=K)
    return [
        [(documents[row].id, score) for row, score in zip(*own, strict=True)]
        for own in zip(rows.tolist(), scores.tolist(), strict=True)
    ]


def assert_found(found: list[list[Hit]], wanted: list[list[tuple[str, float]]]) -> None:
    assert [[hit.id for hit in hits] for hits in found] == [[name for name, _ in own] for own in wanted]
    scores = [[hit.score for hit in hits] for hits in found]
    np.testing.assert_allclose(scores, [[score for _, score in own] for own in wanted], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_in_memory_and_from_a_folder(
    make: Callable[[str], BiEncoder], tiny_collection: Collection, tmp_path: Path, similarity: str
) -> None:
    model = make(similarity)
    queries = [query.text for query in tiny_collection.queries("test")]
    wanted = expected(model, tiny_collection)
    assert_found(Searcher.in_memory(model, tiny_collection.documents).search_many(queries, k=K), wanted)
    for engine in ("exact", "hnsw"):
        built = build_index(model, tiny_collection.documents, out=tmp_path / engine, engine=engine)
        assert built.documents.metric == similarity
        assert_found(built.search_many(queries, k=K), wanted)
        assert_found(Searcher.open(tmp_path / engine).search_many(queries, k=K), wanted)


def test_the_two_rank_differently(make: Callable[[str], BiEncoder], tiny_collection: Collection) -> None:
    found = [[[name for name, _ in own] for own in expected(make(one), tiny_collection)] for one in ("cosine", "dot")]
    assert found[0] != found[1]


def test_vectors_folders_say_how_they_compare(
    make: Callable[[str], BiEncoder], tiny_collection: Collection, tmp_path: Path
) -> None:
    documents = list(tiny_collection.documents)
    encode(make("cosine"), documents, out=tmp_path / "v")
    folder = VectorsFolder(tmp_path / "v")
    assert folder.manifest.metric == "cosine"
    np.testing.assert_allclose(np.linalg.norm(folder.vectors(), axis=1), 1, atol=1e-6)
    with pytest.raises(ArgumentError) as caught:
        build_index(make("dot"), documents, out=tmp_path / "i", vectors=tmp_path / "v")
    said = "was encoded to be compared by cosine, and the model given compares by dot; encode again"
    assert str(caught.value) == f"{tmp_path / 'v'} {said}"
    assert encode(make("cosine"), documents, out=tmp_path / "v").fresh == 0
    assert encode(make("dot"), documents, out=tmp_path / "v").fresh == 60
    np.testing.assert_array_equal(
        VectorsFolder(tmp_path / "v").vectors(), make("dot").encode_documents([document.content for document in documents])
    )
