"""One micro-batch's graph at a time against all of them held: the same loss, the same gradients."""

from __future__ import annotations

import gc
import weakref
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor

from biencoder.progress import Progress
from biencoder.records import Example
from biencoder.towers import precision
from biencoder.towers.bi_encoder import BiEncoder
from biencoder.towers.precision import Precision, running
from biencoder.training.gradient_cache import MicroBatches, backward
from biencoder.training.trainer import _Run, train
from tests import tiny
from tests.training.tasks import options, weights

ALL = 10**6


def gradients(examples: list[Example], *, graph_tokens: int, **changes: object) -> tuple[float, dict[str, Tensor]]:
    """The first step's loss and gradients, dropout on."""
    tower = tiny.tower()
    chosen = options(graph_tokens=graph_tokens, token_budget=64, **changes)
    run = _Run(BiEncoder(tower, tower), chosen, 5, len(examples), None, None, Progress())
    with run.prepared(examples):
        run.computation.train()
        loss = run.gradients(examples)
    return loss, {name: weight.grad for name, weight in run.towers.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize(
    "changes", [{}, {"loss": "triplet"}, {"matryoshka": (8, 16)}, {"dropout": 0.3, "attention_dropout": 0.2}]
)
def test_against_one_big_batch(changes: dict[str, object]) -> None:
    examples = tiny.collection().examples("train")[:24]
    loss, expected = gradients(examples, graph_tokens=ALL, **changes)
    for held in (0, 200):  # none of the graphs, some of them
        cached, found = gradients(examples, graph_tokens=held, **changes)
        assert cached == pytest.approx(loss, abs=1e-6)
        assert found.keys() == expected.keys()
        for name, gradient in expected.items():
            torch.testing.assert_close(found[name], gradient, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("kind", ["autocast", "bfloat16"])
def test_in_bfloat16(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda _: True)
    examples = tiny.collection().examples("train")[:24]
    loss, expected = gradients(examples, graph_tokens=ALL, precision="fast", weights=kind)
    cached, found = gradients(examples, graph_tokens=200, precision="fast", weights=kind)
    assert cached == pytest.approx(loss, rel=1e-3)  # bfloat16 keeps eight bits
    for name, gradient in expected.items():  # single elements may be off by more
        assert float((found[name] - gradient).norm()) <= 0.03 * float(gradient.norm()) + 1e-6, name


def test_weights_that_autocast_converted_without_a_graph_are_not_taken_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda _: True)
    layer = torch.nn.Linear(4, 3)
    texts = torch.ones(2, 4)
    parts = MicroBatches(
        [lambda: layer(texts).float()], [2], [8], 3, torch.device("cpu"), lambda: running(Precision.FAST, torch.device("cpu"))
    )
    backward(parts, lambda vectors: vectors.sum(), graph_tokens=0)
    assert layer.weight.grad is not None
    assert layer.weight.grad.tolist() == [[2.0] * 4] * 3


def test_one_graph_at_a_time() -> None:
    held: list[weakref.ref[Tensor]] = []
    most = 0
    weight = torch.ones(3, requires_grad=True)

    def forward() -> Tensor:
        nonlocal most
        inner = weight * 2
        if inner.requires_grad:
            gc.collect()
            most = max(most, sum(one() is not None for one in held))
            held.append(weakref.ref(inner))
        return (inner * inner).unsqueeze(0)

    def parts() -> MicroBatches:
        return MicroBatches([forward] * 6, [1] * 6, [4] * 6, 3, torch.device("cpu"), nullcontext)

    loss = backward(parts(), lambda vectors: vectors.sum(), graph_tokens=0)
    assert (float(loss), len(held), most) == (72.0, 6, 0)
    held.clear()
    most = 0
    backward(parts(), lambda vectors: vectors.sum(), graph_tokens=13)  # three of the six are held until the loss is taken
    assert most == 2
    held.clear()
    backward(parts(), lambda vectors: vectors.sum(), graph_tokens=ALL)
    assert weight.grad is not None
    assert weight.grad.tolist() == [144.0] * 3  # three times 6 parts of 8 each


def test_training_with_it_ends_the_same() -> None:
    examples = tiny.collection().examples("train")
    found = []
    for held in (0, ALL):
        tower = tiny.tower()
        model = BiEncoder(tower, tower)
        losses = train(model, examples, options(graph_tokens=held, learning_rate=1e-4)).losses
        assert weights(model) != weights(BiEncoder(tiny.tower(), tiny.tower()))
        found.append(losses)
    assert found[0] == pytest.approx(found[1], abs=1e-4)
