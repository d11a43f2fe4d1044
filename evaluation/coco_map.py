"""Average precision by COCO's rules, computed by COCO's own code (pycocotools).

Source: Lin et al. 2014, "Microsoft COCO: Common Objects in Context"; the rules at cocodataset.org/#detection-eval.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.structures import Detections, GroundTruth, InputError, box_area

STAT_NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
"""COCO's twelve numbers in COCO's order; s, m, l: objects below 32^2, below 96^2, and larger, in square pixels."""

_IOU_HALF, _ALL_AREAS, _HUNDRED = 0, 0, 2  # positions in COCOeval's tables: IoU 0.5, any area, 100 detections


@dataclass(frozen=True)
class CocoResult:
    """How good the detections are by COCO's rules.

    Attributes:
        map: Mean of `ap` over the classes that have objects, in [0, 1]: what COCO calls AP50.
        ap: For each class its average precision at IoU 0.5, objects of any size, at most 100 detections an image;
            None for classes without objects.
        stats: COCO's twelve numbers by the names in `STAT_NAMES`; None where no object has the size asked for.
        images: Number of images.
        detections: Number of detections.
    """

    map: float
    ap: dict[str, float | None]
    stats: dict[str, float | None]
    images: int
    detections: int


def evaluate_coco(ground_truths: Sequence[GroundTruth], detections: Sequence[Detections]) -> CocoResult:
    """Return average precision and COCO's twelve numbers.

    Objects to ignore are COCO's crowds: a detection of the class lying in one counts neither as hit nor as miss.
    `GroundTruth.areas` decides whether an object is small, medium or large; without it, the area of its box does.
    Of each image and class the 100 best detections count.

    Args:
        ground_truths: One for each image, all with the same classes.
        detections: For the same images in the same order. Their classes may be fewer or in another order, and are
            matched by name.

    Raises:
        InputError: The two lists do not fit, the classes differ, or there is no object to find.

    >>> truth = GroundTruth([[0, 0, 10, 10]], [0], ("cat", "dog"))
    >>> found = Detections([[0, 0, 10, 8]], [0.9], [0], ("cat", "dog"))
    >>> result = evaluate_coco([truth], [found])
    >>> round(result.map, 6), result.ap["dog"], round(result.stats["AP"], 6)
    (1.0, None, 0.7)
    """
    names = _check(ground_truths, detections)
    image_ids = _image_ids(ground_truths)
    truth = _truth_records(ground_truths, image_ids)
    found = _detection_records(detections, image_ids, names)
    precision, stats = _run_cocoeval(image_ids, names, truth, found)
    ap = {name: _mean_or_none(precision[_IOU_HALF, :, k, _ALL_AREAS, _HUNDRED]) for k, name in enumerate(names)}
    return CocoResult(
        map=float(np.mean([value for value in ap.values() if value is not None])),
        ap=ap,
        stats={name: None if value < 0 else value for name, value in zip(STAT_NAMES, stats, strict=True)},
        images=len(ground_truths),
        detections=len(found),
    )


def _check(ground_truths: Sequence[GroundTruth], detections: Sequence[Detections]) -> tuple[str, ...]:
    """Return the class names, after checking that the two lists can be compared."""
    if len(ground_truths) != len(detections):
        raise InputError(
            f"detections should have one entry for each image, got {len(detections)} for {len(ground_truths)} images"
        )
    if not any((~truth.ignore).any() for truth in ground_truths):
        raise InputError("ground_truths should hold at least one object that is not ignored, got none")
    names = ground_truths[0].class_names
    if len(set(names)) != len(names):
        raise InputError("class_names should differ from each other; average precision is given by name")
    for position, (truth, found) in enumerate(zip(ground_truths, detections, strict=True)):
        if truth.class_names != names:
            raise InputError(f"ground_truths[{position}] has other class_names than ground_truths[0]")
        if unknown := set(found.class_names) - set(names):
            raise InputError(
                f"detections[{position}] has classes the ground truth does not know: {sorted(unknown)[:5]}"
            )
    return names


def _image_ids(ground_truths: Sequence[GroundTruth]) -> list[int]:
    """Return the ids for COCOeval, which orders images, and so detections of equal score, by id.

    The data set's own ids give exactly what pycocotools gives on its files; positions serve where these are no ids.
    """
    own = [truth.image_id for truth in ground_truths]
    numbers = [image_id for image_id in own if isinstance(image_id, int)]
    return numbers if len(set(numbers)) == len(own) else list(range(1, len(own) + 1))


def _truth_records(ground_truths: Sequence[GroundTruth], image_ids: list[int]) -> list[dict[str, Any]]:
    """Return COCO annotations; ids start at 1 because COCOeval takes the id 0 for "not matched"."""
    records: list[dict[str, Any]] = []
    for image_id, truth in zip(image_ids, ground_truths, strict=True):
        areas = box_area(truth.boxes) if truth.areas is None else truth.areas
        rows = zip(_sized(truth.boxes), truth.labels.tolist(), areas.tolist(), truth.ignore.tolist(), strict=True)
        for box, label, area, ignore in rows:
            record = {"id": len(records) + 1, "image_id": image_id, "category_id": label + 1, "bbox": box}
            records.append({**record, "area": area, "iscrowd": int(ignore)})
    return records


def _detection_records(
    detections: Sequence[Detections], image_ids: list[int], names: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Return what COCO.loadRes would make of a results file."""
    position_of = {name: position for position, name in enumerate(names)}
    records: list[dict[str, Any]] = []
    for image_id, found in zip(image_ids, detections, strict=True):
        for box, name, score in zip(_sized(found.boxes), found.names(), found.scores.tolist(), strict=True):
            record = {"id": len(records) + 1, "image_id": image_id, "category_id": position_of[name] + 1, "bbox": box}
            records.append({**record, "area": box[2] * box[3], "iscrowd": 0, "score": score})
    return records


def _sized(boxes: NDArray[np.float32]) -> list[list[float]]:
    """Return x, y, width, height of each box, in float64: the differences are exact, as COCOeval has them."""
    corners = boxes.astype(np.float64)
    sized: list[list[float]] = np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]]).tolist()
    return sized


def _run_cocoeval(
    image_ids: list[int], names: tuple[str, ...], truth: list[dict[str, Any]], found: list[dict[str, Any]]
) -> tuple[NDArray[np.float64], list[float]]:
    """Return COCOeval's precision table [10 IoUs, 101 recalls, classes, 4 areas, 3 limits] and the twelve numbers."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    head = {
        "info": {},
        "images": [{"id": image_id} for image_id in image_ids],
        "categories": [{"id": k + 1, "name": name} for k, name in enumerate(names)],
    }
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools reports every step by print
        sides = COCO(), COCO()
        for side, annotations in zip(sides, (truth, found), strict=True):
            side.dataset = {**head, "annotations": annotations}
            side.createIndex()
        run = COCOeval(*sides, iouType="bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run.eval["precision"], [float(value) for value in run.stats]


def _mean_or_none(curve: NDArray[np.float64]) -> float | None:
    """Return the mean precision over the 101 recalls; COCOeval marks a class without objects by -1."""
    return None if (curve < 0).all() else float(curve.mean())
