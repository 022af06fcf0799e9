from __future__ import annotations

import errno
import multiprocessing
import random
import re
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from biencoder.errors import ArgumentError, LockedError, StorageError
from biencoder.storage.folder import check_replaceable, explain_os_errors, locked, put_in_place, writing
from biencoder.storage.manifest import verify, write_manifest


def write_version(place: Path, version: int, files: int = 3) -> None:
    with writing(place) as new:
        for number in range(files):
            (new / f"{number}.txt").write_text(str(version))
        write_manifest(new, kind="test", version=1, fields={"version": version})


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


def test_a_new_folder_appears_whole(tmp_path: Path) -> None:
    write_version(tmp_path / "a" / "b", 1)
    assert verify(tmp_path / "a" / "b").fields == {"version": 1}
    assert names(tmp_path / "a") == [".b.lock", "b"]


def test_an_old_folder_is_replaced_and_open_files_stay(tmp_path: Path) -> None:
    write_version(tmp_path / "x", 1)
    with (tmp_path / "x" / "0.txt").open() as reader:
        write_version(tmp_path / "x", 2)
        assert reader.read() == "1"
    assert verify(tmp_path / "x").fields == {"version": 2}
    assert names(tmp_path) == [".x.lock", "x"]


def test_a_failing_block_changes_nothing(tmp_path: Path) -> None:
    write_version(tmp_path / "x", 1)
    with pytest.raises(RuntimeError, match=r"^stop$"), writing(tmp_path / "x") as new:  # noqa: PT012
        (new / "0.txt").write_text("2")
        raise RuntimeError("stop")
    assert verify(tmp_path / "x").fields == {"version": 1}
    assert names(tmp_path) == [".x.lock", "x"]


def test_ctrl_c_changes_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), writing(tmp_path / "x"):
        raise KeyboardInterrupt
    assert names(tmp_path) == [".x.lock"]


def test_two_writers_do_not_meet(tmp_path: Path) -> None:
    message = f"^{re.escape(str(tmp_path / 'x'))}: another process is writing this folder; wait for it to end$"
    with writing(tmp_path / "x"), pytest.raises(LockedError, match=message), writing(tmp_path / "x"):
        pass
    with locked(tmp_path / "x"):
        pass


def test_what_killed_writers_left_is_swept_also_with_odd_names(tmp_path: Path) -> None:
    for name in ("x", "a[1]*"):
        left = tmp_path / f".{name}.new-12345678"
        left.mkdir()
        write_version(tmp_path / name, 1)
        assert not left.exists()


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("mine")
    with pytest.raises(StorageError, match=r"x: a file stands where the folder should go; choose another place$"):
        write_version(tmp_path / "x", 1)
    assert (tmp_path / "x").read_text() == "mine"


def test_a_symbolic_link_is_followed(tmp_path: Path) -> None:
    write_version(tmp_path / "real", 1)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_version(tmp_path / "link", 2)
    assert (tmp_path / "link").is_symlink()
    assert verify(tmp_path / "real").fields == {"version": 2}


def test_a_dangling_link_gets_its_folder(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "new").mkdir()
    put_in_place(tmp_path / "new", tmp_path / "link")
    assert (tmp_path / "real").is_dir()


@pytest.mark.parametrize("large", [False, True])
def test_a_full_disk(small_disk: Path, large: bool) -> None:
    write_version(small_disk / "x", 1)
    with pytest.raises(StorageError) as caught, writing(small_disk / "x") as new:  # noqa: PT012
        if large:
            np.save(new / "a.npy", np.zeros(10**5))
        else:
            (new / "a.txt").write_bytes(bytes(10**6))
    assert "free some space or choose another place" in str(caught.value)
    assert verify(small_disk / "x").fields == {"version": 1}
    assert names(small_disk) == [".x.lock", "x"]


def test_a_limit_of_file_size(tmp_path: Path) -> None:
    message = "the file-size limit is reached: raise it"
    with file_size_limit(10_000), pytest.raises(StorageError, match=message), writing(tmp_path / "x") as new:
        (new / "a").write_bytes(bytes(20_000))
    assert names(tmp_path) == [".x.lock"]


def test_a_read_only_file_system(read_only_disk: Path) -> None:
    with pytest.raises(StorageError, match=r"the file system is read-only: choose another place$"):
        write_version(read_only_disk / "old", 1)
    assert (read_only_disk / "old" / "a.txt").read_text() == "old"


def test_a_file_as_parent(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("")
    with pytest.raises(StorageError, match=r"f"):
        write_version(tmp_path / "f" / "x", 1)


def test_errors_that_are_explained_pass_unchanged() -> None:
    with pytest.raises(ArgumentError, match=r"^mine$"), explain_os_errors(Path("x")):
        raise ArgumentError("mine")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            OSError(errno.ENOSPC, "No space", "f"),
            "f: the disk is full: free some space or choose another place",
        ),
        (OSError(errno.EACCES, "no", "f"), "f: permission denied: choose another place, or mend its permissions"),
        (OSError(errno.EIO, "Input/output error"), "place: Input/output error"),
        (OSError("9 requested and 4 written"), "place: not all bytes could be written (9 requested and 4 written): free"),
    ],
)
def test_the_systems_refusals(error: OSError, message: str) -> None:
    with pytest.raises(StorageError) as caught, explain_os_errors(Path("place")):
        raise error
    assert str(caught.value).startswith(message)


def test_only_the_same_kind_is_replaced(tmp_path: Path) -> None:
    check_replaceable(tmp_path / "absent", kind="index")
    (tmp_path / "empty").mkdir()
    check_replaceable(tmp_path / "empty", kind="index")
    write_version(tmp_path / "own", 1)
    check_replaceable(tmp_path / "own", kind="test")
    with pytest.raises(
        StorageError, match=r"own is a folder of kind test; one of kind index will not replace it: choose another place$"
    ):
        check_replaceable(tmp_path / "own", kind="index")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_text("")
    foreign = "exists and is no folder of kind index that can be read; remove it, or choose another place$"
    with pytest.raises(StorageError, match=foreign):
        check_replaceable(tmp_path / "photos", kind="index")
    (tmp_path / "photos" / "manifest.json").write_text('{"name": "an extension"}')
    with pytest.raises(StorageError, match=foreign):
        check_replaceable(tmp_path / "photos", kind="index")
    with pytest.raises(StorageError, match=r"a file stands where the folder should go"):
        check_replaceable(tmp_path / "photos" / "a.jpg", kind="index")


def _write_forever(place: Path) -> None:
    version = time.time_ns()
    while True:
        write_version(place, version, files=2 + version % 5)
        version += 1


def test_killed_writers_leave_a_whole_folder(tmp_path: Path) -> None:
    """SIGKILL at 25 random moments of writing over and over: what stands is always one whole version."""
    place = tmp_path / "x"
    write_version(place, 1)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.storage.test_folder"])
    chance = random.Random(time.time_ns())  # noqa: S311
    seen = {1}
    longest = 0.1
    for _ in range(25):
        process = context.Process(target=_write_forever, args=(place,))
        process.start()
        time.sleep(chance.uniform(0.01, longest))
        process.kill()
        process.join()
        manifest = verify(place)
        version = manifest.fields["version"]
        assert {path.read_text() for path in place.glob("*.txt")} == {str(version)}
        longest *= 0.95 if version not in seen else 1.3  # as long as it takes here to write a few
        seen.add(version)
    assert len(seen) > 5
    write_version(place, 0)
    assert names(tmp_path) == [".x.lock", "x"]
