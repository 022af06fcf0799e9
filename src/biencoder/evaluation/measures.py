"""Measures in the field's notation (`nDCG@10`, `MRR@10`, `Recall@100`), computed by ir-measures one query at a time.

| written | also | what it is | cutoff |
|---|---|---|---|
| `nDCG@10` | | normalised discounted cumulative gain (Järvelin and Kekäläinen, 2002) | optional |
| `MRR@10` | `RR@10` | one over the rank of the first relevant document (Kantor and Voorhees, 2000) | optional |
| `Recall@100` | `R@100` | share of the relevant documents found | needed |
| `MAP@100` | `AP@100` | mean of the precisions at each relevant document (Harman, 1992) | optional |
| `Precision@5` | `P@5` | share of the first 5 ranks that are relevant; always divided by 5 | needed |
| `Success@1` | | 1 where any relevant document is found (elsewhere: hit rate, top-k accuracy) | needed |
| `Rprec` | | precision at the number of relevant documents | none |
| `Bpref` | | relevant documents ranked above judged others (Buckley and Voorhees, 2004) | none |
| `Judged@10` | | share of the first 10 ranks that anybody judged | optional |

Letter case does not matter. Parameters are ir-measures' own: `Recall(rel=2)@100` counts grades of 2 and above as relevant,
`nDCG(judged_only=True)@10` leaves out documents that nobody judged, `nDCG(gains={2: 3, 3: 7})@10` maps grades to gains.

Decisions, those of trec_eval but for grades below 0, which it has special meanings for:

- The gain of nDCG is the grade itself (linear); exponential gains are written with ``gains`` as above.
- A grade of 0 or less is judged, not relevant, and gains nothing.
- A judged query without hits counts as 0, and so does one without a relevant document.
- Without a cutoff the first 1,000 hits count.
"""

from __future__ import annotations

import ast
import difflib
import operator
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any

from biencoder.errors import ArgumentError, DataError

DEFAULT_MEASURES = ("nDCG@10", "MRR@10", "Recall@100")

_FULL_DEPTH = 1000  # TREC's depth of a run, for measures without a cutoff
_MAX_CUTOFF = 1_000_000
_MAX_GRADE = 1_000_000  # trec_eval keeps a counter for every grade up to the highest: 1e8 would take 800 MB
_BLOCK = 1000  # queries given to ir-measures at once, to bound its copies

