from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, cast

import pytest

from biencoder.data.collection import Collection
from biencoder.errors import ArgumentError, DataError, LockedError, StorageError
from biencoder.evaluation import evaluate
from biencoder.evaluation.candidates import Candidates, Reranked
from biencoder.mining import MiningOptions, mine, read_examples
from biencoder.progress import Progress
from biencoder.records import FirstStageWeight, Judgement
from biencoder.reranking import RerankFitOptions, _Judge, _verdict, fit_reranker
from biencoder.run_folder import read_run
from biencoder.search import KeywordSearcher, Reranker, Searcher
from biencoder.storage.folder import locked
from biencoder.storage.manifest import verify
from biencoder.towers.bi_encoder import BiEncoder
from biencoder.towers.cross_encoder import CrossEncoder
from biencoder.training.state import weights_of
from tests import tiny
from tests.training.tasks import Interrupting


def options(training: dict[str, Any] | None = None, **changes: Any) -> RerankFitOptions:
    chosen = {
        "batch_size": 4,
        "negatives": 3,
        "learning_rate": 3e-3,
        "precision": "exact",
        "epochs": 4,
        "checkpoint_seconds": 0,
    }
    return RerankFitOptions.model_validate({"training": chosen | (training or {}), "candidates": 10} | changes)


@pytest.fixture(scope="module")
def collection() -> Collection:
    return tiny.marked_collection()


@pytest.fixture
def fresh(tiny_model_folder: Path) -> CrossEncoder:
    return start(tiny_model_folder)


def start(folder: Path) -> CrossEncoder:
    return CrossEncoder.from_backbone(folder, max_length=32)


def weights(encoder: CrossEncoder) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in weights_of(encoder.module).items()}


def measures(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "measures.json").read_text())
    return found


def without_dev(collection: Collection) -> Collection:
    judgements = {
        split: [
            Judgement(query, document, grade)
            for query, judged in collection.judgements(split).items()
            for document, grade in judged.items()
        ]
        for split in collection.splits
        if split != "dev"
    }
    return Collection(documents=list(collection.documents), queries=collection.queries(), judgements=judgements)


def test_it_learns_to_rerank_bm25(fresh: CrossEncoder, collection: Collection, tmp_path: Path) -> None:
    notes = Interrupting(-1)
    encoder = fit_reranker(fresh, collection, out=tmp_path / "run", options=options(), progress=notes)
    keywords = KeywordSearcher.build(collection.documents)
    before = evaluate(keywords, collection, split="test", measures="nDCG@10").measures["nDCG@10"]
    after = evaluate(Reranker(keywords, encoder, 10), collection, split="test", measures="nDCG@10").measures["nDCG@10"]
    assert after > before + 0.2
    found = measures(tmp_path / "run")
    dev = evaluate(keywords, collection, split="dev", measures="nDCG@10").measures["nDCG@10"]
    assert found["first_stage"] == pytest.approx(dev)
    assert list(found["dev"]) == ["30", "60"]
    best = found["dev"][str(found["chosen_step"])]
    assert (found["helps"], found["lists"], found["pairs"], found["dev_queries"]) == (True, 60, 60, 20)
    assert best == max(found["dev"].values()) > dev + 0.2
    assert notes.said[0] == f"nDCG@10 on dev: {dev:.4f} before reranking"
    how = f"step {found['chosen_step']}; p = {found['p_value']:.4f}"
    assert notes.said[-1] == f"reranking helps: nDCG@10 on dev {dev:.4f} → {best:.4f} ({how})"
    assert (found["first_stage_weight"], found["alone"], found["p_value"] < 0.01) == (0.0, best, True)
    saved = CrossEncoder.load(tmp_path / "run")
    assert weights(saved) == weights(encoder)
    assert saved.fingerprint() == encoder.fingerprint()
    examples = read_examples(tmp_path / "run" / "examples.jsonl")
    assert [one.positive for one in examples] == [one.positive for one in collection.examples("train")]
    assert {len(one.negatives) for one in examples} == {3}
    assert not (tmp_path / "run" / "training").exists()


