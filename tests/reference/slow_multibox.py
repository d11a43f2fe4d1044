"""MultiBox's assignment and loss in plain Python: every assignment is tried, every term is written out.

Source: Erhan et al. 2014, "Scalable Object Detection using Deep Neural Networks", section 3; the assignment is of
`matches` boxes an object instead of one, the location loss grows in proportion beyond a limit (Huber).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import permutations

Box = Sequence[float]


def slow_assignment(cost: Sequence[Sequence[float]], matches: int) -> float:
    """Return the least total cost of giving each object (row) `matches` boxes (columns) of its own.

    With too few boxes for that, each object gets fewer; with fewer boxes than objects, as many objects as there are
    boxes get one each.
    """
    objects, boxes = len(cost), len(cost[0]) if cost else 0
    if objects == 0 or boxes == 0:
        return 0.0
    if boxes < objects:
        return min(sum(cost[row][box] for box, row in enumerate(rows)) for rows in permutations(range(objects), boxes))
    wanted = [row for row in range(objects) for _ in range(min(matches, boxes // objects))]
    return min(
        sum(cost[row][box] for row, box in zip(wanted, chosen, strict=True))
        for chosen in permutations(range(boxes), len(wanted))
    )


@dataclass
class Picture:
    """What is known and what was said of one photograph."""

    objects: list[Box]
    boxes: list[Box]
    logits: list[float]
    neutral: list[Box] = field(default_factory=list)
    complete: bool = True


def distance(box: Box, thing: Box) -> float:
    """Return the squared distance of two boxes in tenths of their sides' geometric mean."""
    total = 0.0
    for corner in range(4):
        low, high = (0, 2) if corner in (0, 2) else (1, 3)
        unit = 0.1 * math.sqrt((box[high] - box[low]) * (thing[high] - thing[low]))
        total += ((box[corner] - thing[corner]) / unit) ** 2
    return total


def location_term(box: Box, prior: Box, thing: Box, limit: float) -> float:
    """Return half the squared error in tenths of the prior's side, beyond `limit` its tangent, over all corners."""
    total = 0.0
    for corner in range(4):
        low, high = (0, 2) if corner in (0, 2) else (1, 3)
        error = abs(box[corner] - thing[corner]) / (0.1 * (prior[high] - prior[low]))
        total += error**2 / 2 if error <= limit else limit * (error - limit / 2)
    return total


def area(box: Box) -> float:
    """Return the area, 0 for inverted boxes."""
    return max(box[2] - box[0], 0) * max(box[3] - box[1], 0)


def shared_area(a: Box, b: Box) -> float:
    """Return the area of the intersection."""
    return area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))


def slow_loss(
    pictures: Sequence[Picture],
    priors: Sequence[Box],
    assigned: Sequence[dict[int, int]],
    *,
    alpha: float,
    neutral_iou: float,
    tolerated: float,
    limit: float,
) -> tuple[float, float]:
    """Return the location and the confidence part of a batch's loss.

    Args:
        pictures: the batch.
        priors: of every box.
        assigned: for each picture box -> object.
        alpha: weight of the location.
        neutral_iou: a free box that overlaps an object at least so much counts for nothing.
        tolerated: likewise one with this confidence, where a picture is labelled in part.
        limit: from which error on the location term is a straight line.
    """
    location = confidence = 0.0
    for picture, choice in zip(pictures, assigned, strict=True):
        for number, (box, logit) in enumerate(zip(picture.boxes, picture.logits, strict=True)):
            certainty = 1 / (1 + math.exp(-logit))
            if number in choice:
                location += alpha * location_term(box, priors[number], picture.objects[choice[number]], limit)
                confidence -= math.log(certainty)
                continue
            ious = [shared_area(box, one) / (area(box) + area(one) - shared_area(box, one)) for one in picture.objects]
            inside = [shared_area(box, one) / area(box) for one in picture.neutral]
            if max(ious, default=0) >= neutral_iou or max(inside, default=0) >= 0.5:
                continue
            if not picture.complete and certainty >= tolerated:
                continue
            confidence -= math.log(1 - certainty)
    count = max(1, sum(len(choice) for choice in assigned))
    return location / count, confidence / count
