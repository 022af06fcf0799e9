"""Transformers backbones and tokenizers, loaded safely and quietly."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biencoder.errors import ArgumentError, BiencoderError, ModelError

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

_FIRST_POSITION_BEHIND_PAD = {"roberta", "xlm-roberta", "camembert", "mpnet", "xlm-roberta-xl", "longformer"}
"""Backbones whose positions start behind the padding id, so that two of the positions are no use."""

_VOCABULARIES = ("tokenizer.json", "vocab.*", "*.model", "*.tiktoken")
"""The files that carry a tokenizer's words, one of which must be there."""

_ABSURD_LENGTH = 1_000_000
"""Tokenizers that know no maximum length say something like 1e30."""


def load_backbone(folder: Path) -> PreTrainedModel:
    """Load a backbone in float32 from safetensors.

    Raises:
        ModelError: where the weights are missing, damaged, pickled or incomplete, or the model wants code of its own.
    """
    from transformers import AutoConfig, AutoModel, AutoModelForTextEncoding

    _check_safe(folder)
    with _explained(folder), quiet_transformers():
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        loader = AutoModelForTextEncoding if getattr(config, "is_encoder_decoder", False) else AutoModel
        model, report = loader.from_pretrained(folder, output_loading_info=True, **_safely())
    _check_complete(folder, report)
    model.eval()
    return model  # type: ignore[no-any-return]


def load_classifier(folder: Path, *, labels: int | None = None) -> tuple[PreTrainedModel, list[str]]:
    """Load a backbone with a classification head in float32 from safetensors.

    Args:
        folder: a sequence-classification checkpoint, or a bare backbone.
        labels: of the head; None takes what the configuration says.

    Returns:
        The model, and which weights of the head and the pooler the folder lacks: those were drawn from torch's random state.

    Raises:
        ModelError: as `load_backbone`.
    """
    from transformers import AutoModelForSequenceClassification

    _check_safe(folder)
    options = {} if labels is None else {"num_labels": labels}
    with _explained(folder), quiet_transformers():
        model, report = AutoModelForSequenceClassification.from_pretrained(
            folder, output_loading_info=True, **options, **_safely()
        )
    inside = f"{model.base_model_prefix}."
    lacking = {str(key) for key in report.pop("missing_keys", ())}
    needed = {key for key in lacking if key.startswith(inside) and ".pooler." not in key}
    _check_complete(folder, report | {"missing_keys": {key.removeprefix(inside) for key in needed}})
    model.eval()
    return model, sorted(lacking - needed)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Load a fast tokenizer.

    Raises:
        ModelError: where there is none, or it is damaged.
    """
    from transformers import AutoTokenizer

    if not any(any(folder.glob(name)) for name in _VOCABULARIES):  # transformers would make up a tokenizer without words
        raise ModelError(f"{folder} has no tokenizer; a tokenizer.json or a vocabulary was expected beside the weights")
    with _explained(folder), quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True, use_fast=True)
    if not tokenizer.is_fast:
        raise ModelError(f"{folder} has a tokenizer without a fast implementation; convert it to a tokenizer.json")
    return tokenizer  # type: ignore[return-value]


def lower_case(tokenizer: PreTrainedTokenizerFast) -> None:
    """Make a tokenizer lower-case its input first, where it does not by itself."""
    from tokenizers import normalizers

    core = tokenizer.backend_tokenizer
    if core.normalizer is None or core.normalizer.normalize_str("A") != "a":
        own = [] if core.normalizer is None else [core.normalizer]
        core.normalizer = normalizers.Sequence([normalizers.Lowercase(), *own])


def longest_input(backbone: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, *, tokenizer_limit: bool = True) -> int:
    """The most tokens that a backbone can take, as far as its configuration and, unless left out, its tokenizer say."""
    config = backbone.config
    positions = getattr(config, "max_position_embeddings", None)
    if positions is not None and config.model_type in _FIRST_POSITION_BEHIND_PAD:
        positions -= (config.pad_token_id if config.pad_token_id is not None else 1) + 1
    said = (positions, tokenizer.model_max_length if tokenizer_limit else None)
    limits = [int(limit) for limit in said if limit is not None and limit < _ABSURD_LENGTH]
    return min(limits, default=512)


def move(module: nn.Module, *, to: str) -> None:
    """Move a module to a device.

    Raises:
        ArgumentError: where there is no such device.
    """
    try:
        module.to(to)
    except (RuntimeError, AssertionError) as error:
        reason = (str(error).strip().splitlines() or ["unknown"])[0]
        raise ArgumentError(f"device {to!r} cannot be used ({reason})") from error


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers' progress bars and advice off the terminal; what matters is raised as an error."""
    from transformers.utils import logging as transformers_logging

    level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.CRITICAL)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


@contextmanager
def os_errors_of_rust() -> Iterator[None]:
    """Raise as OSError what safetensors and tokenizers, written in Rust, report of the system's refusals in their own way.

    Raises:
        OSError: such as for a full disk.
    """
    try:
        yield
    except Exception as error:
        code = re.search(r"\(os error (\d+)\)", str(error))
        if isinstance(error, OSError) or code is None:
            raise
        number = int(code[1])
        raise OSError(number, os.strerror(number)) from error


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Turn whatever the libraries raise on a damaged folder into one line."""
    try:
        yield
    except BiencoderError:
        raise
    except Exception as error:  # the libraries below raise errors of many kinds on damaged files
        lines = str(error).strip().splitlines() or [type(error).__name__]
        reason = lines[0].strip()
        raise ModelError(f"{folder} cannot be read as a model ({reason}); it may be damaged or incomplete") from error


def _check_safe(folder: Path) -> None:
    if not any(folder.glob("*.safetensors")):
        found = ", ".join(sorted(path.name for path in folder.glob("*.bin"))) or "no weights"
        raise ModelError(f"{folder} has {found}; weights are read from safetensors only (convert them first)")


def _safely() -> dict[str, Any]:
    """How weights are read: float32, which transformers 5 would leave to the checkpoint; no pickle, no code, no network."""
    import torch

    return {"dtype": torch.float32, "use_safetensors": True, "trust_remote_code": False, "local_files_only": True}


def _check_complete(folder: Path, report: dict[str, Any]) -> None:
    missing = sorted(key for key in report.get("missing_keys", ()) if not key.startswith("pooler."))
    mismatched = sorted(str(key) for key in report.get("mismatched_keys", ()))
    if missing:
        raise ModelError(f"{folder} lacks {len(missing)} of the backbone's weights, {missing[0]} for one; it is incomplete")
    if mismatched:
        raise ModelError(f"{folder}: {len(mismatched)} weights have another shape than the configuration says: {mismatched[0]}")
