"""From scores of regions to detections, one region, one class, one number at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence

Box = tuple[float, float, float, float]


def slow_mean(rows: Sequence[Sequence[float]]) -> list[float]:
    """Return the mean of several rows of numbers, column by column."""
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]


def slow_move(box: Sequence[float], offset: Sequence[float]) -> Box:
    """Return a box moved by dx, dy, dw, dh as Fast R-CNN's deviations have them; no side beyond e^2 times or 1/e^2."""
    x1, y1, x2, y2 = box
    width, height = x2 - x1, y2 - y1
    x, y = (x1 + x2) / 2 + 0.1 * offset[0] * width, (y1 + y2) / 2 + 0.1 * offset[1] * height
    width *= math.exp(min(max(0.2 * offset[2], -2.0), 2.0))
    height *= math.exp(min(max(0.2 * offset[3], -2.0), 2.0))
    return (x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def slow_clip(box: Sequence[float], width: float, height: float) -> Box:
    """Return the part of a box inside an image."""
    x1, y1, x2, y2 = box
    return (
        min(max(x1, 0.0), width),
        min(max(y1, 0.0), height),
        min(max(x2, 0.0), width),
        min(max(y2, 0.0), height),
    )


def slow_overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the intersection over union of two boxes with area."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


def slow_postprocess(
    boxes: Sequence[Sequence[float]],
    probabilities: Sequence[Sequence[Sequence[float]]],
    offsets: Sequence[Sequence[Sequence[float]]],
    objectness: Sequence[float],
    *,
    power: float,
    size: tuple[float, float],
    score_threshold: float,
    iou_threshold: float,
    max_per_class: int,
) -> list[tuple[Box, int, float]]:
    """Return (box, label, score), best first.

    Args:
        boxes: N of them.
        probabilities: (members, N, C + 1), background last.
        offsets: (members that move boxes, N, 4); none: the boxes stay as they are.
        objectness: (N,).
        power: Of the objectness.
        size: Width and height of the image.
        score_threshold: Lowest score.
        iou_threshold: Of two of a class that overlap more, the better stays.
        max_per_class: At most so many of each class.
    """
    found: list[tuple[Box, int, float]] = []
    classes = len(probabilities[0][0]) - 1
    for label in range(classes):
        candidates: list[tuple[float, Box]] = []
        for row, given in enumerate(boxes):
            box = slow_clip(slow_move(given, slow_mean([each[row] for each in offsets])), *size) if offsets else given
            score = slow_mean([each[row] for each in probabilities])[label] * objectness[row] ** power
            if score >= score_threshold and box[2] > box[0] and box[3] > box[1]:
                candidates.append((score, (box[0], box[1], box[2], box[3])))
        kept: list[tuple[float, Box]] = []
        for score, box in sorted(candidates, key=lambda entry: -entry[0]):
            if len(kept) < max_per_class and all(slow_overlap(box, better) <= iou_threshold for _, better in kept):
                kept.append((score, box))
        found += [(box, label, score) for score, box in kept]
    return sorted(found, key=lambda entry: -entry[2])
