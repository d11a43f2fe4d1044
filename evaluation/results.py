"""What an evaluation returns: average precision by class, and what happened to every detection."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.evaluation.average_precision import LEFT_OUT, precision_recall
from inception_rcnn.structures.errors import InputError


@dataclass(frozen=True, eq=False)
class Matches:
    """What happened to every detection, at IoU 0.5 (or the protocol's own threshold) and any size.

    Attributes:
        outcome: (M,) int8 by row of the detection table: `TRUE`, `FALSE`, `NEUTRAL` or `LEFT_OUT` of `curves`.
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


@dataclass(frozen=True, eq=False)
class PrecisionRecallCurve:
    """Precision and recall of one class after each detection, best first; float64 (M,) each.

    Attributes:
        score: Of the detection.
        recall: Share of the objects found so far.
        precision: Share of the counted detections so far that are true; NaN before the first that counts.
        row: The detection's row in the table.
    """

    score: NDArray[np.float64]
    recall: NDArray[np.float64]
    precision: NDArray[np.float64]
    row: NDArray[np.int32]


@dataclass(frozen=True, kw_only=True)
class EvaluationResult:
    """How good detections are.

    Attributes:
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

    @property
    def without_objects(self) -> tuple[str, ...]:
        """The classes that were left out of the mean."""
        return tuple(name for name, value in self.ap.items() if value is None)

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
