"""Matching and counting by COCO's rules, all IoU thresholds and size ranges together: detections -> COCO's tables.

Source: COCOeval of pycocotools 2.0.11 (evaluateImg, accumulate), whose floating-point steps are followed one by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.evaluation.average_precision import HUNDRED_AND_ONE_RECALLS
from inception_rcnn.evaluation.ranking import arrange
from inception_rcnn.evaluation.results import Matches
from inception_rcnn.structures.boxes import sized_boxes
from inception_rcnn.structures.detections import DetectionTable
from inception_rcnn.structures.ground_truth import GroundTruthTable
from inception_rcnn.structures.kernels import kernel

THRESHOLDS: Final = np.linspace(0.5, 0.95, 10)
AREAS: Final = np.array([[0, 1e5**2], [0, 32**2], [32**2, 96**2], [96**2, 1e5**2]], np.float64)
"""Any size, small, medium, large: the smallest and the largest area in square pixels, both of them included."""
LIMIT: Final = 100
"""How many detections of an image and class count."""

_UNMATCHED, _LEFT_OUT = -1, -2


@dataclass(frozen=True, eq=False)
class CocoTables:
    """COCO's tables; -1 stands for a class without objects of the size.

    Args:
        precision: float64 [10 IoUs, 101 recalls, classes, 4 sizes], at most 100 detections per image and class.
        recall: float64 [10 IoUs, classes, 4 sizes], alike.
        few_recall: float64 [10 IoUs, classes, 2]: with 1 and with 10 detections per image and class, any size.
    """

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    few_recall: NDArray[np.float64]


def score(truth: GroundTruthTable, found: DetectionTable, threads: int | None) -> tuple[CocoTables, Matches]:
    """Return COCO's tables, and what happens to every detection at IoU 0.5 and any size.

    Args:
        truth: The objects; those to ignore are crowds.
        found: The detections.
        threads: How many; None: as many as there are processors.
    """
    order = arrange(truth, found, ties_by_image=True, threads=threads)
    areas = truth.object_areas()
    in_range = (AREAS[:, :1] <= areas) & (areas <= AREAS[:, 1:])  # [sizes, objects]
    bits = (in_range * (1 << np.arange(len(AREAS)))[:, None]).sum(axis=0, dtype=np.int64)
    classes = len(truth.class_names)
    precision = np.empty((classes, len(AREAS), len(THRESHOLDS), len(HUNDRED_AND_ONE_RECALLS)))
    recall, few_recall = np.empty(precision.shape[:3]), np.empty((classes, 2, len(THRESHOLDS)))
    outcome, partner = np.empty(len(found), np.int8), np.empty(len(found), np.int32)
    order.each_class(
        score_classes,
        *(found.box, order.image, order.ranked, order.grouped, order.starts),
        *(sized_boxes(truth.box), bits, truth.ignored, order.truth_image, order.truth_rows, order.truth_starts),
        *(THRESHOLDS, HUNDRED_AND_ONE_RECALLS, AREAS, LIMIT, precision, recall, few_recall),
        *(np.empty(len(found), np.int32), outcome, partner),
    )
    tables = CocoTables(
        np.ascontiguousarray(precision.transpose(2, 3, 0, 1)), recall.transpose(2, 0, 1), few_recall.transpose(2, 0, 1)
    )
    objects = np.bincount(truth.label[~truth.ignored], minlength=classes)
    return tables, Matches(outcome, partner, found.score, order.ranked, order.starts, objects, ~truth.ignored)


@kernel
def ranges_of(area: float, ranges: NDArray[np.float64]) -> int:
    """Return bit a for each size range that holds `area`, bounds included."""
    bits = np.int64(0)
    for a in range(len(ranges)):
        if ranges[a, 0] <= area <= ranges[a, 1]:
            bits |= np.int64(1) << np.int64(a)
    return bits  # type: ignore[return-value]


@kernel
def side_length(high: float, low: float) -> float:
    """Return the side that was added to `low`: `structures.boxes.undo_sum` for one number, in the kernel's own file."""
    difference = high - low
    short = np.rint(difference * 1e9) / 1e9
    return short if short + low == high else difference


