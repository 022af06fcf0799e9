from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from biencoder.cli import fit as command
from tests.cli.running import cli, failure


def test_a_finished_run_is_told_again(run_folder: Path, tiny_model_folder: Path, collection_folder: Path) -> None:
    settings = ("--set", "training.epochs=3", "--set", "training.batch_size=8", "--set", "training.learning_rate=1e-3")
    chosen = (*settings, "--stages", "in-batch,bm25", "--teacher", "none", "--set", "again=none")
    again = ("fit", collection_folder, "--model", tiny_model_folder, "--out", run_folder, *chosen, "--precision", "exact")
    done = cli(*again, "--json")
    assert (done.status, done.err) == (0, f"{run_folder} is finished: its model is taken as it is\n")
    result = done.json
    assert (result["model"], result["measure"], result["pairs"]) == (str(run_folder / "model"), "nDCG@10", 120)
    assert result["kept"] is True
    first, second = result["units"]
    assert result["after"] >= first["after"] > result["before"] == first["dev"]["0"]
    assert (first["name"], second["name"], first["kept"]) == ("in-batch", "bm25", True)

    before, one, _, after, trained_on, model, *_ = cli(*again, "--quiet").out.splitlines()
    assert before.split() == ["nDCG@10", "before", f"{result['before']:.4f}", "(30", "dev", "queries)"]
    assert one.split() == ["in-batch", f"{first['after']:.4f}", "kept,", "p", "=", f"{first['p_value']:.4f}"]
    p = result["comparison"]["p_value"]
    assert after.split() == ["nDCG@10", "after", f"{result['after']:.4f}", "(kept,", "p", "=", f"{p:.4f})"]
    assert trained_on.split() == ["trained", "on", "120", "pairs,", f"{result['minutes']:.1f}", "minutes"]
    assert model.split() == ["model", str(run_folder / "model")]


def test_it_says_what_to_type_next(run_folder: Path, tiny_model_folder: Path, collection_folder: Path) -> None:
    config = run_folder.with_name("config.toml")
    config.write_text("[training]\nepochs = 3\nbatch_size = 8\nlearning_rate = 1e-3\nprecision = 'exact'\n")
    more = ("--stages", "in-batch,bm25", "--teacher", "none", "--set", "again=none")
    done = cli("fit", collection_folder, "--model", tiny_model_folder, "--out", run_folder, "--config", config, *more)
    evaluate, index = done.out.partition("next:\n")[2].splitlines()
    assert shlex.split(evaluate) == [
        "biencoder", "evaluate", str(run_folder), str(collection_folder), "--against", str(tiny_model_folder),
    ]  # fmt: skip
    assert shlex.split(index)[:2] == ["biencoder", "index"]


def test_a_training_that_does_not_help_is_rolled_back(tiny_model_folder: Path, collection_folder: Path, tmp_path: Path) -> None:
    settings = ("--set", "training.learning_rate=1e-9", "--set", "training.batch_size=20", "--stages", "in-batch")
    done = cli("fit", collection_folder, "--model", tiny_model_folder, "--out", tmp_path / "run", *settings, "-q")
    assert (done.status, done.err) == (0, "")
    assert "rolled back: nDCG@10 on dev was " in done.out
    assert "(no stage helped on dev: the model is as it was)" in done.out
    again = shlex.split(done.out.partition("next:\n")[2])
    run, start = tmp_path / "run", ["biencoder", "fit", str(collection_folder), "--model", str(tiny_model_folder)]
    told = ["--stages", "in-batch", "--set", "training.learning_rate=1e-9", "--set", "training.batch_size=20"]
    assert again == [*start, "--out", f"{run}.gentler", *told, "--set", "training.learning_rate=2.5e-10"]
    assert cli(*again[1:], "-q").status == 0  # of two values for a key, the last one counts


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
    other = failure(*start, run_folder, "--set", "training.epochs=2", "--set", "again=none")
    assert other.startswith(f"{run_folder} holds another run (options: stages: ")
    assert failure(*start, new, "--stages", "in-batch,bm52") == (
        "--stages: there is no stage 'bm52' in the curriculum; did you mean 'bm25'? there are: in-batch, bm25, mined, distilled"
    )
    assert failure(*start, new, "--stages", ",") == "--stages names none; there are: in-batch, bm25, mined, distilled"
    assert failure("fit", tmp_path / "none", "--model", tiny_model_folder, "--out", new).startswith(
        f"{tmp_path / 'none'}: there is no such file or folder; expected a folder with corpus.jsonl"
    )


def test_documents_alone(tiny_model_folder: Path, collection_folder: Path, tmp_path: Path) -> None:
    fit = ("fit", collection_folder, "--from-documents", "--model", tiny_model_folder, "--out", tmp_path / "run")
    done = cli(*fit, "--stages", "in-batch", "--set", "training.batch_size=20", "--set", "training.epochs=1", "--json")
    assert done.status == 0, done.err
    assert done.json["made_up"] is True
    assert "no queries: 60 are made from the documents" in done.err
    done = cli(*fit, "--stages", "in-batch", "--set", "training.batch_size=20", "--set", "training.epochs=1")
    assert "biencoder evaluate" not in done.out  # the documents have no queries to measure with
    assert ("biencoder index" in done.out) or ("--from-documents" in done.out)


def test_pairs_without_a_test_split_are_measured_on_dev(tiny_model_folder: Path, run_folder: Path) -> None:
    result = {"kept": True, "learning_rate": 1e-3}
    told = command._Told("pairs.jsonl", str(tiny_model_folder), run_folder, "dev", [])
    evaluate, index = command._next_steps(result, told)
    assert evaluate == ["evaluate", str(run_folder), "pairs.jsonl", "--split", "dev", "--against", str(tiny_model_folder)]
    assert index[:2] == ["index", str(run_folder)]


def test_several_processes(
    tiny_model_folder: Path, collection_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert failure("fit", collection_folder, "--model", tiny_model_folder, "--out", tmp_path / "run") == (
        "fit is one process; under torchrun call biencoder.training.trainer.train (docs/training.md)"
    )
