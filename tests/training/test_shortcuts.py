from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from biencoder.training import shortcuts
from biencoder.training.shortcuts import drop, shortened


class Bag(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(7, 3, padding_idx=0)
        self.drop = nn.Dropout(0.5)

    def forward(self, ids: Tensor) -> Tensor:
        found: Tensor = self.words(ids).sum(dim=1)
        return found


BATCHES = [torch.tensor([[1, 2, 0], [2, 2, 5]]), torch.tensor([[6, 1, 1], [3, 0, 0]])]


@pytest.mark.usefixtures("every_embedding_is_large")
def test_gathered_gradients_are_autograds() -> None:
    bag = Bag()
    weights = bag.words.weight
    masters: dict[Tensor, Tensor] = {weight: weight for weight in bag.parameters()}
    with shortened(bag, masters) as gradients:
        found = torch.empty(0)
        for _ in range(2):  # a second step begins anew
            for ids in BATCHES:
                (bag(ids) ** 2).sum().backward()
            gradients[0].hand_over()
            assert weights.grad is not None
            found = weights.grad.clone()
            gradients[0].clear()
    weights.grad = None
    for ids in BATCHES:
        (bag(ids) ** 2).sum().backward()
    torch.testing.assert_close(found, weights.grad)
    assert found[0].tolist() == [0.0] * 3


class Tied(nn.Module):
    """Two embeddings over one weight, of which one is used by itself too."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Embedding(7, 3)
        self.right = nn.Embedding(7, 3, padding_idx=0)
        self.alike = nn.Embedding(7, 3)
        self.right.weight = self.alike.weight = self.left.weight

    def forward(self, ids: Tensor) -> Tensor:
        own = self.left.weight.square().sum()
        found: Tensor = self.left(ids).sum() * 2 + self.right(ids).square().sum() + self.alike(ids).sum() * 3 + own
        return found


@pytest.mark.usefixtures("every_embedding_is_large")
def test_weights_that_are_used_in_several_places() -> None:
    tied = Tied()
    weights = tied.left.weight
    found = torch.empty(0)
    with shortened(tied, {weights: weights}) as gradients:
        assert len(gradients) == 2  # one with padding, one for both without
        for _ in range(2):
            tied.zero_grad()
            for ids in BATCHES:
                tied(ids).backward()
            for gradient in gradients:
                gradient.hand_over()
            assert weights.grad is not None
            found = weights.grad.clone()
            for gradient in gradients:
                gradient.clear()
    weights.grad = None
    for ids in BATCHES:
        tied(ids).backward()
    torch.testing.assert_close(found, weights.grad)


@pytest.mark.usefixtures("every_embedding_is_large")
def test_a_bfloat16_copys_gradient_goes_to_the_master() -> None:
    bag, master = Bag(), Bag()
    bag.words.to(torch.bfloat16)
    with shortened(bag, {bag.words.weight: master.words.weight}) as gradients:
        for _ in range(300):  # bfloat16 alone would stop counting at 256
            bag(BATCHES[0]).sum().backward()
        gradients[0].hand_over()
    assert bag.words.weight.grad is None
    assert master.words.weight.grad is not None
    assert master.words.weight.grad[:, 0].tolist() == [0.0, 300.0, 900.0, 0.0, 0.0, 300.0, 0.0]


def test_small_or_unusual_embeddings_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    def count(module: nn.Module) -> int:
        with shortened(module, {weight: weight for weight in module.parameters()}) as gradients:
            return len(gradients)

    assert count(nn.Embedding(7, 3)) == 0
    monkeypatch.setattr(shortcuts, "_LARGE", 1)
    assert count(nn.Embedding(7, 3)) == 1
    assert count(nn.Embedding(7, 3, max_norm=1.0)) == 0
    assert count(nn.Embedding(7, 3, sparse=True)) == 0
    assert count(nn.Embedding(7, 3).requires_grad_(requires_grad=False)) == 0


def test_all_is_as_it_was_afterwards() -> None:
    bag = Bag()
    with shortened(bag, {}):
        assert "forward" in vars(bag.drop)
    assert "forward" not in vars(bag.drop)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout(rate: float) -> None:
    torch.manual_seed(0)
    values = torch.full((301, 333), 2.0, requires_grad=True)
    dropped = drop(values, rate=rate)
    cut = round(rate * 256)
    kept = dropped != 0
    assert float((~kept).float().mean()) == pytest.approx(cut / 256, abs=0.006)
    assert sorted(set(dropped.flatten().tolist())) == pytest.approx([0.0, 2 * 256 / (256 - cut)])
    dropped.sum().backward()  # type: ignore[no-untyped-call]
    assert values.grad is not None
    torch.testing.assert_close(values.grad, kept.float() * 256 / (256 - cut))
    torch.manual_seed(0)
    assert torch.equal(drop(values, rate=rate), dropped)
    across = kept.float().mean(dim=0)
    assert float((across - across.mean()).abs().max()) < 0.15  # no column is favoured


def test_no_dropout_outside_training_and_at_rate_zero() -> None:
    layer = nn.Dropout(0.5)
    values = torch.ones(100)
    with shortened(layer, {}):
        assert (layer.train()(values) == 0).any()
        assert torch.equal(layer.eval()(values), values)
    assert torch.equal(drop(values, rate=0.001), values)
