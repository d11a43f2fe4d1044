"""COCO's own code (pycocotools) on our tables: slow, and by definition right."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np

from inception_rcnn.evaluation.coco_tables import CocoTables, object_areas, sized_boxes
from inception_rcnn.evaluation.ranking import image_order
from inception_rcnn.structures.detections import DetectionTable
from inception_rcnn.structures.ground_truth import GroundTruthTable


def run_cocoeval(truth: GroundTruthTable, found: DetectionTable) -> CocoTables:
    """Return COCOeval's tables.

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
    sized = sized_boxes(truth.box)
    columns = {
        "image_id": image_order(truth.image_ids)[truth.image] + 1,
        "category_id": truth.label + 1,
        "bbox": sized,
        "area": object_areas(truth, sized),
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
