"""A classification head that multiplies in float32 whatever its backbone does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class _ExactLinear(nn.Linear):
    """Multiplies in float32, also where autocast would not: in bfloat16 the scores of good documents would be equal."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's own name
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.float())


def make_head_exact(module: PreTrainedModel) -> None:
    """Put `_ExactLinear` in place of the head's linear layers, over the same weights."""
    backbone = set(module.base_model.modules())
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear and child not in backbone:
                exact = _ExactLinear(child.in_features, child.out_features, bias=child.bias is not None, device="meta")
                exact.weight, exact.bias = child.weight, child.bias
                exact.train(child.training)
                setattr(parent, name, exact)
