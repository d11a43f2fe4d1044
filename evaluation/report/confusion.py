"""At the score where a detector is best used: which classes it takes for which, and how precise it is in each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.evaluation.average_precision import FALSE, TRUE
from inception_rcnn.evaluation.results import Matches
from inception_rcnn.structures.boxes import overlap_ratio
from inception_rcnn.structures.detections import DetectionTable
from inception_rcnn.structures.ground_truth import GroundTruthTable

OVERLAP: Final = 0.5


@dataclass(frozen=True, eq=False)
class Confusion:
    """What the objects of each class were taken for.

    Args:
        counts: int64 (C + 1, C + 1), row: what it is, column: what it was called. The last row is for detections of
            nothing, the last column for objects not found.
        threshold: Detections that score at least this were counted.
    """

    counts: NDArray[np.int64]
    threshold: float

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return len(self.counts) - 1

    def largest(self, count: int) -> list[tuple[int, int, int]]:
        """Return the most frequent mistakes between two classes as (what it is, what it was called, how often)."""
        mistakes = self.counts[:-1, :-1].copy()
        np.fill_diagonal(mistakes, 0)
        order = np.argsort(-mistakes, axis=None, kind="stable")[:count]
        pairs = [(int(cell // self.classes), int(cell % self.classes)) for cell in order]
        return [(is_, called, int(mistakes[is_, called])) for is_, called in pairs if mistakes[is_, called]]

    def most_confused(self, count: int) -> list[int]:
        """Return the classes with the most mistakes between classes, in their own order."""
        mistakes = self.counts[:-1, :-1].copy()
        np.fill_diagonal(mistakes, 0)
        involved = mistakes.sum(axis=0) + mistakes.sum(axis=1)
        objects = self.counts[:-1].sum(axis=1)
        return sorted(np.lexsort((-objects, -involved))[:count].tolist())

    def precision(self, label: int) -> float | None:
        """Return the share of the detections of a class that are true; None without detections."""
        detections = int(self.counts[:, label].sum())
        return int(self.counts[label, label]) / detections if detections else None

    def recall(self, label: int) -> float | None:
        """Return the share of the objects of a class that were found; None without objects."""
        objects = int(self.counts[label].sum())
        return int(self.counts[label, label]) / objects if objects else None


def confusion_matrix(matches: Matches, truths: GroundTruthTable, found: DetectionTable, threshold: float) -> Confusion:
    """Return what the objects of each class were taken for.

    True detections, by the rules of the protocol, stand on the diagonal. From the best score to the worst, each false
    one takes the object of another class that it overlaps most, of those no detection has taken, by an IoU of 0.5 or
    more; if there is none it is a detection of nothing. Detections that count neither way are left out.
    """
    classes = len(truths.class_names)
    counts = np.zeros((classes + 1, classes + 1), np.int64)
    asked = matches.score >= threshold
    true = np.flatnonzero(asked & (matches.outcome == TRUE))
    np.add.at(counts, (found.label[true], found.label[true]), 1)
    free = matches.wanted.copy()
    free[matches.partner[true]] = False
    false = np.flatnonzero(asked & (matches.outcome == FALSE))
    false = false[np.argsort(-matches.score[false], kind="stable")]
    taken_for = _taken_for(truths, found, false, free)
    is_ = np.append(truths.label, classes)[taken_for]
    np.add.at(counts, (is_, found.label[false]), 1)
    counts[:-1, classes] += np.bincount(truths.label[free], minlength=classes)
    return Confusion(counts, threshold)


def _taken_for(
    truths: GroundTruthTable, found: DetectionTable, rows: NDArray[np.int64], free: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Return for each detection the object of another class that it takes, -1 for none; `free` loses those taken."""
    left = np.flatnonzero(free)
    left = left[np.argsort(truths.image[left], kind="stable")]
    starts = np.searchsorted(truths.image[left], np.arange(len(truths.image_ids) + 1)).tolist()
    taken = np.full(len(rows), -1, np.int64)
    for k, row in enumerate(rows.tolist()):
        image = found.image[row]
        here = left[starts[image] : starts[image + 1]]
        if len(here) == 0:
            continue
        overlap = overlap_ratio(found.box[row], truths.box[here])
        overlap = np.where(free[here] & (truths.label[here] != found.label[row]), overlap, -1.0)
        best = int(overlap.argmax())
        if overlap[best] >= OVERLAP:
            taken[k] = here[best]
            free[here[best]] = False
    return taken