@kernel
def match_image(
    rows: NDArray[np.int32],
    others: NDArray[np.int32],
    box: NDArray[np.float64],
    truth_sized: NDArray[np.float64],
    truth_ranges: NDArray[np.int64],
    crowd: NDArray[np.bool_],
    thresholds: NDArray[np.float64],
    hits: NDArray[np.uint16],
    skips: NDArray[np.uint16],
    slot: NDArray[np.int32],
    used: int,
    found_at: NDArray[np.int64],
    outcome: NDArray[np.int8],
    partner: NDArray[np.int32],
) -> int:
    """Match the detections of one image and class with its objects; return how many slots are used now.

    A detection that matches anything at any threshold and size gets a slot: in `hits[slot, a]` bit t says that it
    matched an object of range a at threshold t, in `skips[slot, a]` that it matched one to ignore.
    """
    sizes, count = hits.shape[1], len(others)
    # For each size range the objects to find first, then those to ignore: crowds, and objects of other sizes.
    ignored = np.empty((sizes, count), np.bool_)
    order = np.empty((sizes, count), np.int64)
    for a in range(sizes):
        end = 0
        for g in range(count):
            ignored[a, g] = crowd[others[g]] or not (truth_ranges[others[g]] >> np.int64(a)) & 1
            if not ignored[a, g]:
                order[a, end] = g
                end += 1
        for g in range(count):
            if ignored[a, g]:
                order[a, end] = g
                end += 1
    taken = np.zeros((sizes, len(thresholds), count), np.bool_)
    overlap = np.empty(count, np.float64)
    for rank in range(len(rows)):
        # The overlaps of one detection, which hold for all thresholds and sizes: IoU, or its share inside a crowd.
        row = rows[rank]
        x, y = box[row, 0], box[row, 1]
        width, height = side_length(box[row, 2], x), side_length(box[row, 3], y)
        largest = 0.0
        for g in range(count):
            other = others[g]
            gx, gy, gw, gh = truth_sized[other, 0], truth_sized[other, 1], truth_sized[other, 2], truth_sized[other, 3]
            overlap[g] = 0.0
            w = min(x + width, gx + gw) - max(x, gx)
            if w <= 0:
                continue
            h = min(y + height, gy + gh) - max(y, gy)
            if h <= 0:
                continue
            union = width * height if crowd[other] else width * height + gw * gh - w * h
            overlap[g] = w * h / union
            largest = max(largest, overlap[g])
        if largest < thresholds[0]:
            continue
        # For each size and threshold the free object overlapped most, the last of equal ones; one to ignore only if
        # none to find will do.
        slot[row] = used
        for a in range(sizes):
            hits[used, a], skips[used, a] = 0, 0
            for t in range(len(thresholds)):
                best, chosen = thresholds[t], -1
                if largest < best:
                    break
                for k in range(count):
                    g = order[a, k]
                    if taken[a, t, g] and not crowd[others[g]]:
                        continue
                    if chosen > -1 and not ignored[a, chosen] and ignored[a, g]:
                        break
                    if overlap[g] < best:
                        continue
                    best, chosen = overlap[g], g
                if chosen < 0:
                    continue
                # Note the match; at the first threshold and any size also for the outcome.
                taken[a, t, chosen] = True
                bit = np.uint16(1) << np.uint16(t)
                if ignored[a, chosen]:
                    skips[used, a] |= bit
                else:
                    hits[used, a] |= bit
                if a == 0:
                    if t == 0:
                        outcome[row] = -1 if ignored[a, chosen] else 1
                        partner[row] = others[chosen]
                    if not ignored[a, chosen]:
                        found_at[0, t] += rank < 1
                        found_at[1, t] += rank < 10
        used += 1
    return used


@kernel
def read_curves(
    rows: NDArray[np.int32],
    a: int,
    own_ranges: NDArray[np.int64],
    slot: NDArray[np.int32],
    hits: NDArray[np.uint16],
    skips: NDArray[np.uint16],
    objects: int,
    recalls: NDArray[np.float64],
    precision: NDArray[np.float64],
    recall: NDArray[np.float64],
) -> None:
    """Read precision [T, R] and final recall [T] of one class in size range `a` from its detections, best first.

    Precision can only rise at a true detection, so nothing is kept of the others but their number.
    """
    steps = len(recall)
    curve = np.empty((steps, objects), np.float64)
    true, correction = np.zeros(steps, np.int64), np.zeros(steps, np.int64)
    # Walk down the ranks. `counted` is how many unmatched detections count: those of the size. What a match changes in
    # that, threshold by threshold, is in `correction`.
    counted = 0
    for i in range(len(rows)):
        mark = slot[rows[i]]
        if mark == _LEFT_OUT:
            continue
        own = (own_ranges[i] >> np.int64(a)) & 1
        counted += own
        if mark == _UNMATCHED:
            continue
        for t in range(steps):
            if (hits[mark, a] >> np.uint16(t)) & 1:
                correction[t] += 1 - own
                true[t] += 1
                curve[t, true[t] - 1] = true[t] / (float(counted + correction[t]) + np.finfo(np.float64).eps)
            elif (skips[mark, a] >> np.uint16(t)) & 1:
                correction[t] -= own
    # From the last true detection to the first: the best precision from there on; then read it at the recalls.
    for t in range(steps):
        recall[t] = true[t] / objects
        for k in range(true[t] - 1, 0, -1):
            curve[t, k - 1] = max(curve[t, k - 1], curve[t, k])
        k = 0
        for r in range(len(recalls)):
            while k < true[t] and (k + 1) / objects < recalls[r]:
                k += 1
            precision[t, r] = curve[t, k] if k < true[t] else 0.0


