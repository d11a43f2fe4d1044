"""What ILSVRC DET and PASCAL VOC have in common: boxes of whole pixels, one threshold, a curve for each class."""

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

Corners = NDArray[np.float64]
COUNTED_FROM_0 = np.array([0.0, 0.0, 1.0, 1.0])
"""What to take away from exclusive corners for inclusive pixels counted from 0, as in ILSVRC's files."""
COUNTED_FROM_1 = np.array([-1.0, -1.0, 0.0, 0.0])
"""The same for pixels counted from 1, as in VOC's files."""


def inclusive_corners(box: Corners, frame: Corners) -> Corners:
    """Return exclusive corners (N, 4) as the inclusive ones of the files they came from."""
    return np.stack([undo_sum(box[:, k], frame[k]) for k in range(4)], axis=1).reshape(-1, 4)


def relaxed_thresholds(corners: Corners, added: float = 1.0) -> NDArray[np.float64]:
    """Return for each object the IoU that ILSVRC asks for: 0.5, and less for objects below about 25 x 25 pixels.

    Args:
        corners: (N, 4) inclusive.
        added: What a side is longer than the difference of its corners.

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
    """Return what happens to every detection; see `matching_kernels.match_pixels` for the rules to choose from."""
    from inception_rcnn.evaluation.matching_kernels import match_pixels

    corners = inclusive_corners(truth.box, frame)
    threshold = relaxed_thresholds(corners, added) if relaxed else np.full(len(truth), 0.5)
    outcome, partner = np.empty(len(found), np.int8), np.empty(len(found), np.int32)
    order.each_class(
        match_pixels,
        *(found.box, order.image, order.grouped, order.starts),
        *(corners, threshold, truth.ignored, order.truth_image, order.truth_rows, order.truth_starts),
        *(np.append(frame, added), only_free, strictly, outcome, partner),
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
