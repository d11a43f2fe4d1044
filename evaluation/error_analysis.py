"""Where a detector loses: every error has one kind, and each kind costs so much average precision.

Source: Bolya et al. 2020, "TIDE: A General Toolbox for Identifying Object Detection Errors"; tidecv 1.0.1.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.evaluation.average_precision import envelope
from inception_rcnn.evaluation.error_kinds import BACKGROUND, CLASS, LOCATION, TRUE, UNUSED, sort_errors
from inception_rcnn.evaluation.ranking import DetectionInput, TruthInput, as_tables, image_order
from inception_rcnn.structures import InputError
from inception_rcnn.structures.detections import DetectionTable
from inception_rcnn.structures.ground_truth import GroundTruthTable

ERROR_KINDS: Final = ("Cls", "Loc", "Both", "Dupe", "Bkg", "Miss")
"""Wrong class; wrong place; wrong class and place; found twice; nothing there; object not found."""

POSITIVE_IOU: Final = 0.5
BACKGROUND_IOU: Final = 0.1
_MISS: Final = 6  # position of "Miss" among the kinds, counted from 1 like the others
_RECALLS: Final = np.arange(101) / 100


@dataclass(frozen=True)
class ErrorAnalysis:
    """What kinds of errors there are and what they cost.

    Args:
        ap: Mean average precision at the positive threshold, in [0, 1]; unlike COCO's, the best detections of an image
            count over all classes together.
        counts: How many errors there are of each kind.
        cost: For each kind how much `ap` would rise if all errors of that kind were corrected. They do not add up.
        steps: For each kind how much `ap` rises if the kinds are corrected one by one. They add up to ``1 - ap``.
        false_positives: How much `ap` would rise if all false detections scored below all true ones.
        false_negatives: How much `ap` would rise if the objects not found did not exist.
        kind: (M,) int8 by row of the detection table: 0 true, 1..5 the first five of `ERROR_KINDS`, 6 to ignore, 7 not
            among the best of its image.
        target: (M,) int32, row of the object found or meant; -1 if there is none.
        missed: (N,) bool by row of the truth table, the objects of kind Miss.
    """

    ap: float
    counts: dict[str, int]
    cost: dict[str, float]
    steps: dict[str, float]
    false_positives: float
    false_negatives: float
    kind: NDArray[np.int8] = field(compare=False, repr=False)
    target: NDArray[np.int32] = field(compare=False, repr=False)
    missed: NDArray[np.bool_] = field(compare=False, repr=False)


def analyse_errors(
    ground_truths: TruthInput,
    detections: DetectionInput,
    *,
    positive: float = POSITIVE_IOU,
    background: float = BACKGROUND_IOU,
    max_detections: int = 100,
) -> ErrorAnalysis:
    """Return the errors by kind, and what they cost.

    Each detection takes, from the best score to the worst, the free object of its class that it overlaps most, if by
    `positive` or more. A false one is, by the first of these that holds: Bkg if the image has no objects; Loc if it
    overlaps an object of its class by `background` to `positive`; Cls if it overlaps one of another class by `positive`
    or more; Dupe if it overlaps a taken one of its class so much; Bkg if it overlaps none by more than `background`;
    else Both. An object not found that no Cls or Loc points at is a Miss. Corrected, a Cls or Loc becomes true unless
    its object is found or a better error points at it; other false detections vanish; a Miss is one object less to
    find.

    Args:
        ground_truths: One for each image, or a table of all. False detections that lie by more than `positive` in an
            object to ignore of their class are no errors.
        detections: For the same images in the same order, or a table.
        positive: IoU from which a detection is true.
        background: IoU up to which a detection has met nothing.
        max_detections: How many of an image count, all classes together.

    Raises:
        InputError: The two do not fit, a threshold or limit is out of range, or there is no object to find.
    """
    if not 0 < background < positive <= 1:
        raise InputError(f"should be 0 < background < positive <= 1, got {background} and {positive}")
    if max_detections < 1:
        raise InputError(f"max_detections should be 1 or more, got {max_detections}")
    truth, found = as_tables(ground_truths, detections)
    if truth.ignored.all():
        raise InputError("ground_truths should hold at least one object that is not ignored, got none")
    order = np.lexsort((-found.score, image_order(truth.image_ids)[found.image])).astype(np.int32)
    kind, target, taken = sort_errors(truth, found, order, (positive, background), max_detections)
    errors = _Errors(truth, found, order[kind[order] != UNUSED], kind, target, taken)
    ap = errors.mean_ap()
    return ErrorAnalysis(
        ap=ap,
        counts=errors.counts(),
        cost={name: max(errors.mean_ap([k]) - ap, 0.0) for k, name in enumerate(ERROR_KINDS, start=1)},
        steps=dict(zip(ERROR_KINDS, _differences([errors.mean_ap(range(1, k + 1)) for k in range(7)]), strict=True)),
        false_positives=max(errors.mean_ap(sorted_by_truth=True) - ap, 0.0),
        false_negatives=max(errors.mean_ap(only_found=True) - ap, 0.0),
        kind=kind,
        target=target,
        missed=errors.missed,
    )


def _differences(values: list[float]) -> list[float]:
    return [after - before for before, after in pairwise(values)]


class _Errors:
    """The detections that count and the objects, with some kinds of errors corrected."""

    def __init__(
        self,
        truth: GroundTruthTable,
        found: DetectionTable,
        order: NDArray[np.int32],
        kind: NDArray[np.int8],
        target: NDArray[np.int32],
        taken: NDArray[np.bool_],
    ) -> None:
        order = order[kind[order] <= BACKGROUND]  # what lies in objects to ignore takes no part
        self.classes = len(truth.class_names)
        self.label, self.score = found.label[order], found.score[order]
        self.kind, self.target = kind[order], target[order]
        self.truth_label = truth.label
        self.real, self.lost = ~truth.ignored, ~truth.ignored & ~taken
        points = np.isin(self.kind, (CLASS, LOCATION))
        self.corrected = self._best_at_each_object(points & self._meets(self.lost))
        usable = np.zeros(len(truth), np.bool_)
        usable[self.target[points]] = True
        self.missed = self.lost & ~usable

    def _meets(self, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return which detections have one of the chosen objects as their target."""
        meets: NDArray[np.bool_] = (self.target >= 0) & np.append(chosen, False)[self.target]
        return meets

    def _best_at_each_object(self, candidates: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return of the candidates those that no better one with the same target precedes."""
        rows = np.flatnonzero(candidates)
        rows = rows[np.lexsort((-self.score[rows], self.target[rows]))]
        first = np.ones(len(rows), np.bool_)
        first[1:] = self.target[rows][1:] != self.target[rows][:-1]
        best = np.zeros(len(self.kind), np.bool_)
        best[rows[first]] = True
        return best

    def counts(self) -> dict[str, int]:
        """Return how many errors there are of each kind."""
        numbers = np.bincount(self.kind, minlength=_MISS)[1:_MISS].tolist()
        return dict(zip(ERROR_KINDS, [*numbers, int(self.missed.sum())], strict=True))

    def mean_ap(self, kinds: Iterable[int] = (), *, sorted_by_truth: bool = False, only_found: bool = False) -> float:
        """Return mean AP with the kinds corrected (1..6), or with one of the two changes to all."""
        kinds = tuple(kinds)
        chosen = np.isin(self.kind, [kind for kind in kinds if kind != _MISS])
        made_true = chosen & self.corrected
        true = (self.kind == TRUE) | made_true
        label = np.where(made_true, self.truth_label[self.target], self.label)
        stay = ~chosen | made_true
        score = true.astype(np.float64) if sorted_by_truth else self.score
        # tidecv lists errors before true detections once anything is changed, which decides between equal scores
        changed = bool(kinds) or only_found
        later = self.kind == TRUE if changed else np.zeros(len(stay), np.bool_)
        order = np.lexsort((later, -score, label))
        order = order[stay[order]]
        to_find = self.real.copy()
        if only_found:
            to_find &= ~self.lost
        if _MISS in kinds:
            to_find &= ~self.missed
        objects = np.bincount(self.truth_label[to_find], minlength=self.classes)
        return _mean_ap(label[order], true[order], objects)


def _mean_ap(label: NDArray[np.int32], true: NDArray[np.bool_], objects: NDArray[np.int64]) -> float:
    """Return the mean over classes with objects or detections; a class with detections only has 0."""
    starts = np.searchsorted(label, np.arange(len(objects) + 1))
    values = []
    for k, count in enumerate(objects.tolist()):
        mine = true[starts[k] : starts[k + 1]]
        if count == 0 or len(mine) == 0:
            values += [0.0] if count or len(mine) else []
            continue
        hits = np.cumsum(mine)
        height = np.append(envelope(hits / np.arange(1, len(mine) + 1)), 0.0)
        values.append(float(height[np.searchsorted(hits / count, _RECALLS, side="left")].mean()))
    return float(np.mean(values)) if values else 0.0
