"""What ILSVRC DET and PASCAL VOC have in common: boxes of whole pixels, one threshold, a curve for each class.

Source: eval_detection.m of the ILSVRC2014 development kit; VOCevaldet.m of the PASCAL VOC development kit.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.evaluation.average_precision import precision_recall
from inception_rcnn.evaluation.ranking import Arrangement
from inception_rcnn.evaluation.results import EvaluationResult, Matches
from inception_rcnn.structures.boxes import undo_sum
from inception_rcnn.structures.detections import DetectionTable
from inception_rcnn.structures.ground_truth import GroundTruthTable
from inception_rcnn.structures.kernels import kernel

Corners = NDArray[np.float64]
COUNTED_FROM_0 = np.array([0.0, 0.0, 1.0, 1.0])
"""What to take away from exclusive corners for inclusive pixels counted from 0, as in ILSVRC's files."""
COUNTED_FROM_1 = np.array([-1.0, -1.0, 0.0, 0.0])
"""The same for pixels counted from 1, as in VOC's files."""


def inclusive_corners(box: Corners, frame: Corners) -> Corners:
    """Return exclusive corners (N, 4) as the inclusive ones of the files they came from."""
    return undo_sum(box, frame)


def relaxed_thresholds(corners: Corners, added: float = 1.0) -> NDArray[np.float64]:
    """Return for each object the IoU that ILSVRC asks for: 0.5, and less for objects below about 25 x 25 pixels.

    Args:
        corners: (N, 4) inclusive.
        added: What a side is longer than the difference of its corners, in pixels.

    Source: ILSVRC2014 development kit, eval_detection.m: min(0.5, wh / ((w + 10)(h + 10))).
    """
    width, height = corners[:, 2] - corners[:, 0] + added, corners[:, 3] - corners[:, 1] + added
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.minimum(0.5, (width * height) / ((width + 10) * (height + 10)))


def match(
    truth: GroundTruthTable,
    found: DetectionTable,
    order: Arrangement,
    *,
    frame: Corners,
    added: float,
    relaxed: bool,
    only_free: bool,
    strictly: bool,
) -> Matches:
    """Return what happens to every detection.

    Args:
        truth: The objects; those to ignore may be matched any number of times, without being counted.
        found: The detections.
        order: Of the two.
        frame: (4,) what to take away from exclusive corners: `COUNTED_FROM_0` or `COUNTED_FROM_1`.
        added: What a side is longer than the difference of its corners, in pixels.
        relaxed: Objects ask for what `relaxed_thresholds` says; if not, for 0.5.
        only_free, strictly: See `match_pixels`.
    """
    corners = inclusive_corners(truth.box, frame)
    threshold = relaxed_thresholds(corners, added) if relaxed else np.full(len(truth), 0.5)
    outcome, partner = np.empty(len(found), np.int8), np.empty(len(found), np.int32)
    order.each_class(
        match_pixels,
        *(found.box, frame, order.image, order.grouped, order.starts),
        *(corners, threshold, truth.ignored, order.truth_image, order.truth_rows, order.truth_starts),
        *(added, only_free, strictly, outcome, partner),
    )
    objects = np.bincount(truth.label[~truth.ignored], minlength=len(truth.class_names))
    return Matches(outcome, partner, found.score, order.ranked, order.starts, objects, ~truth.ignored)


def average_by_class(
    matches: Matches, average: Callable[[NDArray[np.float64], NDArray[np.float64]], float]
) -> list[float]:
    """Return ``average(recall, precision)`` of each class; classes without objects included."""
    curves = []
    for label in range(len(matches.objects)):
        outcome = matches.outcome[matches.of_class(label)]
        curves.append(average(*precision_recall(outcome, int(matches.objects[label]))))
    return curves


def summed_up(
    protocol: str, truth: GroundTruthTable, found: DetectionTable, ap: list[float | None], matches: Matches
) -> EvaluationResult:
    """Return the result for the average precisions of the classes, None for those that take no part."""
    values = [value for value in ap if value is not None]
    return EvaluationResult(
        protocol=protocol,
        map=float(np.mean(values)),
        median_ap=float(np.median(values)),
        ap=dict(zip(truth.class_names, ap, strict=True)),
        images=len(truth.image_ids),
        detections=len(found),
        matches=matches,
    )


@kernel
def undone(total: float, part: float) -> float:
    """Return what `structures.boxes.undo_sum` returns, for one number; a kernel calls kernels of its own file only."""
    difference = total - part
    short = np.rint(difference * 1e9) / 1e9
    return short if short + part == total else difference


@kernel
def match_pixels(
    first: int,
    last: int,
    box: NDArray[np.float64],
    frame: NDArray[np.float64],
    image: NDArray[np.int32],
    grouped: NDArray[np.int32],
    starts: NDArray[np.int64],
    truth_box: NDArray[np.float64],
    threshold: NDArray[np.float64],
    difficult: NDArray[np.bool_],
    truth_image: NDArray[np.int32],
    truth_rows: NDArray[np.int32],
    truth_starts: NDArray[np.int64],
    added: float,
    only_free: bool,
    strictly: bool,
    outcome: NDArray[np.int8],
    partner: NDArray[np.int32],
) -> None:
    """Match the detections of the classes first..last-1, in each image from the best score to the worst.

    Args:
        first, last: Which classes.
        box: (M, 4) detections' corners, exclusive: most of them are never looked at, so they are turned here.
        frame: (4,) what to take away from them for inclusive ones.
        image, grouped, starts, truth_image, truth_rows, truth_starts: See `Arrangement`.
        truth_box: (N, 4) objects' corners, inclusive.
        threshold: (N,) IoU that an object asks for.
        difficult: (N,) objects that detections may match any number of times without being counted.
        added: What a side is longer than the difference of its corners.
        only_free: A detection looks among the objects that are free and whose threshold it reaches (ILSVRC). If not,
            it looks among all objects, and afterwards whether the best one is free and the threshold reached (VOC).
        strictly: An IoU equal to the threshold is too little.
        outcome: (M,) becomes 1 for a true detection, 0 for a false one, -1 for one that does not count.
        partner: (M,) becomes the row of the object, -1 if there is none.
    """
    for label in range(first, last):
        here, end = starts[label], starts[label + 1]
        near, truth_end = truth_starts[label], truth_starts[label + 1]
        taken = np.zeros(truth_end - near, np.bool_)
        offset = near
        # Detections and objects both stand image by image: walk along both at the same time.
        while here < end:
            # The objects of this image are those from `near` to `beyond`.
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
                # The object that this detection overlaps most, the first of equal ones.
                left, top = undone(box[row, 0], frame[0]), undone(box[row, 1], frame[1])
                right, bottom = undone(box[row, 2], frame[2]), undone(box[row, 3], frame[3])
                area = (right - left + added) * (bottom - top + added)
                best, chosen = -np.inf, -1
                for k in range(near, beyond):
                    if only_free and taken[k - offset]:
                        continue
                    other = truth_rows[k]
                    x1, y1, x2, y2 = truth_box[other, 0], truth_box[other, 1], truth_box[other, 2], truth_box[other, 3]
                    width = min(right, x2) - max(left, x1) + added
                    height = min(bottom, y2) - max(top, y1) + added
                    if width <= 0 or height <= 0:
                        continue
                    shared = width * height
                    overlap = shared / (area + (x2 - x1 + added) * (y2 - y1 + added) - shared)
                    if only_free and (overlap < threshold[other] or (strictly and overlap == threshold[other])):
                        continue
                    if overlap > best:
                        best, chosen = overlap, k
                # Whether it is the first to reach that object's threshold; only then is it true.
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
