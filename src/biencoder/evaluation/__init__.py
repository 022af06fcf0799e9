"""Measuring search: measures in the field's notation, per-query values, paired tests and intervals.

The measures and their conventions stand in `biencoder.evaluation.measures`.
"""

from biencoder.evaluation.comparison import Comparison, compare, format_comparison
from biencoder.evaluation.evaluation import (
    Evaluation,
    JudgedCollection,
    Retriever,
    evaluate,
    evaluate_run,
    format_evaluation,
)
from biencoder.evaluation.measures import DEFAULT_MEASURES, Measure, parse_measure, parse_measures
from biencoder.evaluation.runs import read_run, write_run
from biencoder.evaluation.significance import bootstrap_interval, randomisation_test, t_test

__all__ = [
    "DEFAULT_MEASURES",
    "Comparison",
    "Evaluation",
    "JudgedCollection",
    "Measure",
    "Retriever",
    "bootstrap_interval",
    "compare",
    "evaluate",
    "evaluate_run",
    "format_comparison",
    "format_evaluation",
    "parse_measure",
    "parse_measures",
    "randomisation_test",
    "read_run",
    "t_test",
    "write_run",
]
