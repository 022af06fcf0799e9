"""SIGKILL `encode` and `build_index` with a tiny BERT at random moments: folders are whole or absent, the end is the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from biencoder.progress import Progress
from biencoder.search import Searcher, build_index, encode
from biencoder.storage.manifest import NAME, verify
from biencoder.towers.bi_encoder import BiEncoder
from tests.killing import Nursery
from tests.search.fakes import WORDS, corpus, tree

ENCODED = corpus(300)
INDEXED = corpus(5000)  # more than a window, so that a build is gone on with in the midst of its encoding
QUERIES = [f"{one} {other}" for one in WORDS[:8] for other in WORDS[:8]]


def work(progress: Progress, command: str, model: str, out: str) -> None:
    """One attempt; what a worker does."""
    encoder = BiEncoder.load(model)
    if command == "encode":
        encode(encoder, ENCODED, out=out, window=10, progress=progress)
    else:
        build_index(encoder, INDEXED, out=out, engine="hnsw", progress=progress)


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery(__name__) as started:
        yield started


def partial(out: Path) -> Path:
    return out.with_name(f".{out.name}.partial")


class Checked:
    """Makes sure that whatever stands there is whole, and counts how often there was something to go on with."""

    def __init__(self, *left: str) -> None:
        self.left = left
        self.resumable = 0

    def __call__(self, out: Path) -> None:
        if out.exists():
            verify(out)
        self.resumable += not out.exists() and any((partial(out) / name).exists() for name in self.left)


@pytest.mark.slow
def test_encode(tmp_path: Path, tiny_model_folder: Path, nursery: Nursery) -> None:
    words, check = ("encode", str(tiny_model_folder)), Checked("vectors.progress.json")
    seconds = nursery.finish(*words, out=tmp_path / "whole")
    whole = tree(tmp_path / "whole")
    assert whole.keys() >= {"vectors.npy", "ids.jsonl"}
    for out in nursery.survivors(*words, folder=tmp_path, longest=seconds / 2, check=check):
        assert tree(out) == whole
        assert not partial(out).exists()
    assert check.resumable


def hits(searcher: Searcher) -> list[set[str]]:
    return [{hit.id for hit in own} for own in searcher.search_many(QUERIES, k=10, texts=False)]


def recall(found: list[set[str]], exact: list[set[str]]) -> float:
    return sum(len(one & other) for one, other in zip(found, exact, strict=True)) / sum(map(len, exact))


@pytest.mark.slow
def test_build_index(tmp_path: Path, tiny_model_folder: Path, tiny_model: BiEncoder, nursery: Nursery) -> None:
    words, check = ("index", str(tiny_model_folder)), Checked(".vectors.partial/vectors.progress.json", f"vectors/{NAME}")
    exact = hits(Searcher.in_memory(tiny_model, INDEXED))
    seconds = nursery.finish(*words, out=tmp_path / "whole")
    whole = tree(tmp_path / "whole")
    expected = recall(hits(Searcher.open(tmp_path / "whole", model=tiny_model)), exact)
    assert expected > 0.9
    for out in nursery.survivors(*words, folder=tmp_path, longest=0.7 * seconds, check=check):
        assert recall(hits(Searcher.open(out, model=tiny_model)), exact) == expected
        # All files but the manifest, which has the date: with one thread even the graph is the same.
        assert {**tree(out), NAME: b""} == {**whole, NAME: b""}
        assert not partial(out).exists()
    assert check.resumable
