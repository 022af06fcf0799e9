"""The gate behind every stage: the dev split decides, and says how sure that is."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path

from biencoder.data.collection import Collection
from biencoder.errors import DataError
from biencoder.evaluation import Evaluation, compare, evaluate
from biencoder.evaluation.comparison import Comparison, format_p
from biencoder.identity import short
from biencoder.progress import Progress
from biencoder.search.searcher import Searcher
from biencoder.towers.bi_encoder import BiEncoder


class Gate:
    """Dev evaluations, each taken once for a model's weights and kept in a folder.

    Args:
        dev: queries, judgements and documents of the sample.
        split: its name.
        measure: decides.
        folder: where evaluations are kept, as `Evaluation.write` writes them.
        precision: the models are run in.
        progress: is told the scores.
    """

    def __init__(self, dev: Collection, *, split: str, measure: str, folder: Path, precision: str, progress: Progress) -> None:
        self.dev = dev
        self.split = split
        self.measure = measure
        self._folder = folder
        self._precision = precision
        self._progress = progress

    def evaluate(self, model: BiEncoder) -> Evaluation:
        """Per-query values of a model on dev."""
        path = self._folder / f"{weights_key(model)}.json"
        if path.exists():
            try:
                return Evaluation.read(path)
            except DataError:
                path.unlink()  # damaged: it is taken again
        with model.run_by("torch", precision=self._precision):
            searcher = Searcher.in_memory(model, self.dev.documents, progress=self._progress)
            found = evaluate(searcher, self.dev, split=self.split, measures=[self.measure])
        self._progress.say(f"{self.measure} on {self.split}: {found.measures[self.measure]:.4f}")
        found.write(path)
        return found

    def score(self, model: BiEncoder) -> float:
        """The mean that decides."""
        return self.mean(self.evaluate(model))

    def mean(self, evaluation: Evaluation) -> float:
        """The mean that decides, of an evaluation."""
        return evaluation.measures[self.measure]

    def surely_better(self, after: Evaluation, before: Evaluation) -> bool:
        """Whether the mean is greater by more than the standard error of the paired difference."""
        own, other = after.per_query[self.measure], before.per_query[self.measure]
        return beyond_its_error([own[query] - other[query] for query in own])

    def compare(self, after: Evaluation, before: Evaluation) -> Comparison:
        """The paired test between two models."""
        return compare(after, before, measure=self.measure)


def beyond_its_error(differences: Sequence[float]) -> bool:
    """Whether the mean of paired differences exceeds its standard error.

    >>> beyond_its_error([0.1, 0.1, -0.1]), beyond_its_error([0.1, 0.1, 0.0]), beyond_its_error([0.1])
    (False, True, False)
    """
    if len(differences) < 2:
        return False
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    return statistics.fmean(differences) > error


def weights_key(model: BiEncoder) -> str:
    """What tells a model's weights from any other's, in a file's name.

    The execution is left out: the gate runs every model alike, and to know it could mean to export the model.
    """
    identity = model.checkpoint().identity()
    return f"{short(identity.document)}-{short(identity.query)}"


def told(comparison: Comparison) -> str:
    """A comparison in a few words.

    >>> told(Comparison("nDCG@10", 10, 0.51, 0.5, 0.01, 3, 5, 2, 0.5, "randomisation", 100, (0.0, 0.02), 0.95))
    '0.5000 → 0.5100 (+0.0100, p = 0.5000; 3 queries better, 2 worse)'
    """
    return (
        f"{comparison.mean_b:.4f} → {comparison.mean_a:.4f} ({comparison.difference:+.4f}, {format_p(comparison.p_value)}; "
        f"{comparison.wins} queries better, {comparison.losses} worse)"
    )
