"""Average precision by the size of the objects, under any protocol."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.evaluation.average_precision import (
    FALSE,
    NEUTRAL,
    TRUE,
    Curve,
    area_under,
    eleven_points,
    hundred_and_one_points,
)
from inception_rcnn.evaluation.coco_tables import object_areas, sized_boxes
from inception_rcnn.evaluation.pixel_matching import average_by_class
from inception_rcnn.evaluation.results import EvaluationResult
from inception_rcnn.structures.detections import DetectionTable
from inception_rcnn.structures.ground_truth import GroundTruthTable

_AVERAGE: Final[dict[str, Callable[[Curve, Curve], float]]] = {
    "ilsvrc": area_under,
    "voc2010": area_under,
    "voc2007": partial(eleven_points, grid="matlab"),
    "coco": hundred_and_one_points,
}
PIXEL_SIZES: Final = (("small", 0.0, 32.0**2), ("medium", 32.0**2, 96.0**2), ("large", 96.0**2, np.inf))


@dataclass(frozen=True)
class SizeGroup:
    """The objects of one size.

    Attributes:
        name: What they are called.
        objects: How many there are.
        found: The share that some detection found; None without objects.
        map: Mean over the classes with such objects of their average precision; None without objects.
    """

    name: str
    objects: int
    found: float | None
    map: float | None


def by_pixels(result: EvaluationResult, truths: GroundTruthTable, detections: DetectionTable) -> list[SizeGroup]:
    """Return small, medium and large objects: below 32 x 32 pixels, below 96 x 96, and larger, as COCO divides them.

    The area is COCO's where the truth has it, else that of the box.
    """
    areas, own = _areas(truths, detections)
    return [
        _group(name, result, truths, (low <= areas) & (areas < high), (low <= own) & (own < high))
        for name, low, high in PIXEL_SIZES
    ]


def by_class_thirds(result: EvaluationResult, truths: GroundTruthTable, detections: DetectionTable) -> list[SizeGroup]:
    """Return the smallest, the middle and the largest third of each class's objects, by their area in pixels.

    Source: Hoiem et al. 2012, "Diagnosing Error in Object Detectors", section 2.2, which compares sizes within a class,
    because a small airplane is larger than a large cup.
    """
    areas, own = _areas(truths, detections)
    third, own_third = np.zeros(len(areas), np.int8), np.zeros(len(own), np.int8)
    wanted = result.kept_matches().wanted
    for label in range(len(truths.class_names)):
        mine = truths.label == label
        sizes = areas[mine & wanted]
        if len(sizes):
            edges = np.quantile(sizes, [1 / 3, 2 / 3])
            third[mine] = np.searchsorted(edges, areas[mine], side="left")
            theirs = detections.label == label
            own_third[theirs] = np.searchsorted(edges, own[theirs], side="left")
    names = ("smallest third", "middle third", "largest third")
    return [_group(name, result, truths, third == k, own_third == k) for k, name in enumerate(names)]


def _areas(truths: GroundTruthTable, detections: DetectionTable) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    sides = np.maximum(sized_boxes(detections.box)[:, 2:], 0)  # inverted boxes have no area
    return object_areas(truths, sized_boxes(truths.box)), sides[:, 0] * sides[:, 1]


def _group(
    name: str,
    result: EvaluationResult,
    truths: GroundTruthTable,
    of_size: NDArray[np.bool_],
    own_size: NDArray[np.bool_],
) -> SizeGroup:
    """Return one size: detections of objects of other sizes count neither way, nor do false ones of other sizes."""
    matches = result.kept_matches()
    true, false = matches.outcome == TRUE, matches.outcome == FALSE
    elsewhere = true & ~np.append(of_size, False)[matches.partner] | false & ~own_size
    chosen = matches.wanted & of_size
    count = int(chosen.sum())
    if count == 0:
        return SizeGroup(name, 0, None, None)
    objects = np.bincount(truths.label[chosen], minlength=len(truths.class_names))
    outcome = np.where(elsewhere, np.int8(NEUTRAL), matches.outcome)
    values = np.array(average_by_class(replace(matches, outcome=outcome, objects=objects), _AVERAGE[result.protocol]))
    return SizeGroup(name, count, int((outcome == TRUE).sum()) / count, float(values[objects > 0].mean()))
