"""What MultiBox learns from: which priors are assigned to which object, and which boxes count as wrong.

Each object is assigned to priors of its own, so that the whole assignment is cheapest (a bipartite matching): either by
how near the priors lie, whatever the network predicts ("prior"), or by how near and confident its boxes are
("prediction"). With x the assignment, l the boxes, g the objects and c the confidences, the loss is

    alpha / 2 * sum x * distance(l, g) - sum x * log c - sum (1 - x) * log(1 - c)      over the number of assignments

The distance that decides the assignment is measured in the sides of both boxes, that of the loss in the prior's, and
grows in proportion only beyond `largest_residual`. The original gives each object one prior. Here it is `matches`: with
7 objects a photograph and 12,750 priors, one would leave little to learn from; what repeats itself is suppressed
afterwards.

Source: Erhan et al. 2014, "Scalable Object Detection using Deep Neural Networks", section 3; Szegedy et al. 2014,
"Scalable, High-Quality Object Detection" (priors; unlabelled objects).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional

from inception_rcnn.proposals.network.model import BOX_SCALE, MultiBoxOutput
from inception_rcnn.structures import InputError
from inception_rcnn.structures.boxes import overlap_ratio, share_inside
from inception_rcnn.structures.errors import check_fields

MATCHING = ("prior", "prediction")
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class LossSettings:
    """What counts how much.

    Args:
        alpha: Weight of the location loss, whose unit is a tenth of the box's side: 0.3 is as 3000 on coordinates
            from 0 to 1 for a box a tenth of the photograph wide.
        matching: "prior" or "prediction".
        matches: How many priors an object is assigned to, at least 1.
        neutral_iou: A box not assigned that overlaps an object at least so much is not held to be wrong.
        tolerated: Where a photograph is labelled in part, a box not assigned with at least so much confidence may be
            an unlabelled object, and is not held to be wrong either; 1: never.
        largest_residual: From here on, in units of a tenth of the prior's side, the location loss grows in
            proportion, not with the square: a prior far off should not outweigh the others.

    Raises:
        InputError: A field is of another type or a number out of range, or an unknown matching.
    """

    alpha: float = 0.3
    matching: str = "prior"
    matches: int = 4
    neutral_iou: float = 0.5
    tolerated: float = 0.3
    largest_residual: float = 3.0

    def __post_init__(self) -> None:
        check_fields(self)
        if self.matching not in MATCHING:
            raise InputError(f"matching {self.matching!r} is unknown; known: {', '.join(MATCHING)}")
        if self.matches < 1:
            raise InputError(f"matches should be at least 1, got {self.matches}")
        for name in ("alpha", "largest_residual"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"{name} should be positive and finite, got {getattr(self, name)}")
        for name in ("neutral_iou", "tolerated"):
            if not 0 < getattr(self, name) <= 1:
                raise InputError(f"{name} should lie in (0, 1], got {getattr(self, name)}")


@dataclass(frozen=True)
class Labels:
    """What is known of one photograph; boxes as shares of it.

    Args:
        objects: (M, 4) float64.
        neutral: (R, 4) float64: crowds, difficult objects, objects cut in two by the border. Boxes mostly inside one
            are neither right nor wrong.
        complete: Whether every object is labelled that should be found.
    """

    objects: Floats
    neutral: Floats
    complete: bool


def squared_distances(boxes: Floats, objects: Floats) -> Floats:
    """Return the squared distances (M, K) of objects (M, 4) from boxes (K, 4), over all corners' coordinates.

    The unit is a tenth of the side, of box and object alike (their geometric mean): a box twice too large is as far
    off as one half as large as it should be, at any size.
    """
    own, theirs = np.sqrt(_sides(boxes)), np.sqrt(_sides(objects))
    distances = np.zeros((len(objects), len(boxes)))
    for axis in range(4):  # one coordinate at a time: a quarter of the memory, and of the time
        difference = objects[:, axis, None] - boxes[None, :, axis]
        difference /= theirs[:, axis % 2, None] * own[None, :, axis % 2]
        distances += np.square(difference, out=difference)
    return distances / BOX_SCALE**2


def assign(cost: Floats, matches: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (objects, boxes): each of M objects with `matches` boxes of its own, at the least cost in all.

    Args:
        cost: (M, K). Where there are too few boxes, each object gets fewer.
        matches: How many boxes an object gets.
    """
    count, available = cost.shape
    matches = min(matches, available // count) if count else 0
    if count and matches == 0:  # more objects than boxes: the best pairs
        return linear_sum_assignment(cost)  # type: ignore[no-any-return]
    rows = np.repeat(np.arange(count), matches)
    # In a best assignment no object needs more than its len(rows) cheapest boxes: the others are taken by someone else.
    near = np.argpartition(cost, min(len(rows), available - 1), axis=1)[:, : len(rows)] if count else cost[:, :0]
    columns = np.unique(near).astype(np.int64)
    chosen, column = linear_sum_assignment(cost[rows][:, columns])
    return rows[chosen], columns[column]


def multibox_loss(
    output: MultiBoxOutput, priors: Tensor, labels: list[Labels], settings: LossSettings
) -> tuple[Tensor, Tensor]:
    """Return the location and the confidence part of the loss of a batch, their sum to be minimised.

    Args:
        output: Of N photographs.
        priors: (K, 4), as shares.
        labels: Of each photograph.
        settings: What counts how much.
    """
    total = output.residuals.sum() + output.logits.sum()
    if not bool(torch.isfinite(total)):  # nothing can be assigned; the training step names the remedy
        return total, total
    prior_array = priors.double().cpu().numpy()
    targets = torch.zeros_like(output.logits)
    weights = torch.ones_like(output.logits)
    picked: list[tuple[int, NDArray[np.int64], Floats]] = []
    predicted = output.boxes.detach().double().cpu().numpy()
    logits = output.logits.detach().double().cpu().numpy()
    for number, known in enumerate(labels):
        objects, boxes = _assigned(known, prior_array, predicted[number], logits[number], settings)
        neutral = _neutral(known, predicted[number], logits[number], settings)
        weights[number] = torch.from_numpy(~neutral).to(weights)
        where = torch.from_numpy(boxes).to(targets.device)
        weights[number, where] = targets[number, where] = 1.0
        picked.append((number, boxes, known.objects[objects]))
    count = max(1, sum(len(boxes) for _, boxes, _ in picked))
    confidence = functional.binary_cross_entropy_with_logits(output.logits, targets, weights, reduction="sum")
    return _location_loss(output, prior_array, picked, settings) / count, confidence / count


def _assigned(
    known: Labels, priors: Floats, predicted: Floats, logits: Floats, settings: LossSettings
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    if settings.matching == "prior":
        return assign(settings.alpha / 2 * squared_distances(priors, known.objects), settings.matches)
    # -log c + log(1 - c) is minus the logit
    cost = settings.alpha / 2 * squared_distances(_with_area(predicted), known.objects) - logits[None]
    return assign(cost, settings.matches)


def _neutral(known: Labels, predicted: Floats, logits: Floats, settings: LossSettings) -> NDArray[np.bool_]:
    """Return which boxes (K,) are neither right nor wrong, unless they are assigned."""
    neutral = np.zeros(len(predicted), dtype=np.bool_)
    if len(known.objects):
        overlaps = overlap_ratio(known.objects[:, None], predicted[None])
        neutral |= overlaps.max(axis=0) >= settings.neutral_iou
    if len(known.neutral):
        neutral |= (share_inside(predicted, known.neutral) >= 0.5).any(axis=1)
    if not known.complete:
        neutral |= 1 / (1 + np.exp(-logits)) >= settings.tolerated
    return neutral


def _location_loss(
    output: MultiBoxOutput,
    priors: Floats,
    picked: list[tuple[int, NDArray[np.int64], Floats]],
    settings: LossSettings,
) -> Tensor:
    found, wanted = [], []
    for number, boxes, objects in picked:
        sides = _sides(priors[boxes])
        wanted.append((objects - priors[boxes]) / (BOX_SCALE * np.concatenate([sides, sides], axis=1)))
        found.append(output.residuals[number, torch.from_numpy(boxes).to(output.residuals.device)])
    target = torch.from_numpy(np.concatenate(wanted)).to(output.residuals)
    # Huber's loss is half the square up to delta
    return settings.alpha * functional.huber_loss(
        torch.cat(found), target, reduction="sum", delta=settings.largest_residual
    )


def _sides(boxes: Floats) -> Floats:
    return boxes[:, 2:] - boxes[:, :2]


def _with_area(boxes: Floats) -> Floats:
    """Return the boxes with sides of at least a hundredth of a per cent, so that distances can be measured in them."""
    return np.concatenate([boxes[:, :2], np.maximum(boxes[:, 2:], boxes[:, :2] + 1e-4)], axis=1)
