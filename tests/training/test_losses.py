"""Losses against slow loops over pairs and columns."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from biencoder.training.losses import Targets, info_nce, kl_distillation, margin_mse, matryoshka, triplet

Matrix = NDArray[np.float64]


@st.composite
def problems(draw: st.DrawFn) -> tuple[Matrix, Matrix, Targets]:
    """Queries, documents and targets: positives may coincide, columns may be barred, examples may bring negatives."""
    pairs, extra, size = draw(st.integers(1, 6)), draw(st.integers(0, 4)), draw(st.integers(1, 4))
    random = np.random.default_rng(draw(st.integers(0, 2**20)))
    columns = draw(st.lists(st.integers(0, pairs + extra - 1), min_size=pairs, max_size=pairs))
    share = draw(st.sampled_from([0.0, 0.3, 1.0]))
    ignored = random.random((pairs, pairs + extra)) < share
    ignored[np.arange(pairs), columns] = False
    ignored_queries = random.random((pairs, pairs)) < share
    np.fill_diagonal(ignored_queries, False)
    explicit = random.random(ignored.shape) < draw(st.sampled_from([0.0, 0.4]))
    targets = Targets(torch.tensor(columns), *(torch.from_numpy(mask) for mask in (ignored, ignored_queries, explicit)))
    return random.normal(size=(pairs, size)), random.normal(size=(pairs + extra, size)), targets


def tensors(queries: Matrix, documents: Matrix) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor(queries, dtype=torch.float32), torch.tensor(documents, dtype=torch.float32)


def cross_entropy(scores: list[float], right: float) -> float:
    return math.log(sum(math.exp(score) for score in scores)) - right


def info_nce_by_hand(queries: Matrix, documents: Matrix, targets: Targets, temperature: float) -> tuple[float, float]:
    forward = backward = 0.0
    for row, column in enumerate(targets.columns.tolist()):
        allowed = [other for other in range(len(documents)) if not targets.ignored[row, other]]
        scores = [float(queries[row] @ documents[other]) / temperature for other in allowed]
        right = float(queries[row] @ documents[column]) / temperature
        forward += cross_entropy(scores, right)
        asked = [other for other in range(len(queries)) if not targets.ignored_queries[row, other]]
        backward += cross_entropy([float(queries[other] @ documents[column]) / temperature for other in asked], right)
    return forward / len(queries), backward / len(queries)


def triplet_by_hand(queries: Matrix, documents: Matrix, targets: Targets, margin: float) -> float:
    losses = []
    for row, column in enumerate(targets.columns.tolist()):
        allowed = [other for other in range(len(documents)) if other != column and not targets.ignored[row, other]]
        own = [other for other in allowed if targets.explicit[row, other]]
        scores = [float(queries[row] @ documents[other]) for other in own or allowed]
        if scores:
            losses.append(max(0.0, margin - float(queries[row] @ documents[column]) + max(scores)))
    return sum(losses) / len(losses) if losses else 0.0


@given(problem=problems(), temperature=st.floats(0.1, 1))
def test_info_nce(problem: tuple[Matrix, Matrix, Targets], temperature: float) -> None:
    queries, documents, targets = problem
    forward, backward = info_nce_by_hand(queries, documents, targets, temperature)
    found = info_nce(*tensors(queries, documents), targets, temperature=temperature)
    assert float(found) == pytest.approx(forward, abs=1e-4, rel=1e-4)
    both = info_nce(*tensors(queries, documents), targets, temperature=temperature, symmetric=True)
    assert float(both) == pytest.approx((forward + backward) / 2, abs=1e-4, rel=1e-4)


@given(problem=problems(), margin=st.floats(0.01, 2))
def test_triplet(problem: tuple[Matrix, Matrix, Targets], margin: float) -> None:
    queries, documents, targets = problem
    found = triplet(*tensors(queries, documents), targets, margin=margin)
    assert float(found) == pytest.approx(triplet_by_hand(queries, documents, targets, margin), abs=1e-5, rel=1e-5)


@given(problem=problems(), name=st.sampled_from(["info_nce", "symmetric", "triplet"]))
def test_gradients_are_finite_and_barred_columns_get_none(problem: tuple[Matrix, Matrix, Targets], name: str) -> None:
    queries, documents = (tensor.requires_grad_() for tensor in tensors(*problem[:2]))
    targets = problem[2]
    if name == "triplet":
        loss = triplet(queries, documents, targets, margin=0.5)
    else:
        loss = info_nce(queries, documents, targets, temperature=0.05, symmetric=name == "symmetric")
    loss.backward()  # type: ignore[no-untyped-call]
    assert queries.grad is not None
    assert documents.grad is not None
    assert bool(torch.isfinite(queries.grad).all())
    assert bool(torch.isfinite(documents.grad).all())
    nobodys = targets.ignored.all(dim=0)
    assert bool((documents.grad[nobodys] == 0).all())


def _plain(pairs: int, columns: int) -> Targets:
    def mask(width: int) -> torch.Tensor:
        return torch.zeros(pairs, width, dtype=torch.bool)

    return Targets(torch.arange(pairs), mask(columns), mask(pairs), mask(columns))


def test_negative_scores_only() -> None:
    queries, documents = torch.tensor([[1.0], [1.0]]), torch.tensor([[-1.0], [-2.0]])
    assert float(info_nce(queries, documents, _plain(2, 2), temperature=1.0)) == pytest.approx(
        (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(1))) / 2
    )
    assert float(triplet(queries, documents, _plain(2, 2), margin=0.1)) == pytest.approx((0 + 0.1 + 1) / 2)


def test_no_negative_at_all() -> None:
    query = torch.ones(1, 2, requires_grad=True)
    for loss in (
        info_nce(query, torch.ones(1, 2), _plain(1, 1), temperature=0.05, symmetric=True),
        triplet(query, torch.ones(1, 2), _plain(1, 1), margin=0.2),
    ):
        assert loss.item() == 0
        (gradient,) = torch.autograd.grad(loss, query)
        assert gradient.tolist() == [[0.0, 0.0]]


def test_own_negatives_come_before_the_batchs() -> None:
    targets = _plain(2, 4)
    targets.explicit[0, 2] = targets.explicit[0, 3] = True
    queries = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    documents = torch.tensor([[0.9, 0.0], [0.8, 0.7], [0.1, 0.0], [0.3, 0.0]])
    # pair 0: its own (0.1, 0.3), not the batch's 0.8; pair 1, without its own: the hardest of 0, 0 and 0
    expected = ((0.5 - 0.9 + 0.3) * 0 + max(0.0, 0.5 - 0.7 + 0.0)) / 2
    assert float(triplet(queries, documents, targets, margin=0.5)) == pytest.approx(expected)
    assert float(triplet(queries, documents, targets, margin=1.0)) == pytest.approx((0.4 + 0.3) / 2)


def test_targets_move_together() -> None:
    moved = _plain(2, 3).to(torch.device("meta"))
    assert {tensor.device.type for tensor in (moved.columns, moved.ignored, moved.ignored_queries, moved.explicit)} == {"meta"}


def taught(problem: tuple[Matrix, Matrix, Targets], share: float, seed: int) -> tuple[Matrix, Matrix, Targets, Matrix]:
    """A problem with a teacher that has scored each pair's positive and some of the other columns."""
    queries, documents, targets = problem
    random = np.random.default_rng(seed)
    teacher = random.normal(scale=3, size=(len(queries), len(documents)))
    unknown = random.random(teacher.shape) > share
    unknown[np.arange(len(queries)), targets.columns.tolist()] = False
    teacher[unknown] = np.nan
    with_teacher = Targets(
        targets.columns, targets.ignored, targets.ignored_queries, targets.explicit, torch.tensor(teacher, dtype=torch.float32)
    )
    return queries, documents, with_teacher, teacher


