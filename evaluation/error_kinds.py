"""Compiled sorting of wrong detections into kinds of errors.

Source: Bolya et al. 2020, "TIDE: A General Toolbox for Identifying Object Detection Errors", section 2.2, in the
order in which tidecv 1.0.1 asks the questions.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.structures.kernels import kernel

TRUE: Final = 0
CLASS: Final = 1
LOCATION: Final = 2
BOTH: Final = 3
DUPLICATE: Final = 4
BACKGROUND: Final = 5
IGNORED: Final = 6
UNUSED: Final = 7


@kernel
def overlap_of(a: NDArray[np.float64], b: NDArray[np.float64], crowd: bool) -> float:
    """Return the IoU of two boxes x y w h, or the share of `a` inside `b` if that is a crowd."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return float(shared / (a[2] * a[3]) if crowd else shared / (a[2] * a[3] + b[2] * b[3] - shared))


@kernel
def largest(
    overlaps: NDArray[np.float64], same: NDArray[np.bool_], free: NDArray[np.bool_], wanted: bool, row: int
) -> tuple[int, int]:
    """Return the first column with the largest overlap of `row`, and whether that is above 0.

    Of the columns whose `same` is `wanted` and that are `free`; the others count as 0, as in a masked matrix.
    """
    best, chosen = 0.0, 0
    for g in range(overlaps.shape[1]):
        if same[row, g] == wanted and free[g] and overlaps[row, g] > best:
            best, chosen = overlaps[row, g], g
    return chosen, int(best > 0)


@kernel
def sort_errors(
    rows: NDArray[np.int32],
    others: NDArray[np.int32],
    sized: NDArray[np.float64],
    label: NDArray[np.int32],
    truth_sized: NDArray[np.float64],
    truth_label: NDArray[np.int32],
    ignore: NDArray[np.bool_],
    positive: float,
    background: float,
    kind: NDArray[np.int8],
    target: NDArray[np.int32],
    found: NDArray[np.bool_],
) -> None:
    """Sort the detections of one image.

    Args:
        rows: Its detections, best first, all classes.
        others: Its objects, in their own order.
        sized, truth_sized: Boxes x y w h of all detections and objects.
        label, truth_label: Their classes.
        ignore: Objects to ignore.
        positive: IoU from which a detection is true.
        background: IoU up to which it has met nothing.
        kind: (M,) is written.
        target: (M,) is written: the object found or meant, -1 if none.
        found: (N,) objects that a detection found; set to True.
    """
    real = np.empty(len(others), np.int32)
    count = 0
    for other in others:
        if not ignore[other]:
            real[count] = other
            count += 1
    overlaps, same = np.empty((len(rows), count), np.float64), np.empty((len(rows), count), np.bool_)
    for d in range(len(rows)):
        for g in range(count):
            overlaps[d, g] = overlap_of(sized[rows[d]], truth_sized[real[g]], False)
            same[d, g] = label[rows[d]] == truth_label[real[g]]
    free, every = np.ones(count, np.bool_), np.ones(count, np.bool_)
    for d in range(len(rows)):
        kind[rows[d]], target[rows[d]] = BACKGROUND, -1
        if count == 0:
            continue
        g, some = largest(overlaps, same, free, True, d)
        if some and overlaps[d, g] >= positive:
            kind[rows[d]], target[rows[d]] = TRUE, real[g]
            free[g] = False
            found[real[g]] = True
    for d in range(len(rows)):
        row = rows[d]
        if kind[row] == TRUE:
            continue
        for other in others:
            inside = ignore[other] and truth_label[other] == label[row]
            if inside and overlap_of(sized[row], truth_sized[other], True) > positive:
                kind[row] = IGNORED
        if kind[row] == IGNORED or count == 0:
            continue
        g, some = largest(overlaps, same, every, True, d)
        own = overlaps[d, g] if some else 0.0
        if background <= own <= positive:
            kind[row], target[row] = LOCATION, real[g]
            continue
        h, some = largest(overlaps, same, every, False, d)
        foreign = overlaps[d, h] if some else 0.0
        if foreign >= positive:
            kind[row], target[row] = CLASS, real[h]
        elif own >= positive:  # it met an object of its class, and is false: the object was taken
            kind[row], target[row] = DUPLICATE, real[g]
        elif max(own, foreign) > background:
            kind[row] = BOTH
