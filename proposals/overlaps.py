"""Overlaps among thousands of boxes without a matrix: who agrees with a box, and picking boxes that stay apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from inception_rcnn.proposals.search.heaps import replace_top
from inception_rcnn.structures.kernels import kernel


def sum_overlapping(
    boxes: npt.NDArray[np.int32], values: npt.NDArray[np.float32], levels: Sequence[float]
) -> npt.NDArray[np.float32]:
    """Return (N, levels) sums of `values` over the boxes whose IoU with a box exceeds each level, itself included.

    Args:
        boxes: (N, 4) x1 y1 x2 y2, exclusive, each with an area.
        values: (N,) one for each box.
        levels: Ascending, from 0 up.
    """
    by_left = np.argsort(boxes[:, 0], kind="stable")
    sums = np.repeat(values[by_left, None], len(levels), axis=1)
    add_overlapping(boxes[by_left], values[by_left], np.asarray(levels, dtype=np.float32), sums)
    result = np.empty_like(sums)
    result[by_left] = sums
    return result


def pick_apart(
    boxes: npt.NDArray[np.int32], scores: npt.NDArray[np.float32], apart_from: float, penalty: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Return the order (N,) in which the boxes are picked and the score (N,) each had then; it never rises.

    Always the best is picked; equal scores go by position. A box loses `penalty * (iou - apart_from) / (1 -
    apart_from)` for the picked box that overlaps it most.
    """
    by_left = np.argsort(boxes[:, 0], kind="stable")
    starts, others, overlaps = overlapping_pairs(boxes[by_left], by_left, apart_from)
    order = np.empty(len(boxes), dtype=np.int64)
    values = np.empty(len(boxes), dtype=np.float32)
    best_first = np.argsort(-scores, kind="stable").astype(np.int32)
    slope = penalty / (1 - apart_from)
    pick_all(scores, best_first, starts, others, (overlaps - np.float32(apart_from)) * np.float32(slope), order, values)
    return order, values


def first_of_similar(boxes: npt.NDArray[np.int32], limit: float) -> npt.NDArray[np.int64]:
    """Return the positions, ascending, of the boxes that no box staying before them overlaps by more than `limit`.

    Args:
        boxes: (N, 4), best first, each with an area.
        limit: IoU.
    """
    by_left = np.argsort(boxes[:, 0], kind="stable")
    starts, others, _ = overlapping_pairs(boxes[by_left], by_left, limit)
    gone = np.zeros(len(boxes), dtype=np.bool_)
    drop_similar(starts, others, gone)
    return np.flatnonzero(~gone)


def overlapping_pairs(
    boxes: npt.NDArray[np.int32], names: npt.NDArray[np.int64], least: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Return all pairs with IoU over `least`, as lists: those of box i are others[starts[i]:starts[i + 1]].

    Args:
        boxes: (N, 4), ascending by x1.
        names: (N,) what the boxes are called in the result.
        least: IoU that has to be exceeded.
    """
    room = 64 * len(boxes)
    while True:
        ends = np.empty((room, 2), dtype=np.int32)
        overlaps = np.empty(room, dtype=np.float32)
        found = int(fill_pairs(boxes, names, np.float32(least), ends, overlaps))
        if found >= 0:
            break
        room *= 4
    starts = np.zeros(len(boxes) + 1, dtype=np.int64)
    others = np.empty(2 * found, dtype=np.int32)
    of_others = np.empty(2 * found, dtype=np.float32)
    list_pairs(ends[:found], overlaps[:found], starts, others, of_others)
    return starts, others, of_others


@kernel
def add_overlapping(boxes: Any, values: Any, levels: Any, sums: Any) -> Any:
    """Add each box's value to the sums of all boxes it overlaps enough, and the other way round."""
    for i in range(boxes.shape[0]):
        x1, y1, x2, y2 = boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3]
        area = np.float32((x2 - x1) * (y2 - y1))
        # further right, the shared width is too small a part of this box's
        last = x2 - levels[0] * (x2 - x1)
        for j in range(i + 1, boxes.shape[0]):
            if boxes[j, 0] > last:
                break
            width = min(x2, boxes[j, 2]) - boxes[j, 0]
            height = min(y2, boxes[j, 3]) - max(y1, boxes[j, 1])
            if width <= 0 or height <= 0:
                continue
            shared = np.float32(width * height)
            other = np.float32((boxes[j, 2] - boxes[j, 0]) * (boxes[j, 3] - boxes[j, 1]))
            iou = shared / (area + other - shared)
            for level in range(levels.size):
                if iou <= levels[level]:
                    break
                sums[i, level] += values[j]
                sums[j, level] += values[i]


