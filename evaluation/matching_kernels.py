"""Compiled matching of detections with objects by the rules of ILSVRC DET and PASCAL VOC.

Source: eval_detection.m of the ILSVRC2014 development kit; VOCevaldet.m of the PASCAL VOC development kit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.structures.kernels import kernel


@kernel
def undone(total: float, part: float) -> float:
    """Return what `structures.boxes.undo_sum` returns, for one number."""
    difference = total - part
    short = np.rint(difference * 1e9) / 1e9
    if short + part == total:
        return short  # type: ignore[no-any-return]
    return difference


@kernel
def match_pixels(
    first: int,
    last: int,
    box: NDArray[np.float64],
    image: NDArray[np.int32],
    grouped: NDArray[np.int32],
    starts: NDArray[np.int64],
    truth_box: NDArray[np.float64],
    threshold: NDArray[np.float64],
    difficult: NDArray[np.bool_],
    truth_image: NDArray[np.int32],
    truth_rows: NDArray[np.int32],
    truth_starts: NDArray[np.int64],
    frame: NDArray[np.float64],
    only_free: bool,
    strictly: bool,
    outcome: NDArray[np.int8],
    partner: NDArray[np.int32],
) -> None:
    """Match the detections of the classes first..last-1, in each image from the best score to the worst.

    Args:
        first, last: Which classes.
        box: (M, 4) detections' corners, exclusive.
        image, grouped, starts, truth_image, truth_rows, truth_starts: See `Arrangement`.
        truth_box: (N, 4) objects' corners, inclusive.
        threshold: (N,) IoU that an object asks for.
        difficult: (N,) objects that detections may match any number of times without being counted.
        frame: What to take away from the exclusive corners: (0, 0, 1, 1) leads to inclusive pixels counted from 0 and
            (-1, -1, 0, 0) to those counted from 1; and behind these four what a width is larger than the difference.
        only_free: A detection looks among the objects that are free and whose threshold it reaches (ILSVRC). If not,
            it looks among all objects, and afterwards whether the best one is free and the threshold reached (VOC).
        strictly: An IoU equal to the threshold is too little.
        outcome: (M,) becomes 1 for a true detection, 0 for a false one, -1 for one that does not count.
        partner: (M,) becomes the row of the object, -1 if there is none.
    """
    add = frame[4]
    for label in range(first, last):
        here, end = starts[label], starts[label + 1]
        near, truth_end = truth_starts[label], truth_starts[label + 1]
        taken = np.zeros(truth_end - near, np.bool_)
        offset = near
        while here < end:
            at = image[grouped[here]]
            while near < truth_end and truth_image[truth_rows[near]] < at:
                near += 1
            beyond = near
            while beyond < truth_end and truth_image[truth_rows[beyond]] == at:
                beyond += 1
            while here < end and image[grouped[here]] == at:
                row = grouped[here]
                here += 1
                outcome[row], partner[row] = 0, -1
                if beyond == near:
                    continue
                left, top = undone(box[row, 0], frame[0]), undone(box[row, 1], frame[1])
                right, bottom = undone(box[row, 2], frame[2]), undone(box[row, 3], frame[3])
                area = (right - left + add) * (bottom - top + add)
                best, chosen = -np.inf, -1
                for k in range(near, beyond):
                    if only_free and taken[k - offset]:
                        continue
                    other = truth_rows[k]
                    x1, y1, x2, y2 = truth_box[other, 0], truth_box[other, 1], truth_box[other, 2], truth_box[other, 3]
                    width = min(right, x2) - max(left, x1) + add
                    height = min(bottom, y2) - max(top, y1) + add
                    if width <= 0 or height <= 0:
                        continue
                    shared = width * height
                    overlap = shared / (area + (x2 - x1 + add) * (y2 - y1 + add) - shared)
                    if only_free and (overlap < threshold[other] or (strictly and overlap == threshold[other])):
                        continue
                    if overlap > best:
                        best, chosen = overlap, k
                if chosen < 0:
                    continue
                other = truth_rows[chosen]
                if best < threshold[other] or (strictly and best == threshold[other]):
                    continue
                if difficult[other]:
                    outcome[row], partner[row] = -1, other
                elif not taken[chosen - offset]:
                    taken[chosen - offset] = True
                    outcome[row], partner[row] = 1, other
            near = beyond
