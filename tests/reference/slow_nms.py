"""Non-maximum suppression as slowly and plainly as it can be written: exact fractions, no NumPy.

Boxes are whole numbers here, so areas and overlaps are exact; a threshold means the decimal number it is written as.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

Box = Sequence[int]


def slow_iou(a: Box, b: Box) -> Fraction:
    """Return the exact intersection over union of two boxes x1 y1 x2 y2; 0 if one has no area."""
    if area(a) == 0 or area(b) == 0:
        return Fraction(0)
    shared = area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
    return Fraction(shared, area(a) + area(b) - shared)


def area(box: Box) -> int:
    """Return the area, 0 for inverted boxes."""
    return max(box[2] - box[0], 0) * max(box[3] - box[1], 0)


def slow_nms(boxes: Sequence[Box], scores: Sequence[float], threshold: float) -> list[int]:
    """Return the positions that stay: from the best to the worst, unless a better one that stays overlaps more."""
    limit = Fraction(str(threshold))
    kept: list[int] = []
    for candidate in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        if all(slow_iou(boxes[candidate], boxes[better]) <= limit for better in kept):
            kept.append(candidate)
    return kept


def slow_one_name_each(boxes: Sequence[Box], scores: Sequence[float], threshold: float) -> list[int]:
    """Return the positions that stay: from the best to the worst, unless a better one overlaps so much or more."""
    limit = Fraction(str(threshold))
    kept: list[int] = []
    for candidate in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        if all(slow_iou(boxes[candidate], boxes[better]) < limit for better in kept):
            kept.append(candidate)
    return kept


def slow_nms_per_class(
    boxes: Sequence[Box],
    scores: Sequence[Sequence[float]],
    score_threshold: float,
    iou_threshold: float,
    max_per_class: int,
    max_detections: int,
) -> list[tuple[int, int, float]]:
    """Return (position, label, score) of what stays, best first, then by position, then by label."""
    found: list[tuple[int, int, float]] = []
    for label in range(len(scores[0]) if scores else 0):
        rows = [i for i in range(len(boxes)) if scores[i][label] >= score_threshold]
        kept = slow_nms([boxes[i] for i in rows], [scores[i][label] for i in rows], iou_threshold)
        found += [(rows[k], label, scores[rows[k]][label]) for k in kept[:max_per_class]]
    return sorted(found, key=lambda entry: (-entry[2], entry[0], entry[1]))[:max_detections]
