from __future__ import annotations

from pathlib import Path

import pytest

from biencoder.towers.bi_encoder import BiEncoder
from biencoder.towers.families import FAMILIES, UNKNOWN, family_of
from biencoder.towers.pooling import Pooling
from tests import tiny

E5 = ("query: ", "passage: ", Pooling.MEAN, True)
BGE = ("Represent this sentence for searching relevant passages: ", "", Pooling.CLS, True)
GTE = ("", "", Pooling.MEAN, True)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("intfloat/e5-base", "Wang"),
        ("intfloat/multilingual-e5-large", "Wang"),
        ("models--intfloat--e5-small-v2", "Wang"),
        ("BAAI/bge-small-en-v1.5", "Xiao"),
        ("baai/BGE-large-zh", "Xiao"),
        ("BAAI/bge-m3", "M3"),
        ("thenlper/gte-base/", "Li"),
        ("Alibaba-NLP/gte-modernbert-base", "Zhang"),
        ("facebook/contriever-msmarco", "Izacard"),
        ("sentence-transformers/msmarco-distilbert-base-tas-b", "Hofst"),
    ],
)
def test_known(name: str, source: str) -> None:
    assert source in family_of("", name).source


@pytest.mark.parametrize(
    "name", ["", "e5", "my-e5-base-tuned", "bge-small-en-v1.5-ours", "gte-base-en", "e5-base/checkpoint-3"]
)
def test_others_are_unknown(name: str) -> None:
    assert family_of(name) is UNKNOWN


def test_each_family_is_found_by_one_pattern_only() -> None:
    names = ["e5-base", "bge-base-en", "bge-base-zh", "bge-m3", "gte-base", "gte-modernbert-base", "contriever"]
    names.append("msmarco-distilbert-base-tas-b")
    assert [family_of(name) for name in names] == list(FAMILIES)


def _seen(model: BiEncoder) -> tuple[str, str, Pooling, bool]:
    query, document = model.query_tower.settings, model.document_tower.settings
    assert (query.pooling, query.normalise) == (document.pooling, document.normalise)
    return query.prompt, document.prompt, document.pooling, document.normalise


@pytest.mark.parametrize(("name", "expected"), [("e5-small-v2", E5), ("bge-base-en-v1.5", BGE), ("gte-base", GTE)])
def test_the_folder_name_decides_for_a_bare_checkpoint(tmp_path: Path, name: str, expected: tuple[object, ...]) -> None:
    model = BiEncoder.load(tiny.save_bare(tmp_path / name))
    assert _seen(model) == expected
    assert model.shared
    assert model.notes[0].startswith(f"a bare transformers checkpoint: {expected[2]} pooling, unit vectors, as ")


def test_the_name_in_the_configuration_decides_too(tmp_path: Path) -> None:
    folder = tiny.save_bare(tmp_path / "mine")
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace("{", '{"_name_or_path": "intfloat/e5-small",', 1))
    assert _seen(BiEncoder.load(folder)) == E5


def test_a_hub_cache_folder_is_named_by_its_repository(tmp_path: Path) -> None:
    folder = tmp_path / "models--BAAI--bge-base-en-v1.5" / "snapshots" / "0123abcd"
    assert _seen(BiEncoder.load(tiny.save_bare(folder))) == BGE


def test_raw_dot_product_families_keep_their_lengths(tmp_path: Path) -> None:
    model = BiEncoder.load(tiny.save_bare(tmp_path / "contriever"))
    assert (model.similarity, model.normalised) == ("dot", False)


def test_what_a_family_decided_is_saved(tmp_path: Path) -> None:
    BiEncoder.load(tiny.save_bare(tmp_path / "e5-base")).save(tmp_path / "renamed")
    assert _seen(BiEncoder.load(tmp_path / "renamed")) == E5
