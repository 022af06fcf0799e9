"""What training can be told, with the reason for each default."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class TrainingOptions(BaseModel):
    """One stage of training.

    The defaults were chosen on the development split of the Python collection and checked on two other collections
    (docs/experiments.md).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    loss: Literal["info_nce", "triplet"] = "info_nce"
    temperature: Annotated[float, Field(gt=0, le=1)] = 0.05
    symmetric: bool = False
    margin: Annotated[float, Field(gt=0, le=2)] = 0.2
    batch_size: Annotated[int, Field(ge=2, le=65536)] = 64
    epochs: Annotated[float, Field(gt=0, le=1000)] = 1.0
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 5e-5
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.01
    warmup: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of the steps over which the learning rate rises; then it falls linearly to zero."""
    max_gradient_norm: Annotated[float, Field(gt=0)] = 1.0
    query_length: Annotated[int, Field(ge=4)] | None = None
    document_length: Annotated[int, Field(ge=4)] | None = None
    """Tokens during this stage; None takes the towers' own."""
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Of the hidden layers; None keeps the checkpoint's own. On processors its random numbers come from one thread."""
    attention_dropout: Annotated[float, Field(ge=0, lt=1)] | None = 0.0
    """Of the attention weights; 0 keeps the fused attention kernel, which has no dropout on processors."""
    token_budget: Annotated[int, Field(ge=64)] = 2048
    evaluations: Annotated[int, Field(ge=1, le=100)] = 1
    """How often the development split is looked at, evenly over the steps; the last look is at the end."""
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 120.0
    """At most this much work is lost when the process is killed."""
    precision: Literal["exact", "fast"] = "fast"
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
