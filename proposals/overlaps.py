"""Picking boxes that stay apart, from thousands, without a matrix of their overlaps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.structures.kernels import kernel


def pick_apart(
    boxes: NDArray[np.int32], scores: NDArray[np.float32], apart_from: float, penalty: float
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
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


def overlapping_pairs(
    boxes: NDArray[np.int32], names: NDArray[np.int64], least: float
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
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
    """Sort pairs into one list for each box."""
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
            sift_down(believed, heap, in_heap, value, box)
            continue
        order[picked] = box
        values[picked] = value
        picked += 1
        for at in range(starts[box], starts[box + 1]):
            other = others[at]
            if penalties[at] > lost[other]:
                lost[other] = penalties[at]
        in_heap -= 1
        sift_down(believed, heap, in_heap, believed[in_heap], heap[in_heap])


@kernel
def sift_down(values: Any, items: Any, count: int, value: Any, item: Any) -> None:
    """Put an entry in the place of a heap's top, then where it belongs: largest value above, then smaller item."""
    place = 0
    while True:
        below = 2 * place + 1
        if below >= count:
            break
        right = below + 1
        if right < count and (
            values[right] > values[below] or (values[right] == values[below] and items[right] < items[below])
        ):
            below = right
        if value > values[below] or (value == values[below] and item < items[below]):
            break
        values[place] = values[below]
        items[place] = items[below]
        place = below
    values[place] = value
    items[place] = item
