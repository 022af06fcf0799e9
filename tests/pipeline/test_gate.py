from __future__ import annotations

from pathlib import Path

import pytest
import torch

from biencoder.data.collection import Collection
from biencoder.evaluation import Evaluation, evaluate, evaluate_run
from biencoder.evaluation.comparison import Comparison
from biencoder.identity import short
from biencoder.pipeline.gate import Gate, told
from biencoder.search import Searcher
from biencoder.towers.bi_encoder import BiEncoder
from tests.training.tasks import Interrupting


def gate(collection: Collection, folder: Path, notes: Interrupting, *, measure: str = "MRR@10") -> Gate:
    return Gate(collection, split="dev", measure=measure, folder=folder, precision="exact", progress=notes)


def changed(model: BiEncoder) -> BiEncoder:
    with torch.no_grad():
        next(model.document_tower.parameters())[7:].mul_(-1.5)
    return model


def test_an_evaluation_is_what_a_search_over_the_sample_gives(
    tiny_model: BiEncoder, tiny_collection: Collection, tmp_path: Path
) -> None:
    notes = Interrupting(-1)
    found = gate(tiny_collection, tmp_path / "dev", notes).evaluate(tiny_model)
    searcher = Searcher.in_memory(tiny_model, tiny_collection.documents)
    expected = evaluate(searcher, tiny_collection, split="dev", measures=["MRR@10"])
    assert (found.per_query, found.measures) == (expected.per_query, expected.measures)
    assert found.queries == 30
    assert notes.said == [f"MRR@10 on dev: {expected.measures['MRR@10']:.4f}"]


def test_an_evaluation_is_taken_once_for_the_same_weights(
    tiny_model: BiEncoder, tiny_collection: Collection, tmp_path: Path
) -> None:
    notes = Interrupting(-1)
    one = gate(tiny_collection, tmp_path / "dev", notes)
    first, score = one.evaluate(tiny_model), one.score(tiny_model)
    assert score == first.measures["MRR@10"]
    identity = tiny_model.identity
    name = f"{short(identity.document)}-{short(identity.query)}.json"
    assert [path.name for path in (tmp_path / "dev").iterdir()] == [name]
    later = Interrupting(-1)
    again = gate(tiny_collection, tmp_path / "dev", later).evaluate(tiny_model)
    assert (again.per_query, again.measures, again.split) == (first.per_query, first.measures, "dev")
    assert (len(notes.said), later.said) == (1, [])


def test_other_weights_and_another_use_of_them_are_other_models(
    tiny_model: BiEncoder, tiny_collection: Collection, tmp_path: Path
) -> None:
    notes = Interrupting(-1)
    one = gate(tiny_collection, tmp_path, notes)
    scores = [
        one.score(tiny_model),
        one.score(tiny_model.adjusted(pooling="cls")),
        one.score(tiny_model.adjusted(query_prompt="what is the ")),
        one.score(changed(tiny_model)),
    ]
    assert notes.said == [f"MRR@10 on dev: {score:.4f}" for score in scores]
    assert len(set(scores)) == 4
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"measures": {"MRR@10": 1.0}}'])
def test_a_damaged_file_is_taken_again(
    tiny_model: BiEncoder, tiny_collection: Collection, tmp_path: Path, content: bytes
) -> None:
    notes = Interrupting(-1)
    one = gate(tiny_collection, tmp_path, notes)
    first = one.evaluate(tiny_model)
    (path,) = tmp_path.iterdir()
    path.write_bytes(content)
    assert one.evaluate(tiny_model).per_query == first.per_query
    assert notes.said == [f"MRR@10 on dev: {first.measures['MRR@10']:.4f}"] * 2
    assert Evaluation.read(path).per_query == first.per_query


def test_the_model_is_run_as_training_runs_it_and_then_as_before(
    tiny_model_folder: Path, tiny_collection: Collection, tmp_path: Path
) -> None:
    fast = BiEncoder.load(tiny_model_folder, precision="fast")
    exact = BiEncoder.load(tiny_model_folder, precision="exact")
    scores = [
        gate(tiny_collection, tmp_path / name, Interrupting(-1)).evaluate(model).per_query
        for name, model in (("fast", fast), ("exact", exact))
    ]
    assert scores[0] == scores[1]
    assert fast.precision.value == "fast"


def test_a_comparison_is_of_the_deciding_measure(tmp_path: Path, tiny_collection: Collection) -> None:
    judged = {name: {"d": 1} for name in ("a", "b", "c")}
    good = evaluate_run({name: {"d": 2.0} for name in judged}, judged, measures=["MRR@10", "Recall@10"])
    poor = evaluate_run({"a": {"x": 2.0, "d": 1.0}, "b": {"x": 1.0}, "c": {"d": 1.0}}, judged, measures=["Recall@10", "MRR@10"])
    found = gate(tiny_collection, tmp_path, Interrupting(-1)).compare(good, poor)
    assert (found.measure, found.mean_a, found.mean_b, found.difference) == ("MRR@10", 1.0, 0.5, 0.5)
    assert (found.wins, found.ties, found.losses) == (2, 1, 0)


@pytest.mark.parametrize(
    ("difference", "p_value", "text"),
    [
        (0.0123, 0.0451, "0.5000 → 0.5123 (+0.0123, p = 0.0451; 3 queries better, 2 worse)"),
        (-0.25, 1.0, "0.5000 → 0.2500 (-0.2500, p = 1.0000; 3 queries better, 2 worse)"),
        (0.0, 0.00005, "0.5000 → 0.5000 (+0.0000, p = 0.0001; 3 queries better, 2 worse)"),
        (0.1, 0.00004, "0.5000 → 0.6000 (+0.1000, p < 0.0001; 3 queries better, 2 worse)"),
    ],
)
def test_a_comparison_is_told_from_before_to_after(difference: float, p_value: float, text: str) -> None:
    mean = 0.5 + difference
    assert told(Comparison("nDCG@10", 10, mean, 0.5, difference, 3, 5, 2, p_value, "randomisation", 9, (0, 1), 0.95)) == text