@kernel
def score_classes(
    first: int,
    last: int,
    box: NDArray[np.float64],
    image: NDArray[np.int32],
    ranked: NDArray[np.int32],
    grouped: NDArray[np.int32],
    starts: NDArray[np.int64],
    truth_sized: NDArray[np.float64],
    truth_ranges: NDArray[np.int64],
    crowd: NDArray[np.bool_],
    truth_image: NDArray[np.int32],
    truth_rows: NDArray[np.int32],
    truth_starts: NDArray[np.int64],
    thresholds: NDArray[np.float64],
    recalls: NDArray[np.float64],
    ranges: NDArray[np.float64],
    limit: int,
    precision: NDArray[np.float64],
    recall: NDArray[np.float64],
    few_recall: NDArray[np.float64],
    slot: NDArray[np.int32],
    outcome: NDArray[np.int8],
    partner: NDArray[np.int32],
) -> None:
    """Score the classes first..last-1.

    Args:
        first, last: Which classes.
        box: (M, 4) detections' corners x1 y1 x2 y2, as sums of COCO's x, y, width, height.
        image, ranked, grouped, starts, truth_image, truth_rows, truth_starts: See `Arrangement`.
        truth_sized: (N, 4) objects' x, y, width, height.
        truth_ranges: (N,) bit a is set if the object's area is in size range a.
        crowd: (N,) objects to ignore.
        thresholds: (T,) IoUs, ascending, not above 16 of them.
        recalls: (R,) where to read precision.
        ranges: (A, 2) the smallest and the largest area of each size.
        limit: How many detections of an image and class count.
        precision: (C, A, T, R) is written; -1 where the class has no objects of the size.
        recall: (C, A, T) is written, alike.
        few_recall: (C, 2, T) is written: recall with 1 and with 10 detections per image, any size.
        slot: (M,) space to work in.
        outcome: (M,) becomes 1, 0 or -1 (does not count) at the first threshold and any size, -2 beyond the limit.
        partner: (M,) becomes the row of the object matched there, -1 if there is none.
    """
    for label in range(first, last):
        here, end = starts[label], starts[label + 1]
        near, truth_end = truth_starts[label], truth_starts[label + 1]
        # How many objects of each size there are to find.
        objects = np.zeros(len(ranges), np.int64)
        for k in range(near, truth_end):
            other = truth_rows[k]
            if not crowd[other]:
                for a in range(len(ranges)):
                    objects[a] += (truth_ranges[other] >> np.int64(a)) & 1
        # Which sizes each detection has by its own box; before it is matched, it is false at any size.
        rows = ranked[here:end]
        own_ranges = np.empty(len(rows), np.int64)
        for i in range(len(rows)):
            row = rows[i]
            width, height = side_length(box[row, 2], box[row, 0]), side_length(box[row, 3], box[row, 1])
            own_ranges[i] = ranges_of(width * height, ranges)
            slot[row], partner[row] = _UNMATCHED, -1
            outcome[row] = 0 if own_ranges[i] & 1 else -1
        room = len(rows) if truth_end > near else 0
        hits, skips = np.empty((room, len(ranges)), np.uint16), np.empty((room, len(ranges)), np.uint16)
        found_at = np.zeros((2, len(thresholds)), np.int64)
        # A bare 0 would be a type of its own, for which `match_image` would be compiled a second time.
        used: int = np.int64(0)  # type: ignore[assignment]
        # Detections and objects both stand image by image: walk along both at the same time.
        while here < end:
            at = image[grouped[here]]
            beyond_rows = here
            while beyond_rows < end and image[grouped[beyond_rows]] == at:
                if beyond_rows - here >= limit:
                    slot[grouped[beyond_rows]] = _LEFT_OUT
                    outcome[grouped[beyond_rows]] = -2
                beyond_rows += 1
            while near < truth_end and truth_image[truth_rows[near]] < at:
                near += 1
            beyond = near
            while beyond < truth_end and truth_image[truth_rows[beyond]] == at:
                beyond += 1
            if beyond > near:
                used = match_image(
                    grouped[here : min(beyond_rows, here + limit)],
                    truth_rows[near:beyond],
                    box,
                    truth_sized,
                    truth_ranges,
                    crowd,
                    thresholds,
                    hits,
                    skips,
                    slot,
                    used,
                    found_at,
                    outcome,
                    partner,
                )
            here, near = beyond_rows, beyond
        # With all matches of the class known, read its curves.
        for a in range(len(ranges)):
            if objects[a] == 0:
                precision[label, a], recall[label, a] = -1, -1
            else:
                read_curves(
                    rows, a, own_ranges, slot, hits, skips, objects[a], recalls, precision[label, a], recall[label, a]
                )
        for k in range(2):
            for t in range(len(thresholds)):
                few_recall[label, k, t] = found_at[k, t] / objects[0] if objects[0] > 0 else -1
