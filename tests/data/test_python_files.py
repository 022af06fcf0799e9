"""Which files are read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from biencoder.data.python_files import (
    ENVIRONMENT,
    EXCLUDED_FILES,
    EXCLUDED_FOLDERS,
    HIDDEN,
    LINKED_FOLDER,
    NO_FILE,
    REPEATED,
    SHADOWED,
    PythonFile,
    find_python_files,
    installed_packages,
    standard_library,
)
from biencoder.errors import DataError


def plant(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("")


def names_of(files: list[PythonFile]) -> list[str]:
    return [file.name for file in files]


def test_python_files_by_name_and_nothing_else(tmp_path: Path) -> None:
    plant(tmp_path, "b.py", "a/c.py", "a/__init__.py", "a/data.txt", "a/native.pyx", "a.py")
    files, skipped = find_python_files([tmp_path])
    assert names_of(files) == ["a.py", "a/__init__.py", "a/c.py", "b.py"]
    assert files[2].path == tmp_path / "a" / "c.py"
    assert not skipped


def test_folders_and_files_are_left_out_for_their_reason(tmp_path: Path) -> None:
    plant(tmp_path, "json/tests/deep/a.py", "test/b.py", "turtledemo/c.py", "site-packages/d/e.py", ".git/f.py")
    plant(
        tmp_path, "env/pyvenv.cfg", "env/lib/g.py", "a/test_h.py", "a/h_test.py", "a/conftest.py", "a/i_pb2.py", "a/tested.py"
    )
    files, skipped = find_python_files([tmp_path])
    assert names_of(files) == ["a/tested.py"]
    tests, packages = EXCLUDED_FOLDERS["test"], EXCLUDED_FOLDERS["site-packages"]
    assert skipped == {
        tests: 5,
        EXCLUDED_FOLDERS["turtledemo"]: 1,
        packages: 1,
        HIDDEN: 1,
        ENVIRONMENT: 1,
        EXCLUDED_FILES["*_pb2.py"]: 1,
    }


def test_every_exclusion_states_a_reason() -> None:
    for reason in (*EXCLUDED_FOLDERS.values(), *EXCLUDED_FILES.values()):
        assert reason.partition(": ")[2]


def test_a_root_may_bear_any_name(tmp_path: Path) -> None:
    plant(tmp_path, "test/pyvenv.cfg", "test/a.py")
    assert names_of(find_python_files([tmp_path / "test"])[0]) == ["a.py"]


def test_a_relative_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path, "tests/deep/a.py", "b/c.py")
    monkeypatch.chdir(tmp_path)
    assert names_of(find_python_files([Path()])[0]) == ["b/c.py"]


def test_links_are_not_taken_twice_and_not_followed_in_circles(tmp_path: Path) -> None:
    plant(tmp_path, "root/z.py", "root/package/b.py", "elsewhere/c.py")
    root = tmp_path / "root"
    (root / "a.py").symlink_to(root / "z.py")
    (root / "c.py").symlink_to(tmp_path / "elsewhere" / "c.py")
    (root / "gone.py").symlink_to(tmp_path / "nothing.py")
    (root / "package" / "circle").symlink_to(root, target_is_directory=True)
    files, skipped = find_python_files([root])
    assert names_of(files) == ["c.py", "package/b.py", "z.py"]
    assert skipped == {REPEATED: 1, NO_FILE: 1, LINKED_FOLDER: 1}


def test_a_pipe_does_not_hang_the_reader(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.py")
    assert find_python_files([tmp_path]) == ([], {NO_FILE: 1})


def test_the_earlier_root_shadows_the_later_one(tmp_path: Path) -> None:
    plant(tmp_path, "one/a.py", "two/a.py", "two/b.py")
    files, skipped = find_python_files([tmp_path / "one", tmp_path / "two", tmp_path / "two"])
    assert [file.path for file in files] == [tmp_path / "one" / "a.py", tmp_path / "two" / "b.py"]
    assert skipped == {SHADOWED: 2, REPEATED: 1}


def test_a_root_that_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        find_python_files([tmp_path / "nowhere"])
    assert str(caught.value) == f"{tmp_path}/nowhere: is not a folder; give folders that hold Python modules and packages"


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("a.py", "a"),
        ("a/b.py", "a.b"),
        ("a/b/__init__.py", "a.b"),
        ("__init__.py", "__init__"),
        ("a/__main__.py", "a.__main__"),
    ],
)
def test_module_names(name: str, module: str) -> None:
    assert PythonFile(name, Path(name)).module == module


def test_the_standard_library_and_the_installed_packages_are_found() -> None:
    assert (standard_library() / "json" / "decoder.py").is_file()
    assert any((folder / "pytest").is_dir() for folder in installed_packages())
