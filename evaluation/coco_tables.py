"""What COCO's rules start from and end in: boxes by x, y, width, height; and precision by threshold, class and size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.structures.boxes import undo_sum
from inception_rcnn.structures.ground_truth import GroundTruthTable


@dataclass(frozen=True, eq=False)
class CocoTables:
    """COCO's tables; -1 stands for a class without objects of the size.

    Attributes:
        precision: float64 [10 IoUs, 101 recalls, classes, 4 sizes], at most 100 detections an image and class.
        recall: float64 [10 IoUs, classes, 4 sizes], alike.
        few_recall: float64 [10 IoUs, classes, 2]: with 1 and with 10 detections an image and class, any size.
    """

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    few_recall: NDArray[np.float64]


def sized_boxes(box: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return x, y, width, height (N, 4) of corners x1 y1 x2 y2, as they were in COCO's file."""
    width, height = undo_sum(box[:, 2], box[:, 0]), undo_sum(box[:, 3], box[:, 1])
    return np.stack([box[:, 0], box[:, 1], width, height], axis=1).reshape(-1, 4)


def object_areas(truth: GroundTruthTable, sized: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the areas (N,) that decide about sizes."""
    return sized[:, 2] * sized[:, 3] if truth.area is None else truth.area