def softmax(scores: list[float]) -> list[float]:
    largest = max(scores)
    terms = [math.exp(score - largest) for score in scores]
    return [term / sum(terms) for term in terms]


@given(
    problem=problems(), share=st.sampled_from([0.0, 0.5, 1.0]), seed=st.integers(0, 99), temperature=st.sampled_from([0.5, 2.0])
)
def test_teachers(problem: tuple[Matrix, Matrix, Targets], share: float, seed: int, temperature: float) -> None:
    queries, documents, targets, teacher = taught(problem, share, seed)
    errors, divergences = [], []
    for row, column in enumerate(targets.columns.tolist()):
        known = [other for other in range(len(documents)) if not math.isnan(teacher[row, other])]
        student = {other: float(queries[row] @ documents[other]) / temperature for other in known}
        for other in known:
            if other != column:
                margin = teacher[row, column] - teacher[row, other]
                errors.append((student[column] - student[other] - margin) ** 2)
        if len(known) > 1:
            wanted = softmax([float(teacher[row, other]) / 2 for other in known])
            found = softmax([student[other] for other in known])
            divergences.append(sum(p * math.log(p / q) for p, q in zip(wanted, found, strict=True)))
    pair = tensors(queries, documents)
    mse = margin_mse(*pair, targets, temperature=temperature)
    assert float(mse) == pytest.approx(np.mean(errors) if errors else 0.0, rel=1e-4, abs=1e-4)
    kl = kl_distillation(*pair, targets, temperature=temperature, teacher_temperature=2)
    assert float(kl) == pytest.approx(np.mean(divergences) if divergences else 0.0, rel=1e-4, abs=1e-4)


