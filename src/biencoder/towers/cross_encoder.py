"""A transformer that reads query and document together and gives one score."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from biencoder.cores import threads_to_use
from biencoder.data.batches import distinct, length_sorted_batches, padded_width
from biencoder.errors import ArgumentError, ModelError
from biencoder.identity import fingerprint, short
from biencoder.records import FirstStageWeight
from biencoder.scoring import FloatArray
from biencoder.storage.folder import writing
from biencoder.towers.backbone import longest_input, move
from biencoder.towers.cross_encoder_folder import (
    OWN,
    Parts,
    is_reranker,
    read_backbone,
    read_classifier,
    write_classifier,
)
from biencoder.towers.digests import architecture_of, tokenizer_digest, weights_digest
from biencoder.towers.exact_head import make_head_exact
from biencoder.towers.precision import Precision, arithmetic, row_multiple, running
from biencoder.towers.sources import find_model
from biencoder.towers.tokens import CHARACTERS_A_TOKEN, cutting_tokenizer, head

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

Pair = tuple[str, str]
"""A query and a document."""

_BLOCK = 4096
"""Pairs that are tokenised and sorted by length together; nearly every length then fills its batches."""
_CPU_TOKENS = 1024
_GPU_TOKENS = 65536
"""Tokens of a micro-batch; on processors, small ones stay in the cache."""
_HEAD_KEYS = ("classifier_pooling", "classifier_activation", "summary_type", "summary_use_proj", "summary_activation")
"""What a configuration says of the head that its weights do not."""


@dataclass(frozen=True, slots=True)
class PairTokens:
    """Token ids of a pair, special ones included, and for each which of the two texts it belongs to, as the backbone has it."""

    ids: list[int]
    types: list[int]


class CrossEncoder:
    """A transformer that reads query and document together and gives one score.

    A score is a logit: for one query, the difference of two documents' scores is the log-odds that the first is the more
    relevant (`SCALE`). Scores of different queries are not meant to be compared.

    Args:
        module: a sequence-classification model of one label, or of two, of which the second stands for relevant.
        tokenizer: its fast tokenizer.
        max_length: tokens of a pair, the special ones included; the longer of the two texts is cut until both fit.
        precision: ``exact`` (float32) or ``fast`` (bfloat16 where the processor has it).
        fresh: says that the head is random and the scores mean nothing yet.
        first_stage: how much the score of which first stage counts beside these scores; `biencoder.search.Reranker` adds it.

    Raises:
        ArgumentError: where the length or the precision cannot be used.

    ```python
    encoder = CrossEncoder.load("runs/reranker", precision="fast")
    encoder.score([("does aspirin lower fever?", "Aspirin lowers ..."), ("does aspirin lower fever?", "The liver ...")])
    ```
    """

    def __init__(
        self,
        module: PreTrainedModel,
        tokenizer: PreTrainedTokenizerFast,
        *,
        max_length: int,
        precision: Precision | str = Precision.EXACT,
        fresh: bool = False,
        first_stage: FirstStageWeight | None = None,
    ) -> None:
        self.precision = Precision.of(precision)
        if self.precision is Precision.INT8:
            raise ArgumentError("precision int8 is not there for rerankers; choose fast or exact")
        limit = longest_input(module, tokenizer, tokenizer_limit=False)
        if max_length > limit:
            raise ArgumentError(f"max_length is {max_length}; this backbone takes at most {limit} tokens")
        self.module = module
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.fresh = fresh
        self.first_stage = first_stage
        self._joiner = cutting_tokenizer(tokenizer, max_length, pairs=True)
        self._cutter = cutting_tokenizer(tokenizer, max_length)
        self._takes_types = _takes_types(module, tokenizer)
        make_head_exact(module)

    @classmethod
    def load(
        cls,
        source: str | os.PathLike[str],
        *,
        precision: Precision | str = Precision.EXACT,
        device: str | None = None,
        max_length: int | None = None,
    ) -> CrossEncoder:
        """Load a cross-encoder: ours, or any sequence-classification checkpoint of transformers with one label or two.

        Args:
            source: a folder (a model's, or a run's of `rerank-fit`), an installed package that carries a model, or a hub name.
            precision: ``exact`` or ``fast``.
            device: such as ``cpu`` or ``cuda:0``; by default the first GPU, where there is one.
            max_length: tokens of a pair, in place of the checkpoint's own.

        Raises:
            ModelError: where there is no such model, or it is no reranker, or its weights are not those that were saved.
            ArgumentError: where an option cannot be used.
        """
        folder = find_model(source)
        parts = read_classifier(folder, name=os.fspath(source))
        encoder = cls(
            parts.module,
            parts.tokenizer,
            max_length=parts.max_length,
            precision=precision,
            first_stage=parts.first_stage,
        )
        if parts.fingerprint is not None and parts.fingerprint != (found := encoder.fingerprint()):
            raise ModelError(
                f"{folder}: the weights, tokenizer or settings are not those that were saved (fingerprint {short(found)}, "
                f"saved {short(parts.fingerprint)}); the files are damaged, or another tool changed them: then remove {OWN}"
            )
        return encoder.at_length(max_length).to(device)

    @classmethod
    def from_backbone(
        cls,
        source: str | os.PathLike[str],
        *,
        seed: int = 0,
        precision: Precision | str = Precision.EXACT,
        device: str | None = None,
        max_length: int | None = None,
    ) -> CrossEncoder:
        """Put a head of one label over a backbone, to be trained; what is a reranker already keeps its own head.

        Args:
            source: a bi-encoder, whose document side is taken, a bare backbone, a run, an installed package, or a hub name.
            seed: of the head; torch's own random state stays as it is.
            precision: ``exact`` or ``fast``.
            device: as for `load`.
            max_length: tokens of a pair; by default 512, or what the backbone takes where that is less.

        Raises:
            ModelError: where there is no such model, or it cannot be read.
            ArgumentError: where an option cannot be used.
        """
        folder = find_model(source)
        if is_reranker(folder):
            return cls.load(source, precision=precision, device=device, max_length=max_length)
        parts = read_backbone(folder, seed=seed)
        encoder = cls(parts.module, parts.tokenizer, max_length=parts.max_length, precision=precision, fresh=True)
        return encoder.at_length(max_length).to(device)

    def at_length(self, max_length: int | None) -> CrossEncoder:
        """A cross-encoder of the same weights for pairs of another length; itself where that is None or its own.

        Raises:
            ArgumentError: where the backbone does not take it.
        """
        if max_length is None or max_length == self.max_length:
            return self
        return CrossEncoder(
            self.module,
            self.tokenizer,
            max_length=max_length,
            precision=self.precision,
            fresh=self.fresh,
            first_stage=self.first_stage,
        )

    def to(self, device: str | None) -> CrossEncoder:
        """Move to a device; None is the first GPU, where there is one.

        Raises:
            ArgumentError: where there is no such device.
        """
        move(self.module, to=device or ("cuda" if torch.cuda.is_available() else "cpu"))
        return self

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next(self.module.parameters()).device

    @property
    def execution(self) -> dict[str, str]:
        """Runtime, version, number format and device."""
        form = arithmetic(self.precision, self.device)
        return {"runtime": "torch", "version": torch.__version__, "arithmetic": form, "device": self.device.type}

    @property
    def token_budget(self) -> int:
        """Tokens of a micro-batch at which scoring runs best."""
        return _CPU_TOKENS if self.device.type == "cpu" else _GPU_TOKENS

    def score(self, pairs: Sequence[Pair], /, *, progress: Callable[[int], None] | None = None) -> FloatArray:
        """How relevant each document is for its query, as logits; a pair that stands twice is run once.

        A score depends on the other pairs only in the last bits (their lengths decide the shape of the matrix products).

        Args:
            pairs: any number of (query, document).
            progress: is told now and then how many of the pairs are done.

        Returns:
            Shape (len(pairs),), float32, in the order of ``pairs``.

        Raises:
            ArgumentError: where something is no pair of texts.
        """
        check_pairs(pairs)
        unique, positions = distinct([(query, document) for query, document in pairs])
        scores = np.empty(len(unique), dtype=np.float32)
        done = 0
        multiple = row_multiple(arithmetic(self.precision, self.device))
        with self._scoring():
            for start in range(0, len(unique), _BLOCK):
                rows = self.tokenise(unique[start : start + _BLOCK])
                lengths = [len(row.ids) for row in rows]
                for batch in length_sorted_batches(lengths, token_budget=self.token_budget, multiple=multiple):
                    found = self(self.collate([rows[place] for place in batch], multiple=multiple))
                    scores[[start + place for place in batch]] = found.cpu().numpy()
                    done += len(batch)
                    if progress is not None:
                        progress(round(done * len(pairs) / len(unique)))
        return scores[positions]

    @contextmanager
    def _scoring(self) -> Iterator[None]:
        """Dropout off, no graph; one context over many batches, since it keeps the weights that it has converted."""
        training, threads = self.module.training, threads_to_use()
        if self.device.type == "cpu" and torch.get_num_threads() > threads:
            torch.set_num_threads(threads)
        self.module.train(False)
        try:
            with torch.inference_mode(), running(self.precision, self.device):
                yield
        finally:
            self.module.train(training)

    def logits(self, pairs: Sequence[Pair], *, token_budget: int | None = None) -> Tensor:
        """Scores with their graph, in the mode that the module is in and the number format that the caller has set.

        Returns:
            Shape (len(pairs),).
        """
        rows = self.tokenise(pairs)
        batches = length_sorted_batches([len(row.ids) for row in rows], token_budget=token_budget or self.token_budget)
        scores = torch.cat([self(self.collate([rows[place] for place in batch])) for batch in batches])
        order = torch.tensor([place for batch in batches for place in batch], device=scores.device)
        return scores.index_select(0, order.argsort())

    def tokenise(self, pairs: Sequence[Pair]) -> list[PairTokens]:
        """Tokens of each pair, special ones added, without padding; the longer text is cut until both fit.

        Raises:
            ArgumentError: where a text is no valid Unicode.
        """
        texts, positions = distinct([text for pair in pairs for text in pair])
        encodings = self._encoded(texts)
        rows = []
        for query, document in zip(positions[::2], positions[1::2], strict=True):
            joined = self._joiner.post_process(encodings[query], encodings[document])
            rows.append(PairTokens(joined.ids, joined.type_ids) if joined.ids else PairTokens([self._pad], [0]))
        return rows

    def _encoded(self, texts: Sequence[str]) -> list[Any]:
        """Each text's tokens without the special ones, no more of them than a pair may have."""
        heads = [head(text, characters=CHARACTERS_A_TOKEN * self.max_length) for text in texts]
        try:
            found: list[Any] = self._cutter.encode_batch_fast(heads, add_special_tokens=False)
            for place, encoding in enumerate(found):
                if heads[place] != texts[place] and len(encoding.ids) < self.max_length:
                    found[place] = self._cutter.encode(texts[place], add_special_tokens=False)
        except TypeError as error:
            raise ArgumentError(f"a text cannot be tokenised ({error}); texts must be valid Unicode strings") from error
        return found

    @property
    def _pad(self) -> int:
        return self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else 0

    def collate(self, rows: Sequence[PairTokens], *, multiple: int = 1) -> dict[str, Tensor]:
        """Pad tokens on the right into what the module takes, on its device; a mask only where something is padded.

        Args:
            rows: of each pair.
            multiple: of which there are to be tokens in a row, as far as the model reads.
        """
        width = padded_width((len(row.ids) for row in rows), multiple=multiple, limit=self.max_length)
        ids = np.full((len(rows), width), self._pad, dtype=np.int64)
        types, mask = np.zeros_like(ids), np.zeros_like(ids)
        for number, row in enumerate(rows):
            ids[number, : len(row.ids)] = row.ids
            types[number, : len(row.ids)] = row.types
            mask[number, : len(row.ids)] = 1
        arrays = {"input_ids": ids}
        if not mask.all():
            arrays["attention_mask"] = mask
        if self._takes_types:
            arrays["token_type_ids"] = types
        return {name: torch.from_numpy(array).to(self.device) for name, array in arrays.items()}

    def __call__(self, inputs: dict[str, Tensor]) -> Tensor:
        """Scores of a padded batch, shape (batch,), float32."""
        logits: Tensor = self.module(**inputs).logits.float()
        return logits.squeeze(1) if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]

    def fingerprint(self) -> str:
        """What tells this model's scores from any other's: weights, architecture, tokenizer and length."""
        config = self.module.config.to_dict()
        return fingerprint(
            {
                "weights": weights_digest(self.module.state_dict().items()),
                "architecture": architecture_of(self.module.config),
                "head": {key: config[key] for key in _HEAD_KEYS if config.get(key) is not None},
                "tokenizer": tokenizer_digest(self.tokenizer),
                "types": self._takes_types,
                "max_length": self.max_length,
            }
        )

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write a model folder, whole or not at all; transformers and sentence-transformers open it too.

        Raises:
            ModelError: where a folder stands there that is no reranker of ours.
            StorageError: where the place cannot be written.
        """
        target = Path(folder)
        if target.is_dir() and any(target.iterdir()) and not (target / OWN).exists():
            raise ModelError(f"{target} holds something that biencoder did not write; choose another place")
        parts = Parts(self.module, self.tokenizer, self.max_length, self.fingerprint(), self.first_stage)
        with writing(target) as new:
            write_classifier(parts, new)


def check_pairs(pairs: Sequence[Pair]) -> None:
    """Make sure that each is a query and a document.

    Raises:
        ArgumentError: naming the first that is not.

    >>> check_pairs([("aspirin", "Aspirin lowers fever."), ("aspirin",)])
    Traceback (most recent call last):
    biencoder.errors.ArgumentError: pair 2 of 2 is ('aspirin',); a query and a document, two strings, were expected
    """
    for number, pair in enumerate(pairs, start=1):
        if isinstance(pair, str) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            shown = repr(pair) if len(repr(pair)) <= 60 else repr(pair)[:57] + "..."
            raise ArgumentError(f"pair {number} of {len(pairs)} is {shown}; a query and a document, two strings, were expected")


def _takes_types(module: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> bool:
    """Whether the backbone is told which text a token belongs to, as its tokenizer says and transformers would do."""
    named = "token_type_ids" in tokenizer.model_input_names
    kinds = getattr(module.config, "type_vocab_size", 0) or 0
    return named and kinds >= 2 and "token_type_ids" in inspect.signature(module.forward).parameters
