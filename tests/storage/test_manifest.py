from __future__ import annotations

import json
from pathlib import Path

import pytest

from biencoder.errors import CorruptError, StorageError
from biencoder.storage import manifest as module
from biencoder.storage.manifest import peek_manifest, read_manifest, verify, write_manifest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.txt").write_text("abc")
    (tmp_path / "sub" / "manifest.json").write_text("{}")
    write_manifest(tmp_path, kind="index", version=2, fields={"name": "é"})
    return tmp_path


def test_it_lists_every_file_and_its_checksum(folder: Path) -> None:
    found = read_manifest(folder, kind="index", version=2)
    assert found.fields == {"name": "é"}
    assert {name: entry["bytes"] for name, entry in found.files.items()} == {"a.txt": 3, "sub/manifest.json": 2}
    assert found.files["a.txt"]["sha256"] == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert found.bytes == 5


@pytest.mark.parametrize("name", ["a.txt", "sub/manifest.json"])
def test_a_flipped_byte_is_found(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[0] ^= 1
    (folder / name).write_bytes(data)
    for check in (verify, lambda place: read_manifest(place, kind="index", version=2)):
        with pytest.raises(CorruptError) as caught:
            check(folder)
        assert str(caught.value) == f"{folder / name} is damaged: its checksum differs; build the folder again"


def test_large_files_are_left_to_verify(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHECKED_ON_OPENING", 2)
    (folder / "a.txt").write_text("abd")
    assert read_manifest(folder, kind="index", version=2).kind == "index"
    with pytest.raises(CorruptError, match=r"checksum differs"):
        verify(folder)


def test_a_file_that_is_shorter_or_missing(folder: Path) -> None:
    (folder / "a.txt").write_text("ab")
    with pytest.raises(CorruptError) as caught:
        verify(folder)
    assert str(caught.value) == f"{folder / 'a.txt'} is damaged: 2 bytes, 3 were written; build the folder again"
    (folder / "a.txt").unlink()
    with pytest.raises(CorruptError) as caught:
        verify(folder)
    assert str(caught.value) == f"{folder / 'a.txt'} is missing; build the folder again"


@pytest.mark.parametrize("text", ["", "[]", "[1]", "1", '"text"', "{}", "null", "[" * 5000, '{"sha256": 1', "\udcff"])
def test_a_manifest_that_cannot_be_read(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(CorruptError) as caught:
        peek_manifest(folder)
    assert str(caught.value) == f"{folder / 'manifest.json'} is damaged: it cannot be read; build the folder again"


def test_every_changed_byte_of_the_manifest_is_found(folder: Path) -> None:
    path = folder / "manifest.json"
    data = path.read_bytes()
    plain = json.loads(data)
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 1
        path.write_bytes(changed)
        try:
            peek_manifest(folder)
        except CorruptError:
            continue
        assert json.loads(bytes(changed)) == plain  # only white space differs


def test_the_wrong_kind_version_or_place(folder: Path) -> None:
    with pytest.raises(StorageError) as caught:
        read_manifest(folder, kind="vectors", version=2)
    assert str(caught.value) == f"{folder} is a folder of kind index; one of kind vectors was expected"
    with pytest.raises(StorageError) as caught:
        read_manifest(folder, kind="index", version=1)
    assert str(caught.value) == (
        f"{folder} has format version 2 of kind index; this biencoder reads version 1: "
        "build the folder again, or install the biencoder that wrote it"
    )
    with pytest.raises(StorageError) as caught:
        peek_manifest(folder / "nowhere")
    assert str(caught.value) == f"{folder / 'nowhere'}: no such folder"
    (folder / "manifest.json").unlink()
    with pytest.raises(StorageError) as caught:
        peek_manifest(folder)
    assert str(caught.value) == f"{folder} has no manifest.json: it was not written by biencoder"