def test_the_first_stage_helps_a_poor_reranker(tiny_model_folder: Path, tmp_path: Path) -> None:
    """A head that has learned nothing, behind a first stage that knows."""
    easy, notes = tiny.collection(), Interrupting(-1)
    chosen = options({"epochs": 2, "learning_rate": 1e-9})
    encoder = fit_reranker(start(tiny_model_folder), easy, out=tmp_path / "run", options=chosen, progress=notes)
    found = measures(tmp_path / "run")
    weight = found["first_stage_weight"]
    best = found["dev"][str(found["chosen_step"])]
    assert weight > 0
    assert best > found["alone"] + 0.1
    assert encoder.first_stage == FirstStageWeight(weight, "bm25, english, k1 0.9, b 0.4")
    assert CrossEncoder.load(tmp_path / "run").first_stage == encoder.first_stage
    assert f"nDCG@10 on dev: {best:.4f} ({found['alone']:.4f} without the first stage's score)" in notes.said
    dev = Reranker(KeywordSearcher.build(easy.documents), encoder, 10)
    assert dev.weight == weight
    again = evaluate(dev, easy, split="dev", measures="nDCG@10").measures["nDCG@10"]
    assert again == pytest.approx(best, abs=0.03)  # BM25 finds some equally good, in the order of the corpus


def test_what_was_judged_before_a_restart_is_judged_again(tiny_model_folder: Path, tmp_path: Path) -> None:
    easy, chosen = tiny.collection(), options({"epochs": 2, "learning_rate": 1e-9})  # the first of two equal looks stands
    fit_reranker(start(tiny_model_folder), easy, out=tmp_path / "whole", options=chosen)
    last = max(map(int, measures(tmp_path / "whole")["dev"]))
    assert measures(tmp_path / "whole")["chosen_step"] < last
    with pytest.raises(KeyboardInterrupt):
        fit_reranker(start(tiny_model_folder), easy, out=tmp_path / "run", options=chosen, progress=Stopping(last - 1))
    fit_reranker(start(tiny_model_folder), easy, out=tmp_path / "run", options=chosen)
    whole, run = measures(tmp_path / "whole"), measures(tmp_path / "run")
    assert run | {"lists_per_second": 0} == whole | {"lists_per_second": 0}
    assert (tmp_path / "run" / "model" / "reranker.json").read_bytes() == (
        tmp_path / "whole" / "model" / "reranker.json"
    ).read_bytes()


def test_what_was_found_belongs_to_the_weights_and_not_to_the_score(collection: Collection) -> None:
    """Two that are equally good, each with a weight of its own."""
    judged: list[str] = []

    class Equal:
        measure, split = "nDCG@10", "dev"

        def __init__(self) -> None:
            self.collection = collection

        def before(self) -> float:
            return 0.5

        def reranked(self, encoder: CrossEncoder, *, progress: Progress) -> Reranked:
            del progress
            judged.append(encoder.fingerprint())
            return Reranked(0.9, FirstStageWeight(float(len(judged)), "bm25"), 0.4, 0.01)

    first, second = tiny.cross_encoder(seed=0), tiny.cross_encoder(seed=1)
    judge = _Judge(cast("Candidates", Equal()), Progress())
    assert judge.score(first) == judge.score(second) == 0.9
    assert [judge.of(one).weight.weight for one in (first, second)] == [1.0, 2.0]
    assert judged == [first.fingerprint(), second.fingerprint()]


@pytest.mark.parametrize(
    ("score", "p_value", "said"),
    [
        (
            0.7,
            0.01,
            "reranking helps: nDCG@10 on dev 0.6000 → 0.7000 (step 9, with 2 times the first stage's score; p = 0.0100)",
        ),
        (0.61, 0.05, "reranking does not surely help: nDCG@10 on dev 0.6000 → 0.6100 (step 9; p = 0.0500)"),
        (0.6, 1.0, "reranking does not help: dev nDCG@10 never exceeded the 0.6000 of the first stage"),
    ],
)
def test_the_verdict(score: float, p_value: float, said: str) -> None:
    chosen = Reranked(score, FirstStageWeight(2.0 if score == 0.7 else 0.0, "bm25"), 0.5, p_value)
    assert _verdict("nDCG@10", 0.6, chosen, step=9) == said


