"""Wrong detections sorted into kinds of errors.

Source: Bolya et al. 2020, "TIDE: A General Toolbox for Identifying Object Detection Errors", section 2.2, in the
order in which tidecv 1.0.1 asks the questions.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.structures.boxes import sized_boxes
from inception_rcnn.structures.detections import DetectionTable
from inception_rcnn.structures.ground_truth import GroundTruthTable
from inception_rcnn.structures.kernels import kernel

TRUE: Final = 0
CLASS: Final = 1
LOCATION: Final = 2
BOTH: Final = 3
DUPLICATE: Final = 4
BACKGROUND: Final = 5
IGNORED: Final = 6
UNUSED: Final = 7


def sort_errors(
    truth: GroundTruthTable, found: DetectionTable, order: NDArray[np.int32], limits: tuple[float, float], most: int
) -> tuple[NDArray[np.int8], NDArray[np.int32], NDArray[np.bool_]]:
    """Return the kind and the target of each detection, and which objects were found.

    Args:
        truth: The objects.
        found: The detections.
        order: (M,) their rows image by image, in an image by score, descending.
        limits: IoU from which a detection is true, and IoU up to which it has met nothing.
        most: How many of an image count; the others are `UNUSED`.

    Returns:
        (M,) int8, one of this file's constants; (M,) int32, the row of the object found or meant, -1 if there is none;
        (N,) bool.
    """
    sized, truth_sized = sized_boxes(found.box), sized_boxes(truth.box)
    kind, target = np.full(len(found), UNUSED, np.int8), np.full(len(found), -1, np.int32)
    taken = np.zeros(len(truth), np.bool_)
    truth_order = np.argsort(truth.image, kind="stable").astype(np.int32)
    edges = np.arange(len(truth.image_ids) + 1)
    truth_starts = np.searchsorted(truth.image[truth_order], edges).tolist()
    for start, end in _runs(found.image[order]):
        image = found.image[order[start]]
        others = truth_order[truth_starts[image] : truth_starts[image + 1]]
        rows = order[start : min(end, start + most)]
        sort_image(
            *(rows, others, sized, found.label, truth_sized, truth.label, truth.ignored),
            *(*limits, kind, target, taken),
        )
    return kind, target, taken


def _runs(values: NDArray[np.int32]) -> Iterable[tuple[int, int]]:
    """Return begin and end of each run of equal values."""
    edges = np.flatnonzero(np.diff(values)) + 1
    starts = [0, *edges.tolist()] if len(values) else []
    return zip(starts, [*edges.tolist(), len(values)], strict=False)


@kernel
def shared_area(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the area that two boxes x y w h have in common."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return 0.0 if width <= 0 or height <= 0 else float(width * height)


@kernel
def largest(overlaps: NDArray[np.float64], usable: NDArray[np.bool_]) -> int:
    """Return the position of the largest overlap above 0 of those usable, the first of equal ones; -1 if none is."""
    best, chosen = 0.0, np.int64(-1)
    for g in range(len(overlaps)):
        if usable[g] and overlaps[g] > best:
            best, chosen = overlaps[g], np.int64(g)
    return chosen  # type: ignore[return-value]


@kernel
def sort_image(
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
    # The objects that count, and how much each detection overlaps each of them.
    real = np.empty(len(others), np.int32)
    count = 0
    for other in others:
        if not ignore[other]:
            real[count] = other
            count += 1
    overlaps, same = np.zeros((len(rows), count), np.float64), np.empty((len(rows), count), np.bool_)
    for d in range(len(rows)):
        area = sized[rows[d], 2] * sized[rows[d], 3]
        for g in range(count):
            shared = shared_area(sized[rows[d]], truth_sized[real[g]])
            if shared > 0:
                overlaps[d, g] = shared / (area + truth_sized[real[g], 2] * truth_sized[real[g], 3] - shared)
            same[d, g] = label[rows[d]] == truth_label[real[g]]
    # True ones first: each takes the free object of its class that it overlaps most.
    free = np.ones(count, np.bool_)
    for d in range(len(rows)):
        kind[rows[d]], target[rows[d]] = BACKGROUND, -1
        g = largest(overlaps[d], same[d] & free)
        if g >= 0 and overlaps[d, g] >= positive:
            kind[rows[d]], target[rows[d]] = TRUE, real[g]
            free[g] = False
            found[real[g]] = True
    for d in range(len(rows)):
        row = rows[d]
        if kind[row] == TRUE:
            continue
        # What lies in an object to ignore of its class is no error.
        for other in others:
            if ignore[other] and truth_label[other] == label[row]:
                inside = shared_area(sized[row], truth_sized[other])
                if inside > 0 and inside / (sized[row, 2] * sized[row, 3]) > positive:
                    kind[row] = IGNORED
        if kind[row] == IGNORED or count == 0:
            continue
        # Near an object of its class, found or not: the place is wrong.
        g = largest(overlaps[d], same[d])
        own = overlaps[d, g] if g >= 0 else 0.0
        if background <= own <= positive:
            kind[row], target[row] = LOCATION, real[g]
            continue
        # On one of another class; on one of its own, which must be taken; near one of another class; else nowhere.
        h = largest(overlaps[d], ~same[d])
        foreign = overlaps[d, h] if h >= 0 else 0.0
        if foreign >= positive:
            kind[row], target[row] = CLASS, real[h]
        elif own >= positive:
            kind[row], target[row] = DUPLICATE, real[g]
        elif foreign > background:
            kind[row], target[row] = BOTH, real[h]
