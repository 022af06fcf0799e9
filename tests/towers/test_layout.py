from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from biencoder.errors import ModelError
from biencoder.towers.layout import Layout, Side, confined, read_json, read_layout
from biencoder.towers.pooling import Pooling

OLD, NEW = "sentence_transformers.models.", "sentence_transformers.base.modules."


def write(folder: Path, files: dict[str, Any]) -> Path:
    for name, value in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return folder


def modules(*named: tuple[str, str]) -> list[dict[str, Any]]:
    return [{"idx": at, "name": str(at), "path": path, "type": kind} for at, (path, kind) in enumerate(named)]


PLAIN = modules(("", OLD + "Transformer"), ("1_Pooling", OLD + "Pooling"))


def test_old_and_new_class_paths(tmp_path: Path) -> None:
    named = modules(
        ("", NEW + "transformer.Transformer"),
        ("1_Pooling", "sentence_transformers.sentence_transformer.modules.pooling.Pooling"),
        ("2_Dense", OLD + "Dense"),
        ("3_Normalize", OLD + "Normalize"),
    )
    files = {"modules.json": named, "1_Pooling/config.json": {"pooling_mode": "lasttoken"}}
    files["sentence_bert_config.json"] = {"max_seq_length": 77, "do_lower_case": True}
    found = read_layout(write(tmp_path, files))
    assert found.document == Side(tmp_path, Pooling.LAST, True, tmp_path / "2_Dense", 77, True)
    assert found.shared


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, Pooling.CLS),
        ({"pooling_mode_mean_tokens": True}, Pooling.MEAN),
        ({"pooling_mode_max_tokens": True}, Pooling.MAX),
        ({"pooling_mode_lasttoken": True}, Pooling.LAST),
        ({"pooling_mode": "max"}, Pooling.MAX),
        ({"pooling_mode": ["cls"]}, Pooling.CLS),
    ],
)
def test_pooling(tmp_path: Path, config: dict[str, Any], expected: Pooling) -> None:
    assert read_layout(write(tmp_path, {"modules.json": PLAIN, "1_Pooling/config.json": config})).query.pooling is expected


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({}, "none"),
        ({"pooling_mode": "weightedmean"}, "weightedmean"),
        ({"pooling_mode_mean_sqrt_len_tokens": True}, "pooling_mode_mean_sqrt_len_tokens"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}, "cls, mean"),
    ],
)
def test_unknown_pooling(tmp_path: Path, config: dict[str, Any], found: str) -> None:
    write(tmp_path, {"modules.json": PLAIN, "1_Pooling/config.json": config})
    with pytest.raises(ModelError) as caught:
        read_layout(tmp_path)
    expected = f"{tmp_path / '1_Pooling'}: the pooling {found} is not supported; one of cls, mean, max, last is"
    assert str(caught.value) == expected


def test_pooling_without_prompt(tmp_path: Path) -> None:
    config = {"pooling_mode": "mean", "include_prompt": False}
    write(tmp_path, {"modules.json": PLAIN, "1_Pooling/config.json": config})
    with pytest.raises(ModelError, match=r"pooling that leaves the prompt out \(include_prompt false\) is not supported$"):
        read_layout(tmp_path)


def test_prompts(tmp_path: Path) -> None:
    settings = {"prompts": {"query": "q: ", "passage": "p: ", "odd": 5}, "default_prompt_name": "passage"}
    files = {"modules.json": PLAIN, "1_Pooling/config.json": {"pooling_mode": "mean"}}
    found = read_layout(write(tmp_path, files | {"config_sentence_transformers.json": settings}))
    assert (found.prompt("query"), found.prompt("document", "passage"), found.prompt("odd")) == ("q: ", "p: ", None)
    assert (found.default_prompt, found.similarity) == ("p: ", None)


@pytest.mark.parametrize(
    "kind", ["evil.module.Transformer", "sentence_transformers.models.CLIPModel", "Transformer", "os.system"]
)
def test_foreign_class(tmp_path: Path, kind: str) -> None:
    write(tmp_path, {"modules.json": modules(("", kind))})
    with pytest.raises(ModelError) as caught:
        read_layout(tmp_path)
    expected = "is not supported; Transformer, Pooling, Dense, Normalize and Router of sentence-transformers are"
    assert str(caught.value) == f"{tmp_path}: the module {kind!r} {expected}"


@pytest.mark.parametrize("path", ["../elsewhere", "/etc", "1_Pooling/../../x"])
def test_path_that_leaves_the_folder(tmp_path: Path, path: str) -> None:
    write(tmp_path, {"modules.json": modules(("", OLD + "Transformer"), (path, OLD + "Pooling"))})
    with pytest.raises(ModelError) as caught:
        read_layout(tmp_path)
    assert str(caught.value) == f"{tmp_path}: the path {path!r} leads out of the model folder; it is refused"


