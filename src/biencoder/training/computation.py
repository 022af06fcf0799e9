"""How the towers compute while they are trained: in which number format, with which attention."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from biencoder.data.batches import length_sorted_batches
from biencoder.errors import ArgumentError
from biencoder.towers.precision import Precision, arithmetic, row_multiple, running
from biencoder.towers.tower import Tower
from biencoder.training import attention
from biencoder.training.optimisation import dropout_set
from biencoder.training.options import TrainingOptions
from biencoder.training.portions import Portions
from biencoder.training.shortcuts import EmbeddingGradient, shortened

Attention = Literal["fused", "plain"]
Weights = Literal["float32", "autocast", "bfloat16"]

_WORTH = 1.05
"""A way further down the list must be so much faster to be taken, so that noise decides nothing."""
_TRIALS = 3
_SHAPES = 4
"""Micro-batches that a speed is measured on: the fastest counts, since whatever else the machine does only slows it down."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way of computing.

    Attributes:
        attention: ``fused`` is the backbone's own kernel; ``plain`` is ours, of plain matrix products.
        weights: ``float32``; ``autocast`` converts float32 weights for each matrix product; ``bfloat16`` is a bfloat16 copy of
            the backbone beside float32 masters, which the optimizer changes.
        short: dropout and large embeddings go the short way, on processors (`biencoder.training.shortcuts`).
    """

    attention: Attention = "fused"
    weights: Weights = "float32"
    short: bool = False

    @property
    def multiple(self) -> int:
        """Of which there are tokens in a row of a micro-batch."""
        return row_multiple("float32" if self.weights == "float32" else "bfloat16")

    def __str__(self) -> str:
        return f"{self.attention} attention, {self.weights} weights"


class Computation:
    """Two towers as they are run in training.

    Args:
        query: the master of the query side, at its training length.
        document: the same of the documents; it may share its backbone.
        way: how to compute.
    """

    def __init__(self, query: Tower, document: Tower, way: Way) -> None:
        self.way = way
        self._masters = nn.ModuleList([query, document])
        copies: dict[int, Any] = {}
        self.query, self.document = (
            _copied(tower, copies) if way.weights == "bfloat16" else tower for tower in (query, document)
        )
        self._pairs = list(zip(self._masters.parameters(), self._workers().parameters(), strict=True))
        self._embeddings: list[EmbeddingGradient] = []

    def running(self) -> AbstractContextManager[object]:
        """The context that micro-batches are embedded in."""
        return running(Precision.FAST, self.document.device) if self.way.weights == "autocast" else nullcontext()

    @contextmanager
    def prepared(self) -> Iterator[None]:
        """The wanted attention, and on processors short cuts, while the block runs."""
        backbones = dict.fromkeys((self.query.backbone, self.document.backbone))
        kernel = attention.exchanged(*backbones) if self.way.attention == "plain" else nullcontext()
        with kernel, self._shortened() as self._embeddings:
            yield

    def _shortened(self) -> AbstractContextManager[list[EmbeddingGradient]]:
        if not self.way.short or self.document.device.type != "cpu":
            return nullcontext([])
        return shortened(self._workers(), {worker: master for master, worker in self._pairs})

    def train(self) -> None:
        """Dropout on."""
        self._workers().train()

    def collect_gradients(self) -> None:
        """Hand what the backward passes gathered elsewhere to the masters."""
        for master, worker in self._pairs:
            if worker is not master:
                master.grad = None if worker.grad is None else worker.grad.to(master.dtype)
                worker.grad = None
        for embedding in self._embeddings:
            embedding.hand_over()

    def refresh(self) -> None:
        """Bring the copy to where the optimizer took the masters, and begin to gather anew."""
        for embedding in self._embeddings:
            embedding.clear()
        with torch.no_grad():
            for master, worker in self._pairs:
                if worker is not master:
                    worker.copy_(master)

    def _workers(self) -> nn.ModuleList:
        return nn.ModuleList([self.query, self.document])


def choose_way(query: Tower, document: Tower, texts: Sequence[str], options: TrainingOptions) -> Way:
    """The fastest way that the options allow, measured on texts like those that are to be trained on.

    Args:
        query: the query side at its training length.
        document: the document side.
        texts: documents of a first batch.
        options: say what is open.
    """
    ways = _open_ways(query, document, options)
    if len(ways) == 1:
        return ways[0]
    batches = _micro_batches(document, texts, options, multiple=max(way.multiple for way in ways))
    ids, mask = batches[len(batches) // 2]
    best, least = ways[0], float("inf")
    for way in ways:
        seconds = _seconds(Computation(query, document, way), ids, mask)
        if seconds * _WORTH < least:
            best, least = way, seconds
    return best


def tokens_per_second(tower: Tower, texts: Sequence[str], options: TrainingOptions) -> float:
    """Tokens a second of forward and backward passes, in the way that training would choose.

    Args:
        tower: of the documents.
        texts: some that are like those to be trained on.
        options: of the training.
    """
    trained = at_length(tower, options.document_length)
    with dropout_set(trained, hidden=options.dropout, attention=options.attention_dropout):
        computation = Computation(trained, trained, choose_way(trained, trained, texts, options))
        batches = _micro_batches(trained, texts, options, multiple=computation.way.multiple)
        some = batches[:: max(1, len(batches) // _SHAPES)]
        return max(int(mask.sum()) / _seconds(computation, ids, mask) for ids, mask in some)


def at_length(tower: Tower, length: int | None) -> Tower:
    """A tower over the same weights that reads so many tokens; itself where that is None or its own.

    Raises:
        ArgumentError: where that is more than the tower's own.
    """
    if length is None or length == tower.settings.max_length:
        return tower
    if length > tower.settings.max_length:
        raise ArgumentError(f"a training length of {length} tokens is more than the tower's own {tower.settings.max_length}")
    return tower.twin(replace(tower.settings, max_length=length))


def _micro_batches(
    tower: Tower, texts: Sequence[str], options: TrainingOptions, *, multiple: int
) -> list[tuple[Tensor, Tensor]]:
    """The texts as training would run them, longest first: token ids and mask of each micro-batch."""
    rows = sorted(tower.tokenise(list(texts)), key=len)
    portion = Portions.of(options, tower.backbone, held_on_cpu=0).micro_batch
    batches = length_sorted_batches([len(row) for row in rows], token_budget=portion, multiple=multiple)
    return [tower.collate([rows[member] for member in members], multiple=multiple) for members in batches]


def _open_ways(query: Tower, document: Tower, options: TrainingOptions) -> list[Way]:
    """What the options leave open, the plainest first."""
    if arithmetic(Precision.of(options.precision), document.device) == "float32":
        weights: list[Weights] = ["float32"]
    else:
        weights = ["autocast", "bfloat16"] if options.weights == "auto" else [options.weights]
    kernels: list[Attention] = ["fused", "plain"] if options.attention == "auto" else [options.attention]
    if weights == ["float32"] and options.attention == "auto":
        kernels = ["fused"]  # in float32 ours is no faster
    if not _takes(query, document):
        kernels = ["fused"]  # an older model of transformers, whose attention cannot be exchanged
    return [Way(kernel, kind, short=options.precision == "fast") for kind in weights for kernel in kernels]


def _takes(*towers: Tower) -> bool:
    """Whether the backbones let their attention be exchanged."""
    return all(attention.takes(tower.backbone) for tower in towers)


def _seconds(computation: Computation, ids: Tensor, mask: Tensor) -> float:
    """The least time of a forward and a backward pass of one micro-batch; the gradients are thrown away."""
    tower, found = computation.document, []
    with computation.prepared(), torch.random.fork_rng(devices=[]):
        computation.train()
        for _ in range(_TRIALS):
            began = time.perf_counter()
            with computation.running():
                vectors = tower(ids, mask)
            vectors.sum().backward()
            if tower.device.type == "cuda":
                torch.cuda.synchronize()
            found.append(time.perf_counter() - began)
        tower.zero_grad(set_to_none=True)
    return min(found)


def _copied(tower: Tower, copies: dict[int, Any]) -> Tower:
    """A tower over a bfloat16 copy of the backbone; one copy where a backbone is shared. The projection stays as it is."""
    found = copies.get(id(tower.backbone))
    if found is None:
        found = copies[id(tower.backbone)] = nn.Module.to(copy.deepcopy(tower.backbone), torch.bfloat16)
    return Tower(found, tower.tokenizer, tower.settings, tower.projection)
