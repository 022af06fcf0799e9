"""One tower: text in, one vector a text out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from biencoder.cores import threads_to_use
from biencoder.data.batches import distinct, length_sorted_batches, padded_width
from biencoder.errors import ArgumentError, ModelError
from biencoder.identity import fingerprint
from biencoder.scoring import FloatArray
from biencoder.towers.digests import architecture_of, tokenizer_digest, weights_digest
from biencoder.towers.pooling import POOLERS, Pooling
from biencoder.towers.precision import Precision
from biencoder.towers.tokens import CHARACTERS_A_TOKEN, cutting_tokenizer, head

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


@dataclass(frozen=True, slots=True)
class TowerSettings:
    """How a tower must be used; kept in the model folder, never retyped at search time.

    ``max_length`` counts tokens, the prompt's and the special ones included.
    """

    pooling: Pooling = Pooling.MEAN
    normalise: bool = True
    prompt: str = ""
    max_length: int = 512


class Projection(nn.Module):
    """A linear layer behind the pooling, with an optional activation, for another dimension than the backbone's."""

    ACTIVATIONS: ClassVar[dict[str, type[nn.Module]]] = {
        "Identity": nn.Identity,
        "Tanh": nn.Tanh,
        "ReLU": nn.ReLU,
        "GELU": nn.GELU,
    }

    def __init__(self, *, inputs: int, outputs: int, bias: bool = True, activation: str = "Identity") -> None:
        super().__init__()
        if activation not in self.ACTIVATIONS:
            raise ModelError(f"projection activation {activation!r} is not supported; one of {', '.join(self.ACTIVATIONS)} is")
        self.linear = nn.Linear(inputs, outputs, bias=bias)
        self.activation_name = activation
        self.activation = self.ACTIVATIONS[activation]()

    def forward(self, vectors: Tensor) -> Tensor:
        """Project vectors, shape (batch, inputs) to (batch, outputs)."""
        projected: Tensor = self.activation(self.linear(vectors))
        return projected


