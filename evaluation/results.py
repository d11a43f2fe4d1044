"""What an evaluation returns: average precision by class, what happened to every detection, and the best threshold."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.evaluation.average_precision import FALSE, LEFT_OUT, TRUE, precision_recall
from inception_rcnn.structures.columns import html_table
from inception_rcnn.structures.detections import DetectionTable
from inception_rcnn.structures.errors import InputError
from inception_rcnn.structures.ground_truth import GroundTruthTable

_CANDIDATES: Final = 512  # scores that are tried as a threshold; a search over more of them gains nothing


@dataclass(frozen=True)
class ScoreThreshold:
    """A score threshold and what it gives: means over the classes that have objects, in [0, 1].

    Args:
        threshold: Detections that score at least this are kept.
        f1: Mean over classes of the harmonic mean of precision and recall; 0 for a class without a true detection.
        precision: Mean over classes; 0 for a class without detections.
        recall: Mean over classes.
    """

    threshold: float
    f1: float
    precision: float
    recall: float


@dataclass(frozen=True, eq=False)
class Matches:
    """What happened to every detection, at IoU 0.5 (or the protocol's own threshold) and any size.

    Args:
        outcome: (M,) int8 by row of the detection table: `TRUE`, `FALSE`, `NEUTRAL` or `LEFT_OUT` of
            `average_precision`.
        partner: (M,) int32, the row of the object matched, in the truth table; -1 if there is none.
        score: (M,) float64.
        ranked: (M,) int32 rows, class by class, best first.
        starts: (C + 1,) int64, where each class begins in `ranked`.
        objects: (C,) int64, how many objects each class has to find.
        wanted: (N,) bool by row of the truth table, these objects; the others are to ignore or on the blacklist.
    """

    outcome: NDArray[np.int8]
    partner: NDArray[np.int32]
    score: NDArray[np.float64]
    ranked: NDArray[np.int32]
    starts: NDArray[np.int64]
    objects: NDArray[np.int64]
    wanted: NDArray[np.bool_]

    def of_class(self, label: int) -> NDArray[np.int32]:
        """Return the rows of the detections of a class that take part, best first."""
        rows = self.ranked[self.starts[label] : self.starts[label + 1]]
        taking_part: NDArray[np.int32] = rows[self.outcome[rows] != LEFT_OUT]
        return taking_part

    def best_f1(self) -> ScoreThreshold:
        """Return the score threshold, one for all classes, with the best mean F1 over the classes that have objects.

        Of many scores, 512 of true detections are tried, spread evenly over their ranks, and the lowest of equally good
        ones is taken. Without a true detection it is the highest score, or 0.
        """
        true_scores = self.score[self.outcome == TRUE]
        if len(true_scores) == 0:
            return ScoreThreshold(float(self.score.max(initial=0.0)), 0.0, 0.0, 0.0)
        candidates = np.unique(np.quantile(true_scores, np.linspace(0, 1, _CANDIDATES), method="nearest"))
        f1, precision, recall = np.zeros((3, len(candidates)))
        present = np.flatnonzero(self.objects > 0)
        for label in present:
            rows = self.of_class(int(label))
            true = _count_from(self.score[rows[self.outcome[rows] == TRUE]], candidates)
            false = _count_from(self.score[rows[self.outcome[rows] == FALSE]], candidates)
            f1 += 2 * true / (true + false + self.objects[label])
            precision += true / np.maximum(true + false, 1)
            recall += true / self.objects[label]
        best = int(f1.argmax())
        means = [float(total[best]) / len(present) for total in (f1, precision, recall)]
        return ScoreThreshold(float(candidates[best]), *means)


def _count_from(scores: NDArray[np.float64], thresholds: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return for each threshold how many of some descending scores reach it."""
    return len(scores) - np.searchsorted(scores[::-1], thresholds, side="left")


@dataclass(frozen=True, eq=False)
class PrecisionRecallCurve:
    """Precision and recall of one class after each detection, best first; float64 (M,) each.

    Args:
        score: Of the detection.
        recall: Share of the objects found so far.
        precision: Share of the counted detections so far that are true; NaN before the first that counts.
        row: The detection's row in the table.
    """

    score: NDArray[np.float64]
    recall: NDArray[np.float64]
    precision: NDArray[np.float64]
    row: NDArray[np.int32]


@dataclass(frozen=True, kw_only=True, repr=False)
class EvaluationResult:
    """How good detections are. A notebook shows the average precision of the classes, the best first.

    Args:
        protocol: By whose rules: ``"ilsvrc"``, ``"voc2007"``, ``"voc2010"`` or ``"coco"``.
        map: Mean of `ap` over the classes that have objects, in [0, 1].
        median_ap: Median of the same.
        ap: For each class its average precision at IoU 0.5; None for classes without objects.
        images: Number of images.
        detections: Number of detections.
        matches: What happened to every detection; None where the arbiter computed.
    """

    protocol: str
    map: float
    median_ap: float
    ap: dict[str, float | None]
    images: int
    detections: int
    matches: Matches | None = field(default=None, compare=False, repr=False)

    def __repr__(self) -> str:
        """Return the mean, of how many classes, by whose rules, on how much."""
        counted = sum(ap is not None for ap in self.ap.values())
        return (
            f"{type(self).__name__}({self.protocol}: mAP@0.5 {self.map:.3f} over {counted} of {len(self.ap)} classes; "
            f"images: {self.images}, detections: {self.detections})"
        )

    def _repr_html_(self) -> str:
        """Return a table of the classes that have objects, the best first."""
        counted = [(name, ap) for name, ap in self.ap.items() if ap is not None]
        counted.sort(key=lambda one: -one[1])
        return html_table(repr(self), ("class", "AP@0.5"), counted)

    def curve(self, class_name: str) -> PrecisionRecallCurve:
        """Return the precision-recall curve of a class.

        Raises:
            InputError: There is no such class, or the arbiter computed, which keeps no curves.
        """
        names = list(self.ap)
        if class_name not in names:
            raise InputError(f"class {class_name!r} is none of the {len(names)} evaluated")
        matches, label = self.kept_matches(), names.index(class_name)
        rows = matches.of_class(label)
        recall, precision = precision_recall(matches.outcome[rows], max(int(matches.objects[label]), 0))
        return PrecisionRecallCurve(matches.score[rows], recall, precision, rows)

    def kept_matches(self) -> Matches:
        """Return what happened to every detection.

        Raises:
            InputError: The arbiter computed, which keeps nothing.
        """
        if self.matches is None:
            raise InputError("what happened to each detection is kept by engine='native' only")
        return self.matches


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Evaluation:
    """What was scored, and how good it is. A notebook shows the average precision of the classes, the best first.

    Args:
        title: What was evaluated on what, in one line.
        result: By the rules of its protocol.
        truths: The objects.
        detections: What was found; positions in the image ids and class names of `truths`.

    Raises:
        InputError: The result belongs to other tables.
    """

    title: str
    result: EvaluationResult
    truths: GroundTruthTable
    detections: DetectionTable

    def __post_init__(self) -> None:
        matches = self.result.matches
        if matches is None:
            return
        if len(matches.outcome) != len(self.detections) or len(matches.wanted) != len(self.truths):
            raise InputError("the result belongs to other detections or another ground truth")

    def __repr__(self) -> str:
        """Return what was evaluated, and the figures in a line."""
        return f"{type(self).__name__}({self.title}; {self.result!r})"

    def _repr_html_(self) -> str:
        """Return the table of the result, named."""
        return f"<p>{escape(self.title)}</p>{self.result._repr_html_()}"

    @property
    def map(self) -> float:
        """Mean average precision at IoU 0.5 over the classes that have objects, in [0, 1]."""
        return self.result.map

    @property
    def matches(self) -> Matches:
        """What happened to every detection; an `InputError` where the arbiter computed, which keeps nothing."""
        return self.result.kept_matches()
