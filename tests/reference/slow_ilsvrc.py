"""ILSVRC DET's average precision as plainly as it can be written: one loop a rule, exact fractions for overlaps.

Boxes are whole inclusive pixels; a detection is (image, class, score, box), an object (image, class, box).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

Box = tuple[int, int, int, int]
Detection = tuple[int, int, float, Box]
Object = tuple[int, int, Box]


def sides(box: Box) -> tuple[int, int]:
    return box[2] - box[0] + 1, box[3] - box[1] + 1


def overlap(a: Box, b: Box) -> Fraction | None:
    """Return the exact IoU of inclusive pixels; None if the boxes share none."""
    width = min(a[2], b[2]) - max(a[0], b[0]) + 1
    height = min(a[3], b[3]) - max(a[1], b[1]) + 1
    if width <= 0 or height <= 0:
        return None
    (wa, ha), (wb, hb) = sides(a), sides(b)
    return Fraction(width * height, wa * ha + wb * hb - width * height)


def threshold(box: Box) -> Fraction:
    width, height = sides(box)
    return min(Fraction(1, 2), Fraction(width * height, (width + 10) * (height + 10)))


def slow_ilsvrc(
    objects: Sequence[Object],
    detections: Sequence[Detection],
    classes: int,
    blacklist: Sequence[tuple[int, int]] = (),
) -> tuple[list[float], list[list[int]]]:
    """Return for each class what the official code has (0, NaN and all), and the outcomes in the final order.

    Outcomes: 1 true, 0 false, -1 neither. Images are numbers, in whose order equal scores stand.
    """
    entries: list[list[tuple[float, int]]] = [[] for _ in range(classes)]
    for image in sorted({entry[0] for entry in detections}):
        here = sorted((d for d in detections if d[0] == image), key=lambda d: -d[2])
        taken: set[int] = set()
        for _, label, score, box in here:
            if (image, label) in blacklist:
                entries[label].append((score, -1))
                continue
            best, chosen = Fraction(-1), None
            for k, (other_image, other_label, other) in enumerate(objects):
                if other_image != image or other_label != label or k in taken:
                    continue
                iou = overlap(box, other)
                if iou is not None and iou >= threshold(other) and iou > best:
                    best, chosen = iou, k
            if chosen is not None:
                taken.add(chosen)
            entries[label].append((score, int(chosen is not None)))
    outcomes = [[outcome for _, outcome in sorted(mine, key=lambda entry: -entry[0])] for mine in entries]
    counted = [(image, label) for image, label, _ in objects if (image, label) not in blacklist]
    values = [area(outcome, sum(label == k for _, label in counted)) for k, outcome in enumerate(outcomes)]
    return values, outcomes


def area(outcome: Sequence[int], objects: int) -> float:
    """Return the area under the envelope, as VOC's and ILSVRC's code have it."""
    if objects == 0:
        return math.nan if outcome else 0.0
    recall, precision = [0.0], [0.0]
    for k in range(len(outcome)):
        true = sum(value == 1 for value in outcome[: k + 1])
        false = sum(value == 0 for value in outcome[: k + 1])
        recall.append(true / objects)
        precision.append(true / (true + false) if true + false else 0.0)
    recall.append(1.0)
    precision.append(0.0)
    total = 0.0
    for k in range(1, len(recall)):
        total += (recall[k] - recall[k - 1]) * max(precision[k:])
    return total
