"""COCO's average precision as plainly as it can be written; boxes are whole numbers x y w h."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Box = tuple[int, int, int, int]
# COCO's floating-point thresholds: an overlap of exactly 3/5 misses the one that is 0.6000000000000001.
THRESHOLDS: list[float] = np.linspace(0.5, 0.95, 10).tolist()
SIZES = {"": (0, 10**10), "s": (0, 32**2), "m": (32**2, 96**2), "l": (96**2, 10**10)}


@dataclass(frozen=True)
class Item:
    """An object."""

    image: int
    label: int
    box: Box
    crowd: bool
    area: int


@dataclass(frozen=True)
class Found:
    """A detection."""

    image: int
    label: int
    score: float
    box: Box


def overlap(found: Box, item: Item) -> float:
    x, y, w, h = found
    gx, gy, gw, gh = item.box
    width, height = min(x + w, gx + gw) - max(x, gx), min(y + h, gy + gh) - max(y, gy)
    if width <= 0 or height <= 0:
        return 0.0
    union = w * h if item.crowd else w * h + gw * gh - width * height
    return width * height / union


def outcomes(
    items: Sequence[Item], founds: Sequence[Found], label: int, threshold: float, size: str, limit: int
) -> tuple[list[int], int]:
    """Return 1, 0 or -1 (ignored) for the detections of a class, best first, and the number of objects to find."""
    low, high = SIZES[size]
    entries: list[tuple[float, int]] = []
    for image in sorted({item.image for item in items} | {found.image for found in founds}):
        here = [item for item in items if (item.image, item.label) == (image, label)]
        left_out = [item.crowd or not low <= item.area <= high for item in here]
        order = [k for k in range(len(here)) if not left_out[k]] + [k for k in range(len(here)) if left_out[k]]
        taken: set[int] = set()
        mine = [found for found in founds if (found.image, found.label) == (image, label)]
        for found in sorted(mine, key=lambda found: -found.score)[:limit]:
            best, chosen = threshold, -1
            for k in order:
                if k in taken and not here[k].crowd:
                    continue
                if chosen >= 0 and not left_out[chosen] and left_out[k]:
                    break
                iou = overlap(found.box, here[k])
                if iou >= best:
                    best, chosen = iou, k
            if chosen >= 0:
                taken.add(chosen)
                entries.append((found.score, -1 if left_out[chosen] else 1))
            else:
                own = found.box[2] * found.box[3]
                entries.append((found.score, 0 if low <= own <= high else -1))
    count = sum(item.label == label and not item.crowd and low <= item.area <= high for item in items)
    return [outcome for _, outcome in sorted(entries, key=lambda entry: -entry[0])], count


def average_precision(outcome: Sequence[int], objects: int) -> float:
    """Return the mean over the recalls 0, 0.01 ... 1 of the best precision from there on."""
    points = []
    true = false = 0
    for value in outcome:
        true, false = true + (value == 1), false + (value == 0)
        points.append((true / objects, true / max(true + false, 1)))
    total = 0.0
    for k in range(101):
        total += max((precision for recall, precision in points if recall >= k * 0.01), default=0.0)
    return total / 101


def slow_coco(items: Sequence[Item], founds: Sequence[Found], classes: int) -> dict[str, float | None]:
    """Return the twelve numbers by name; None where no object has the size."""
    numbers: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        numbers.setdefault(name, []).append(value)

    for label in range(classes):
        for threshold in THRESHOLDS:
            for size in SIZES:
                outcome, count = outcomes(items, founds, label, threshold, size, 100)
                if count == 0:
                    continue
                note(f"AP{size}", average_precision(outcome, count))
                note(f"AR{size}" if size else "AR100", outcome.count(1) / count)
                if size == "" and threshold in (THRESHOLDS[0], THRESHOLDS[5]):
                    note(f"AP{round(100 * threshold)}", average_precision(outcome, count))
                for limit in (1, 10) if size == "" else ():
                    few, _ = outcomes(items, founds, label, threshold, size, limit)
                    note(f"AR{limit}", few.count(1) / count)
    names = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
    return {name: sum(numbers[name]) / len(numbers[name]) if name in numbers else None for name in names}
