from __future__ import annotations

import json
import random
import re
import statistics
from pathlib import Path
from typing import Any

import pytest
import torch

from biencoder.data.collection import Collection
from biencoder.data.training_split import asked_apart
from biencoder.errors import ArgumentError, DataError, DivergedError, LockedError, ModelError, StorageError
from biencoder.pipeline import CURRICULUM, FitOptions, fit, read_run, units
from biencoder.pipeline.schedule import Schedule
from biencoder.records import Document, Example, Judgement
from biencoder.storage.folder import locked
from biencoder.storage.manifest import verify
from biencoder.towers import precision, runtime
from biencoder.towers.bi_encoder import BiEncoder
from biencoder.training.options import TrainingOptions
from biencoder.training.trainer import TrainingResult, train
from tests.training.tasks import Interrupting, mrr, weights


def options(training: dict[str, Any] | None = None, **changes: Any) -> FitOptions:
    chosen = {"batch_size": 16, "learning_rate": 1e-3, "precision": "exact", "epochs": 4, "checkpoint_seconds": 0}
    plain = {"stages": [{"name": "in-batch"}], "budget": None, "teacher": "none", "interpolate": [], "again": None}
    return FitOptions.model_validate({"training": chosen | (training or {})} | plain | changes)


FIRST = "units/01-in-batch"


def untimed(story: dict[str, Any]) -> dict[str, Any]:
    """The story without what depends on the clock."""
    units = [{**unit, "seconds": 0, "pairs_per_second": 0} for unit in story["units"]]
    teacher = {**story["teacher"], "seconds": 0, "lists_per_second": 0}
    return {**story, "units": units, "teacher": teacher, "minutes": 0}


def measures(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "measures.json").read_text())
    return found


def judgements(collection: Collection, split: str) -> list[Judgement]:
    return [
        Judgement(query, document, grade)
        for query, judged in collection.judgements(split).items()
        for document, grade in judged.items()
    ]


def without(
    collection: Collection, split: str, *, documents: list[Document] | None = None, **changed: list[Judgement]
) -> Collection:
    """The collection with other judgements, or documents."""
    kept = {name: judgements(collection, name) for name in collection.splits if name != split}
    there = list(collection.documents) if documents is None else documents
    return Collection(documents=there, queries=collection.queries(), judgements=kept | changed)


def test_fit_learns_and_keeps(tiny_model: BiEncoder, tiny_collection: Collection, tmp_path: Path) -> None:
    before = mrr(tiny_collection, "test")(tiny_model)
    notes = Interrupting(-1)
    model = fit(tiny_model, tiny_collection, out=tmp_path / "run", options=options({"evaluations": 2}), progress=notes)
    assert mrr(tiny_collection, "test")(model) > before + 0.03
    found = measures(tmp_path / "run")
    assert (found["kept"], found["held_out"], found["pairs"], found["dev_queries"]) == (True, False, 120, 30)
    (unit,) = found["units"]
    assert list(unit["dev"]) == ["0", "14", "28"]
    assert unit["dev"][str(unit["chosen_step"])] == max(unit["dev"].values()) == found["after"] > found["before"]
    assert (len(unit["losses"]), unit["negatives"], unit["loss"], unit["kept"]) == (28, "in-batch", "info_nce", True)
    told = f"nDCG@10 on dev {found['before']:.4f} → {found['after']:.4f} (+{found['after'] - found['before']:.4f}, p = "
    assert any(note.startswith(f"in-batch is kept: {told}") for note in notes.said)
    assert any(note.startswith("warning: only in-batch negatives were used") for note in notes.said)
    assert found["warnings"][-1].startswith("only in-batch negatives were used")
    assert f"nDCG@10 on dev: {found['before']:.4f}" in notes.said
    saved = BiEncoder.load(tmp_path / "run")
    assert saved.identity == model.identity
    assert weights(saved) == weights(model)
    lines = [json.loads(line) for line in (tmp_path / "run" / FIRST / "examples.jsonl").read_text().splitlines()]
    examples = tiny_collection.examples("train")
    assert [(line["query"], line["positive"]) for line in lines] == [(one.query, one.positive) for one in examples]
    assert {line["known_positives"] for line in lines} == {1}


