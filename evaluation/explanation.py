"""Why a detector is wrong on one photograph: what became of each object, and why each false box is false.

An object that was not found was lost at the first of the stages that it did not pass: a box on it has to be proposed,
be among those that are looked at, stay on it when it is moved, score enough as its class, and not be suppressed. A box
that fits only once it was moved has passed the first three.

Source: Bolya et al. 2020, "TIDE" for the kinds of false detections (`error_kinds.py`); the stages are the pipeline's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.evaluation import error_kinds
from inception_rcnn.evaluation.error_analysis import BACKGROUND_IOU, POSITIVE_IOU
from inception_rcnn.evaluation.ranking import as_tables
from inception_rcnn.structures import Detections, GroundTruth, InputError, pairwise_iou
from inception_rcnn.structures.columns import Corners

FATES: Final = (
    *("found", "not proposed", "not looked at", "moved away", "suppressed", "called something else"),
    *("below the threshold", "unknown class", "to ignore"),
)
"""What may become of an object."""

REASONS: Final = {
    error_kinds.CLASS: "wrong class",
    error_kinds.LOCATION: "wrong place",
    error_kinds.BOTH: "wrong class and place",
    error_kinds.DUPLICATE: "found twice",
    error_kinds.BACKGROUND: "nothing there",
    error_kinds.IGNORED: "on what is to be ignored",
}
"""Why a detection may not be true, by its kind."""

_SAME_BOX: Final = 0.999


@dataclass(frozen=True, eq=False, kw_only=True)
class Candidates:
    """What a detector saw of a photograph, in the classes of the ground truth.

    Args:
        proposals: (P, 4) boxes of all proposals, most promising first.
        regions: (N, 4) those of them that were looked at.
        boxes: (N, 4) the same as they were moved.
        scores: (N, C) of each class; the score threshold is compared with them. Of a class that the detector does not
            know, NaN.
        score_threshold: Lowest score of a detection.
        iou_threshold: Of two detections of a class that overlap more, the better stays.
        one_name_iou: Of detections that overlap so much, whatever their classes, the best stays; None: each.
    """

    proposals: NDArray[np.float32]
    regions: NDArray[np.float32]
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    score_threshold: float
    iou_threshold: float
    one_name_iou: float | None = None


@dataclass(frozen=True)
class ObjectFate:
    """What became of an object.

    Args:
        class_name: What it is.
        box: x1 y1 x2 y2 in pixels.
        fate: One of `FATES`.
        text: The same with what it was measured by.
        score: The best score of its class on a box that fits it; None where there was none.
        by: Position of the detection that found it, or that stands in its place; None: none does.
    """

    class_name: str
    box: Corners
    fate: str
    text: str
    score: float | None = None
    by: int | None = None


@dataclass(frozen=True)
class DetectionVerdict:
    """What a detection is.

    Args:
        class_name: What it says.
        box: x1 y1 x2 y2 in pixels.
        score: How sure it is.
        true: Whether it is right.
        reason: "true", or one of `REASONS`.
        text: The same with what is there.
        of: Position of the object that it found or meant; None: none is near.
    """

    class_name: str
    box: Corners
    score: float
    true: bool
    reason: str
    text: str
    of: int | None = None


@dataclass(frozen=True)
class Explanation:
    """Why a photograph's detections are as they are.

    Args:
        objects: What became of each object, in the order of the ground truth.
        detections: What each detection is, best first.
    """

    objects: tuple[ObjectFate, ...]
    detections: tuple[DetectionVerdict, ...]

    def lost(self) -> tuple[ObjectFate, ...]:
        """Return the objects that were to be found and were not."""
        return tuple(one for one in self.objects if one.fate not in ("found", "to ignore"))

    def false(self) -> tuple[DetectionVerdict, ...]:
        """Return the detections that are false."""
        ignored = REASONS[error_kinds.IGNORED]
        return tuple(one for one in self.detections if not one.true and one.reason != ignored)


def explain(truth: GroundTruth, shown: Detections, seen: Candidates) -> Explanation:
    """Return why the detections of a photograph are as they are.

    A detection finds the free object of its class that it overlaps most, if by 0.5 or more.

    Args:
        truth: The objects.
        shown: The detections, in the same classes.
        seen: What the detector saw before it suppressed.

    Raises:
        InputError: The classes differ, or there is not a score for each region and class.
    """
    if seen.scores.shape != (len(seen.boxes), len(truth.class_names)) or len(seen.regions) != len(seen.boxes):
        raise InputError(
            f"scores should be of {len(seen.boxes)} regions and {len(truth.class_names)} classes, got "
            f"{seen.scores.shape}, and a region for each box"
        )
    objects, found = as_tables([truth], [shown])
    order = np.arange(len(found), dtype=np.int32)
    kind, target, taken = error_kinds.sort_errors(
        objects, found, order, (POSITIVE_IOU, BACKGROUND_IOU), max(len(found), 1)
    )
    finder = {int(target[row]): row for row in np.flatnonzero(kind == error_kinds.TRUE).tolist()}
    fates = tuple(_fate(truth, row, shown, seen, finder.get(row) if taken[row] else None) for row in range(len(truth)))
    verdicts = tuple(_verdict(truth, shown, row, int(kind[row]), int(target[row])) for row in range(len(shown)))
    return Explanation(fates, verdicts)


def _fate(truth: GroundTruth, row: int, shown: Detections, seen: Candidates, finder: int | None) -> ObjectFate:
    """Return what became of an object."""
    name, label = truth.names()[row], int(truth.labels[row])
    corners = _corners(truth.boxes[row])
    if finder is not None:
        score = float(shown.scores[finder])
        return ObjectFate(name, corners, "found", f"found, {score:.2f}", score, finder)
    if truth.ignore[row]:
        return ObjectFate(name, corners, "to ignore", "to ignore: it counts neither way")
    if np.isnan(seen.scores[:, label]).all() and len(seen.scores):
        return ObjectFate(name, corners, "unknown class", f"unknown class: the detector has no {name}")
    fate, text, near = _before_scores(truth.boxes[row : row + 1], seen)
    if len(near) == 0:
        return ObjectFate(name, corners, fate, text)
    own = seen.scores[near, label]
    score = float(own.max())
    if score >= seen.score_threshold:
        enough = near[own >= seen.score_threshold]
        best = int(enough[np.argmax(pairwise_iou(truth.boxes[row : row + 1], seen.boxes[enough])[0])])
        score = float(seen.scores[best, label])
        text, by = _suppressor(shown, seen, best, label, score)
        return ObjectFate(name, corners, "suppressed", text, score, by)
    needed = f"{name} {score:.2f}, {seen.score_threshold:.2f} needed"
    overlap = pairwise_iou(truth.boxes[row : row + 1], shown.boxes)[0]
    others = np.flatnonzero((overlap >= POSITIVE_IOU) & (shown.labels != label))
    if len(others):
        by = int(others[0])
        return ObjectFate(name, corners, "called something else", f"called {_named(shown, by)}; {needed}", score, by)
    return ObjectFate(name, corners, "below the threshold", f"below the threshold: {needed}", score)


def _before_scores(box: NDArray[np.float32], seen: Candidates) -> tuple[str, str, NDArray[np.int64]]:
    """Return where an object was lost before scores count, in a word and a line, or else the boxes that fit it."""
    near = np.flatnonzero(pairwise_iou(box, seen.boxes)[0] >= POSITIVE_IOU)
    if len(near):
        return "", "", near
    proposed, looked, moved = (pairwise_iou(box, each)[0] for each in (seen.proposals, seen.regions, seen.boxes))
    best = float(proposed.max(initial=0))
    if best < POSITIVE_IOU:
        text = f"not proposed: of {len(proposed)} boxes the best overlaps it by {best:.2f}"
        return "not proposed", text, near
    if looked.max(initial=0) < POSITIVE_IOU:
        rank = int(np.argmax(proposed >= POSITIVE_IOU)) + 1
        text = f"not looked at: the first box that fits is number {rank}, and {len(looked)} were looked at"
        return "not looked at", text, near
    text = f"moved away: a box overlapped it by {looked.max():.2f}, moved by {moved[np.argmax(looked)]:.2f}"
    return "moved away", text, near


def _suppressor(shown: Detections, seen: Candidates, best: int, label: int, score: float) -> tuple[str, int | None]:
    """Return in words which detection stands in the place of one that scored enough, and its position."""
    overlap = pairwise_iou(seen.boxes[best : best + 1], shown.boxes)[0]
    name = shown.class_names[label]
    same = np.flatnonzero((shown.labels == label) & (overlap > seen.iou_threshold))
    if len(same):
        by = int(same[0])
        if overlap[by] > _SAME_BOX:
            return f"suppressed: the box that fits, {_named(shown, by)}, found another {name}", by
        text = f"suppressed: {name} {score:.2f} overlaps {_named(shown, by)} by {overlap[by]:.2f}"
        return text, by
    if seen.one_name_iou is not None:
        others = np.flatnonzero(overlap >= seen.one_name_iou)
        if len(others):
            by = int(others[0])
            return f"suppressed: {_named(shown, by)} has the place of {name} {score:.2f}, one name for one thing", by
    return f"suppressed: {name} {score:.2f} gave way to one that is not shown, or to the limit of detections", None


def _verdict(truth: GroundTruth, shown: Detections, row: int, kind: int, target: int) -> DetectionVerdict:
    """Return what a detection is."""
    one = shown[row]
    if kind == error_kinds.TRUE:
        return DetectionVerdict(one.class_name, one.box, one.score, True, "true", "true", target)
    reason = REASONS[kind]
    if target < 0:
        return DetectionVerdict(one.class_name, one.box, one.score, False, reason, reason)
    there = truth.names()[target]
    overlap = float(pairwise_iou(truth.boxes[target : target + 1], shown.boxes[row : row + 1])[0, 0])
    texts = {
        error_kinds.CLASS: f"{reason}: a {there} is there",
        error_kinds.LOCATION: f"{reason}: overlaps the {there} by {overlap:.2f}",
        error_kinds.BOTH: f"{reason}: overlaps a {there} by {overlap:.2f}",
        error_kinds.DUPLICATE: f"{reason}: the {there} has a better box",
    }
    return DetectionVerdict(one.class_name, one.box, one.score, False, reason, texts.get(kind, reason), target)


def _named(shown: Detections, row: int) -> str:
    return f"{shown.class_names[int(shown.labels[row])]} {float(shown.scores[row]):.2f}"


def _corners(box: NDArray[np.float32]) -> Corners:
    x1, y1, x2, y2 = box.tolist()
    return x1, y1, x2, y2
