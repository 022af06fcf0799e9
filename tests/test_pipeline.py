from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest

from biencoder.data.collection import Collection
from biencoder.errors import ArgumentError, DataError, LockedError, StorageError
from biencoder.pipeline import FitOptions, fit, read_run
from biencoder.records import Judgement
from biencoder.storage.folder import locked
from biencoder.storage.manifest import verify
from biencoder.towers.bi_encoder import BiEncoder
from tests.training.tasks import Interrupting, mrr, weights


def options(training: dict[str, Any] | None = None, **changes: Any) -> FitOptions:
    chosen = {"batch_size": 16, "learning_rate": 1e-3, "precision": "exact", "epochs": 4, "checkpoint_seconds": 0}
    return FitOptions.model_validate({"training": chosen | (training or {})} | changes)


def measures(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "measures.json").read_text())
    return found


def without(collection: Collection, split: str, **changed: list[Judgement]) -> Collection:
    """The collection with other judgements."""
    kept = {
        name: [
            Judgement(query, document, grade)
            for query, judged in collection.judgements(name).items()
            for document, grade in judged.items()
        ]
        for name in collection.splits
        if name != split
    }
    return Collection(documents=list(collection.documents), queries=collection.queries(), judgements=kept | changed)


def test_fit_learns_and_keeps(tiny_model: BiEncoder, tiny_collection: Collection, tmp_path: Path) -> None:
    before = mrr(tiny_collection, "test")(tiny_model)
    notes = Interrupting(-1)
    model = fit(tiny_model, tiny_collection, out=tmp_path / "run", options=options({"evaluations": 2}), progress=notes)
    assert mrr(tiny_collection, "test")(model) > before + 0.03
    found = measures(tmp_path / "run")
    assert (found["kept"], found["held_out"], found["pairs"], found["dev_queries"]) == (True, False, 120, 30)
    assert list(found["dev"]) == ["0", "14", "28"]
    assert found["dev"][str(found["chosen_step"])] == max(found["dev"].values()) > found["dev"]["0"]
    assert len(found["losses"]) == 28
    kept = f"the stage is kept: nDCG@10 on dev {found['dev']['0']:.4f} → {found['dev'][str(found['chosen_step'])]:.4f}"
    assert notes.said[-1] == f"{kept} (step {found['chosen_step']})"
    assert notes.said[0] == f"nDCG@10 on dev: {found['dev']['0']:.4f}"
    saved = BiEncoder.load(tmp_path / "run")
    assert saved.identity == model.identity
    assert weights(saved) == weights(model)
    lines = [json.loads(line) for line in (tmp_path / "run" / "examples.jsonl").read_text().splitlines()]
    examples = tiny_collection.examples("train")
    assert [(line["query"], line["positive"]) for line in lines] == [(one.query, one.positive) for one in examples]
    assert {line["known_positives"] for line in lines} == {1}


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
        verify(tmp_path / "run" / "training")
    model = fit(BiEncoder.load(tiny_model_folder), tiny_collection, out=tmp_path / "run", options=chosen)
    assert model.shared is not separate
    assert weights(model) == weights(whole)
    for name in ("dev", "losses", "chosen_step"):
        assert measures(tmp_path / "run")[name] == measures(tmp_path / "whole")[name]
    for name in ("run.json", "examples.jsonl", "model/biencoder.json"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


class InterruptingAtTheEnd(Interrupting):
    def say(self, message: str) -> None:
        if message.startswith("the stage is "):
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
    assert (found["kept"], found["chosen_step"]) == (False, 0)
    expected = f"the stage is rolled back: dev nDCG@10 never exceeded the {found['dev']['0']:.4f} that the model came with"
    assert notes.said[-1] == expected
    assert weights(model) == before
    assert BiEncoder.load(tmp_path / "run").identity == model.identity == identity


def test_a_learning_rate_beyond_reason_is_rolled_back(
    tiny_model: BiEncoder, tiny_collection: Collection, tmp_path: Path
) -> None:
    before = weights(tiny_model)
    fit(tiny_model, tiny_collection, out=tmp_path / "run", options=options({"learning_rate": 1.0, "evaluations": 3}))
    assert measures(tmp_path / "run")["kept"] is False
    assert weights(tiny_model) == before


def test_dev_is_held_out_by_document(tiny_model: BiEncoder, tiny_collection: Collection, tmp_path: Path) -> None:
    notes = Interrupting(-1)
    collection = without(tiny_collection, "dev")
    fit(tiny_model, collection, out=tmp_path / "run", options=options({"epochs": 0.2}, dev_share=0.2), progress=notes)
    found = measures(tmp_path / "run")
    assert found["held_out"] is True
    assert found["pairs"] + found["dev_queries"] == 120
    assert 12 <= found["dev_queries"] <= 36
    assert notes.said[0] == f"no dev split: {found['dev_queries']} queries of train are held out, by document"
    lines = [json.loads(line) for line in (tmp_path / "run" / "examples.jsonl").read_text().splitlines()]
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
    assert (found["kind"], found["version"], found["examples"]["pairs"]) == ("run", 1, 120)
    with pytest.raises(StorageError, match=r"is this a run folder\?$"):
        read_run(tmp_path)
