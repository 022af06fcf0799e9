"""What the training of a reranker can be told, with the reason for each default."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class RerankerOptions(BaseModel):
    """How a cross-encoder is trained.

    >>> RerankerOptions(negatives=15).loss
    'lce'
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    loss: Literal["lce", "listwise"] = "lce"
    """``lce``: one positive against negatives, drawn afresh for each step; ``listwise``: a query's positives in one list."""
    negatives: Annotated[int, Field(ge=1, le=1000)] = 7
    """Of a list, drawn from those that its example brings. More are better (Gao, Dai and Callan, 2021), and each costs as much
    time as the positive does."""
    batch_size: Annotated[int, Field(ge=2, le=65536)] = 16
    """Lists a step."""
    epochs: Annotated[float, Field(gt=0, le=1000)] = 2.0
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 5e-5
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.01
    warmup: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of the steps over which the learning rate rises; then it falls linearly to zero."""
    max_gradient_norm: Annotated[float, Field(gt=0)] = 1.0
    max_length: Annotated[int, Field(ge=8)] | None = None
    """Tokens of a pair during training; None takes the model's own."""
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Of the hidden layers and the head; None keeps the checkpoint's own."""
    attention_dropout: Annotated[float, Field(ge=0, lt=1)] | None = 0.0
    """Of the attention weights; 0 keeps the fast attention kernels, which have no dropout on processors."""
    token_budget: Annotated[int, Field(ge=64)] | None = None
    """Tokens of a micro-batch; None takes 1,024 on processors, where small ones stay in the cache, and at most
    16,384 on GPUs."""
    graph_tokens: Annotated[int, Field(ge=64)] | None = None
    """Tokens whose activations are held at a time: whole lists together, as many as fit. A list of more is scored twice. None
    takes 4,096 on processors, and on GPUs what half of the memory holds."""
    evaluations: Annotated[int, Field(ge=1, le=100)] = 2
    """How often the development split is looked at, evenly over the steps; the last look is at the end."""
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 120.0
    """At most this much work is lost when the process is killed."""
    precision: Literal["exact", "fast"] = "fast"
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