def test_it_reranks_a_bi_encoder(fresh: CrossEncoder, tiny_model: BiEncoder, collection: Collection, tmp_path: Path) -> None:
    chosen = options({"epochs": 1}, mining={"negatives": 9})
    fit_reranker(fresh, collection, out=tmp_path / "run", options=chosen, retriever=tiny_model)
    found = measures(tmp_path / "run")
    searcher = Searcher.in_memory(tiny_model, collection.documents)
    expected = evaluate(searcher, collection, split="dev", measures="nDCG@10").measures["nDCG@10"]
    assert found["first_stage"] == pytest.approx(expected)
    run = read_run(tmp_path / "run")
    assert run["retriever"] == {"document": tiny_model.identity.document, "query": tiny_model.identity.query}
    mining = run["options"]["mining"]
    assert (mining["source"], mining["negatives"], mining["relative_margin"]) == ("model", 9, None)
    assert {len(one.negatives) for one in read_examples(tmp_path / "run" / "examples.jsonl")} == {9}


def test_a_source_that_is_set_wins(fresh: CrossEncoder, tiny_model: BiEncoder, collection: Collection, tmp_path: Path) -> None:
    chosen = options({"epochs": 0.1}, mining={"source": "bm25"})
    fit_reranker(fresh, collection, out=tmp_path / "run", options=chosen, retriever=tiny_model)
    assert read_run(tmp_path / "run")["options"]["mining"]["source"] == "bm25"
    assert {len(one.negatives) for one in read_examples(tmp_path / "run" / "examples.jsonl")} == {3}
    with pytest.raises(ArgumentError, match="source model needs a model, and none is given"):
        fit_reranker(fresh, collection, out=tmp_path / "two", options=options(mining={"source": "model"}))


def test_negatives_from_a_file(tiny_model_folder: Path, collection: Collection, tmp_path: Path) -> None:
    chosen = MiningOptions(source="bm25", relative_margin=None, negatives=2)
    mine(None, collection, out=tmp_path / "mined.jsonl", options=chosen)
    for part in ("first", "second"):
        encoder, notes = start(tiny_model_folder), Interrupting(-1)
        fit_reranker(
            encoder,
            collection,
            out=tmp_path / "run",
            options=options({"epochs": 1}),
            negatives=tmp_path / "mined.jsonl",
            progress=notes,
        )
        assert notes.said[-1].endswith("is finished: its model is taken as it is") is (part == "second")
    assert read_examples(tmp_path / "run" / "examples.jsonl") == read_examples(tmp_path / "mined.jsonl")
    record = read_run(tmp_path / "run")["examples"]
    assert (record["pairs"], record["mined"]) == (60, False)
    (tmp_path / "other.jsonl").write_text((tmp_path / "mined.jsonl").read_text().replace("qa", "qb", 1))
    with pytest.raises(ArgumentError, match=r"holds another run \(examples: sha256: "):
        fit_reranker(
            start(tiny_model_folder),
            collection,
            out=tmp_path / "run",
            options=options({"epochs": 1}),
            negatives=tmp_path / "other.jsonl",
        )


