"""Non-maximum suppression: of boxes that overlap much, only the best one stays. One compiled pass serves all.

Source: Girshick et al. 2014, "Rich feature hierarchies ..." (R-CNN), section 2.2: greedy, each class by itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inception_rcnn.structures.boxes import as_boxes
from inception_rcnn.structures.columns import column, descending
from inception_rcnn.structures.errors import InputError
from inception_rcnn.structures.kernels import kernel

_STRIPS = 64  # into which the boxes of a single class are sorted by x1, so that only near ones are compared
_FIRST_SORTED = 4096  # entries sorted at first; more only if fewer than max_detections of these stay


def nms(
    boxes: ArrayLike, scores: ArrayLike, iou_threshold: float = 0.3, *, limit: int | None = None
) -> NDArray[np.int64]:
    """Return the positions of the boxes that stay, by score descending, equal scores by position.

    A box goes when its intersection over union with a better box that stays is greater than the threshold; at
    exactly the threshold it stays. Boxes without area overlap nothing, so they always stay.

    Args:
        boxes: (N, 4).
        scores: (N,), any finite numbers.
        iou_threshold: In [0, 1].
        limit: At most so many stay, the best ones; the rest is not looked at. None: all.

    Returns:
        int64 (K,). Memory grows with N, never with N x N.

    Raises:
        InputError: Shapes do not fit, a number is not finite, the threshold is outside [0, 1], or the limit is below 0.

    >>> nms([[0, 0, 10, 10], [1, 0, 11, 10], [30, 0, 40, 10]], [0.8, 0.9, 0.1])
    array([1, 2])
    """
    checked = as_boxes(boxes)
    order = descending(column(scores, "scores", len(checked), np.float32))
    _check_threshold(iou_threshold)
    most = _limit(limit, "limit", len(checked))
    return order[_kept(checked, order, np.zeros(len(order), np.int64), 1, iou_threshold, most, most)]


def nms_per_class(
    boxes: ArrayLike,
    scores: ArrayLike,
    *,
    score_threshold: float,
    iou_threshold: float,
    max_per_class: int | None = None,
    max_detections: int | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Return (box positions, labels, scores) of what stays when each class suppresses by itself.

    Args:
        boxes: (N, 4).
        scores: (N, C), one column for each class, without background.
        score_threshold: Entries below it are dropped first; at exactly the threshold they stay.
        iou_threshold: As in `nms`, in [0, 1].
        max_per_class: At most so many of one class; None: all.
        max_detections: At most so many of all classes together; None: all.

    Returns:
        int64 (K,), int64 (K,), float32 (K,), by score descending, equal scores by box position, then label.

    Raises:
        InputError: Shapes do not fit, a number is not finite, or a threshold or limit is out of range.
    """
    checked = as_boxes(boxes)
    table = _score_table(scores, len(checked))
    _check_threshold(iou_threshold)
    if np.isnan(score_threshold):
        raise InputError("score_threshold should be a number, got NaN")
    classes = table.shape[1]
    per_class = _limit(max_per_class, "max_per_class", len(checked))
    most = _limit(max_detections, "max_detections", table.size)
    candidates = np.flatnonzero(table.ravel() >= np.float32(score_threshold))  # position * classes + label
    values = table.ravel()[candidates]
    # The classes do not meet, so one pass over all entries, best first, does what a pass for each class would do; and
    # it is over when enough stay, which with a limit is long before all entries are sorted.
    first = _FIRST_SORTED if most < table.size else len(values)
    while True:
        order = candidates[_best(values, first)]
        kept = order[_kept(checked, order // classes, order % classes, classes, iou_threshold, per_class, most)]
        if len(kept) >= most or len(order) == len(values):
            return kept // classes, kept % classes, table.ravel()[kept]
        first *= 8


def nms_by_label(
    boxes: ArrayLike, scores: ArrayLike, labels: ArrayLike, iou_threshold: float, *, max_per_class: int | None = None
) -> NDArray[np.int64]:
    """Return the positions of the boxes that stay when each class suppresses by itself, each box being of one class.

    Args:
        boxes: (N, 4).
        scores: (N,), any finite numbers.
        labels: (N,) whole numbers from 0 on.
        iou_threshold: As in `nms`.
        max_per_class: At most so many of one class; None: all.

    Returns:
        int64 (K,), by score descending, equal scores by position.

    Raises:
        InputError: As `nms`, or there is not a label for each box.

    >>> nms_by_label([[0, 0, 9, 9], [0, 0, 9, 8], [0, 0, 9, 9]], [0.5, 0.9, 0.7], [3, 3, 1], 0.5)
    array([1, 2])
    """
    checked, of_box = as_boxes(boxes), np.asarray(labels, np.int64)
    values = _score_table(np.asarray(scores)[:, None], len(checked))[:, 0]
    _check_threshold(iou_threshold)
    if of_box.shape != values.shape or (len(of_box) and of_box.min() < 0):
        raise InputError(f"labels should be {len(values)} whole numbers from 0 on, one for each box")
    order = descending(values)
    classes, most = int(of_box.max(initial=0)) + 1, len(checked)
    per_class = _limit(max_per_class, "max_per_class", most)
    return order[_kept(checked, order, of_box[order], classes, iou_threshold, per_class, most)]


def one_name_each(
    boxes: ArrayLike, scores: ArrayLike, iou_threshold: float = 0.8, *, limit: int | None = None
) -> NDArray[np.int64]:
    """Return the positions of the boxes that stay when boxes at one place, of whatever class, are one thing.

    For what a person is shown, after each class suppressed by itself: a box goes when its intersection over union with
    a better box that stays is the threshold or more (in `nms`, more). Boxes without area always stay.

    Args:
        boxes: (N, 4).
        scores: (N,), any finite numbers.
        iou_threshold: In (0, 1]; at 1 only equal boxes are one thing.
        limit: At most so many stay, the best ones; None: all.

    Returns:
        int64 (K,), by score descending, equal scores by position.

    Raises:
        InputError: As `nms`, or the threshold is 0.

    >>> one_name_each([[0, 0, 10, 10], [0, 0, 10, 9], [30, 0, 40, 10]], [0.8, 0.9, 0.1])
    array([1, 2])
    """
    if not 0 < iou_threshold <= 1:
        raise InputError(f"iou_threshold should be above 0 and at most 1, got {iou_threshold}")
    return nms(boxes, scores, float(np.nextafter(iou_threshold, 0)), limit=limit)


def _best(values: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Return the positions of the `count` highest values and of all equal to the last of them, best first."""
    if count >= len(values):
        return descending(values)
    least = np.partition(values, len(values) - count)[len(values) - count]
    among = np.flatnonzero(values >= least)
    return among[descending(values[among])]


def _kept(
    boxes: NDArray[np.float32],
    position: NDArray[np.int64],
    label: NDArray[np.int64],
    classes: int,
    iou_threshold: float,
    per_class: int,
    most: int,
) -> NDArray[np.int64]:
    """Return which entries stay, ascending; entry i is box `position[i]` as class `label[i]`, best first."""
    corners = boxes[position].astype(np.float64)
    kept = np.empty(min(most, len(position)), np.int64)
    strips = _STRIPS if classes == 1 else 1  # of many classes, each has few boxes
    count = greedy(corners, label, classes, strips, float(iou_threshold), per_class, kept)
    return kept[:count]


@kernel
def greedy(boxes: Any, label: Any, classes: int, strips: int, threshold: float, per_class: int, kept: Any) -> int:
    """Write which boxes stay into `kept` until it is full, and return how many; boxes (M, 4) float64, best first."""
    newest = np.full((classes, strips), -1, dtype=np.int64)  # class, strip of x1 -> its last place in `kept`
    before = np.empty(kept.size, dtype=np.int64)  # place in `kept` -> the one before it of the same class and strip
    of_class = np.zeros(classes, dtype=np.int64)
    corners = np.empty((kept.size, 5), dtype=np.float64)  # of the boxes kept, and their areas
    # What is clearly below the threshold needs no division: the margin is far above what rounding can change.
    clearly = threshold * (1 - 1e-9)
    least, most = np.inf, -np.inf
    for entry in range(label.size):
        least, most = min(least, boxes[entry, 0]), max(most, boxes[entry, 0])
    scale = strips / (most - least) if most > least else 0.0
    count = 0
    for entry in range(label.size):
        if count == kept.size:
            break
        own = label[entry]
        if of_class[own] >= per_class:
            continue
        x1, y1, x2, y2 = boxes[entry, 0], boxes[entry, 1], boxes[entry, 2], boxes[entry, 3]
        area = max(x2 - x1, 0.0) * max(y2 - y1, 0.0)
        # Above the threshold, the joint width is at most this one over the threshold, and so x1 are not far apart; one
        # strip more on either side is far above what rounding can change.
        aside = max(x2 - x1, 0.0) * (1 - threshold)
        first = 0
        if threshold > 1e-3:
            first = int(max((x1 - aside / threshold - least) * scale - 1, 0.0))
        last = int(min((x1 + aside - least) * scale + 1, strips - 1.0))
        stays = True
        for strip in range(first, last + 1):
            # A box that overlaps this one is most likely near in score, too: the newest first.
            place = newest[own, strip]
            while place >= 0 and stays:
                other = corners[place]
                place = before[place]
                if min(area, other[4]) <= clearly * max(area, other[4]):
                    continue  # the smaller lies inside the larger at best
                width = min(x2, other[2]) - max(x1, other[0])
                height = min(y2, other[3]) - max(y1, other[1])
                if width > 0 and height > 0:
                    shared = width * height
                    union = area + other[4] - shared
                    # Inverted boxes have no area, yet their corners may seem to overlap: they were left out above.
                    stays = shared <= clearly * union or min(shared / union, 1.0) <= threshold
            if not stays:
                break
        if stays:
            kept[count] = entry
            corners[count, 0], corners[count, 1], corners[count, 2], corners[count, 3] = x1, y1, x2, y2
            corners[count, 4] = area
            strip = int(min((x1 - least) * scale, strips - 1.0))
            before[count] = newest[own, strip]
            newest[own, strip] = count
            of_class[own] += 1
            count += 1
    return count


def _limit(given: int | None, name: str, default: int) -> int:
    """Return a limit as a number, at most the default, which stands for None too."""
    if given is None:
        return int(default)
    if not isinstance(given, int | np.integer) or given < 0:
        raise InputError(f"{name} should be a whole number, 0 or more, or None for no limit, got {given}")
    return min(int(given), int(default))  # the kernel's numbers have 64 bits


def _score_table(scores: ArrayLike, length: int) -> NDArray[np.float32]:
    """Return the scores as a finite, contiguous float32 array (length, C)."""
    try:
        with np.errstate(over="ignore"):
            table = np.ascontiguousarray(scores, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(f"scores should be numbers of shape ({length}, C): {error}") from error
    if table.ndim != 2 or len(table) != length:
        raise InputError(f"scores should have shape ({length}, C) to match boxes, got {table.shape}")
    if not np.isfinite(table).all():
        row, label = np.argwhere(~np.isfinite(table))[0].tolist()
        raise InputError(f"scores should be finite, but entry ({row}, {label}) is {table[row, label]}")
    return table


def _check_threshold(iou_threshold: float) -> None:
    if not 0 <= iou_threshold <= 1:
        raise InputError(f"iou_threshold should be in [0, 1], got {iou_threshold}")
