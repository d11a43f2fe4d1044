"""From what networks say of regions to detections: mean, objectness, moved boxes, threshold, suppression, limits.

Source: Girshick et al. 2014 (R-CNN): suppression class by class, regression of the boxes; Girshick 2015 (Fast R-CNN):
one network for both. The objectness as a factor is this project's addition; a power of 0 is without.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.detector.ensemble import RegionScores
from inception_rcnn.detector.region_classifier import check_power
from inception_rcnn.evaluation.score_calibration import ScoreCalibration
from inception_rcnn.structures import Detections, InputError, clip_boxes, nms_per_class, one_name_each
from inception_rcnn.structures.boxes import decode_boxes
from inception_rcnn.structures.errors import check_fields


@dataclass(frozen=True, kw_only=True)
class DetectionSettings:
    """Which regions are scored, and what becomes of them.

    Attributes:
        score_threshold: Lowest score of a detection.
        iou_threshold: Of two detections of a class that overlap more, the better stays (R-CNN: 0.3).
        duplicate_iou: Of two proposals that overlap more, only the higher-ranked is classified; 1 keeps all.
            Selective search's hierarchies find many regions several times over.
        max_proposals: At most so many regions are classified, the first ones of the ranking; None: all, as R-CNN
            did. docs/proposals.md has what further ones bring and cost.
        max_per_class: At most so many detections of one class.
        max_detections: At most so many detections of one image, the best of all classes; None: no such limit, as in
            evaluation, which keeps `max_per_class` of each class.
        objectness_power: A detection's score is the class's probability times this power of the objectness of its box,
            where a network looked at it; 0: the probability alone, as in R-CNN. `load_detector` takes the checkpoint's.
        box_regression: Whether boxes are moved as the weights say, if they say it; else they are the proposals' own.
        mirror: Whether each region is seen mirrored, too, and the two answers are averaged: twice the networks' work.
        calibration: What makes a score of 0.5 mean that half of such detections are right; the order of scores stays.
            `load_detector` takes the checkpoint's. None: scores as they come. The score threshold is compared with
            what comes out of it.
        one_name_iou: Of detections, whatever their classes, whose boxes overlap so much or more, only the best stays:
            one thing has one name, for people to look at (`inception-rcnn detect`: 0.8). None: every class for itself,
            as evaluation wants it.

    Raises:
        InputError: A field is of another type, a threshold is outside [0, 1], a limit below 1, the power outside 0..4,
            or one_name_iou 0 or outside [0, 1].
    """

    score_threshold: float = 0.001
    iou_threshold: float = 0.3
    duplicate_iou: float = 0.8
    max_proposals: int | None = 200
    max_per_class: int = 100
    max_detections: int | None = 100
    objectness_power: float = 1.0
    box_regression: bool = True
    mirror: bool = False
    calibration: ScoreCalibration | None = None
    one_name_iou: float | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("score_threshold", "iou_threshold", "duplicate_iou"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} should lie in 0..1, got {getattr(self, name)}")
        for name in ("max_proposals", "max_per_class", "max_detections"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} should be a whole number, at least 1, got {value}")
        check_power(self.objectness_power)
        if self.one_name_iou is not None and not 0 < self.one_name_iou <= 1:
            raise InputError(f"one_name_iou should be above 0 and at most 1, or None, got {self.one_name_iou}")


def counting_all(settings: DetectionSettings) -> DetectionSettings:
    """Return the settings with a score threshold low enough for AP: 0.001 before calibration.

    Calibrated or not, the same detections then count, and AP is the same.
    """
    lowest = DetectionSettings().score_threshold
    if settings.calibration is not None:
        lowest = float(settings.calibration.apply(np.array([lowest], np.float32))[0])
    return replace(settings, score_threshold=lowest)


def postprocess(scores: RegionScores, settings: DetectionSettings, class_names: tuple[str, ...]) -> Detections:
    """Return detections from scored regions.

    Args:
        scores: What every member says.
        settings: Thresholds and limits.
        class_names: Of the C classes.
    """
    boxes, values = candidates(scores, settings)
    # A box moved out of the image has nothing left to show.
    rows = np.flatnonzero((boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]))
    boxes = boxes[rows]
    kept, labels, found = nms_per_class(
        boxes,
        values[rows],
        score_threshold=settings.score_threshold,
        iou_threshold=settings.iou_threshold,
        max_per_class=settings.max_per_class,
        max_detections=settings.max_detections if settings.one_name_iou is None else None,
    )
    if settings.one_name_iou is not None:
        named = one_name_each(boxes[kept], found, settings.one_name_iou, limit=settings.max_detections)
        kept, labels, found = kept[named], labels[named], found[named]
    return Detections(boxes[kept], found, labels, class_names, scores.size)


def candidates(scores: RegionScores, settings: DetectionSettings) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return boxes (N, 4) and class scores (N, C) as the thresholds are compared with them: moved, weighed, calibrated.

    Args:
        scores: What every member says.
        settings: Of the detector.
    """
    values = weighed_scores(scores, settings.objectness_power)
    return moved_boxes(scores, settings), values if settings.calibration is None else settings.calibration.apply(values)


def weighed_scores(scores: RegionScores, power: float) -> NDArray[np.float32]:
    """Return the scores (N, C) of classes: the members' mean probability times a power of the objectness, if known."""
    probabilities, objectness = scores.mean()[:, :-1], scores.proposals.objectness
    if objectness is None or power == 0:
        return probabilities
    return probabilities * objectness[:, None] ** np.float32(power)


def moved_boxes(scores: RegionScores, settings: DetectionSettings) -> NDArray[np.float32]:
    """Return the boxes (N, 4) as the mean of the members moves them, cut to the image; else those of the proposals."""
    offsets = scores.mean_offsets() if settings.box_regression else None
    if offsets is None or scores.size is None:
        return scores.proposals.boxes
    return clip_boxes(decode_boxes(scores.proposals.boxes, offsets), *scores.size)
