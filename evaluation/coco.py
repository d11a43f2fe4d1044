"""Average precision by COCO's rules: the same numbers as COCO's own code, to the last digit, in far less time.

Source: Lin et al. 2014, "Microsoft COCO: Common Objects in Context"; the rules at cocodataset.org/#detection-eval.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.evaluation.average_precision import HUNDRED_AND_ONE_RECALLS
from inception_rcnn.evaluation.coco_tables import CocoTables, object_areas, sized_boxes
from inception_rcnn.evaluation.ranking import DetectionInput, TruthInput, as_tables
from inception_rcnn.evaluation.ranking import arrange
from inception_rcnn.evaluation.results import EvaluationResult, Matches
from inception_rcnn.structures import InputError
from inception_rcnn.structures.detections import DetectionTable
from inception_rcnn.structures.ground_truth import GroundTruthTable

STAT_NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
"""COCO's twelve numbers in COCO's order; s, m, l: objects below 32^2, below 96^2, and larger, in square pixels."""

ENGINES = ("native", "pycocotools")
THRESHOLDS: Final = np.linspace(0.5, 0.95, 10)
SIZES: Final = np.array([[0, 1e5**2], [0, 32**2], [32**2, 96**2], [96**2, 1e5**2]], np.float64)
LIMIT: Final = 100
"""How many detections of an image and class count."""


@dataclass(frozen=True, kw_only=True)
class CocoResult(EvaluationResult):
    """How good the detections are by COCO's rules.

    Attributes:
        map: Mean of `ap` over the classes that have objects, in [0, 1]: what COCO calls AP50.
        ap: For each class its average precision at IoU 0.5, objects of any size, at most 100 detections an image;
            None for classes without objects.
        stats: COCO's twelve numbers by the names in `STAT_NAMES`; None where no object has the size asked for.
    """

    stats: dict[str, float | None]


def evaluate_coco(
    ground_truths: TruthInput, detections: DetectionInput, *, engine: str = "native", threads: int | None = None
) -> CocoResult:
    """Return average precision and COCO's twelve numbers.

    Objects to ignore are COCO's crowds: a detection of the class lying in one counts neither as hit nor as miss.
    The `area` given with an object decides whether it is small, medium or large; without it, the area of its box does.
    Of each image and class the 100 best detections count. Equal scores stand in the order of the images' ids (of their
    positions, where ids are no whole numbers), in an image in their own order.

    Args:
        ground_truths: One for each image, all with the same classes; or a table of all.
        detections: For the same images in the same order; or a table. The classes of a `Detections` may be fewer or in
            another order, and are matched by name.
        engine: ``"native"``, or ``"pycocotools"``: COCO's own code, hundreds of times slower, as the arbiter.
        threads: How many; None: as many as there are processors. The result does not depend on it.

    Raises:
        InputError: The two do not fit, the classes differ, the engine is unknown, or there is no object to find.

    >>> from inception_rcnn.structures import Detections, GroundTruth
    >>> truth = GroundTruth([[0, 0, 10, 10]], [0], ("cat", "dog"))
    >>> found = Detections([[0, 0, 10, 8]], [0.9], [0], ("cat", "dog"))
    >>> result = evaluate_coco([truth], [found])
    >>> round(result.map, 6), result.ap["dog"], round(result.stats["AP"], 6)
    (1.0, None, 0.7)
    """
    if engine not in ENGINES:
        raise InputError(f"engine {engine!r} is unknown; known: {', '.join(ENGINES)}")
    truth, found = as_tables(ground_truths, detections)
    if truth.ignored.all():
        raise InputError("ground_truths should hold at least one object that is not ignored, got none")
    matches: Matches | None = None
    if engine == "native":
        tables, matches = _score(truth, found, threads)
    else:
        from inception_rcnn.evaluation.coco_arbiter import run_cocoeval

        tables = run_cocoeval(truth, found)
    ap = [_mean_or_none(curve) for curve in tables.precision[0, :, :, 0].T]
    values = [value for value in ap if value is not None]
    return CocoResult(
        protocol="coco",
        map=float(np.mean(values)),
        median_ap=float(np.median(values)),
        ap=dict(zip(truth.class_names, ap, strict=True)),
        images=len(truth.image_ids),
        detections=len(found),
        matches=matches,
        stats=twelve_numbers(tables),
    )


def twelve_numbers(tables: CocoTables) -> dict[str, float | None]:
    """Return COCO's twelve numbers by name; None where no class has an object of the size asked for."""
    precision, recall = tables.precision, tables.recall
    parts = [precision[..., 0], precision[0, ..., 0], precision[5, ..., 0]]
    parts += [precision[..., size] for size in (1, 2, 3)]
    parts += [tables.few_recall[..., 0], tables.few_recall[..., 1]]
    parts += [recall[..., size] for size in (0, 1, 2, 3)]
    return {name: _mean_or_none(part) for name, part in zip(STAT_NAMES, parts, strict=True)}


def _score(truth: GroundTruthTable, found: DetectionTable, threads: int | None) -> tuple[CocoTables, Matches]:
    from inception_rcnn.evaluation.coco_matching import score_classes

    order = arrange(truth, found, ties_by_image=True, threads=threads)
    sized = sized_boxes(truth.box)
    areas = object_areas(truth, sized)
    in_range = (SIZES[:, :1] <= areas) & (areas <= SIZES[:, 1:])  # [sizes, objects]
    bits = (in_range * (1 << np.arange(len(SIZES)))[:, None]).sum(axis=0, dtype=np.int64)
    classes = len(truth.class_names)
    precision = np.empty((classes, len(SIZES), len(THRESHOLDS), len(HUNDRED_AND_ONE_RECALLS)))
    recall, few_recall = np.empty(precision.shape[:3]), np.empty((classes, 2, len(THRESHOLDS)))
    outcome, partner = np.empty(len(found), np.int8), np.empty(len(found), np.int32)
    order.each_class(
        score_classes,
        *(found.box, order.image, order.ranked, order.grouped, order.starts),
        *(sized, bits, truth.ignored, order.truth_image, order.truth_rows, order.truth_starts),
        *(THRESHOLDS, HUNDRED_AND_ONE_RECALLS, SIZES, LIMIT, precision, recall, few_recall),
        *(np.empty(len(found), np.int32), outcome, partner),
    )
    tables = CocoTables(
        np.ascontiguousarray(precision.transpose(2, 3, 0, 1)), recall.transpose(2, 0, 1), few_recall.transpose(2, 0, 1)
    )
    objects = np.bincount(truth.label[~truth.ignored], minlength=classes)
    return tables, Matches(outcome, partner, found.score, order.ranked, order.starts, objects, ~truth.ignored)


def _mean_or_none(values: NDArray[np.float64]) -> float | None:
    """Return the mean of what is not marked by -1 as without objects."""
    counted = values[values > -1]
    return float(np.mean(counted)) if len(counted) else None
