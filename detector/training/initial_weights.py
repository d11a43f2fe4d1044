"""A linear softmax on frozen features: where the new layer may start from, and the baseline to beat.

Source: the simplest of R-CNN's stages (technical report v5, section 2.3, features of the pre-trained network with a
linear classifier on top), with a softmax in place of the SVMs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from inception_rcnn.structures import InputError


@dataclass(frozen=True)
class LinearSoftmax:
    """Weight (K, D) and bias (K,) of a linear layer, float32, and its loss on the features it was fitted to."""

    weight: Tensor
    bias: Tensor
    loss: float


def fit_linear_softmax(
    features: Tensor, labels: Tensor, num_outputs: int, *, weight_decay: float = 1e-4, steps: int = 200
) -> LinearSoftmax:
    """The regularised multinomial logistic regression of labels on features, by L-BFGS.

    Args:
        features: (N, D) float.
        labels: (N,) int64 in 0..num_outputs-1.
        num_outputs: K.
        weight_decay: factor of the squared norm of the weights (of standardised features), added to the mean loss.
        steps: most iterations of L-BFGS.
    Raises:
        InputError: no features, features that are not finite, or labels that do not fit.
    """
    if features.ndim != 2 or len(features) == 0 or labels.shape != (len(features),):
        raise InputError(
            f"features should be (N, D) and labels (N,) with N > 0, got {tuple(features.shape)} and "
            f"{tuple(labels.shape)}"
        )
    if int(labels.min()) < 0 or int(labels.max()) >= num_outputs:
        raise InputError(f"labels should lie in 0..{num_outputs - 1}, got {int(labels.min())}..{int(labels.max())}")
    if not bool(torch.isfinite(features).all()):
        raise InputError("features should be finite")
    mean, spread = features.mean(dim=0), features.std(dim=0, correction=0).clamp_min(1e-6)
    standard = (features - mean) / spread  # one step length then suits all directions
    weight = torch.zeros(num_outputs, features.shape[1], device=features.device, requires_grad=True)
    bias = torch.zeros(num_outputs, device=features.device, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=steps, history_size=10, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        optimizer.zero_grad()
        loss = functional.cross_entropy(standard @ weight.T + bias, labels) + weight_decay * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(objective)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        final = functional.cross_entropy(standard @ weight.T + bias, labels).item()
        unscaled = weight / spread
        return LinearSoftmax(unscaled.detach(), (bias - unscaled @ mean).detach(), final)
