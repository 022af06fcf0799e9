"""Arguments and options that several commands have."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

import typer

if TYPE_CHECKING:
    from biencoder.data.passages import PassageOptions


class PrecisionName(StrEnum):
    """The names of `biencoder.towers.precision.Precision`, which cannot be imported without torch."""

    EXACT = "exact"
    FAST = "fast"
    INT8 = "int8"


class TrainingPrecisionName(StrEnum):
    """The number formats that training has."""

    EXACT = "exact"
    FAST = "fast"


class RuntimeName(StrEnum):
    """The names of `biencoder.towers.runners`, which cannot be imported without torch."""

    AUTO = "auto"
    TORCH = "torch"
    OPENVINO = "openvino"
    ONNX = "onnx"


class RunningOptions(TypedDict):
    """How a model is to be run, as `BiEncoder.load` and `Searcher.open` take it."""

    precision: str
    runtime: str
    threads: int | None


_MODEL = "A model folder, a run that fit left, an installed model package, or a hub name."
_CORPUS = "Documents: a BEIR folder, a .jsonl, .csv, .tsv or .parquet file, a folder of texts, hf:NAME or ir:NAME."
_COLLECTION = "Documents, queries and judgements: a BEIR folder, a file of pairs, hf:NAME or ir:NAME."

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help=_MODEL, show_default=False)]
CorpusArgument = Annotated[str, typer.Argument(metavar="CORPUS", help=_CORPUS, show_default=False)]
IndexArgument = Annotated[str, typer.Argument(metavar="INDEX", help="What biencoder index wrote.", show_default=False)]
CollectionArgument = Annotated[str, typer.Argument(metavar="COLLECTION", help=_COLLECTION, show_default=False)]
Precision = Annotated[
    PrecisionName,
    typer.Option(help="exact: float32; fast: bfloat16 where the processor has it; int8: faster still.", case_sensitive=False),
]
Runtime = Annotated[
    RuntimeName,
    typer.Option(envvar="BIENCODER_RUNTIME", help="auto: the fastest that is installed and agrees with torch on the texts."),
]
Threads = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="For encoding; default: this process's share of the machine.")
]
PassageSize = Annotated[
    int | None, typer.Option("--passages", metavar="WORDS", help="Split documents into passages of so many words.")
]
PassageOverlap = Annotated[
    int | None, typer.Option("--overlap", metavar="WORDS", help="Words that neighbouring passages share; default a quarter.")
]
Rerank = Annotated[
    str | None,
    typer.Option(metavar="MODEL", help="Put the best hits in order anew by a cross-encoder; scores are log-odds."),
]
Depth = Annotated[int, typer.Option(metavar="N", help="Hits that --rerank looks at; the hits asked for, where those are more.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="Options as TOML.", metavar="FILE.toml")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One option, over the file's; may be repeated.")
]
TrainingPrecision = Annotated[
    TrainingPrecisionName | None,
    typer.Option(help="fast (the default): bfloat16 where the processor has it; exact: float32."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Neither progress nor remarks.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def running_options(precision: PrecisionName, runtime: RuntimeName, threads: int | None) -> RunningOptions:
    """``--precision``, ``--runtime`` and ``--threads`` together."""
    return {"precision": precision.value, "runtime": runtime.value, "threads": threads}


def passage_options(size: int | None, overlap: int | None) -> PassageOptions | None:
    """``--passages`` and ``--overlap`` together.

    Raises:
        typer.BadParameter: for an overlap without passages.
        ArgumentError: where a number is out of range.
    """
    from biencoder.data.passages import PassageOptions

    if size is None:
        if overlap is not None:
            raise typer.BadParameter("--overlap belongs to --passages, which is not given")
        return None
    return PassageOptions(size=size, overlap=size // 4 if overlap is None else overlap)
