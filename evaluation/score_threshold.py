"""Which score threshold to show detections at: the one with the best mean F1 over the classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from inception_rcnn.structures import Detections, GroundTruth, InputError, pairwise_iou

_TRUE, _FALSE, _IGNORED = 1, 0, -1


@dataclass(frozen=True)
class ScoreThreshold:
    """A threshold and what it gives: means over the classes that have objects, in [0, 1].

    Attributes:
        threshold: detections scoring at least this are kept.
        f1: mean over classes of the harmonic mean of precision and recall; 0 for a class with no true positive.
        precision, recall: means over classes; the precision of a class without detections counts as 0.
    """

    threshold: float
    f1: float
    precision: float
    recall: float


def best_f1_threshold(
    ground_truths: Sequence[GroundTruth], detections: Sequence[Detections], *, iou_threshold: float = 0.5
) -> ScoreThreshold:
    """The threshold, one for all classes, with the highest mean F1; the lowest of several equally good ones.

    Args:
        ground_truths: one an image.
        detections: of the same images in the same order, with the same classes.
        iou_threshold: a detection is true if it overlaps a free object of its class by at least this.
    Raises:
        InputError: the sequences differ in length, or there is no object at all.
    """
    if len(ground_truths) != len(detections):
        raise InputError(f"{len(ground_truths)} ground truths and {len(detections)} lists of detections do not fit")
    classes = len(ground_truths[0].class_names) if ground_truths else 0
    objects = np.zeros(classes, dtype=np.int64)
    for truth in ground_truths:
        objects += np.bincount(truth.labels[~truth.ignore], minlength=classes)
    present = np.flatnonzero(objects)
    if len(present) == 0:
        raise InputError("a threshold cannot be chosen without a single object in the ground truth")
    scores, labels, outcome = _outcomes(ground_truths, detections, iou_threshold)
    candidates = np.unique(np.concatenate([scores[outcome != _IGNORED], np.array([1.0], np.float32)]))
    table = np.zeros((3, len(candidates)))
    for label in present:
        mine = labels == label
        table += _class_curves(scores[mine], outcome[mine], int(objects[label]), candidates)
    f1, precision, recall = table / len(present)
    best = int(f1.argmax())
    return ScoreThreshold(float(candidates[best]), float(f1[best]), float(precision[best]), float(recall[best]))


def _class_curves(
    scores: npt.NDArray[np.float32], outcome: npt.NDArray[np.int8], objects: int, candidates: npt.NDArray[np.float32]
) -> npt.NDArray[np.float64]:
    """F1, precision and recall of one class at every candidate threshold, (3, candidates)."""
    true = _count_at_least(scores[outcome == _TRUE], candidates)
    false = _count_at_least(scores[outcome == _FALSE], candidates)
    precision = true / np.maximum(true + false, 1)
    recall = true / objects
    f1 = 2 * true / (true + false + objects)
    return np.stack([f1, precision, recall])


def _count_at_least(scores: npt.NDArray[np.float32], candidates: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    return (len(scores) - np.searchsorted(np.sort(scores), candidates, side="left")).astype(np.float64)


def _outcomes(
    ground_truths: Sequence[GroundTruth], detections: Sequence[Detections], iou_threshold: float
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.int8]]:
    """Scores, labels and outcomes (true, false, ignored) of all detections."""
    outcomes = [np.zeros(0, np.int8)]
    for truth, found in zip(ground_truths, detections, strict=True):
        outcome = np.zeros(len(found), dtype=np.int8)
        for label in np.unique(found.labels):
            mine = np.flatnonzero(found.labels == label)
            here = truth.labels == label
            iou = pairwise_iou(found.boxes[mine], truth.boxes[here])
            outcome[mine] = _match(iou, truth.ignore[here], iou_threshold)
        outcomes.append(outcome)
    scores = np.concatenate([np.zeros(0, np.float32), *(found.scores for found in detections)])
    labels = np.concatenate([np.zeros(0, np.int64), *(found.labels for found in detections)])
    return scores, labels, np.concatenate(outcomes)


def _match(iou: npt.NDArray[np.float32], ignore: npt.NDArray[np.bool_], iou_threshold: float) -> npt.NDArray[np.int8]:
    """Greedy, best score first: each detection takes the free object it overlaps most.

    Cutting the list at a score does not change the matches above the cut, so one matching serves all thresholds.
    """
    outcome = np.full(len(iou), _FALSE, dtype=np.int8)
    free = ~ignore
    for row, overlaps in enumerate(iou):
        usable = np.where(free & (overlaps >= iou_threshold), overlaps, -1.0)
        if usable.max(initial=-1.0) >= 0:
            free[int(usable.argmax())] = False
            outcome[row] = _TRUE
        elif bool((ignore & (overlaps >= iou_threshold)).any()):
            outcome[row] = _IGNORED
    return outcome
