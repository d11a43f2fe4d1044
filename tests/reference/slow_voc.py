"""PASCAL VOC's average precision as plainly as it can be written; boxes are whole inclusive pixels."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from reference.slow_ilsvrc import Detection, Object, area, overlap


def slow_voc(
    objects: Sequence[Object], difficult: Sequence[bool], detections: Sequence[Detection], classes: int, year: int
) -> tuple[list[float | None], list[list[int]]]:
    """Return for each class its average precision (None without objects), and the outcomes in the order of scores.

    Detections of equal score stand in the order given.
    """
    values: list[float | None] = []
    outcomes = []
    for label in range(classes):
        taken: set[int] = set()
        outcome = []
        for image, _, _, box in sorted((d for d in detections if d[1] == label), key=lambda d: -d[2]):
            best, chosen = Fraction(-1), -1
            for k, (other_image, other_label, other) in enumerate(objects):
                if other_image == image and other_label == label:
                    iou = overlap(box, other)
                    if iou is not None and iou > best:
                        best, chosen = iou, k
            if best < Fraction(1, 2):
                outcome.append(0)
            elif difficult[chosen]:
                outcome.append(-1)
            else:
                outcome.append(int(chosen not in taken))
                taken.add(chosen)
        count = sum(entry[1] == label and not hard for entry, hard in zip(objects, difficult, strict=True))
        average = area if year == 2010 else eleven_points
        values.append(average(outcome, count) if count else None)
        outcomes.append(outcome)
    return values, outcomes


def eleven_points(outcome: Sequence[int], objects: int) -> float:
    """Return the mean of the best precision from each tenth on; tenths compared as MATLAB's 0:0.1:1 has them."""
    tenths = [k * 0.1 if k <= 5 else 1 - (10 - k) * 0.1 for k in range(11)]
    best = [0.0] * 11
    for k in range(len(outcome)):
        true = sum(value == 1 for value in outcome[: k + 1])
        false = sum(value == 0 for value in outcome[: k + 1])
        if true + false:
            for t, tenth in enumerate(tenths):
                if true / objects >= tenth:
                    best[t] = max(best[t], true / (true + false))
    return sum(best) / 11