def test_symbolic_link_that_leaves_the_folder(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "1_Pooling").symlink_to(tmp_path)
    with pytest.raises(ModelError, match=r"leads out of the model folder; it is refused$"):
        confined(tmp_path / "model", "1_Pooling")


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (["Pooling"], "the first module is Pooling; a Transformer was expected"),
        (["Transformer", "Normalize", "Dense"], "a module Dense in this place is not supported"),
        (["Transformer", "Dense", "Dense"], "a module Dense in this place is not supported"),
        (["Transformer", "Transformer"], "a module Transformer in this place is not supported"),
    ],
)
def test_order(tmp_path: Path, order: list[str], message: str) -> None:
    write(tmp_path, {"modules.json": modules(*((f"{at}_{name}", OLD + name) for at, name in enumerate(order)))})
    with pytest.raises(ModelError) as caught:
        read_layout(tmp_path)
    assert str(caught.value) == f"{tmp_path / f'{len(order) - 1}_{order[-1]}'}: {message}"


def test_router(tmp_path: Path) -> None:
    types = {"query_0_Transformer": OLD + "Transformer", "document_0_Transformer": OLD + "Transformer"}
    router = {"types": types, "structure": {"query": ["query_0_Transformer"], "document": ["document_0_Transformer"]}}
    files = {"modules.json": modules(("", OLD + "Router"), ("1", OLD + "Normalize")), "router_config.json": router}
    found = read_layout(write(tmp_path, files))
    assert found.query == Side(tmp_path / "query_0_Transformer", normalise=True)
    assert found.document == Side(tmp_path / "document_0_Transformer", normalise=True)
    assert not found.shared


def test_router_without_the_two_routes(tmp_path: Path) -> None:
    router = {"types": {"a": OLD + "Transformer"}, "structure": {"query": ["a"], "image": ["a"]}}
    write(tmp_path, {"modules.json": modules(("", OLD + "Router")), "router_config.json": router})
    with pytest.raises(ModelError) as caught:
        read_layout(tmp_path)
    expected = "a Router with the routes 'query' and 'document' was expected (missing: 'document')"
    assert str(caught.value) == f"{tmp_path / 'router_config.json'}: {expected}"


def test_router_of_a_foreign_class(tmp_path: Path) -> None:
    router = {"types": {"a": "os.system"}, "structure": {"query": ["a"], "document": ["a"]}}
    write(tmp_path, {"modules.json": modules(("", OLD + "Router")), "router_config.json": router})
    with pytest.raises(ModelError, match=r"the module 'os.system' is not supported"):
        read_layout(tmp_path)


def test_no_modules(tmp_path: Path) -> None:
    write(tmp_path, {"modules.json": []})
    with pytest.raises(ModelError) as caught:
        read_layout(tmp_path)
    assert str(caught.value) == f"{tmp_path / 'modules.json'} lists no modules"


def test_missing_and_damaged_json(tmp_path: Path) -> None:
    assert read_json(tmp_path / "a.json", default={}) == {}
    with pytest.raises(ModelError) as caught:
        read_json(tmp_path / "a.json")
    assert str(caught.value) == f"{tmp_path / 'a.json'} is missing; the model folder is incomplete"
    (tmp_path / "a.json").write_bytes(b'{"a": \xff}')
    with pytest.raises(ModelError) as caught:
        read_json(tmp_path / "a.json", default={})
    assert str(caught.value).startswith(f"{tmp_path / 'a.json'} cannot be read as JSON ('utf-8' codec")
    assert str(caught.value).endswith("; the model folder is damaged")


KEYS = (
    "type",
    "path",
    "prompts",
    "default_prompt_name",
    "max_seq_length",
    "pooling_mode",
    "structure",
    "types",
    "query",
    "document",
)
CLASSES = tuple(OLD + name for name in ("Transformer", "Pooling", "Dense", "Normalize", "Router"))
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.sampled_from((*CLASSES, "mean", "", "a"))
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=2), inner, max_size=4),
)
FILES = (
    "modules.json",
    "1_Pooling/config.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "router_config.json",
)


@given(name=st.sampled_from(FILES), value=VALUES, router=st.booleans())
def test_any_json_is_read_or_refused(name: str, value: Any, router: bool) -> None:
    types = {"a": OLD + "Transformer"}
    files = {
        "modules.json": modules(("", OLD + "Router")) if router else PLAIN,
        "1_Pooling/config.json": {"pooling_mode": "mean"},
        "router_config.json": {"types": types, "structure": {"query": ["a"], "document": ["a"]}},
    }
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), files | {name: value})
        with contextlib.suppress(ModelError):
            assert isinstance(read_layout(Path(folder)), Layout)
