from __future__ import annotations

import shlex
from pathlib import Path

from tests.cli.running import cli, failure


def test_a_finished_run_is_told_again(run_folder: Path, tiny_model_folder: Path, collection_folder: Path) -> None:
    settings = ("--set", "training.epochs=3", "--set", "training.batch_size=8", "--set", "training.learning_rate=1e-3")
    again = ("fit", collection_folder, "--model", tiny_model_folder, "--out", run_folder, *settings, "--precision", "exact")
    done = cli(*again, "--json")
    assert (done.status, done.err) == (0, f"{run_folder} is finished: its model is taken as it is\n")
    result = done.json
    assert (result["model"], result["measure"], result["pairs"]) == (str(run_folder / "model"), "nDCG@10", 120)
    assert result["kept"] is True
    assert result["after"] > result["before"] == result["dev"]["0"]

    before, after, trained_on, model, *_ = cli(*again, "--quiet").out.splitlines()
    assert before.split() == ["nDCG@10", "before", f"{result['before']:.4f}", "(30", "dev", "queries)"]
    assert after.split() == [
        "nDCG@10",
        "after",
        f"{result['after']:.4f}",
        "(kept,",
        "step",
        str(result["chosen_step"]),
        "of",
        "45)",
    ]
    assert trained_on.split() == ["trained", "on", "120", "pairs"]
    assert model.split() == ["model", str(run_folder / "model")]


def test_it_says_what_to_type_next(run_folder: Path, tiny_model_folder: Path, collection_folder: Path) -> None:
    config = run_folder.with_name("config.toml")
    config.write_text("[training]\nepochs = 3\nbatch_size = 8\nlearning_rate = 1e-3\nprecision = 'exact'\n")
    done = cli("fit", collection_folder, "--model", tiny_model_folder, "--out", run_folder, "--config", config)
    evaluate, index = done.out.partition("next:\n")[2].splitlines()
    assert shlex.split(evaluate) == [
        "biencoder", "evaluate", str(run_folder), str(collection_folder), "--against", str(tiny_model_folder),
    ]  # fmt: skip
    assert shlex.split(index)[:2] == ["biencoder", "index"]


def test_a_training_that_does_not_help_is_rolled_back(tiny_model_folder: Path, collection_folder: Path, tmp_path: Path) -> None:
    settings = ("--set", "training.learning_rate=1e-9", "--set", "training.batch_size=20")
    done = cli("fit", collection_folder, "--model", tiny_model_folder, "--out", tmp_path / "run", *settings, "-q")
    assert (done.status, done.err) == (0, "")
    assert "(rolled back: training did not help on dev)" in done.out
    assert "--set training.learning_rate=2.5e-10" in done.out


def test_bad_input_is_one_line(tiny_model_folder: Path, collection_folder: Path, run_folder: Path, tmp_path: Path) -> None:
    start = ("fit", collection_folder, "--model", tiny_model_folder, "--out")
    new = tmp_path / "run"
    assert failure(*start, new, "--set", "training.epoch=2").startswith(
        "the key 'training.epoch' is unknown; did you mean 'epochs'? there are: loss, temperature"
    )
    assert failure(*start, new, "--set", "epochs") == "--set epochs: key=value was expected, such as training.epochs=2"
    assert failure(*start, new, "--set", "train_split=trian").startswith(
        "the collection has no split 'trian' to train on; did you mean 'train'?"
    )
    assert failure(*start, new, "--config", tmp_path / "no.toml").startswith(f"{tmp_path / 'no.toml'} cannot be read as TOML")
    other = failure(*start, run_folder, "--set", "training.epochs=2")
    assert other.startswith(f"{run_folder} holds another run (options: training: batch_size: 8, now 64)")
    assert failure("fit", tmp_path / "none", "--model", tiny_model_folder, "--out", new).startswith(
        f"{tmp_path / 'none'}: there is no such file or folder; expected a folder with corpus.jsonl"
    )
