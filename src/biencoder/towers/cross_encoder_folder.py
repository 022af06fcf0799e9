"""The folder of a cross-encoder, read and written: it opens in transformers and sentence-transformers, and theirs open here.

Beside the files that transformers reads stands `reranker.json`: the length, the scale of the scores, how much the first stage's
score counts beside them, and the fingerprint, which is checked whenever the folder is read.
"""

from __future__ import annotations

import copy
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from biencoder.errors import ModelError
from biencoder.records import FirstStageWeight
from biencoder.towers.backbone import (
    load_classifier,
    load_tokenizer,
    longest_input,
    lower_case,
    os_errors_of_rust,
    quiet_transformers,
)
from biencoder.towers.layout import read_json, read_layout, read_object

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

OWN = "reranker.json"
FORMAT = 1
SCALE = "logit: a difference of two scores of one query is the log-odds that the first is the more relevant"

_SENTENCE_TRANSFORMERS = "config_sentence_transformers.json"
_LONGEST = 512
"""Tokens of a pair where nobody says otherwise: a query, and a document of about 350 words."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a cross-encoder is made of; ``fingerprint`` is the one that was saved, ``fresh`` says that the head was drawn."""

    module: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    max_length: int
    fingerprint: str | None = None
    first_stage: FirstStageWeight | None = None
    fresh: bool = False


def is_reranker(folder: Path) -> bool:
    """Whether a model folder has a classification head.

    Raises:
        ModelError: where its configuration cannot be read.
    """
    config = read_object(folder / "config.json", default={})
    return (folder / OWN).exists() or any("ForSequenceClassification" in name for name in _architectures(config))


def read_classifier(folder: Path, *, name: str) -> Parts:
    """Read a sequence-classification checkpoint of one label or two.

    Args:
        folder: where it lies.
        name: what the user called it, for the message.

    Raises:
        ModelError: where it is none, or cannot be read.
    """
    if not is_reranker(folder):
        found = ", ".join(_architectures(read_object(folder / "config.json", default={}))) or "none"
        raise ModelError(
            f"{folder} is no reranker: its configuration names the architecture {found}, and one for sequence classification "
            f"was expected; train one from it: biencoder rerank-fit COLLECTION --model {name} --out DIR"
        )
    _check_modules(folder)
    own = _read_own(folder)
    module, drawn = load_classifier(folder)
    if drawn:
        raise ModelError(f"{folder} lacks {len(drawn)} of the head's weights, {drawn[0]} for one; it is incomplete")
    labels = int(module.config.num_labels or 0)
    if labels not in {1, 2}:
        raise ModelError(
            f"{folder} tells {labels} labels apart; a reranker has one, whose logit is the score, or two, whose logits' "
            "difference is"
        )
    tokenizer = _tokenizer(folder, module)
    if own is None:
        return Parts(module, tokenizer, longest_input(module, tokenizer))
    return Parts(module, tokenizer, *own)


def read_backbone(folder: Path, *, seed: int) -> Parts:
    """Read a bi-encoder's document side, or a bare backbone, and put a head over it, drawn from the seed.

    Raises:
        ModelError: where it cannot be read.
    """
    side = read_layout(folder).document if (folder / "modules.json").exists() else None
    place = folder if side is None else side.backbone
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module, _ = load_classifier(place, labels=1)
    tokenizer = _tokenizer(place, module)
    if side is not None and side.lower_case:
        lower_case(tokenizer)
    length = min(_LONGEST, longest_input(module, tokenizer, tokenizer_limit=False))
    return Parts(module, tokenizer, length, fresh=True)


@os_errors_of_rust()
def write_classifier(parts: Parts, folder: Path) -> None:
    """Write a cross-encoder's files into ``folder``, which somebody else puts in place."""
    tokenizer = copy.deepcopy(parts.tokenizer)
    tokenizer.model_max_length = parts.max_length
    with quiet_transformers():
        parts.module.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    # sentence-transformers would put the scores through a sigmoid, in which float32 cannot tell two great ones apart.
    config["sentence_transformers"] = {"activation_fn": "torch.nn.modules.linear.Identity"}
    _write_json(folder / "config.json", config)
    own = {"format": FORMAT, "max_length": parts.max_length, "scale": SCALE, "fingerprint": parts.fingerprint}
    if parts.first_stage is not None:
        own["first_stage"] = asdict(parts.first_stage)
    _write_json(folder / OWN, own)


def _read_own(folder: Path) -> tuple[int, str, FirstStageWeight | None] | None:
    """Length, fingerprint and the first stage's weight, where biencoder has written the folder."""
    if not (folder / OWN).exists():
        return None
    own = read_object(folder / OWN)
    if own.get("format") != FORMAT:
        raise ModelError(f"{folder / OWN} has format {own.get('format')}; this biencoder reads format {FORMAT}")
    try:
        return int(own["max_length"]), str(own["fingerprint"]), _first_stage(own.get("first_stage"))
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{folder / OWN} is damaged (at {error}); save the reranker again") from None


def _first_stage(found: Any) -> FirstStageWeight | None:
    """The weight that a folder records.

    Raises:
        KeyError: where a part is missing.
        TypeError: where a part is of another kind.
        ValueError: where the weight is no number that can be used.
    """
    if found is None:
        return None
    weight, name = float(found["weight"]), str(found["first_stage"])
    if not 0 <= weight < math.inf:
        raise ValueError(f"the weight {weight}")
    return FirstStageWeight(weight, name)


def _check_modules(folder: Path) -> None:
    """Make sure that sentence-transformers would do nothing to texts or scores that is not done here."""
    modules = read_json(folder / "modules.json", default=[])
    names = [str(entry.get("type", "")).rpartition(".")[2] if isinstance(entry, dict) else repr(entry) for entry in modules]
    if any(name != "Transformer" for name in names):
        raise ModelError(f"{folder} is a reranker of the modules {', '.join(names)}; one of a Transformer alone is supported")
    settings = read_object(folder / _SENTENCE_TRANSFORMERS, default={})
    if settings.get("default_prompt_name"):
        raise ModelError(
            f"{folder} wants the prompt {settings['default_prompt_name']!r} with its pairs; rerankers without one are supported"
        )


def _tokenizer(folder: Path, module: PreTrainedModel) -> PreTrainedTokenizerFast:
    """The tokenizer; decoders find a text's last token by the padding that their own configuration may not name."""
    tokenizer = load_tokenizer(folder)
    if getattr(module.config, "pad_token_id", None) is None:
        if tokenizer.pad_token_id is None:
            raise ModelError(f"{folder} names no padding token, neither in config.json nor in its tokenizer; add one")
        module.config.pad_token_id = tokenizer.pad_token_id
    return tokenizer


def _architectures(config: dict[str, Any]) -> list[str]:
    found = config.get("architectures")
    return [str(name) for name in found] if isinstance(found, list) else []


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
