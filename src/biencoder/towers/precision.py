"""Number formats that a model is run in, and whether this processor has them."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum

import torch

from biencoder.errors import ArgumentError


class Precision(StrEnum):
    """``exact`` is float32; ``fast`` is bfloat16 matrix products over float32 weights where the processor has them."""

    EXACT = "exact"
    FAST = "fast"

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
    if arithmetic(precision, device) == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)
