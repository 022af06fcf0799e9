"""What mining can be told, with the reason for each default."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError


class MiningOptions(BaseModel):
    """Which candidates are looked at, which of them are left out, and which of the rest are kept.

    >>> MiningOptions(first_rank=30, last_rank=100).relative_margin
    0.05
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Literal["bm25", "model"] = "model"
    """Where the candidates come from. The model's own ranking holds what the model confuses now (ANCE, Xiong et al., 2021);
    BM25's is the usual start, with a model that has not been trained yet (DPR, Karpukhin et al., 2020)."""
    first_rank: Annotated[int, Field(ge=1)] = 1
    """Both ends of the window belong to it. Ranks are counted from 1 over the ranking without the known positives. It begins at
    the top because the margins, not a guess at how many answers nobody has judged, are what keeps false negatives out."""
    last_rank: Annotated[int, Field(ge=1, validate_default=True)] = 100
    """Deep enough for a random choice of `negatives` among the hard ones, and still far from random documents."""
    negatives: Annotated[int, Field(ge=1)] = 8
    """Kept for each query-document pair, at most; the collection's own negatives count and stand first. Each costs training as
    much as a pair's positive does."""
    pick: Literal["hardest", "random"] = "random"
    """Which of the surviving candidates are kept: those that rank highest, or any. Those that rank highest are the likeliest
    to be answers that nobody has judged."""
    absolute_margin: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """A candidate's score must be below the positive's score minus this; None, because what a distance means differs from model
    to model."""
    relative_margin: Annotated[float, Field(ge=0, lt=1)] | None = 0.05
    """A candidate's score must be below the positive's by this share of it: 95 % of the positive's score was the best of the
    margins in NV-Retriever (Moreira et al., 2024), TopK-PercPos there. Of a score below 0, the share is of its size."""
    near_duplicate: Annotated[float, Field(gt=0, le=1)] | None = 0.8
    """Jaccard index of shingles with a known positive from which a candidate is left out: about one word in fifty changed. Such
    a text answers the query as well as the positive does, whatever its score."""
    denoise: Annotated[float, Field(gt=0, le=1)] | None = 0.5
    """Where there is a teacher: a candidate that is better than the positive in its eyes with at least this chance is left out
    (denoised hard negatives, RocketQA, Qu et al., 2021). The chance is the sigmoid of the difference of the two scores, which
    are logits; 0.5 leaves out what the teacher ranks above the positive."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0

    @field_validator("last_rank")
    @classmethod
    def _behind_the_first(cls, last: int, info: ValidationInfo) -> int:
        first = info.data.get("first_rank", 1)
        if last < first:
            raise PydanticCustomError("window", "It must be at least first_rank, which is {first}", {"first": first})
        return last
