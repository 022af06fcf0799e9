"""What training can be told, with the reason for each default."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

TAUGHT = frozenset({"margin_mse", "kl"})
"""Losses that learn from a teacher's scores, which the examples bring."""


class TrainingOptions(BaseModel):
    """One stage of training.

    The defaults were chosen on the development split of the Python collection and checked on two other collections
    (docs/experiments.md).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    loss: Literal["info_nce", "triplet", "margin_mse", "kl"] = "info_nce"
    """The last two learn from a teacher's scores (`TAUGHT`)."""
    temperature: Annotated[float, Field(gt=0, le=1)] = 0.05
    symmetric: bool = False
    margin: Annotated[float, Field(gt=0, le=2)] = 0.2
    """Of the triplet loss."""
    contrastive_weight: Annotated[float, Field(ge=0, le=100)] = 1.0
    """InfoNCE added to a loss that learns from a teacher: the teacher ranks a pair's own documents, the batch the rest."""
    teacher_temperature: Annotated[float, Field(gt=0, le=100)] = 1.0
    negatives: Annotated[int, Field(ge=0, le=1000)] | None = None
    """How many of an example's own negatives are drawn for a step; None takes all of them."""
    guide_margin: Annotated[float, Field(ge=-2, le=2)] | None = None
    """Leave out in-batch negatives that a guide scores within this of the positive, or above; None asks no guide."""
    matryoshka: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """Dimensions that the loss is also taken at, so that vectors can be cut to them; the full one is always added."""
    matryoshka_weights: tuple[Annotated[float, Field(gt=0)], ...] = ()
    """Of the dimensions above, the full one last; empty weighs all alike."""
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
    token_budget: Annotated[int, Field(ge=64)] | None = None
    """Tokens of a micro-batch; None takes 1,024 on processors, where small ones stay in the cache (docs/experiments.md), and
    at most 16,384 on GPUs."""
    graph_tokens: Annotated[int, Field(ge=0)] | None = None
    """Tokens of a step whose activations are held; what is beyond is computed twice (gradient caching), so that memory does not
    grow with the batch or its negatives. None takes 16,384 on processors, about 2 GB with a small backbone, and on GPUs what
    half of the memory holds."""
    attention: Literal["auto", "fused", "plain"] = "auto"
    weights: Literal["auto", "autocast", "bfloat16"] = "auto"
    """How `fast` computes: float32 weights converted product by product, or a bfloat16 copy of them beside float32 masters.
    `auto` takes what is fastest on the first texts, before the first step, and keeps to it."""
    evaluations: Annotated[int, Field(ge=1, le=100)] = 1
    """How often the development split is looked at, evenly over the steps; the last look is at the end."""
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 120.0
    """At most this much work is lost when the process is killed."""
    precision: Literal["exact", "fast"] = "fast"
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