class Tower(nn.Module):
    """A tokenizer, a transformers backbone, a pooling, an optional projection, and the settings that go with them.

    Two towers may share a backbone and differ in their settings: `twin` makes such a second tower.

    Args:
        backbone: a model that gives ``last_hidden_state``, shape (batch, tokens, hidden).
        tokenizer: its fast tokenizer.
        settings: pooling, normalisation, prompt and length.
        projection: applied behind the pooling.

    Raises:
        ModelError: where the tokenizer has no fast implementation, or the length is more than the backbone can take.
    """

    def __init__(
        self,
        backbone: PreTrainedModel,
        tokenizer: PreTrainedTokenizerFast,
        settings: TowerSettings,
        projection: Projection | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.projection = projection
        self.tokenizer = tokenizer
        self.settings = settings
        self._cutter = cutting_tokenizer(tokenizer, settings.max_length)
        self._parameters_seen: list[nn.Parameter] | None = None
        self.train(backbone.training)  # a new module is in training mode, and would put its backbone there after encoding

    def twin(self, settings: TowerSettings) -> Tower:
        """A tower over the same weights with other settings."""
        return Tower(self.backbone, self.tokenizer, settings, self.projection)

    @property
    def dimension(self) -> int:
        """Length of the vectors that the tower gives."""
        if self.projection is not None:
            return int(self.projection.linear.out_features)
        return int(self.backbone.config.hidden_size)

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next(self.backbone.parameters()).device

    @property
    def _pad(self) -> int:
        return self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else 0

    def tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, prompt in front, special tokens added, cut to the maximum length, without padding.

        A text without any token (an empty one, where the tokenizer adds nothing) becomes a single padding token.
        """
        wholes = [self.settings.prompt + text for text in texts]
        heads = [head(whole, characters=CHARACTERS_A_TOKEN * self.settings.max_length) for whole in wholes]
        rows = self._token_ids(heads)
        short = [at for at, row in enumerate(rows) if len(row) < self.settings.max_length and heads[at] != wholes[at]]
        for at, row in zip(short, self._token_ids([wholes[at] for at in short]), strict=True):
            rows[at] = row
        return rows

    def tokenise_one(self, text: str) -> list[int]:
        """Token ids of a single text, as `tokenise` gives them, without the machinery of a batch."""
        whole = self.settings.prompt + text
        if len(whole) > CHARACTERS_A_TOKEN * self.settings.max_length:
            return self.tokenise([text])[0]
        try:
            return self._cutter.encode(whole).ids or [self._pad]
        except TypeError as error:
            raise ArgumentError(f"a text cannot be tokenised ({error}); texts must be valid Unicode strings") from error

    def _token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        try:
            return [encoding.ids or [self._pad] for encoding in self._cutter.encode_batch_fast(texts)]
        except TypeError as error:
            raise ArgumentError(f"a text cannot be tokenised ({error}); texts must be valid Unicode strings") from error

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Vectors of a padded batch.

        Args:
            input_ids: shape (batch, tokens).
            attention_mask: the same shape, 1 where a token is real.

        Returns:
            Shape (batch, dimension), float32, of length 1 where the settings say so.
        """
        unpadded = bool(attention_mask.all())
        output = self.backbone(input_ids=input_ids, attention_mask=None if unpadded else attention_mask)
        return self.finish(POOLERS[self.settings.pooling](output.last_hidden_state, attention_mask))

    def finish(self, pooled: Tensor) -> Tensor:
        """From pooled states, shape (batch, hidden), to vectors, shape (batch, dimension): projection and normalisation."""
        vectors = (self.projection(pooled) if self.projection is not None else pooled).float()
        return nn.functional.normalize(vectors, dim=-1) if self.settings.normalise else vectors

    def collate(self, rows: Sequence[Sequence[int]], *, multiple: int = 1) -> tuple[Tensor, Tensor]:
        """Pad token ids on the right into ``input_ids`` and ``attention_mask`` on the tower's device.

        Args:
            rows: of each text.
            multiple: of which there are to be tokens in a row, as far as the tower reads.
        """
        width = padded_width(map(len, rows), multiple=multiple, limit=self.settings.max_length)
        ids = np.full((len(rows), width), self._pad, dtype=np.int64)
        mask = np.zeros((len(rows), width), dtype=np.int64)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = row
            mask[number, : len(row)] = 1
        return torch.from_numpy(ids).to(self.device), torch.from_numpy(mask).to(self.device)

    def embed(self, texts: Sequence[str], *, token_budget: int) -> Tensor:
        """Vectors with their graph, for training: length-sorted micro-batches, each distinct text once.

        Returns:
            Shape (len(texts), dimension).
        """
        unique, positions = distinct(texts)
        rows = self.tokenise(unique)
        batches = length_sorted_batches([len(row) for row in rows], token_budget=token_budget)
        vectors = torch.cat([self(*self.collate([rows[position] for position in batch])) for batch in batches])
        place = {position: number for number, position in enumerate(position for batch in batches for position in batch)}
        wanted = torch.tensor([place[position] for position in positions], device=vectors.device)
        return vectors.index_select(0, wanted)

    def encode(
        self,
        texts: Sequence[str],
        *,
        precision: Precision = Precision.EXACT,
        token_budget: int | None = None,
    ) -> FloatArray:
        """Vectors by torch, without graph, dropout off; `BiEncoder` also runs a tower by other runtimes.

        A text's vector depends on the others only in the last bits (their lengths decide the shape of the matrix products).

        Args:
            texts: any number.
            precision: the number format of the matrix products.
            token_budget: tokens a micro-batch.

        Returns:
            Shape (len(texts), dimension), float32, in the order of ``texts``.

        Raises:
            ArgumentError: where ``texts`` is a single string, or holds something that is no string.
        """
        from biencoder.towers.encoding import encode_windows
        from biencoder.towers.torch_runner import TorchRunner

        check_texts(texts)
        runner = TorchRunner(self, precision, threads=threads_to_use())
        return next(encode_windows(self, runner, iter([texts]), token_budget=token_budget))

    def fingerprint(self) -> str:
        """What tells this tower's vectors from any other's: weights, architecture, tokenizer and settings."""
        return fingerprint(
            {
                **self._graph_parts(),
                "tokenizer": tokenizer_digest(self.tokenizer),
                "settings": asdict(self.settings),
            }
        )

    def graph_fingerprint(self) -> str:
        """What decides the vectors of given token ids: all but the tokenizer, the prompt and the maximum length."""
        return fingerprint({**self._graph_parts(), "pooling": self.settings.pooling, "normalise": self.settings.normalise})

    def _graph_parts(self) -> dict[str, Any]:
        return {
            "weights": self._weights_digest(),
            "architecture": architecture_of(self.backbone.config),
            "activation": self.projection.activation_name if self.projection is not None else None,
            "dimension": self.dimension,
        }

    def weights_stamp(self) -> tuple[tuple[int, int], ...]:
        """Changes whenever a weight does: each one's place in memory, and torch's count of the changes made in place."""
        if self._parameters_seen is None:
            self._parameters_seen = list(self.parameters())
        return tuple((weights.data_ptr(), _changes(weights)) for weights in self._parameters_seen)

    def _weights_digest(self) -> str:
        """The backbone's own pooler is left out, since nothing reads it."""
        return weights_digest(item for item in self.state_dict().items() if not item[0].startswith("backbone.pooler."))


def _changes(weights: Tensor) -> int:
    """How often a tensor was changed in place; one made in inference mode cannot be outside it, and does not count."""
    return 0 if weights.is_inference() else weights._version  # noqa: SLF001 - torch tells it in no other way


def check_texts(texts: Sequence[str]) -> None:
    """Make sure that texts are a list of strings.

    Raises:
        ArgumentError: where they are a single string, or one of them is no string.
    """
    if isinstance(texts, str):
        raise ArgumentError("a single string was given; give a list of texts")
    for number, text in enumerate(texts, start=1):
        if not isinstance(text, str):
            raise ArgumentError(f"text {number} of {len(texts)} is a {type(text).__name__}; a string was expected")
