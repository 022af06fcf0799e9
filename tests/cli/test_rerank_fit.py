from __future__ import annotations

import shlex
from pathlib import Path

from biencoder.data.collection import Collection
from biencoder.mining import MiningOptions, mine
from biencoder.towers.cross_encoder import CrossEncoder
from tests.cli.conftest import RERANK_SETTINGS
from tests.cli.running import cli, failure


def test_a_finished_run_is_told_again(reranker_folder: Path, tiny_model_folder: Path, marked_folder: Path) -> None:
    again = ("rerank-fit", marked_folder, "--model", tiny_model_folder, "--out", reranker_folder, *RERANK_SETTINGS)
    done = cli(*again, "--json")
    assert (done.status, done.err) == (0, f"{reranker_folder} is finished: its model is taken as it is\n")
    result = done.json
    assert (result["model"], result["measure"], result["lists"]) == (str(reranker_folder / "model"), "nDCG@10", 60)
    step = result["chosen_step"]
    assert (result["helps"], result["dev"][str(step)] > result["first_stage"] + 0.2) == (True, True)

    first, reranked, trained_on, model, empty, following, command = cli(*again, "--quiet").out.splitlines()
    assert first.split() == ["nDCG@10", "of", "bm25", f"{result['first_stage']:.4f}", "(20", "dev", "queries)"]
    assert reranked.split() == [
        "nDCG@10",
        "reranked",
        f"{result['dev'][str(step)]:.4f}",
        "(step",
        str(step),
        "of",
        "60,",
        "p",
        "=",
        f"{result['p_value']:.4f})",
    ]
    assert trained_on.split() == ["trained", "on", "60", "lists", "of", "60", "pairs"]
    assert model.split() == ["model", str(reranker_folder / "model")]
    assert (empty, following) == ("", "next:")
    assert shlex.split(command) == [
        "biencoder", "evaluate", "bm25", str(marked_folder), "--rerank", str(reranker_folder), "--against", "bm25",
    ]  # fmt: skip
    assert CrossEncoder.load(reranker_folder).max_length == 32


def test_with_a_retriever_a_file_and_another_split(tiny_model_folder: Path, marked_folder: Path, tmp_path: Path) -> None:
    mined = tmp_path / "mined.jsonl"
    mine(
        None,
        Collection.read(marked_folder),
        out=mined,
        split="test",
        options=MiningOptions(source="bm25", relative_margin=None),
    )
    config = tmp_path / "config.toml"
    config.write_text("candidates = 10\n[training]\nepochs = 0.2\nbatch_size = 4\nnegatives = 2\nmax_length = 32\n")
    start = ("rerank-fit", marked_folder, "--model", tiny_model_folder, "--config", config, "--retriever", tiny_model_folder)
    done = cli(*start, "--split", "test", "--negatives", mined, "--out", tmp_path / "run", "-q")
    assert (done.status, done.err) == (0, "")
    first, reranked, trained_on, *_, command = done.out.splitlines()
    assert first.startswith(f"nDCG@10 of {tiny_model_folder}  0.")
    assert "nDCG@10 reranked" in reranked
    assert trained_on.split()[2:] == ["20", "lists", "of", "20", "pairs"]
    assert shlex.split(command)[2] == str(tiny_model_folder)


def test_what_does_not_help_is_said(tiny_model_folder: Path, collection_folder: Path, tmp_path: Path) -> None:
    settings = (*RERANK_SETTINGS, "--set", "training.epochs=0.1", "--set", "training.learning_rate=1e-9")
    done = cli("rerank-fit", collection_folder, "--model", tiny_model_folder, "--out", tmp_path / "run", *settings, "-q")
    assert done.status == 0
    assert ": more pairs, epochs or negatives may help)" in done.out
    result = cli(
        "rerank-fit", collection_folder, "--model", tiny_model_folder, "--out", tmp_path / "run", *settings, "--json"
    ).json
    weight, alone = result["first_stage_weight"], result["alone"]
    assert weight > 0
    assert f"… by its own scores  {alone:.4f}  (the first stage's are added {weight:g}-fold)" in done.out

    remark = f"{tmp_path / 'run'} adds the scores of the first stage that it was trained for to its own; here it adds none\n"
    rerank = ("-m", "nDCG@10", "--rerank", tmp_path / "run", "--depth", 10)
    assert remark not in cli("evaluate", "bm25", collection_folder, *rerank).err
    assert remark in cli("evaluate", tiny_model_folder, collection_folder, *rerank).err
    index = tmp_path / "index"
    assert cli("index", tiny_model_folder, collection_folder, "--out", index).status == 0
    for more in ([], ["--hybrid"]):
        assert remark in cli("search", index, "heart", "--rerank", tmp_path / "run", *more).err


def test_bad_input_is_one_line(tiny_model_folder: Path, marked_folder: Path, reranker_folder: Path, tmp_path: Path) -> None:
    start = ("rerank-fit", marked_folder, "--model", tiny_model_folder, "--out")
    new = tmp_path / "run"
    assert failure(*start, new, "--set", "training.negative=2").startswith(
        "the key 'training.negative' is unknown; did you mean 'negatives'? there are: loss, negatives"
    )
    assert failure(*start, new, "--set", "mining.negative=2").startswith(
        "the key 'mining.negative' is unknown; did you mean 'negatives'?"
    )
    assert failure(*start, new, "--split", "trian").startswith(
        "the collection has no split 'trian' to train on; did you mean 'train'?"
    )
    other = failure(*start, reranker_folder, *RERANK_SETTINGS, "--set", "candidates=11")
    assert other.startswith(f"{reranker_folder} holds another run (options: candidates: 10, now 11)")
    assert failure(*start, new, "--negatives", tmp_path / "no.jsonl").startswith(f"{tmp_path / 'no.jsonl'}")
    assert (
        failure("rerank-fit", marked_folder, "--model", tmp_path / "no", "--out", new) == f"{tmp_path / 'no'}: no such folder"
    )
    assert "'int8' is not one of 'exact', 'fast'" in failure(*start, new, "--precision", "int8", status=2)
    assert not new.exists()
