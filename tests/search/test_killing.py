"""SIGKILL at random moments: the folder is absent, old or new, never half, and the work is gone on with."""

from __future__ import annotations

import multiprocessing
import random
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from biencoder.scoring import dot, top_k
from biencoder.search import Searcher, build_index, encode
from biencoder.storage.manifest import verify
from tests.search.fakes import WORDS, FakeModel, corpus, tree

KILLS = 20
OLD, NEW = corpus(60, seed=1), corpus(120, seed=2)


def encode_slowly(out: Path) -> None:
    encode(FakeModel(delay=0.005), NEW, out=out, window=10)


def index_slowly(out: Path) -> None:
    build_index(FakeModel(delay=0.05), NEW, out=out, engine="hnsw")


def kill_often(work: Callable[[Path], None], place: Callable[[int], Path], check: Callable[[Path, bool], None]) -> int:
    """Start the work over and over, killing it at random moments, until it has been killed often enough; gives the rounds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.search.test_killing"])
    chance = random.Random(time.time_ns())  # noqa: S311
    kills = rounds = 0
    longest = 0.05
    while kills < KILLS:
        out, ended = place(rounds), False
        rounds += 1
        while not ended:
            process = context.Process(target=work, args=(out,))
            process.start()
            started = time.perf_counter()
            process.join(chance.uniform(0.01, longest))
            process.kill()
            process.join()
            ended = process.exitcode == 0
            kills += not ended
            longest = min(1.0, longest * 1.1) if not ended else max(0.05, time.perf_counter() - started)
            check(out, ended)
    return rounds


@pytest.mark.parametrize("replacing", [False, True])
def test_encode(tmp_path: Path, replacing: bool) -> None:
    encode(FakeModel(), OLD, out=tmp_path / "old", window=10)
    encode(FakeModel(), NEW, out=tmp_path / "whole", window=10)
    old, new = tree(tmp_path / "old"), tree(tmp_path / "whole")

    def place(number: int) -> Path:
        out = tmp_path / f"v{number}"
        if replacing:
            encode(FakeModel(), OLD, out=out, window=10)
        return out

    def check(out: Path, ended: bool) -> None:
        if ended:
            assert tree(out) == new
            assert not (out.parent / f".{out.name}.partial").exists()
        elif replacing:
            assert tree(out) in (old, new)
        else:
            assert not out.exists() or tree(out) == new

    assert kill_often(encode_slowly, place, check) >= 1


def test_build_index(tmp_path: Path) -> None:
    model = FakeModel()
    queries = [f"{one} {other}" for one in WORDS[:6] for other in WORDS[:6]]
    best = top_k(dot(model.encode_queries(queries), model.encode_documents([own.content for own in NEW])), k=10)[0]

    def place(number: int) -> Path:
        out = tmp_path / f"x{number}"
        build_index(FakeModel(), OLD, out=out, engine="exact")
        return out

    def check(out: Path, ended: bool) -> None:
        count = verify(out).fields["count"]
        assert count == len(NEW) if ended else count in (len(OLD), len(NEW))
        found = Searcher.open(out, model=FakeModel()).search_many(queries, k=10)
        if count == len(NEW):
            np.testing.assert_allclose([[hit.score for hit in hits] for hits in found], best, atol=1e-5)

    assert kill_often(index_slowly, place, check) >= 1