@given(problem=problems(), share=st.sampled_from([0.0, 0.5]), seed=st.integers(0, 99))
def test_columns_without_a_teacher_get_no_gradient(problem: tuple[Matrix, Matrix, Targets], share: float, seed: int) -> None:
    queries, documents, targets, teacher = taught(problem, share, seed)
    for loss in (margin_mse, kl_distillation):
        left, right = (tensor.requires_grad_() for tensor in tensors(queries, documents))
        loss(left, right, targets, temperature=0.1).backward()  # type: ignore[no-untyped-call]
        assert right.grad is not None
        assert bool(torch.isfinite(right.grad).all())
        assert bool((right.grad[torch.from_numpy(np.isnan(teacher).all(axis=0))] == 0).all())


def test_no_teacher_at_all() -> None:
    query = torch.ones(1, 2, requires_grad=True)
    for loss in (margin_mse, kl_distillation):
        found = loss(query, torch.ones(2, 2), _plain(1, 2), temperature=0.1)
        assert found.item() == 0
        found.backward()  # type: ignore[no-untyped-call]


@given(problem=problems(), normalise=st.booleans())
def test_matryoshka(problem: tuple[Matrix, Matrix, Targets], normalise: bool) -> None:
    queries, documents, targets = problem
    size = queries.shape[1]
    dims, weights = sorted({1, max(1, size // 2), size}), [1.0, 2.0, 4.0]
    weights = weights[: len(dims)]

    def cut(matrix: Matrix, dim: int) -> Matrix:
        part = matrix[:, :dim]
        return part / np.linalg.norm(part, axis=1, keepdims=True) if normalise and dim < size else part

    parts = [
        weight * info_nce_by_hand(cut(queries, dim), cut(documents, dim), targets, 0.5)[0]
        for dim, weight in zip(dims, weights, strict=True)
    ]

    def loss(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return info_nce(left, right, targets, temperature=0.5)

    found = matryoshka(loss, *tensors(queries, documents), dims=dims, weights=weights, normalise=normalise)
    assert float(found) == pytest.approx(sum(parts) / sum(weights), rel=1e-3, abs=1e-3)


def test_a_guide_takes_out_what_it_thinks_relevant() -> None:
    targets = _plain(2, 3)
    targets.explicit[1, 2] = True
    scores = torch.tensor([[0.8, 0.9, 0.75], [0.1, 0.5, 0.9]])
    strict = targets.guided(scores, margin=0.0)
    assert strict.ignored.tolist() == [[False, True, False], [False, False, False]]  # its own negative stays
    assert strict.ignored_queries.tolist() == [[False, False], [True, False]]
    assert strict.columns.tolist() == [0, 1]
    loose = targets.guided(scores, margin=0.1)
    assert loose.ignored.tolist() == [[False, True, True], [False, False, False]]
    assert targets.guided(scores, margin=-0.2).ignored.any().item() is False
