"""What decides a model's numbers, as digests for its fingerprint: weights, architecture, tokenizer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from biencoder.towers.tokens import plain_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerFast

_SHAPING_KEYS = (
    "model_type",
    "hidden_act",
    "activation",
    "num_attention_heads",
    "n_heads",
    "num_key_value_heads",
    "layer_norm_eps",
    "rms_norm_eps",
    "norm_eps",
    "position_embedding_type",
    "rope_theta",
    "rope_scaling",
    "rope_parameters",
    "layer_types",
    "hidden_activation",
    "feed_forward_proj",
    "relative_attention_max_distance",
    "pos_att_type",
    "position_buckets",
    "max_relative_positions",
    "local_attention",
    "global_attn_every_n_layers",
    "sliding_window",
)
"""What a backbone's configuration says that its weights do not, and that changes what it computes."""


def architecture_of(config: PreTrainedConfig) -> dict[str, Any]:
    """What a configuration says that the weights do not, and that changes what is computed."""
    values = config.to_dict()
    return {key: values[key] for key in _SHAPING_KEYS if values.get(key) is not None}


def weights_digest(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """SHA-256 over names, shapes and float32 values, by name; tensors of integers (positions) follow from the architecture."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors, key=lambda named: named[0]):
        if tensor.is_floating_point():
            digest.update(json.dumps([name, list(tensor.shape)]).encode())
            digest.update(np.ascontiguousarray(tensor.detach().float().cpu().numpy()).data)
    return digest.hexdigest()


def tokenizer_digest(tokenizer: PreTrainedTokenizerFast) -> str:
    """SHA-256 over the whole tokenizer but for truncation and padding."""
    return hashlib.sha256(plain_tokenizer(tokenizer).encode()).hexdigest()
