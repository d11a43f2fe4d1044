"""The linear softmax: at its objective's minimum, right on what can be separated, in the features' own units."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from inception_rcnn.detector.training.initial_weights import fit_linear_softmax
from inception_rcnn.structures import InputError


def clouds(count: int, spread: float) -> tuple[Tensor, Tensor]:
    """Points around three corners of a triangle, the first coordinate a thousand times the second."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 3
    corners = torch.tensor([(0.0, 0.0), (1.0, 0.0), (0.5, 1.0)])
    points = corners[labels] + spread * torch.randn(count, 2, generator=generator)
    return points * torch.tensor([1000.0, 1.0]) + torch.tensor([500.0, -3.0]), labels


def test_separable_points_are_classified() -> None:
    features, labels = clouds(90, 0.05)
    fitted = fit_linear_softmax(features, labels, 3)
    logits = features @ fitted.weight.T + fitted.bias
    assert (logits.argmax(dim=1) == labels).all()
    assert fitted.loss == pytest.approx(functional.cross_entropy(logits, labels).item(), abs=1e-4) and fitted.loss < 0.1


@pytest.mark.parametrize("decay", [1e-4, 1e-2])
def test_the_objective_has_no_slope_left(decay: float) -> None:
    features, labels = clouds(120, 0.5)
    fitted = fit_linear_softmax(features, labels, 3, weight_decay=decay)
    # The penalty is on the weights of standardised features; the problem is convex, so no slope means the minimum.
    mean, spread = features.double().mean(dim=0), features.double().std(dim=0, correction=0)
    weight = (fitted.weight.double() * spread).requires_grad_()
    bias = (fitted.bias.double() + fitted.weight.double() @ mean).requires_grad_()
    logits = (features.double() - mean) / spread @ weight.T + bias
    loss = functional.cross_entropy(logits, labels) + decay * weight.square().sum()
    slopes = torch.autograd.grad(loss, (weight, bias))
    assert max(float(slope.abs().max()) for slope in slopes) < 1e-3
    start = torch.autograd.grad(functional.cross_entropy(torch.zeros(120, 3) + bias, labels), bias)[0]
    assert weight.abs().max() > 0.5 and start.isfinite().all()


def test_units_of_the_features_do_not_matter() -> None:
    features, labels = clouds(60, 0.4)
    other = features * 1e-3 + 7
    one, two = fit_linear_softmax(features, labels, 3), fit_linear_softmax(other, labels, 3)
    expected = (features @ one.weight.T + one.bias).softmax(dim=1)
    torch.testing.assert_close((other @ two.weight.T + two.bias).softmax(dim=1), expected, rtol=0, atol=0.01)


def test_stronger_decay_gives_smaller_weights() -> None:
    features, labels = clouds(60, 0.3)
    weak, strong = (fit_linear_softmax(features, labels, 3, weight_decay=decay) for decay in (1e-4, 1e-1))
    assert strong.weight.norm() < 0.5 * weak.weight.norm() and strong.loss > weak.loss


def test_features_that_never_change_and_classes_that_never_come() -> None:
    features, labels = clouds(60, 0.1)
    fitted = fit_linear_softmax(torch.cat([features, torch.full((60, 1), 4.0)], dim=1), labels, 5)
    assert fitted.weight.shape == (5, 3) and fitted.bias.shape == (5,)
    assert fitted.weight.isfinite().all() and fitted.bias.isfinite().all() and fitted.weight[:, 2].abs().max() < 1e-3
    logits = torch.cat([features, torch.full((60, 1), 4.0)], dim=1) @ fitted.weight.T + fitted.bias
    assert (logits.argmax(dim=1) == labels).float().mean() > 0.95


def test_a_single_example_is_learnt() -> None:
    fitted = fit_linear_softmax(torch.tensor([[1.0, 2.0]]), torch.tensor([1]), 3)
    assert (torch.tensor([1.0, 2.0]) @ fitted.weight.T + fitted.bias).argmax() == 1


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), "N > 0"),
        (torch.zeros(4), torch.zeros(4, dtype=torch.long), r"features should be \(N, D\)"),
        (torch.zeros(4, 2), torch.zeros(3, dtype=torch.long), r"labels \(N,\)"),
        (torch.zeros(2, 2), torch.tensor([0, 3]), r"labels should lie in 0..2, got 0..3"),
        (torch.zeros(2, 2), torch.tensor([-1, 1]), r"labels should lie in 0..2, got -1..1"),
        (torch.tensor([[0.0], [torch.nan]]), torch.tensor([0, 1]), "features should be finite"),
    ],
)
def test_what_cannot_be_fitted(features: Tensor, labels: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit_linear_softmax(features, labels, 3)
