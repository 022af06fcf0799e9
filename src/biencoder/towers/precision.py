"""Number formats that a model is run in, and whether this processor has them."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum

import torch

from biencoder.errors import ArgumentError

_BFLOAT16_MULTIPLE = 8
_KERNELS_OF_ENCODING, _KERNELS_OF_A_LAYER, KERNELS_OF_TRAINING = 8, 24, 512
"""Prepared matrix products that are kept. A layer has about six kinds of them forward and twenty with its backward pass; with
fewer, every layer prepares them anew, which takes longer than they do. Of rows whose lengths are multiples of 8, those of
training hold all kinds of all lengths up to 256 tokens; encoding gains less by it than its memory grows."""


class Precision(StrEnum):
    """Number formats of the matrix products.

    ``exact`` is float32; ``fast`` is bfloat16 over float32 weights where the processor has it; ``int8`` is int8 in small groups
    with a scale each, by other runtimes than torch.
    """

    EXACT = "exact"
    FAST = "fast"
    INT8 = "int8"

    @classmethod
    def of(cls, name: str) -> Precision:
        """Parse a name.

        Raises:
            ArgumentError: where it is none of the precisions.

        >>> Precision.of("fast") is Precision.FAST
        True
        """
        try:
            return cls(name)
        except ValueError:
            choices = ", ".join(cls)
            raise ArgumentError(f"precision {name!r} is unknown; choose one of {choices}") from None


def has_bfloat16(device: torch.device) -> bool:
    """Whether ``device`` multiplies bfloat16 matrices in hardware."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
        return any(bool(capabilities.get(name)) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return False


def arithmetic(precision: Precision, device: torch.device) -> str:
    """The number format of the matrix products: ``float32`` or ``bfloat16``."""
    return "bfloat16" if precision is Precision.FAST and has_bfloat16(device) else "float32"


def running(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """A context in which a tower computes in this precision.

    Weights and the residual stream stay float32 and only matrix products are rounded, which keeps the cosine to float32 above
    0.9999; one context should span many batches, since it keeps the converted weights.
    """
    bound_kernel_caches()
    if arithmetic(precision, device) == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def row_multiple(number_format: str) -> int:
    """Of which there are tokens in a row of a batch whose matrix products are computed in this number format.

    On processors every shape of a bfloat16 matrix product is prepared, for one to five milliseconds, before it is computed:
    few different lengths are worth some padding. GPUs compute multiples of 8 faster.

    >>> row_multiple("float32"), row_multiple("bfloat16")
    (1, 8)
    """
    return _BFLOAT16_MULTIPLE if number_format == "bfloat16" else 1


def bound_kernel_caches(*, training: bool = False) -> None:
    """Keep torch's kernel caches on processors small, unless the user has set them.

    oneDNN and torch's layer above it keep up to 1,024 prepared matrix products each, one for every shape, with their working
    memory, which grows by gigabytes. What is reused most are the products of one micro-batch in layer after layer. Both
    libraries read the setting at their first product: in a process that has encoded before, training in bfloat16 keeps what
    encoding had, and is slower by up to a half.

    Args:
        training: the process is going to train.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(KERNELS_OF_TRAINING if training else _KERNELS_OF_ENCODING))
    os.environ.setdefault("LRU_CACHE_CAPACITY", str(_KERNELS_OF_ENCODING))


def keeps_kernels_of_training() -> bool:
    """Whether this process keeps a layer's prepared matrix products, forward and backward, as far as its environment tells."""
    kept = os.environ.get("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "")
    return not kept.isdecimal() or int(kept) >= _KERNELS_OF_A_LAYER
