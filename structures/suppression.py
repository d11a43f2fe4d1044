"""Non-maximum suppression: of boxes that overlap much, only the best one stays.

Source: Girshick et al. 2014, "Rich feature hierarchies ..." (R-CNN), section 2.2: greedy, each class by itself.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inception_rcnn.structures.boxes import as_boxes, overlap_ratio
from inception_rcnn.structures.checks import column, descending
from inception_rcnn.structures.errors import InputError


def nms(boxes: ArrayLike, scores: ArrayLike, iou_threshold: float = 0.3) -> NDArray[np.int64]:
    """Return the positions of the boxes that stay, by score descending, equal scores by position.

    A box goes when its intersection over union with a better box that stays is greater than the threshold; at
    exactly the threshold it stays. Boxes without area overlap nothing, so they always stay.

    Args:
        boxes: (N, 4).
        scores: (N,), any finite numbers.
        iou_threshold: In [0, 1].

    Returns:
        int64 (K,). Memory grows with N, never with N x N.

    Raises:
        InputError: Shapes do not fit, a number is not finite, or the threshold is outside [0, 1].

    >>> nms([[0, 0, 10, 10], [1, 0, 11, 10], [30, 0, 40, 10]], [0.8, 0.9, 0.1])
    array([1, 2])
    """
    checked = as_boxes(boxes)
    order = descending(column(scores, "scores", len(checked), np.float32))
    _check_threshold(iou_threshold)
    return _greedy(checked.astype(np.float64), order, iou_threshold, limit=len(checked))


def nms_per_class(
    boxes: ArrayLike,
    scores: ArrayLike,
    *,
    score_threshold: float,
    iou_threshold: float,
    max_per_class: int,
    max_detections: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Return (box positions, labels, scores) of what stays when each class suppresses by itself.

    Args:
        boxes: (N, 4).
        scores: (N, C), one column for each class, without background.
        score_threshold: Entries below it are dropped first; at exactly the threshold they stay.
        iou_threshold: As in `nms`, in [0, 1].
        max_per_class: At most so many of one class.
        max_detections: At most so many of all classes together.

    Returns:
        int64 (K,), int64 (K,), float32 (K,), by score descending, equal scores by box position, then label.

    Raises:
        InputError: Shapes do not fit, a number is not finite, or a threshold or limit is out of range.
    """
    checked = as_boxes(boxes)
    table = _score_table(scores, len(checked))
    _check_threshold(iou_threshold)
    if max_per_class < 0 or max_detections < 0:
        raise InputError(f"max_per_class and max_detections should be 0 or more: {max_per_class}, {max_detections}")
    if np.isnan(score_threshold):
        raise InputError("score_threshold should be a number, got NaN")
    exact = checked.astype(np.float64)
    lowest = np.float32(score_threshold)
    best = np.zeros(0, np.float32)  # the max_detections highest scores so far, ascending
    positions, labels = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for label in descending(table.max(axis=0, initial=-np.inf)).tolist():
        chosen = _one_class(exact, table[:, label], lowest, iou_threshold, max_per_class)
        positions.append(chosen)
        labels.append(np.full(len(chosen), label, np.int64))
        best = np.sort(np.append(best, table[chosen, label]))[-max_detections:]
        if len(best) == max_detections > 0:  # what scores less cannot come in any more, in no class: most work is saved
            lowest = max(lowest, best[0])
    position, which = np.concatenate(positions), np.concatenate(labels)
    score = table[position, which]
    order = np.lexsort((which, position, -score))[:max_detections]
    return position[order], which[order], score[order]


def _one_class(
    boxes: NDArray[np.float64], scores: NDArray[np.float32], lowest: np.float32, iou_threshold: float, limit: int
) -> NDArray[np.int64]:
    """Return the positions that stay of one class, at most `limit`."""
    candidates = np.flatnonzero(scores >= lowest)
    order = candidates[descending(scores[candidates])]
    return _greedy(boxes, order, iou_threshold, limit)


def _greedy(
    boxes: NDArray[np.float64], order: NDArray[np.int64], iou_threshold: float, limit: int
) -> NDArray[np.int64]:
    """Return at most `limit` entries of `order`, each with no better kept one overlapping above the threshold."""
    kept: list[int] = []
    left = boxes[order]  # [remaining, 4], shrinks with every box that stays
    while len(order) and len(kept) < limit:
        kept.append(int(order[0]))
        free = overlap_ratio(left[0], left[1:]) <= iou_threshold
        order, left = order[1:][free], left[1:][free]
    return np.array(kept, dtype=np.int64)


def _score_table(scores: ArrayLike, length: int) -> NDArray[np.float32]:
    """Return the scores as a finite float32 array (length, C)."""
    try:
        table = np.asarray(scores, dtype=np.float32)
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