@pytest.mark.parametrize(("kept", "warned"), [("8", True), ("24", False), ("1024", False)])
def test_too_few_kernels_are_told_of(
    tiny_model: BiEncoder, tiny_collection: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: str, warned: bool
) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda _: True)
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", kept)
    notes = Interrupting(-1)
    chosen = options({"precision": "fast", "epochs": 1, "attention": "plain", "weights": "autocast"})
    fit(tiny_model, tiny_collection, out=tmp_path / "run", options=chosen, progress=notes)
    assert any("too few prepared kernels" in note for note in notes.said) is warned


def test_a_finished_run_returns_at_once(tiny_model_folder: Path, tiny_collection: Collection, tmp_path: Path) -> None:
    model = fit(BiEncoder.load(tiny_model_folder), tiny_collection, out=tmp_path / "run", options=options())
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    notes = Interrupting(1)  # raises at the first step
    again = fit(BiEncoder.load(tiny_model_folder), tiny_collection, out=tmp_path / "run", options=options(), progress=notes)
    assert notes.said == [f"{tmp_path / 'run'} is finished: its model is taken as it is"]
    assert weights(again) == weights(model)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")} == files


@pytest.mark.parametrize("separate", [False, True])
def test_an_interrupted_run_resumes(
    tiny_model_folder: Path, tiny_collection: Collection, tmp_path: Path, separate: bool
) -> None:
    chosen = options(separate=separate)
    whole = fit(BiEncoder.load(tiny_model_folder), tiny_collection, out=tmp_path / "whole", options=chosen)
    for stop in sorted(random.Random(4).sample(range(1, 29), 3)):  # noqa: S311
        with pytest.raises(KeyboardInterrupt):
            fit(
                BiEncoder.load(tiny_model_folder),
                tiny_collection,
                out=tmp_path / "run",
                options=chosen,
                progress=Interrupting(stop),
            )
        assert not (tmp_path / "run" / "model").exists()
        verify(tmp_path / "run" / FIRST / "training")
    model = fit(BiEncoder.load(tiny_model_folder), tiny_collection, out=tmp_path / "run", options=chosen)
    assert model.shared is not separate
    assert weights(model) == weights(whole)
    assert untimed(measures(tmp_path / "run")) == untimed(measures(tmp_path / "whole"))
    for name in ("run.json", f"{FIRST}/examples.jsonl", "model/biencoder.json"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


class InterruptingAtTheEnd(Interrupting):
    def say(self, message: str) -> None:
        if message.startswith("in-batch is "):
            raise KeyboardInterrupt


def test_measures_are_there_whenever_the_model_is(
    tiny_model_folder: Path, tiny_collection: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def again(progress: Interrupting | None = None) -> None:
        model = BiEncoder.load(tiny_model_folder)
        fit(model, tiny_collection, out=tmp_path / "run", options=options({"epochs": 1}), progress=progress)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        again(InterruptingAtTheEnd(-1))
    with monkeypatch.context() as patch:
        patch.setattr(BiEncoder, "save", interrupt)
        with pytest.raises(KeyboardInterrupt):
            again()
    assert not (tmp_path / "run" / "model").exists()
    again()
    assert measures(tmp_path / "run")["pairs"] == 120
    assert BiEncoder.load(tmp_path / "run").dimension == 32


def test_a_harmful_stage_is_rolled_back(tiny_model: BiEncoder, tiny_collection: Collection, tmp_path: Path) -> None:
    documents = [document.id for document in tiny_collection.documents]
    chance = random.Random(0)  # noqa: S311
    wrong = [Judgement(query.id, chance.choice(documents)) for query in tiny_collection.queries("train")]
    before, identity = weights(tiny_model), tiny_model.identity
    notes = Interrupting(-1)
    model = fit(
        tiny_model,
        without(tiny_collection, "train", train=wrong),
        out=tmp_path / "run",
        options=options({"learning_rate": 0.05, "evaluations": 3}),
        progress=notes,
    )
    found = measures(tmp_path / "run")
    (unit,) = found["units"]
    assert (found["kept"], unit["kept"], unit["chosen_step"], unit["p_value"]) == (False, False, 0, None)
    best = max(score for step, score in unit["dev"].items() if step != "0")
    expected = f"in-batch is rolled back: nDCG@10 on dev was {best:.4f} at best, and {found['before']:.4f} before"
    assert expected in notes.said
    assert unit["remarks"][-1] == expected.partition(": ")[2]
    assert weights(model) == before
    assert BiEncoder.load(tmp_path / "run").identity == model.identity == identity


def test_a_learning_rate_beyond_reason_is_rolled_back(
    tiny_model: BiEncoder, tiny_collection: Collection, tmp_path: Path
) -> None:
    before = weights(tiny_model)
    fit(tiny_model, tiny_collection, out=tmp_path / "run", options=options({"learning_rate": 1.0, "evaluations": 3}))
    assert measures(tmp_path / "run")["kept"] is False
    assert weights(tiny_model) == before


def test_dev_is_held_out(tiny_model: BiEncoder, tiny_collection: Collection, tmp_path: Path) -> None:
    """By query: the three of a document may be parted; how those fare that ask for new documents is told apart."""
    notes = Interrupting(-1)
    collection = without(tiny_collection, "dev")
    fit(tiny_model, collection, out=tmp_path / "run", options=options({"epochs": 0.2}, dev_share=0.4), progress=notes)
    found = measures(tmp_path / "run")
    assert (found["held_out"], found["pairs"], found["dev_queries"]) == (True, 72, 48)
    parted = collection.hold_out(share=0.4, seed=0, apart="query")
    fresh = asked_apart(parted, train="train", dev="dev")
    assert 0 < len(fresh) < 48
    assert notes.said[0] == (
        f"no dev split: 48 queries of train are held out; {48 - len(fresh)} of them ask for documents that train asks for too"
    )
    assert found["new_documents"]["queries"] == len(fresh)
    per_query = [json.loads(file.read_text())["per_query"]["nDCG@10"] for file in (tmp_path / "run" / "dev").glob("*.json")]
    means = [statistics.fmean(values[query] for query in fresh) for values in per_query]
    assert found["new_documents"]["before"] in means
    assert found["new_documents"]["after"] in means
    said = f"{found['new_documents']['before']:.4f} → {found['new_documents']['after']:.4f}"
    assert f"of these queries {len(fresh)} ask for documents that no training query asks for: {said}" in notes.said


def test_dev_is_held_out_by_document(tiny_model: BiEncoder, tiny_collection: Collection, tmp_path: Path) -> None:
    notes = Interrupting(-1)
    collection = without(tiny_collection, "dev")
    chosen = options({"epochs": 0.2}, dev_share=0.2, dev_apart="document")
    fit(tiny_model, collection, out=tmp_path / "run", options=chosen, progress=notes)
    found = measures(tmp_path / "run")
    assert found["held_out"] is True
    assert found["new_documents"] is None
    assert found["pairs"] + found["dev_queries"] == 120
    assert 12 <= found["dev_queries"] <= 36
    assert notes.said[0] == f"no dev split: {found['dev_queries']} queries of train are held out"
    lines = [json.loads(line) for line in (tmp_path / "run" / FIRST / "examples.jsonl").read_text().splitlines()]
    trained = {line["positive"] for line in lines}
    held = {example.positive for example in collection.examples("train")} - trained
    assert len(held) * 3 == found["dev_queries"]  # every document has three queries, all on the same side


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"training": {"epochs": 5}}, "options: training: epochs: 4.0, now 5.0"),
        ({"dev_queries": 7}, "options: dev_queries: 500, now 7"),
        ({"separate": True}, "options: separate: false, now true"),
    ],
)
def test_other_options(
    tiny_model: BiEncoder, tiny_collection: Collection, tmp_path: Path, changes: dict[str, Any], difference: str
) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit(tiny_model, tiny_collection, out=tmp_path / "run", options=options(), progress=Interrupting(1))
    with pytest.raises(ArgumentError) as caught:
        fit(tiny_model, tiny_collection, out=tmp_path / "run", options=options(**changes))
    hint = "choose another place, or remove the folder to begin again"
    assert str(caught.value) == f"{tmp_path / 'run'} holds another run ({difference}); {hint}"


