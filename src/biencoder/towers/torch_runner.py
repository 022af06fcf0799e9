"""A tower run by torch: always there, on processors and GPUs, and the reference of every other runtime."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

import torch
from transformers.utils.import_utils import is_flash_attn_2_available

from biencoder.errors import ArgumentError
from biencoder.scoring import FloatArray
from biencoder.towers.precision import Precision, arithmetic, row_multiple, running
from biencoder.towers.runner import Run, Runner, TokenIds

if TYPE_CHECKING:
    from biencoder.towers.tower import Tower

_CPU_TOKENS = 4096
"""Beyond it the matrix products run no faster, and the activations leave the cache."""
_GPU_TOKENS = 65536
"""Enough rows for a large GPU's matrix units; 0.4 GB of activations for a backbone of 768 dimensions in bf16."""


class TorchRunner(Runner):
    """The tower itself: it sees every change of its weights.

    Args:
        tower: what is run.
        precision: ``exact`` or ``fast``.
        threads: on processors.

    Raises:
        ArgumentError: for ``int8``, which torch does not offer here.
    """

    name: ClassVar[str] = "torch"

    def __init__(self, tower: Tower, precision: Precision, *, threads: int) -> None:
        if precision is Precision.INT8:
            raise ArgumentError(
                "precision int8 needs another runtime than torch; run: pip install 'biencoder[openvino]', or choose fast"
            )
        self._tower = tower
        self._precision = precision
        self._threads = threads
        self.padded = True
        self.multiple = row_multiple(arithmetic(precision, tower.device))
        self.token_budget = _CPU_TOKENS if tower.device.type == "cpu" else _GPU_TOKENS

    @contextmanager
    def session(self) -> Iterator[Run]:
        """One context over many batches, since it keeps the weights that it has converted."""
        tower, training = self._tower, self._tower.training
        if tower.device.type == "cpu" and torch.get_num_threads() > self._threads:
            torch.set_num_threads(self._threads)
        tower.eval()
        try:
            with torch.inference_mode(), running(self._precision, tower.device), unpadded_attention(tower, self._precision):
                yield self._run
        finally:
            tower.train(training)

    def _run(self, rows: TokenIds) -> FloatArray:
        vectors: FloatArray = self._tower(*self._tower.collate(rows, multiple=self.multiple)).cpu().numpy()
        return vectors

    def execution(self) -> dict[str, str]:
        """Runtime, version, number format and device."""
        device = self._tower.device
        return {
            "runtime": self.name,
            "version": torch.__version__,
            "arithmetic": arithmetic(self._precision, device),
            "device": device.type,
        }


@contextmanager
def unpadded_attention(tower: Tower, precision: Precision) -> Iterator[None]:
    """FlashAttention over the real tokens alone (Dao, 2023) while the block runs; where it cannot be had, torch's own kernels.

    It needs a GPU, bfloat16, the package flash-attn, and a backbone that transformers runs with it.
    """
    backbone = tower.backbone
    before = backbone.config._attn_implementation  # noqa: SLF001 - transformers tells it nowhere else
    possible = tower.device.type == "cuda" and arithmetic(precision, tower.device) == "bfloat16"
    if not (possible and getattr(backbone, "_supports_flash_attn", False) and is_flash_attn_2_available()):
        yield
        return
    backbone.set_attn_implementation("flash_attention_2")
    try:
        yield
    finally:
        backbone.set_attn_implementation(before)
