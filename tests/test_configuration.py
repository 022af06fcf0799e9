from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from biencoder.configuration import configure, first_difference, nearest
from biencoder.errors import ArgumentError
from biencoder.mining import MiningOptions
from biencoder.pipeline import FitOptions, StageOptions
from biencoder.training.options import TrainingOptions


def test_defaults() -> None:
    assert configure(FitOptions) == FitOptions()


def test_settings_over_a_file_over_defaults(tmp_path: Path) -> None:
    file = tmp_path / "fit.toml"
    file.write_text('measure = "MRR@10"\ndev_queries = 7\n[training]\nepochs = 2\nseed = 5\n')
    found = configure(FitOptions, file=file, settings=["training.epochs=3", "dev_share = 0.25", "separate=true"])
    assert (found.measure, found.dev_queries, found.dev_share, found.separate) == ("MRR@10", 7, 0.25, True)
    assert (found.training.epochs, found.training.seed, found.training.batch_size) == (3.0, 5, 64)


def test_plain_text_needs_no_quotes() -> None:
    assert configure(FitOptions, settings=["measure=MRR@10", "training.loss=triplet"]).training.loss == "triplet"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "trainin.epochs=2",
            r"^the key 'trainin' is unknown; did you mean 'training'\? there are: training, stages, budget, train_split, ",
        ),
        ("training.epoch=2", r"^the key 'training.epoch' is unknown; did you mean 'epochs'\? there are: loss, temperature, "),
        ("zzz=1", "^the key 'zzz' is unknown; there are: training, "),
        ("training.epochs=0", "^training.epochs is 0: input should be greater than 0$"),
        ("training.loss=hinge", "^training.loss is 'hinge': input should be 'info_nce', 'triplet', 'margin_mse' or 'kl'$"),
        ("dev_queries=many", "^dev_queries is 'many': input should be a valid integer, unable to parse string as an integer$"),
        ("training", "^--set training: key=value was expected, such as training.epochs=2$"),
    ],
)
def test_refused(setting: str, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        configure(FitOptions, settings=[setting])


def test_a_value_where_a_table_is_meant() -> None:
    with pytest.raises(ArgumentError, match=r"^--set training.epochs: training is a single value, not a table$"):
        configure(FitOptions, settings=["training=1", "training.epochs=2"])


def test_the_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "fit.toml"
    file.write_text("epochs = 2")
    with pytest.raises(ArgumentError) as caught:
        configure(FitOptions, file=file)
    assert str(caught.value).startswith(f"{file}: the key 'epochs' is unknown; ")


@pytest.mark.parametrize("content", [b"= 2", b"a = 1\na = 2", b"a = '\xff'"])
def test_no_toml(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "fit.toml"
    file.write_bytes(content)
    with pytest.raises(ArgumentError) as caught:
        configure(FitOptions, file=file)
    assert str(caught.value).startswith(f"{file} cannot be read as TOML (")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"cannot be read as TOML .*No such file"):
        configure(FitOptions, file=tmp_path / "none.toml")


IN_A_LIST = """
[[stages]]
name = "first"

[[stages]]
name = "second"
negatives = "mined"
"""


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            "[stages.training]\nepoch = 2",
            "the key 'stages.1.training.epoch' is unknown; did you mean 'epochs'? there are: "
            + ", ".join(TrainingOptions.model_fields),
        ),
        (
            "[stages.mining]\nrelativ_margin = 0.1",
            "the key 'stages.1.mining.relativ_margin' is unknown; did you mean 'relative_margin'? there are: "
            + ", ".join(MiningOptions.model_fields),
        ),
        (
            "round = 2",
            (
                "the key 'stages.1.round' is unknown; did you mean 'rounds'? "
                "there are: name, negatives, rounds, teacher, rate, training, mining"
            ),
        ),
        (
            "zzz = 2",
            "the key 'stages.1.zzz' is unknown; there are: name, negatives, rounds, teacher, rate, training, mining",
        ),
        ("rounds = 0", "stages.1.rounds is 0: input should be greater than or equal to 1"),
        (
            '[stages.training]\nloss = "hinge"',
            "stages.1.training.loss is 'hinge': input should be 'info_nce', 'triplet', 'margin_mse' or 'kl'",
        ),
        (
            "[stages.mining]\nfirst_rank = 50\nlast_rank = 10",
            "in stage second: last_rank is 10: it must be at least first_rank, which is 50",
        ),
        ('[[stages]]\nname = "first"', "two stages are called first; give each a name of its own"),
        (
            '[[stages]]\nnegatives = "bm25"',
            "stages.2.name is {'negatives': 'bm25'}: field required",
        ),
    ],
)
def test_a_list_of_tables(tmp_path: Path, lines: str, message: str) -> None:
    file = tmp_path / "fit.toml"
    file.write_text(IN_A_LIST)
    stages = configure(FitOptions, file=file).stages
    assert [(stage.name, stage.negatives) for stage in stages] == [("first", "in-batch"), ("second", "mined")]
    file.write_text(IN_A_LIST + lines)
    with pytest.raises(ArgumentError) as caught:
        configure(FitOptions, file=file)
    assert str(caught.value) == f"{file}: {message}"


def test_a_list_of_tables_in_a_setting() -> None:
    rows = '[{name="a"}, {name="b", negatives="bm25", rounds=2, training={epochs=0.5}}]'
    first, second = configure(FitOptions, settings=[f"stages={rows}"]).stages
    assert first == StageOptions(name="a")
    assert (second.name, second.negatives, second.rounds) == ("b", "bm25", 2)
    assert second.training_options(TrainingOptions()).epochs == 0.5
    with pytest.raises(ArgumentError) as caught:
        configure(FitOptions, settings=['stages=[{name="a"}, {name="a"}]'])
    assert str(caught.value) == "two stages are called a; give each a name of its own"


@given(setting=st.text(max_size=20))
def test_any_setting_is_taken_or_refused(setting: str) -> None:
    with contextlib.suppress(ArgumentError):
        assert isinstance(configure(FitOptions, settings=[setting]), FitOptions)


def test_nearest() -> None:
    assert nearest("tset", ["train", "test"]) == "; did you mean 'test'? there are: train, test"
    assert nearest("xyz", ["train"]) == "; there are: train"
    assert nearest("xyz", []) == ""


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.dictionaries(st.text(max_size=3), inner, max_size=3) | st.lists(inner, max_size=3),
)


@given(value=JSON)
def test_first_difference_in_a_nested_value(value: Any) -> None:
    found = first_difference({"a": 1, "b": {"c": value, "d": 1}}, {"a": 1, "b": {"c": [value], "d": 2}})
    assert found.startswith("b: c: ")
    assert ", now [" in found


def test_first_difference_of_a_missing_key_and_a_long_value() -> None:
    assert first_difference({"a": 1}, {"a": 1, "b": "x" * 99}) == 'b: null, now "' + "x" * 56 + "..."


def test_none_where_there_may_be_none(tmp_path: Path) -> None:
    assert configure(FitOptions, settings=["budget=none"]).budget is None
    assert configure(FitOptions, settings=["teacher=none"]).teacher == "none"  # a name here
    file = tmp_path / "options.toml"
    file.write_text('[[stages]]\nname = "hard"\nnegatives = "mined"\n[stages.mining]\nrelative_margin = "none"\n')
    (stage,) = configure(FitOptions, file=file).stages
    assert stage.mining_options(seed=0).relative_margin is None
    with pytest.raises(ArgumentError, match=r"^measure is"):
        configure(FitOptions, settings=["measure=3"])
