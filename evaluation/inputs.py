"""What the evaluators take, brought into one form and checked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.structures import Detections, GroundTruth, InputError
from inception_rcnn.structures.detections import DetectionTable
from inception_rcnn.structures.ground_truth import GroundTruthTable

TruthInput = GroundTruthTable | Sequence[GroundTruth]
DetectionInput = DetectionTable | Sequence[Detections]


def as_tables(ground_truths: TruthInput, detections: DetectionInput) -> tuple[GroundTruthTable, DetectionTable]:
    """Return both as tables that fit each other.

    Args:
        ground_truths: A table, or one `GroundTruth` for each image, all with the same classes.
        detections: A table whose images and labels are positions in those of the truth; or one `Detections` for each
            image in the same order, their classes matched by name.

    Raises:
        InputError: The two do not fit.
    """
    images = len(ground_truths.image_ids) if isinstance(ground_truths, GroundTruthTable) else len(ground_truths)
    if not isinstance(detections, DetectionTable) and len(detections) != images:
        raise InputError(f"detections should have one entry for each image, got {len(detections)} for {images} images")
    truth = (
        ground_truths
        if isinstance(ground_truths, GroundTruthTable)
        else GroundTruthTable.from_ground_truths(ground_truths)
    )
    if isinstance(detections, DetectionTable):
        found = detections
    else:
        found = DetectionTable.from_detections(detections, truth.class_names)
    _check_positions(found.image, images, "image", "images")
    _check_positions(found.label, len(truth.class_names), "label", "classes")
    return truth, found


def _check_positions(positions: NDArray[np.int32], limit: int, name: str, what: str) -> None:
    if len(positions) and positions.max() >= limit:
        row = int(np.argmax(positions >= limit))
        raise InputError(
            f"the detections' {name} should be below {limit}, the number of {what} of the ground truth, "
            f"but row {row} has {positions[row]}"
        )