def test_dev_is_held_out_also_of_a_file(fresh: CrossEncoder, collection: Collection, tmp_path: Path) -> None:
    whole = without_dev(collection)
    mine(None, whole, out=tmp_path / "mined.jsonl", options=MiningOptions(source="bm25", relative_margin=None))
    notes = Interrupting(-1)
    fit_reranker(
        fresh,
        whole,
        out=tmp_path / "run",
        options=options({"epochs": 0.1}, dev_share=0.2),
        negatives=tmp_path / "mined.jsonl",
        progress=notes,
    )
    found = measures(tmp_path / "run")
    assert (found["held_out"], found["dev_queries"], found["pairs"]) == (True, 12, 48)
    assert notes.said[0] == "12 of 60 examples ask queries of dev and are left out"
    assert notes.said[1] == "no dev split: 12 queries of train are held out"
    assert len(read_examples(tmp_path / "run" / "examples.jsonl")) == 48


def test_dev_is_held_out_where_negatives_are_mined(fresh: CrossEncoder, collection: Collection, tmp_path: Path) -> None:
    fit_reranker(
        fresh, without_dev(collection), out=tmp_path / "run", options=options({"epochs": 0.1}, dev_queries=7, dev_share=0.2)
    )
    found = measures(tmp_path / "run")
    assert (found["held_out"], found["dev_queries"], found["pairs"]) == (True, 7, 48)
    assert len(read_examples(tmp_path / "run" / "examples.jsonl")) == 48


def test_a_finished_run_returns_at_once(tiny_model_folder: Path, collection: Collection, tmp_path: Path) -> None:
    encoder = fit_reranker(start(tiny_model_folder), collection, out=tmp_path / "run", options=options({"epochs": 1}))
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    notes = Interrupting(1)  # raises at the first step
    again = fit_reranker(
        start(tiny_model_folder), collection, out=tmp_path / "run", options=options({"epochs": 1}), progress=notes
    )
    assert notes.said == [f"{tmp_path / 'run'} is finished: its model is taken as it is"]
    assert weights(again) == weights(encoder)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")} == files


def test_an_interrupted_run_resumes(tiny_model_folder: Path, collection: Collection, tmp_path: Path) -> None:
    chosen = options({"epochs": 2})
    whole = fit_reranker(start(tiny_model_folder), collection, out=tmp_path / "whole", options=chosen)
    for stop in (3, 17, 29):
        with pytest.raises(KeyboardInterrupt):
            fit_reranker(start(tiny_model_folder), collection, out=tmp_path / "run", options=chosen, progress=Stopping(stop))
        assert not (tmp_path / "run" / "model").exists()
        verify(tmp_path / "run" / "training")
    notes = Stopping(-1)
    encoder = fit_reranker(start(tiny_model_folder), collection, out=tmp_path / "run", options=chosen, progress=notes)
    assert "reused the negatives of 60 pairs" in notes.said
    assert any(re.fullmatch(r"resumed at step \d+ of 30", message) for message in notes.said)
    assert weights(encoder) == weights(whole)
    for name in ("dev", "losses", "chosen_step", "first_stage"):
        assert measures(tmp_path / "run")[name] == measures(tmp_path / "whole")[name]
    for name in ("run.json", "examples.jsonl", "model/reranker.json"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


class Stopping(Interrupting):
    """Ctrl-C at a step of the training, and not while negatives are mined."""

    def __call__(self, stage: str, done: int, total: int, facts: str = "") -> None:
        if stage == "training":
            super().__call__(stage, done, total, facts)


def test_harm_is_said(tiny_model_folder: Path, tmp_path: Path) -> None:
    notes = Interrupting(-1)
    chosen = options({"epochs": 0.1, "learning_rate": 1e-9, "evaluations": 1}, measure="MRR@1")
    easy = tiny.collection()
    fit_reranker(start(tiny_model_folder), easy, out=tmp_path / "run", options=chosen, progress=notes)
    found = measures(tmp_path / "run")
    assert (found["helps"], found["measure"]) == (False, "MRR@1")
    assert notes.said[-1] == (
        f"reranking does not help: dev MRR@1 never exceeded the {found['first_stage']:.4f} of the first stage"
    )
    assert (tmp_path / "run" / "model").exists()


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"training": {"epochs": 5}}, "options: training: epochs: 4.0, now 5.0"),
        ({"candidates": 7}, "options: candidates: 10, now 7"),
        ({"mining": {"negatives": 9}}, "options: mining: negatives: 32, now 9"),
    ],
)
def test_other_options(
    fresh: CrossEncoder, collection: Collection, tmp_path: Path, changes: dict[str, Any], difference: str
) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit_reranker(fresh, collection, out=tmp_path / "run", options=options(), progress=Interrupting(1))
    with pytest.raises(ArgumentError) as caught:
        fit_reranker(fresh, collection, out=tmp_path / "run", options=options(**changes))
    hint = "choose another place, or remove the folder to begin again"
    assert str(caught.value) == f"{tmp_path / 'run'} holds another run ({difference}); {hint}"


