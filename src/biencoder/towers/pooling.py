"""From one vector a token to one vector a text.

Each function takes the backbone's ``states``, shape (batch, tokens, hidden), and ``mask``, shape (batch, tokens), 1 where a
token is real and 0 where it is padding, and gives shape (batch, hidden) in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import torch
from torch import Tensor


class Pooling(StrEnum):
    """How token vectors become a text's vector; the values are the ones that messages and model folders use."""

    CLS = "cls"
    MEAN = "mean"
    MAX = "max"
    LAST = "last"


def cls(states: Tensor, mask: Tensor) -> Tensor:
    """The first token's vector (Devlin et al., BERT, 2019).

    >>> cls(torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]), torch.tensor([[1, 1]])).tolist()
    [[1.0, 2.0]]
    """
    del mask
    return states[:, 0].float()


def mean(states: Tensor, mask: Tensor) -> Tensor:
    """The mean over real tokens (Reimers and Gurevych, Sentence-BERT, 2019).

    >>> mean(torch.tensor([[[1.0, 2.0], [3.0, 4.0], [9.0, 9.0]]]), torch.tensor([[1, 1, 0]])).tolist()
    [[2.0, 3.0]]
    """
    weights = mask.unsqueeze(-1).to(torch.float32)
    return (states.float() * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-9)


def maximum(states: Tensor, mask: Tensor) -> Tensor:
    """Each dimension's maximum over real tokens; padding is masked with −inf, so that negative maxima survive.

    >>> maximum(torch.tensor([[[-1.0, 2.0], [-3.0, 4.0], [9.0, 9.0]]]), torch.tensor([[1, 1, 0]])).tolist()
    [[-1.0, 4.0]]
    """
    return states.float().masked_fill(mask.unsqueeze(-1) == 0, float("-inf")).amax(dim=1)


def last(states: Tensor, mask: Tensor) -> Tensor:
    """The last real token's vector, for backbones with causal attention (Wang et al., E5-Mistral, 2024).

    >>> last(torch.tensor([[[1.0, 2.0], [3.0, 4.0], [9.0, 9.0]]]), torch.tensor([[1, 1, 0]])).tolist()
    [[3.0, 4.0]]
    """
    ends = mask.sum(dim=1) - 1
    return states[torch.arange(len(states), device=states.device), ends].float()


POOLERS: dict[Pooling, Callable[[Tensor, Tensor], Tensor]] = {
    Pooling.CLS: cls,
    Pooling.MEAN: mean,
    Pooling.MAX: maximum,
    Pooling.LAST: last,
}