_CANONICAL = {
    "nDCG": "nDCG",
    "MRR": "RR",
    "RR": "RR",
    "Recall": "R",
    "R": "R",
    "MAP": "AP",
    "AP": "AP",
    "Precision": "P",
    "P": "P",
    "Success": "Success",
    "Rprec": "Rprec",
    "Bpref": "Bpref",
    "Judged": "Judged",
}
_SPELLING = {name.lower(): name for name in _CANONICAL}
_CUTOFF_NEEDED = frozenset({"R", "P", "Success"})
_CUTOFF_ABSENT = frozenset({"Rprec", "Bpref"})
_PARAMETERS = {
    "rel": f"a whole number from 1 to {_MAX_GRADE:,}",
    "judged_only": "True or False",
    "gains": "grades and gains, both whole numbers of at least 0, such as {1: 1, 2: 3}",
}
_NOTATION = re.compile(r"(?P<name>\w+)\s*(?:\((?P<parameters>.*)\))?\s*(?:@\s*(?P<cutoff>.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Measure:
    """A measure that can be computed.

    Attributes:
        name: the user's own notation, its letter case put right.
        formula: the measure as an object of ir-measures.
        depth: how many hits of each query it looks at.
    """

    name: str
    formula: Any
    depth: int


def parse_measure(text: str) -> Measure:
    """Read a measure in the field's notation.

    Args:
        text: such as ``nDCG@10``; see the table of this module.

    Raises:
        ArgumentError: where the measure is unknown or its cutoff or a parameter cannot be used.

    >>> parse_measure("ndcg@10").name, parse_measure("mrr@10").name, str(parse_measure("MRR@10").formula)
    ('nDCG@10', 'MRR@10', 'RR@10')
    >>> parse_measure("nDGC@10")
    Traceback (most recent call last):
    biencoder.errors.ArgumentError: measure 'nDGC@10' is unknown (did you mean nDCG?); known are nDCG, MRR, RR, Recall, R, MAP, AP, Precision, P, Success, Rprec, Bpref, Judged
    """  # noqa: E501 - an example cannot be wrapped
    import ir_measures

    found = _NOTATION.fullmatch(text.strip())
    if not found:
        raise ArgumentError(f"measure {text!r} cannot be read; write a name and a cutoff, such as nDCG@10")
    name = _known_name(text, found["name"])
    canonical = _CANONICAL[name]
    cutoff = _cutoff(text, canonical, found["cutoff"])
    base = getattr(ir_measures, canonical)
    parameters = _parameters(text, found["parameters"] or "", known=base.SUPPORTED_PARAMS)
    formula = base(**parameters) if cutoff is None else base(**parameters) @ cutoff
    if not _provider().supports(formula):
        raise ArgumentError(f"measure {text!r} cannot be computed so; leave out the cutoff or a parameter")
    written = f"({', '.join(f'{key}={value!r}' for key, value in parameters.items())})" if parameters else ""
    return Measure(
        name=name + written + ("" if cutoff is None else f"@{cutoff}"),
        formula=formula,
        # judged_only removes hits before the cutoff, so that it needs hits below it
        depth=cutoff if cutoff and not parameters.get("judged_only") else max(_FULL_DEPTH, cutoff or 0),
    )


def parse_measures(texts: str | Sequence[str]) -> list[Measure]:
    """Read several measures; the same one written twice alike counts once.

    Raises:
        ArgumentError: where there is none, or one cannot be read.

    >>> [measure.name for measure in parse_measures(["nDCG@10", "ndcg@10", "R@5"])]
    ['nDCG@10', 'R@5']
    """
    parsed = [parse_measure(text) for text in ([texts] if isinstance(texts, str) else texts)]
    if not parsed:
        raise ArgumentError(f"no measure is given; give at least one, such as {DEFAULT_MEASURES[0]}")
    return list({measure.name: measure for measure in parsed}.values())


def per_query_values(
    rankings: Mapping[str, Collection[str]],
    judgements: Mapping[str, Mapping[str, int]],
    *,
    measures: Sequence[Measure],
) -> dict[str, dict[str, float]]:
    """The value of each measure for each judged query.

    This is the one place where a query without hits, or without a relevant document, is given its 0. Queries that are ranked
    but not judged are left out, as in trec_eval.

    Args:
        rankings: query id to document ids, best first.
        judgements: query id to document id to grade.
        measures: from `parse_measures`.

    Returns:
        The measure's name to query id to value, the queries in the order of the judgements.

    Raises:
        DataError: where a grade is not a whole number of at most 1,000,000.

    >>> per_query_values({"q": ["b", "a"]}, {"q": {"a": 1}, "r": {"a": 1}}, measures=parse_measures(["MRR@10"]))
    {'MRR@10': {'q': 0.5, 'r': 0.0}}
    """
    _check_grades(judgements)
    values = {measure.name: dict.fromkeys(judgements, 0.0) for measure in measures}
    answered = [query for query, grades in judgements.items() if grades and rankings.get(query)]
    for block in _blocks(answered):
        grades, scores = _numbered(block, rankings, judgements)
        for measure in measures:
            # One measure a call: measures with different parameters share state inside the provider.
            for metric in _provider().iter_calc([measure.formula], grades, scores):
                values[measure.name][block[int(metric.query_id)]] = float(metric.value)
    return values


def _known_name(text: str, name: str) -> str:
    known = _SPELLING.get(name.lower())
    if known is None:
        close = [_SPELLING[match] for match in difflib.get_close_matches(name.lower(), _SPELLING, n=3)]
        guess = f" (did you mean {' or '.join(close)}?)" if close else ""
        raise ArgumentError(f"measure {text!r} is unknown{guess}; known are {', '.join(_CANONICAL)}")
    return known


def _cutoff(text: str, canonical: str, written: str | None) -> int | None:
    if written is None:
        if canonical in _CUTOFF_NEEDED:
            raise ArgumentError(f"measure {text!r} needs a cutoff; write {text.strip()}@10, for example")
        return None
    if canonical in _CUTOFF_ABSENT:
        raise ArgumentError(f"measure {text!r} has a cutoff, but {canonical} takes none")
    if not re.fullmatch("[0-9]{1,7}", written) or not 1 <= int(written) <= _MAX_CUTOFF:
        raise ArgumentError(f"measure {text!r} has the cutoff {written!r}; it must be a whole number from 1 to {_MAX_CUTOFF:,}")
    return int(written)


def _parameters(text: str, written: str, *, known: Collection[str]) -> dict[str, Any]:
    """The keyword arguments between the brackets, each checked."""
    try:
        call = ast.parse(f"f({written})", mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
            raise ValueError(written)
        parameters = {keyword.arg or "**": ast.literal_eval(keyword.value) for keyword in call.keywords}
        if len(parameters) != len(call.keywords):
            raise ValueError(written)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise ArgumentError(
            f"measure {text!r} cannot be read; parameters are written (name=value), such as Recall(rel=2)@100"
        ) from error
    usable = [name for name in _PARAMETERS if name in known]
    for name, value in parameters.items():
        if name not in usable:
            raise ArgumentError(f"measure {text!r} has the parameter {name!r}; it takes {', '.join(usable) or 'none'}")
        if not _usable(name, value):
            raise ArgumentError(f"measure {text!r} has {name}={value!r}; it must be {_PARAMETERS[name]}")
    return parameters


def _usable(name: str, value: Any) -> bool:
    if name == "judged_only":
        return isinstance(value, bool)
    if name == "rel":
        return type(value) is int and 1 <= value <= _MAX_GRADE
    return (
        isinstance(value, dict)
        and bool(value)
        and all(type(number) is int and 0 <= number <= _MAX_GRADE for pair in value.items() for number in pair)
    )


@cache
def _provider() -> Any:
    """The providers that run inside this process; a fixed list, so that what else is installed changes no value."""
    import ir_measures

    return ir_measures.providers.FallbackProvider([ir_measures.pytrec_eval, ir_measures.judged, ir_measures.msmarco])


def _check_grades(judgements: Mapping[str, Mapping[str, int]]) -> None:
    for query, grades in judgements.items():
        for document, grade in grades.items():
            try:
                usable = operator.index(grade) <= _MAX_GRADE
            except TypeError:
                usable = False
            if not usable:
                raise DataError(
                    f"query {query!r} has document {document!r} with the grade {grade!r}",
                    hint=f"a grade must be a whole number of at most {_MAX_GRADE:,}",
                )


def _blocks(queries: Sequence[str]) -> Iterator[list[str]]:
    iterator = iter(queries)
    while block := list(islice(iterator, _BLOCK)):
        yield block


def _numbered(
    block: Sequence[str], rankings: Mapping[str, Collection[str]], judgements: Mapping[str, Mapping[str, int]]
) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, float]]]:
    """Judgements and run with ranks in the place of ids and scores.

    The providers sort by score again, trec_eval in single precision, each breaking ties its own way, and hand ids to C code
    as they are. Whole numbers counted down from the ranking's length leave no ties, and ranks as ids no hostile ones.
    Grades below 0 become 0: where a query has no others, trec_eval reads outside its arrays and crashes or never returns.
    """
    grades: dict[str, dict[str, int]] = {}
    scores: dict[str, dict[str, float]] = {}
    for number, query in enumerate(block):
        ranks = {document: str(rank) for rank, document in enumerate(rankings[query])}
        judged = enumerate(judgements[query].items())
        grades[str(number)] = {
            ranks.get(document, f"absent {place}"): max(int(grade), 0) for place, (document, grade) in judged
        }
        scores[str(number)] = {rank: float(len(ranks) - place) for place, rank in enumerate(ranks.values())}
    return grades, scores
