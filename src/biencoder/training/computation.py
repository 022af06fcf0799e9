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
from biencoder.towers.precision import Precision, arithmetic, running
from biencoder.towers.tower import Tower
from biencoder.training import attention
from biencoder.training.options import TrainingOptions
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
    """

    attention: Attention = "fused"
    weights: Weights = "float32"

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
        towers = (self.query, self.document)
        before = [tower.backbone.config._attn_implementation for tower in towers]  # noqa: SLF001 - there is no other name
        if self.way.attention == "plain":
            attention.register()
            for tower in towers:
                tower.backbone.set_attn_implementation(attention.NAME)
        try:
            with self._shortened() as self._embeddings:
                yield
        finally:
            for tower, implementation in zip(towers, before, strict=True):
                if tower.backbone.config._attn_implementation != implementation:  # noqa: SLF001
                    tower.backbone.set_attn_implementation(implementation)

    def _shortened(self) -> AbstractContextManager[list[EmbeddingGradient]]:
        if self.way.weights == "float32" or self.document.device.type != "cpu":
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
    rows = sorted(document.tokenise(list(texts)), key=len)
    batches = length_sorted_batches([len(row) for row in rows], token_budget=options.token_budget)
    middle = batches[len(batches) // 2]
    ids, mask = document.collate([rows[number] for number in middle])
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
    at_length = (
        tower if options.document_length is None else tower.twin(replace(tower.settings, max_length=options.document_length))
    )
    way = choose_way(at_length, at_length, texts, options)
    rows = sorted(at_length.tokenise(list(texts)), key=len)
    batches = length_sorted_batches([len(row) for row in rows], token_budget=options.token_budget)
    computation = Computation(at_length, at_length, way)
    fastest = 0.0
    for batch in batches[:: max(1, len(batches) // _SHAPES)]:
        members = [rows[number] for number in batch]
        seconds = _seconds(computation, *at_length.collate(members))
        fastest = max(fastest, sum(len(row) for row in members) / seconds)
    return fastest


def _open_ways(query: Tower, document: Tower, options: TrainingOptions) -> list[Way]:
    """What the options leave open, the plainest first."""
    if arithmetic(Precision.of(options.precision), document.device) == "float32":
        weights: list[Weights] = ["float32"]
    else:
        weights = ["autocast", "bfloat16"] if options.weights == "auto" else [options.weights]
    kernels: list[Attention] = ["fused", "plain"] if options.attention == "auto" else [options.attention]
    if weights == ["float32"] and options.attention == "auto":
        kernels = ["fused"]  # float32 is for those who want the reference, not speed
    if not _takes(query, document):
        kernels = ["fused"]  # an older model of transformers, whose attention cannot be exchanged
    return [Way(kernel, kind) for kind in weights for kernel in kernels]


def _takes(*towers: Tower) -> bool:
    """Whether the backbones let their attention be exchanged."""
    return all(getattr(tower.backbone, "_supports_attention_backend", False) for tower in towers)


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