def test_another_start(tiny_model_folder: Path, collection: Collection, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit_reranker(start(tiny_model_folder), collection, out=tmp_path / "run", options=options(), progress=Interrupting(1))
    other = CrossEncoder.from_backbone(tiny_model_folder, max_length=32, seed=1)
    with pytest.raises(ArgumentError, match=r"holds another run \(start: reranker: "):
        fit_reranker(other, collection, out=tmp_path / "run", options=options())


def test_a_folder_of_other_things(fresh: CrossEncoder, collection: Collection, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("precious")
    with pytest.raises(StorageError) as caught:
        fit_reranker(fresh, collection, out=tmp_path)
    assert str(caught.value) == f"{tmp_path} is not empty and no run; choose another place"


def test_two_at_once(fresh: CrossEncoder, collection: Collection, tmp_path: Path) -> None:
    with locked(tmp_path / "run"), pytest.raises(LockedError, match="another process is writing this folder"):
        fit_reranker(fresh, collection, out=tmp_path / "run")


def test_nothing_to_train_on(fresh: CrossEncoder, collection: Collection, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        fit_reranker(fresh, collection, out=tmp_path / "run", options=options(train_split="trian"))
    assert str(caught.value) == (
        "the collection has no split 'trian' to train on; did you mean 'train'? there are: train, dev, test"
    )
    nothing = [Judgement(query.id, "d0.0", 0) for query in collection.queries("train")]
    dev = [Judgement(query, name) for query, judged in collection.judgements("dev").items() for name in judged]
    judgements = {"train": nothing, "dev": dev}
    irrelevant = Collection(documents=list(collection.documents), queries=collection.queries(), judgements=judgements)
    with pytest.raises(DataError) as caught:
        fit_reranker(fresh, irrelevant, out=tmp_path / "run", options=options())
    assert str(caught.value) == "the split 'train' has no relevant document to train on; grades above 0 are needed"
    mine(None, collection, out=tmp_path / "dev.jsonl", split="dev", options=MiningOptions(source="bm25"))
    with pytest.raises(DataError) as caught:
        fit_reranker(fresh, collection, out=tmp_path / "run", options=options(), negatives=tmp_path / "dev.jsonl")
    assert str(caught.value) == (
        f"{tmp_path / 'dev.jsonl'} has no example whose query is not in dev; mine the split that is trained on"
    )
    assert not (tmp_path / "run").exists()


def test_an_unknown_measure(fresh: CrossEncoder, collection: Collection, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="nDGC"):
        fit_reranker(fresh, collection, out=tmp_path / "run", options=options(measure="nDGC@10"))


def test_it_teaches(fresh: CrossEncoder, collection: Collection, tmp_path: Path) -> None:
    """What was trained here serves mining as a teacher, whose scores are kept."""
    teacher = fit_reranker(fresh, collection, out=tmp_path / "run", options=options())
    chosen = MiningOptions(source="bm25", relative_margin=None)
    mine(None, collection, out=tmp_path / "taught.jsonl", options=chosen, teacher=teacher)
    examples = read_examples(tmp_path / "taught.jsonl")
    pairs = [(one.query, text) for one in examples for text in (one.positive, *one.negatives)]
    kept = [score for one in examples for score in one.scores or ()]
    assert kept == pytest.approx(teacher.score(pairs).tolist(), abs=1e-4)
