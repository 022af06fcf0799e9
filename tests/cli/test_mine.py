from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest

from biencoder.mining import MinedPair, read_examples
from biencoder.towers.bi_encoder import BiEncoder
from tests.cli.running import cli, failure
from tests.mining.fakes import FakeTeacher, lines

LOOSE = ("--set", "relative_margin=0.0")


def command(model: Path, collection: Path, out: Path, *more: object) -> tuple[object, ...]:
    return ("mine", model, collection, "--out", out, "--precision", "exact", *LOOSE, *more)


def test_it_mines_reuses_and_says_what_to_type_next(tiny_model_folder: Path, collection_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "n.jsonl"
    words = command(tiny_model_folder, collection_folder, out)
    done = cli(*words)
    assert (done.status, done.err) == (0, "")
    facts = dict(line.split(maxsplit=1) for line in done.out.splitlines()[:4])
    mined = lines(out)
    count = sum(len(line["negatives"]) for line in mined)
    empty = sum(not line["negatives"] for line in mined)
    assert facts["pairs"] == "120  (120 mined now)"
    assert facts["negatives"] == f"{count:,}, {count / 120:.1f} a pair" + (f"  ({empty} pairs have none)" if empty else "")
    assert facts["left"].startswith("out   margin ")
    assert facts["file"] == str(out)
    run = tmp_path / "n.run"
    assert done.out.splitlines()[-1] == f"  biencoder fit {out} --model {tiny_model_folder} --out {run}"

    again = cli(*words, "--json")
    assert again.err == "reused the negatives of 120 pairs\n"
    assert (again.json["pairs"], again.json["negatives"], again.json["fresh"]) == (120, count, 0)
    assert set(again.json) == {"path", "pairs", "negatives", "dropped", "without_negatives", "fresh"}

    tuned = cli("fit", out, "--model", tiny_model_folder, "--out", run, "--set", "training.batch_size=20", "--quiet")
    assert tuned.status == 0, tuned.err


def test_options_reach_mining(tiny_model_folder: Path, collection_folder: Path, tmp_path: Path) -> None:
    more = ("--source", "bm25", "--split", "dev", "--ranks", "2-4", "--negatives", "2", "--set", "pick=hardest")
    words = command(tiny_model_folder, collection_folder, tmp_path / "n.jsonl", *more, "--set", "source=model")
    done = cli(*words, "--vectors", tmp_path / "v", "--json")
    assert done.json["pairs"] == 30
    mined = lines(tmp_path / "n.jsonl")
    assert {line["source"] for line in mined} == {"bm25"}
    assert {rank for line in mined for rank in line["negative_ranks"]} == {2, 3, 4}
    assert max(len(line["negatives"]) for line in mined) == 2
    assert (tmp_path / "v" / "vectors.npy").exists()


def test_show_prints_pairs_from_all_over(tiny_model_folder: Path, collection_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "n.jsonl"
    words = command(tiny_model_folder, collection_folder, out, "--negatives", "2", "--show", "3")
    shown = cli(*words).out
    mined = [lines(out)[place] for place in (0, 40, 80)]
    blocks = shown.split("\n\n")[:3]
    for block, line in zip(blocks, mined, strict=True):
        first, head, positive, *negatives = block.splitlines()
        assert first == f"» {line['query']}"
        assert head == "     rank   score"
        assert positive.split(maxsplit=3) == [
            "+", str(line["positive_rank"]), f"{line['positive_score']:.4f}", line["positive"],
        ]  # fmt: skip
        assert [own.split(maxsplit=3)[3] for own in negatives] == line["negatives"]
    assert [pair["query"] for pair in cli(*words, "--json").json["shown"]] == [line["query"] for line in mined]


def test_a_teachers_scores(
    tiny_model_folder: Path, collection_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []

    class CrossEncoder(FakeTeacher):
        @classmethod
        def load(cls, name: str, *, precision: str) -> CrossEncoder:
            asked.append((name, precision))
            return cls({}, name)

    module = types.ModuleType("biencoder.towers.cross_encoder")
    module.CrossEncoder = CrossEncoder  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "biencoder.towers.cross_encoder", module)
    out = tmp_path / "n.jsonl"
    more = ("--teacher", "some-cross-encoder", "--set", "denoise=0.6", "--show", "1", "--negatives", "1")
    done = cli(*command(tiny_model_folder, collection_folder, out, *more))
    assert (done.status, asked) == (0, [("some-cross-encoder", "exact")])
    assert done.out.splitlines()[1] == "     rank   score  teacher"
    assert done.out.splitlines()[2].split()[3] == "0.00"
    assert {example.scores for example in read_examples(out)} <= {(0.0,), (0.0, 0.0)}


def test_after_training_it_mines_anew(
    tiny_model_folder: Path, run_folder: Path, collection_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "n.jsonl"
    model = tmp_path / "model"
    BiEncoder.load(tiny_model_folder).save(model)
    words = command(model, collection_folder, out, "--json")
    assert [cli(*words).json["fresh"] for _ in range(2)] == [120, 0]
    BiEncoder.load(run_folder).save(model)  # the same name, other weights
    again = cli(*words)
    assert again.err.startswith(f"mining anew: {out} was mined otherwise (model: document: ")
    assert again.json["fresh"] == 120


def test_help_and_interruption(collection_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "biencoder mine runs/scifact data/scifact --out negatives.jsonl" in cli("mine", "--help").out

    def interrupted(path: str) -> None:
        raise KeyboardInterrupt(path)

    monkeypatch.setattr("biencoder.data.collection.Collection.read", interrupted)
    done = cli("mine", "model", collection_folder, "--out", tmp_path / "n.jsonl")
    assert (done.status, done.err) == (130, "\nbiencoder: interrupted; the same command resumes\n")


def test_bad_input_is_one_line(tiny_model_folder: Path, collection_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "n.jsonl"
    start = ("mine", tiny_model_folder, collection_folder, "--out", out)
    assert failure(*start, "--ranks", "30", status=2) == (
        "Invalid value: --ranks is '30'; FIRST-LAST was expected, such as 30-100 (see: biencoder mine --help)"
    )
    assert failure(*start, "--ranks", "30-3") == "last_rank is 3: it must be at least first_rank, which is 30"
    assert failure(*start, "--set", "relative_margins=1").startswith(
        "the key 'relative_margins' is unknown; did you mean 'relative_margin'?"
    )
    reason = "there is no split 'trian' in this collection; there are: train, dev, test"
    assert failure(*start, "--split", "trian") == reason
    reason = f"{tmp_path / 'n'}: the file's name must end in .jsonl, so that it can be read as pairs"
    assert failure("mine", tiny_model_folder, collection_folder, "--out", tmp_path / "n") == reason
    out.write_text("mine")
    assert failure(*start).startswith(f"{out} exists and was not mined, or its record n.jsonl.meta.json is gone; remove it")


def test_the_layout_survives_hostile_texts() -> None:
    from biencoder.cli.pairs import pair_lines

    pair = MinedPair(
        query_id="q",
        query="a\x1b[2Jb\nc" * 40,
        source="model",
        positive_id="p",
        positive_rank=None,
        positive_score=-12.5,
        positive="漢字" * 60,
        scores=[3.25, -123.456],
        negative_ids=["n"],
        negative_ranks=[1234],
        negative_scores=[98.76],
        negatives=["word " * 50],
    )
    query, head, positive, negative = pair_lines(pair, width=70)
    assert query == "» " + ("a [2Jb ca [2Jb ca [2Jb ca [2Jb ca [2Jb ca [2Jb ca [2Jb ca [2Jb ca ["[:67] + "…")
    assert head == "     rank   score  teacher"
    assert positive == "  +  none   -12.5     3.25  " + "漢字" * 10 + " …"  # half a character
    assert negative == "  -  1234    98.8  -123.46  " + ("word " * 50)[:41] + "…"