@kernel
def fill_pairs(boxes: Any, names: Any, least: Any, ends: Any, overlaps: Any) -> Any:
    """Write all pairs whose IoU exceeds `least`; returns their number, or -1 if there is no room."""
    found = 0
    for i in range(boxes.shape[0]):
        x1, y1, x2, y2 = boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3]
        area = np.float32((x2 - x1) * (y2 - y1))
        last = x2 - least * (x2 - x1)
        for j in range(i + 1, boxes.shape[0]):
            if boxes[j, 0] > last:
                break
            width = min(x2, boxes[j, 2]) - boxes[j, 0]
            height = min(y2, boxes[j, 3]) - max(y1, boxes[j, 1])
            if width <= 0 or height <= 0:
                continue
            shared = np.float32(width * height)
            other = np.float32((boxes[j, 2] - boxes[j, 0]) * (boxes[j, 3] - boxes[j, 1]))
            iou = shared / (area + other - shared)
            if iou > least:
                if found == overlaps.size:
                    return -1
                ends[found, 0] = names[i]
                ends[found, 1] = names[j]
                overlaps[found] = iou
                found += 1
    return found


@kernel
def list_pairs(ends: Any, overlaps: Any, starts: Any, others: Any, of_others: Any) -> Any:
    """Sort pairs into one list a box."""
    for pair in range(overlaps.size):
        starts[ends[pair, 0] + 1] += 1
        starts[ends[pair, 1] + 1] += 1
    for i in range(1, starts.size):
        starts[i] += starts[i - 1]
    free = starts.copy()
    for pair in range(overlaps.size):
        for end in range(2):
            at = free[ends[pair, end]]
            free[ends[pair, end]] = at + 1
            others[at] = ends[pair, 1 - end]
            of_others[at] = overlaps[pair]


@kernel
def pick_all(scores: Any, best_first: Any, starts: Any, others: Any, penalties: Any, order: Any, values: Any) -> Any:
    """Greedy picking with a heap whose entries may be too good: scores only fall, so they are corrected when met."""
    count = scores.size
    lost = np.zeros(count, dtype=np.float32)
    heap = best_first.copy()  # sorted, so a heap
    believed = np.empty(count, dtype=np.float32)
    for i in range(count):
        believed[i] = scores[heap[i]]
    in_heap = count
    picked = 0
    while in_heap > 0:
        box = heap[0]
        value = scores[box] - lost[box]
        if value < believed[0]:
            replace_top(believed, heap, in_heap, value, box)
            continue
        order[picked] = box
        values[picked] = value
        picked += 1
        for at in range(starts[box], starts[box + 1]):
            other = others[at]
            if penalties[at] > lost[other]:
                lost[other] = penalties[at]
        in_heap -= 1
        replace_top(believed, heap, in_heap, believed[in_heap], heap[in_heap])


@kernel
def drop_similar(starts: Any, others: Any, gone: Any) -> None:
    """Mark what lies behind a similar box that is not marked itself."""
    for box in range(gone.size):
        if not gone[box]:
            for at in range(starts[box], starts[box + 1]):
                gone[others[at]] = True  # those before this box have gone already, or it would have