def test_other_dev_judgements_or_documents(tiny_model: BiEncoder, tiny_collection: Collection, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit(tiny_model, tiny_collection, out=tmp_path / "run", options=options(), progress=Interrupting(1))
    dev = judgements(tiny_collection, "dev")
    extra = Judgement(dev[0].query_id, next(one.id for one in tiny_collection.documents if one.id != dev[0].document_id))
    with pytest.raises(ArgumentError, match=r"holds another run \(dev: queries: sha256: "):
        fit(tiny_model, without(tiny_collection, "dev", dev=[*dev, extra]), out=tmp_path / "run", options=options())
    more = without(tiny_collection, "none", documents=[*tiny_collection.documents, Document("new", "one more")])
    with pytest.raises(ArgumentError, match=r"holds another run \(dev: documents: count: 60, now 61\)"):
        fit(tiny_model, more, out=tmp_path / "run", options=options())


def test_a_budgeted_run_resumes_with_what_was_decided(
    tiny_model_folder: Path, tiny_collection: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = progressive(budget=20, interpolate=[])
    late = 0.0
    monkeypatch.setattr(Schedule, "minutes", property(lambda _: late))
    interrupted = 0
    for call, spent in ((9, 0.0), (17, 19.5), (9, 19.9), (21, 30.0), (12, 40.0), (25, 50.0)):
        late = spent  # each call finds that more time has gone than the one before knew
        interrupted += is_interrupted(tiny_model_folder, tiny_collection, tmp_path / "run", chosen, call=call)
    assert interrupted >= 3
    late = 60.0
    fit(BiEncoder.load(tiny_model_folder), tiny_collection, out=tmp_path / "run", options=chosen)
    decided = json.loads((tmp_path / "run/schedule.json").read_text())["epochs"]
    decided = {key.partition("-")[2]: epochs for key, epochs in decided.items()}
    story = measures(tmp_path / "run")
    assert decided["in-batch"] == 2.0
    assert {name for name, epochs in decided.items() if epochs} == {unit["name"] for unit in story["units"]}
    left = [name for name, epochs in decided.items() if not epochs]
    assert left
    assert all(f"{name}: no time is left for it" in story["left_out"] for name in left)


def test_negatives_are_mined_for_the_pairs_that_there_is_time_for(
    tiny_model: BiEncoder, tiny_collection: Collection, tmp_path: Path
) -> None:
    stages = [{"name": name, "negatives": "bm25", "training": {"epochs": 0.3, "batch_size": 8}} for name in ("a", "b")]
    fit(tiny_model, tiny_collection, out=tmp_path / "run", options=options(stages=stages))
    seen = []
    for unit in measures(tmp_path / "run")["units"]:
        assert (unit["pairs"], unit["steps"]) == (36, 4)  # of 120; 0.3 of 15 steps
        path = next((tmp_path / "run/units").glob(f"*-{unit['name']}")) / "examples.jsonl"
        seen.append({json.loads(line)["query"] for line in path.read_text().splitlines()})
    assert [len(queries) for queries in seen] == [36, 36]
    assert seen[0] != seen[1]


def test_a_batch_of_pairs_has_negatives_however_short_the_stage(
    tiny_model: BiEncoder, tiny_collection: Collection, tmp_path: Path
) -> None:
    stages = [{"name": "a", "negatives": "mined", "training": {"epochs": 0.001, "batch_size": 8}}]
    fit(tiny_model, tiny_collection, out=tmp_path / "run", options=options(stages=stages))
    assert [(unit["pairs"], unit["steps"]) for unit in measures(tmp_path / "run")["units"]] == [(8, 1)]


def test_a_loss_that_no_scores_teach_is_left_out(tiny_model: BiEncoder, tiny_collection: Collection, tmp_path: Path) -> None:
    stages = [{"name": "a", "negatives": "mined", "training": {"loss": "kl"}}]
    fit(tiny_model, tiny_collection, out=tmp_path / "run", options=options(stages=stages))
    (unit,) = measures(tmp_path / "run")["units"]
    assert (unit["kept"], unit["steps"]) == (False, 0)
    assert unit["remarks"] == ["its loss learns from a teacher's scores, and no pair has any"]


def test_a_teacher_that_is_not_there_is_missed_before_anything_is_done(
    tiny_model: BiEncoder, tiny_collection: Collection, tmp_path: Path
) -> None:
    with pytest.raises(ModelError):
        fit(tiny_model, tiny_collection, out=tmp_path / "run", options=progressive(teacher=str(tmp_path / "none")))
    long = {"learning_rate": 3e-3, "max_length": 65}
    with pytest.raises(ArgumentError, match=r"^reranker.max_length is 65, and a teacher made of this model reads 64 tokens"):
        fit(tiny_model, tiny_collection, out=tmp_path / "run", options=progressive(reranker=long))
    assert not (tmp_path / "run").exists()


def test_another_model(tiny_model_folder: Path, tiny_collection: Collection, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit(
            BiEncoder.load(tiny_model_folder),
            tiny_collection,
            out=tmp_path / "run",
            options=options(),
            progress=Interrupting(1),
        )
    other = BiEncoder.load(tiny_model_folder, pooling="cls")
    with pytest.raises(
        ArgumentError, match=r'holds another run \(start: document: "[0-9a-f]{56}\.\.\., now "[0-9a-f]{56}\.\.\.\)'
    ):
        fit(other, tiny_collection, out=tmp_path / "run", options=options())


def test_a_folder_of_other_things(tiny_model: BiEncoder, tiny_collection: Collection, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("precious")
    with pytest.raises(StorageError) as caught:
        fit(tiny_model, tiny_collection, out=tmp_path)
    assert str(caught.value) == f"{tmp_path} is not empty and no run; choose another place"
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(StorageError, match=r"run\.json cannot be read \(.+\); is this a run folder\?$"):
        fit(tiny_model, tiny_collection, out=tmp_path)
    with pytest.raises(StorageError, match=r"a\.txt: File exists$"):
        fit(tiny_model, tiny_collection, out=tmp_path / "a.txt" / "run")


def test_two_at_once(tiny_model: BiEncoder, tiny_collection: Collection, tmp_path: Path) -> None:
    with locked(tmp_path / "run"), pytest.raises(LockedError, match="another process is writing this folder"):
        fit(tiny_model, tiny_collection, out=tmp_path / "run")


def test_no_such_split(tiny_model: BiEncoder, tiny_collection: Collection, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        fit(tiny_model, tiny_collection, out=tmp_path / "run", options=options(train_split="trian"))
    expected = "the collection has no split 'trian' to train on; did you mean 'train'? there are: dev, test, train"
    assert re.sub(": dev, test, train$|: train, dev, test$", ": dev, test, train", str(caught.value)) == expected


def test_nothing_relevant(tiny_model: BiEncoder, tiny_collection: Collection, tmp_path: Path) -> None:
    nothing = [Judgement(query.id, "d0", 0) for query in tiny_collection.queries("train")]
    collection = without(tiny_collection, "train", train=nothing)
    with pytest.raises(DataError) as caught:
        fit(tiny_model, collection, out=tmp_path / "run", options=options())
    expected = "the split 'train' has no relevant document to train on; grades above 0 are needed"
    assert str(caught.value) == expected


def test_an_unknown_measure(tiny_model: BiEncoder, tiny_collection: Collection, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="nDGC"):
        fit(tiny_model, tiny_collection, out=tmp_path / "run", options=options(measure="nDGC@10"))
    assert not (tmp_path / "run").exists()


def test_read_run(tiny_model: BiEncoder, tiny_collection: Collection, tmp_path: Path) -> None:
    fit(tiny_model, tiny_collection, out=tmp_path / "run", options=options({"epochs": 0.2}))
    found = read_run(tmp_path / "run")
    assert found["options"] == options({"epochs": 0.2}).model_dump(mode="json")
    assert (found["kind"], found["version"], found["examples"]["pairs"]) == ("run", 4, 120)
    with pytest.raises(StorageError, match=r"is this a run folder\?$"):
        read_run(tmp_path)


def progressive(**changes: Any) -> FitOptions:
    """The whole curriculum, teacher included, in a few seconds; epochs so that a teacher learns to rank."""
    stages = [stage.model_dump() for stage in CURRICULUM]
    reranker = {"learning_rate": 3e-3, "epochs": 12, "batch_size": 16, "checkpoint_seconds": 0}
    usual = {"stages": stages, "teacher": "auto", "interpolate": [0.5], "reranker": reranker, "matryoshka": True}
    return options({"epochs": 2}, **(usual | changes))


def test_the_whole_curriculum(tiny_model: BiEncoder, tiny_collection: Collection, tmp_path: Path) -> None:
    before = mrr(tiny_collection, "test")(tiny_model)
    notes = Interrupting(-1)
    model = fit(tiny_model, tiny_collection, out=tmp_path / "run", options=progressive(), progress=notes)
    assert mrr(tiny_collection, "test")(model) > before + 0.02
    found = measures(tmp_path / "run")
    assert [unit["name"] for unit in found["units"]][:3] == ["in-batch", "bm25", "mined-1"]
    assert [unit["negatives"] for unit in found["units"]][:3] == ["in-batch", "bm25", "mined"]
    scores = [unit["after"] for unit in found["units"]]
    assert scores == sorted(scores)  # the gate lets nothing worse through
    assert found["after"] >= scores[-1] > found["before"]
    for unit in found["units"]:
        assert unit["kept"] is (unit["after"] > unit["before"])
        assert (unit["p_value"] is not None) is unit["kept"]
    assert found["teacher"]["trained"] is True
    assert found["teacher"]["lists"] == 120
    assert set(found["reranker"]) == {"model", "reranked"}
    assert found["interpolation"].keys() == {"1.0", "0.5"}
    assert found["after"] == found["interpolation"][str(found["share"])]
    mined = [json.loads(line) for line in (tmp_path / "run/units/02-bm25/examples.jsonl").read_text().splitlines()]
    assert len(mined) == 120
    assert {line["source"] for line in mined} == {"bm25"}
    assert all(line["positive"] not in line["negatives"] for line in mined)
    assert not list((tmp_path / "run").glob("units/*/training"))
    assert not (tmp_path / "run/vectors").exists()
    assert any(note.startswith("plan, about ") for note in notes.said)


def test_no_runtime_is_chosen_while_weights_change(
    tiny_model_folder: Path, tiny_collection: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("the weights would have to be exported")

    monkeypatch.setattr(runtime, "choose", never)
    notes = Interrupting(-1)
    model = fit(
        BiEncoder.load(tiny_model_folder, runtime="auto"),
        tiny_collection,
        out=tmp_path / "run",
        options=progressive(),
        progress=notes,
    )
    assert measures(tmp_path / "run")["teacher"]["trained"] is True
    assert any(note.startswith("reused the vectors of ") for note in notes.said)  # what the teacher was trained on
    assert model.runtime == "auto"


class InterruptingLater(Interrupting):
    """Ctrl-C at the nth thing that is told of."""

    def __init__(self, call: int) -> None:
        super().__init__(-1)
        self.left = call

    def __call__(self, stage: str, done: int, total: int, facts: str = "") -> None:  # noqa: ARG002
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def is_interrupted(model: Path, collection: Collection, run: Path, chosen: FitOptions, *, call: int) -> bool:
    """Begin or go on with a run; whether Ctrl-C came before its end."""
    try:
        fit(BiEncoder.load(model), collection, out=run, options=chosen, progress=InterruptingLater(call))
    except KeyboardInterrupt:
        return True
    return False


def test_the_whole_curriculum_resumes(tiny_model_folder: Path, tiny_collection: Collection, tmp_path: Path) -> None:
    whole = fit(BiEncoder.load(tiny_model_folder), tiny_collection, out=tmp_path / "whole", options=progressive())
    interrupted = 0
    for call in (2, 9, 17, 25, 33, 12, 21, 28):
        interrupted += is_interrupted(tiny_model_folder, tiny_collection, tmp_path / "run", progressive(), call=call)
    assert interrupted >= 4
    model = fit(BiEncoder.load(tiny_model_folder), tiny_collection, out=tmp_path / "run", options=progressive())
    assert weights(model) == weights(whole)
    assert untimed(measures(tmp_path / "run")) == untimed(measures(tmp_path / "whole"))


def test_a_stage_with_a_learning_rate_beyond_reason_is_rolled_back_and_the_next_goes_on(
    tiny_model: BiEncoder, tiny_collection: Collection, tmp_path: Path
) -> None:
    stages = [
        {"name": "absurd", "training": {"learning_rate": 1.0, "epochs": 2}},
        {"name": "sane", "training": {"learning_rate": 1e-3}},
    ]
    notes = Interrupting(-1)
    fit(tiny_model, tiny_collection, out=tmp_path / "run", options=options(stages=stages), progress=notes)
    absurd, sane = measures(tmp_path / "run")["units"]
    assert (absurd["kept"], sane["kept"]) == (False, True)
    assert absurd["after"] == absurd["before"] == sane["before"] < sane["after"]
    assert any(note.startswith("absurd is rolled back: ") for note in notes.said)


def test_a_loss_that_is_no_number_is_rolled_back(
    tiny_model: BiEncoder, tiny_collection: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(*_: object, **__: object) -> None:
        raise DivergedError("the loss is nan at step 3", step=3)

    before = weights(tiny_model)
    monkeypatch.setattr(units, "train", diverge)
    fit(tiny_model, tiny_collection, out=tmp_path / "run", options=options(again=0.5))
    found = measures(tmp_path / "run")
    assert (found["kept"], found["units"][0]["remarks"]) == (False, ["the loss is nan at step 3"])
    assert [(unit["name"], unit["steps"]) for unit in found["units"]] == [("in-batch", 3), ("in-batch-again", 3)]
    assert weights(tiny_model) == before


def test_documents_alone(tiny_model: BiEncoder, tiny_collection: Collection, tmp_path: Path) -> None:
    notes = Interrupting(-1)
    collection = Collection(documents=list(tiny_collection.documents))
    fit(tiny_model, collection, out=tmp_path / "run", options=options({"epochs": 1}), progress=notes)
    found = measures(tmp_path / "run")
    assert (found["made_up"], found["held_out"]) == (True, True)
    assert notes.said[0].startswith("no queries: 60 are made from the documents, each a title or a crop.")
    line = json.loads((tmp_path / "run" / FIRST / "examples.jsonl").read_text().splitlines()[0])
    assert line["query"] not in line["positive"].split("\n")[0][: len(line["query"])]


def test_a_second_round_is_left_out_where_the_first_did_not_help(
    tiny_model: BiEncoder, tiny_collection: Collection, tmp_path: Path
) -> None:
    stages = [{"name": "mined", "negatives": "mined", "rounds": 3, "training": {"learning_rate": 1.0}}]
    notes = Interrupting(-1)
    fit(tiny_model, tiny_collection, out=tmp_path / "run", options=options(stages=stages), progress=notes)
    assert [unit["name"] for unit in measures(tmp_path / "run")["units"]] == ["mined-1"]
    assert "mined-2 is left out: the round before it did not help" in notes.said


def test_what_was_rolled_back_is_tried_once_more_with_smaller_steps(
    tiny_model: BiEncoder, tiny_collection: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = []

    def noted(model: BiEncoder, examples: list[Example], training: TrainingOptions, **more: Any) -> TrainingResult:
        rates.append((training.learning_rate, training.seed))
        return train(model, examples, training.model_copy(update={"learning_rate": 0.5}), **more)  # too much, whatever was said

    monkeypatch.setattr("biencoder.pipeline.units.train", noted)
    stages = [{"name": "easy", "training": {"learning_rate": 0.2}}, {"name": "bm25", "negatives": "bm25", "rate": 0.5}]
    chosen = options({"epochs": 1, "learning_rate": 0.4}, stages=stages, again=0.25)
    model = fit(tiny_model, tiny_collection, out=tmp_path / "run", options=chosen)
    assert rates == [(0.2, 0), (0.2, 1), (0.05, 2), (0.05, 3)]
    found = measures(tmp_path / "run")
    assert [unit["name"] for unit in found["units"]] == ["easy", "bm25", "bm25-again", "easy-again"]
    assert not any(unit["kept"] for unit in found["units"])
    assert found["after"] == found["before"]
    rates.clear()
    monkeypatch.setattr(Schedule, "minutes_left", 0.0)
    fit(model, tiny_collection, out=tmp_path / "short", options=chosen)
    assert rates == [(0.2, 0), (0.2, 1)]


def test_interpolated_weights_are_between(tiny_model_folder: Path, tiny_collection: Collection, tmp_path: Path) -> None:
    start = BiEncoder.load(tiny_model_folder)
    before = {name: weight.clone() for name, weight in start.document_tower.named_parameters()}
    alone = fit(BiEncoder.load(tiny_model_folder), tiny_collection, out=tmp_path / "alone", options=options({"epochs": 1}))
    after = dict(alone.document_tower.named_parameters())
    chosen = options({"epochs": 1}, interpolate=[0.5])
    mixed = fit(BiEncoder.load(tiny_model_folder), tiny_collection, out=tmp_path / "mixed", options=chosen)
    story = measures(tmp_path / "mixed")
    assert story["units"][0]["share"] in {0.5, 1.0}
    assert story["share"] in {0.5, 1.0}
    share = story["units"][0]["share"] * story["share"]
    for name, weight in mixed.document_tower.named_parameters():
        torch.testing.assert_close(weight, before[name] + share * (after[name] - before[name]))


def test_each_unit_draws_its_pairs_in_an_order_of_its_own(
    tiny_model: BiEncoder, tiny_collection: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = []

    def noted(model: BiEncoder, examples: list[Example], training: TrainingOptions, **more: Any) -> TrainingResult:
        seeds.append(training.seed)
        return train(model, examples, training, **more)

    monkeypatch.setattr("biencoder.pipeline.units.train", noted)
    stages = [{"name": "a"}, {"name": "b"}, {"name": "c", "training": {"seed": 3}}]
    fit(tiny_model, tiny_collection, out=tmp_path / "run", options=options({"seed": 7}, stages=stages))
    assert seeds == [7, 8, 3]
