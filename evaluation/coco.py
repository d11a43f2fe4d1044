"""Average precision by COCO's rules: the same numbers as COCO's own code, to the last digit, in far less time.

Source: Lin et al. 2014, "Microsoft COCO: Common Objects in Context"; the rules at cocodataset.org/#detection-eval.
"""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.evaluation.coco_matching import CocoTables, score
from inception_rcnn.evaluation.ranking import DetectionInput, TruthInput, as_tables, image_order
from inception_rcnn.evaluation.results import EvaluationResult, Matches
from inception_rcnn.structures import InputError
from inception_rcnn.structures.boxes import sized_boxes
from inception_rcnn.structures.columns import html_table
from inception_rcnn.structures.detections import DetectionTable
from inception_rcnn.structures.ground_truth import GroundTruthTable

STAT_NAMES: Final = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
"""COCO's twelve numbers in COCO's order; s, m, l: objects below 32^2, below 96^2, and larger, in square pixels."""

ENGINES: Final = ("native", "pycocotools")


@dataclass(frozen=True, kw_only=True, repr=False)
class CocoResult(EvaluationResult):
    """How good the detections are by COCO's rules.

    Args:
        map: Mean of `ap` over the classes that have objects, in [0, 1]: what COCO calls AP50.
        ap: For each class its average precision at IoU 0.5, objects of any size, at most 100 detections per image;
            None for classes without objects.
        stats: COCO's twelve numbers by the names in `STAT_NAMES`; None where no object has the size asked for.
    """

    stats: dict[str, float | None]

    def _repr_html_(self) -> str:
        """Return the twelve numbers, and the table of the classes."""
        return html_table("COCO", list(self.stats), [self.stats.values()]) + super()._repr_html_()


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
        tables, matches = score(truth, found, threads)
    else:
        tables = _run_cocoeval(truth, found)
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


def _mean_or_none(values: NDArray[np.float64]) -> float | None:
    """Return the mean of what is not marked by -1 as without objects."""
    counted = values[values > -1]
    return float(np.mean(counted)) if len(counted) else None


def _run_cocoeval(truth: GroundTruthTable, found: DetectionTable) -> CocoTables:
    """Return the tables of COCO's own code (pycocotools): slow, and right by definition.

    COCOeval orders images, and so detections of equal score, by id: ours are the places in that order, from 1.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    place = image_order(truth.image_ids)
    head = {
        "info": {},
        "images": [{"id": image_id} for image_id in range(1, len(place) + 1)],
        "categories": [{"id": k + 1, "name": name} for k, name in enumerate(truth.class_names)],
    }
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools reports every step by print
        sides = COCO(), COCO()
        for side, annotations in zip(sides, (_truth_records(truth), _detection_records(truth, found)), strict=True):
            side.dataset = {**head, "annotations": annotations}
            side.createIndex()
        run = COCOeval(*sides, iouType="bbox")
        run.evaluate()
        run.accumulate()
    precision, recall = run.eval["precision"], run.eval["recall"]  # [T, R, K, A, M], [T, K, A, M]
    return CocoTables(precision[..., 2], recall[..., 2], recall[:, :, 0, :2])


def _truth_records(truth: GroundTruthTable) -> list[dict[str, Any]]:
    """Return COCO annotations; ids start at 1 because COCOeval takes the id 0 for "not matched"."""
    columns = {
        "image_id": image_order(truth.image_ids)[truth.image] + 1,
        "category_id": truth.label + 1,
        "bbox": sized_boxes(truth.box),
        "area": truth.object_areas(),
        "iscrowd": truth.ignored.astype(np.int64),
    }
    return _records(columns)


def _detection_records(truth: GroundTruthTable, found: DetectionTable) -> list[dict[str, Any]]:
    """Return what COCO.loadRes would make of a results file."""
    sized = sized_boxes(found.box)
    columns = {
        "image_id": image_order(truth.image_ids)[found.image] + 1,
        "category_id": found.label + 1,
        "bbox": sized,
        "area": sized[:, 2] * sized[:, 3],
        "iscrowd": np.zeros(len(found), np.int64),
        "score": found.score,
    }
    return _records(columns)


def _records(columns: dict[str, Any]) -> list[dict[str, Any]]:
    rows = zip(*(values.tolist() for values in columns.values()), strict=True)
    return [{"id": number, **dict(zip(columns, row, strict=True))} for number, row in enumerate(rows, start=1)]
