"""`fit`: from a collection to a trained model in one call, with a gate behind the stage."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from biencoder.configuration import first_difference, nearest
from biencoder.data.collection import Collection
from biencoder.data.sampling import sample
from biencoder.errors import ArgumentError, DataError, StorageError
from biencoder.evaluation import evaluate, parse_measure
from biencoder.progress import Progress
from biencoder.records import Example
from biencoder.search.searcher import Searcher
from biencoder.storage.folder import explain_os_errors, locked, write_file
from biencoder.towers.bi_encoder import BiEncoder
from biencoder.training.options import TrainingOptions
from biencoder.training.state import digest_of
from biencoder.training.trainer import TrainingResult, train

RUN = "run.json"


class FitOptions(BaseModel):
    """What `fit` can be told."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    training: TrainingOptions = TrainingOptions()
    train_split: str = "train"
    dev_split: str = "dev"
    dev_share: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Where the collection has no dev split, this share of the training queries is held out, disjoint by document."""
    dev_queries: Annotated[int, Field(ge=1)] = 500
    """At most so many dev queries decide; a paired difference of 0.02 shows with that many."""
    dev_documents: Annotated[int, Field(ge=100)] = 5000
    """Dev queries search their own relevant documents and others, so many in all; the whole corpus where it is smaller."""
    measure: str = "nDCG@10"
    separate: bool = False
    """Train two towers that no longer share their weights, for queries and documents in different languages."""


@dataclass(frozen=True, slots=True)
class _Task:
    """What is trained on and what decides."""

    examples: list[Example]
    dev: Collection
    held_out: bool


def fit(
    model: BiEncoder,
    collection: Collection,
    *,
    out: str | os.PathLike[str],
    options: FitOptions | None = None,
    progress: Progress | None = None,
) -> BiEncoder:
    """Train a model on a collection's own judgements, and keep the result if and only if the dev split says so.

    The run folder holds the configuration (`run.json`), the pairs that were trained on (`examples.jsonl`), the measures, and
    the chosen model (`model/`). The same call over the same folder goes on where an interrupted one stopped, and over a
    finished one returns its model.

    Args:
        model: where training starts; it is changed in place.
        collection: its ``train`` split is trained on, its ``dev`` split decides; where it has none, one is held out.
        out: the run folder.
        options: everything else.
        progress: is told what goes on.

    Returns:
        The model with the weights that were best on dev, those it was given included.

    Raises:
        DataError: where there is nothing to train on.
        ArgumentError: where an option cannot be used, or ``out`` holds another run.
        StorageError: where the folder cannot be written.
    """
    resolved, told = options or FitOptions(), progress or Progress()
    resolved = resolved.model_copy(update={"measure": parse_measure(resolved.measure).name})
    if resolved.separate and model.shared:
        model = model.separated()
    folder = Path(out).absolute()
    with explain_os_errors(folder), locked(folder):
        task = _task(collection, resolved)
        _claim(folder, _configuration(model, task, resolved))
        if (folder / "model").is_dir():
            told.say(f"{folder} is finished: its model is taken as it is")
            model = BiEncoder.load(folder / "model", precision=model.precision, runtime=model.runtime)
        else:
            _write_examples(folder / "examples.jsonl", task.examples)
            result = _train(model, task, resolved, folder, told)
            _finish(folder, task, result, resolved, told)
            model.save(folder / "model")  # with it, the run is finished
        shutil.rmtree(folder / "training", ignore_errors=True)  # checkpoints: four times the model's size, of no more use
    return model


def read_run(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """What a run folder says of itself.

    Raises:
        StorageError: where it is no run folder.
    """
    path = Path(folder) / RUN
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} cannot be read ({error}); is this a run folder?") from None
    return record


def _configuration(model: BiEncoder, task: _Task, options: FitOptions) -> dict[str, Any]:
    identity = model.identity
    return {
        "kind": "run",
        "version": 1,
        "options": options.model_dump(mode="json"),
        "start": {"document": identity.document, "query": identity.query, "shared": model.shared},
        "examples": {"pairs": len(task.examples), "sha256": digest_of(task.examples)},
    }


def _claim(folder: Path, configuration: dict[str, Any]) -> None:
    """Make the folder this run's, or make sure that it is."""
    if (folder / RUN).exists():
        found = read_run(folder)
        if found != configuration:
            raise ArgumentError(
                f"{folder} holds another run ({first_difference(found, configuration)}); choose another place, or remove "
                "the folder to begin again"
            )
        return
    if folder.is_dir() and any(folder.iterdir()):
        raise StorageError(f"{folder} is not empty and no run; choose another place")
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / RUN, _json(configuration))


def _task(collection: Collection, options: FitOptions) -> _Task:
    if options.train_split not in collection.splits:
        hint = nearest(options.train_split, collection.splits)
        raise DataError(f"the collection has no split {options.train_split!r} to train on{hint}")
    held_out = options.dev_split not in collection.splits
    if held_out:
        collection = collection.hold_out(
            share=options.dev_share, seed=options.training.seed, into=options.dev_split, source=options.train_split
        )
    examples = collection.examples(options.train_split)
    if not examples:
        raise DataError(f"the split {options.train_split!r} has no relevant document to train on; grades above 0 are needed")
    dev = sample(
        collection, options.dev_split, queries=options.dev_queries, documents=options.dev_documents, seed=options.training.seed
    )
    return _Task(examples, dev, held_out)


def _train(model: BiEncoder, task: _Task, options: FitOptions, folder: Path, progress: Progress) -> TrainingResult:
    if task.held_out:
        queries = len(task.dev.queries(options.dev_split))
        progress.say(f"no {options.dev_split} split: {queries} queries of {options.train_split} are held out, by document")

    def validate(candidate: BiEncoder) -> float:
        with candidate.run_by("torch", precision=options.training.precision):
            searcher = Searcher.in_memory(candidate, task.dev.documents, progress=progress)
            found = evaluate(searcher, task.dev, split=options.dev_split, measures=[options.measure])
        score = found.measures[options.measure]
        progress.say(f"{options.measure} on {options.dev_split}: {score:.4f}")
        return score

    return train(model, task.examples, options.training, folder=folder / "training", validate=validate, progress=progress)


def _finish(folder: Path, task: _Task, result: TrainingResult, options: FitOptions, progress: Progress) -> None:
    before, after = result.scores[0], result.scores[result.chosen_step]
    kept = result.chosen_step != 0
    progress.say(
        f"the stage is kept: {options.measure} on dev {before:.4f} → {after:.4f} (step {result.chosen_step})"
        if kept
        else f"the stage is rolled back: dev {options.measure} never exceeded the {before:.4f} that the model came with"
    )
    measures = {
        "measure": options.measure,
        "dev": {str(step): score for step, score in sorted(result.scores.items())},
        "dev_queries": len(task.dev.queries(options.dev_split)),
        "held_out": task.held_out,
        "chosen_step": result.chosen_step,
        "kept": kept,
        "pairs": len(task.examples),
        "pairs_per_second": round(result.pairs_per_second, 2),
        "losses": [round(loss, 5) for loss in result.losses],
    }
    write_file(folder / "measures.json", _json(measures))


def _write_examples(path: Path, examples: list[Example]) -> None:
    """The training pairs as lines that a person can read."""
    records = (asdict(example) | {"known_positives": len(example.known_positives)} for example in examples)
    write_file(path, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode())


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
