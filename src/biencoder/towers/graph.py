"""A tower as one graph that other runtimes take: token ids in, vectors out; pooling, projection and normalisation inside."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from biencoder.towers.backbone import quiet_transformers
from biencoder.towers.pooling import Pooling

if TYPE_CHECKING:
    from biencoder.towers.tower import Tower

EXAMPLE_SHAPE = (3, 17)
"""Of the token ids that a graph is traced with: numbers that no layer has by itself."""


class UnpaddedTower(nn.Module):
    """Vectors of texts that all have the same number of tokens: no padding, hence no mask anywhere in the graph."""

    def __init__(self, tower: Tower) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, input_ids: Tensor) -> Tensor:
        """From token ids, shape (batch, tokens), to vectors, shape (batch, dimension)."""
        states = self.tower.backbone(input_ids=input_ids).last_hidden_state.float()
        return self.tower.finish(_pool(states, self.tower.settings.pooling))


def _pool(states: Tensor, pooling: Pooling) -> Tensor:
    if pooling is Pooling.CLS:
        return states[:, 0]
    if pooling is Pooling.LAST:
        return states[:, -1]
    return states.amax(dim=1) if pooling is Pooling.MAX else states.mean(dim=1)


def example_ids(tower: Tower) -> Tensor:
    """Token ids to trace with, shape `EXAMPLE_SHAPE`, all of them words of the vocabulary."""
    words = int(tower.backbone.config.vocab_size)
    return (torch.arange(EXAMPLE_SHAPE[0] * EXAMPLE_SHAPE[1]).reshape(EXAMPLE_SHAPE) * 7919 + 11) % max(words - 10, 1) + 5


@contextmanager
def exporting(tower: Tower) -> Iterator[UnpaddedTower]:
    """The tower as a graph to be traced, dropout off, the exporters quiet; the tower is as it was afterwards."""
    training = tower.training
    try:
        with quiet_export():
            yield UnpaddedTower(tower).eval()
    finally:
        tower.train(training)


@contextmanager
def quiet_export() -> Iterator[None]:
    """Keep what the exporters say of their own insides off the terminal; a wrong graph shows when it is compared."""
    loggers = [
        logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "root", "onnxruntime", "openvino")
    ]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with quiet_transformers(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
