"""SIGKILL in the midst of additions, deletions, compactions and swaps: what was acknowledged stays, nothing is ever half there.

A worker does operation after operation and notes each that is done. The operations follow from their numbers, so that whoever
looks knows which documents there should be. Meanwhile a reader opens the index again and again.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import time
from pathlib import Path

import pytest

from biencoder.records import Document
from biencoder.search import Searcher, add_documents, build_index, compact_index, delete_documents
from biencoder.search.changes import change_folders
from biencoder.storage.manifest import verify
from tests.search.fakes import FakeModel, corpus

Known = dict[str, str]


def operation(number: int) -> tuple[str, int]:
    chance = random.Random(number)  # noqa: S311
    kind = chance.choices(["add", "delete", "compact", "build"], weights=[5, 4, 2, 1])[0]
    return kind, chance.randint(1, 9)


def names(number: int, count: int) -> list[str]:
    chance = random.Random(-number)  # noqa: S311
    return [f"d{row}" for row in chance.sample(range(1, 60), count)]


def built(number: int) -> list[Document]:
    return corpus(40, seed=number)


def after(known: Known, number: int) -> Known:
    """What there is after an operation."""
    kind, count = operation(number)
    if kind == "build":
        return {document.id: document.text for document in built(number)}
    if kind == "add":
        return known | dict.fromkeys(names(number, count), f"text {number}")
    if kind == "delete":
        return {name: text for name, text in known.items() if name not in names(number, count)}
    return known


def work(place: Path, log: Path, number: int) -> None:
    """Operations from one on, until the end comes."""
    model = FakeModel()
    file = os.open(log, os.O_WRONLY | os.O_APPEND)
    while True:
        kind, count = operation(number)
        if kind == "build":
            build_index(model, built(number), out=place, engine="exact" if count % 2 else "hnsw")
        elif kind == "add":
            add_documents(place, [Document(name, f"text {number}") for name in names(number, count)], model=model)
        elif kind == "delete":
            delete_documents(place, names(number, count))
        else:
            compact_index(place)
        os.write(file, f"{number}\n".encode())
        number += 1


def read_until(deadline: float, place: Path) -> int:
    """Open the index and search it, over and over."""
    times = 0
    model = FakeModel()
    searcher = Searcher.open(place, model=model)
    while time.perf_counter() < deadline:
        searcher.refresh()
        assert len(searcher.search("aspirin heart", k=3)) == 3
        assert len(Searcher.open(place, model=model).search("aspirin", k=3, hybrid=True)) == 3
        times += 1
        time.sleep(0.02)  # the worker needs the processor too
    return times


def kill_and_look(folder: Path, *, kills: int, seed: int) -> tuple[int, int]:
    """Give the operations that were done and how often the index was read meanwhile."""
    place, log = folder / "x", folder / "log"
    log.write_text("")
    build_index(FakeModel(), built(0), out=place, engine="exact")
    known = {document.id: document.text for document in built(0)}
    done = reads = 0
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.search.test_killing_updates"])
    chance = random.Random(seed)  # noqa: S311
    for _ in range(kills):
        process = context.Process(target=work, args=(place, log, done + 1))
        process.start()
        reads += read_until(time.perf_counter() + chance.uniform(0.05, 1.5), place)
        process.kill()
        process.join()
        assert process.exitcode == -9, "the worker failed; its error stands above"
        acknowledged = int((log.read_text().split() or ["0"])[-1])
        for number in range(done + 1, acknowledged + 1):
            known = after(known, number)
        verify(place)
        for change in change_folders(place):
            verify(change)
        searcher = Searcher.open(place, model=FakeModel())
        found = {document.id: document.text for document in searcher.documents}
        done = acknowledged
        if found != known:  # the last one was done, and killed before it was noted
            done += 1
            known = after(known, done)
            log.write_text(f"{done}\n")
        assert found == known
        for name in random.Random(done).sample(sorted(known), 3):  # noqa: S311
            assert name in {hit.id for hit in searcher.search(known[name], k=60)}
    return done, reads


@pytest.mark.slow
def test_kills(tmp_path: Path) -> None:
    done, reads = kill_and_look(tmp_path, kills=60, seed=time.time_ns())
    assert done > 60
    assert reads > 100
