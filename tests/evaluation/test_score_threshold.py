"""The threshold with the best mean F1, by hand-worked cases."""

from __future__ import annotations

import numpy as np
import pytest

from inception_rcnn.evaluation import best_f1_threshold
from inception_rcnn.structures import Detections, GroundTruth, InputError

NAMES = ("cat", "dog")
BOX = [0, 0, 10, 10]
FAR = [50, 50, 60, 60]


def truth(boxes: list[list[int]], labels: list[int], ignore: list[bool] | None = None) -> GroundTruth:
    """A ground truth of one image."""
    return GroundTruth(
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        labels=np.array(labels, np.int64),
        class_names=NAMES,
        ignore=np.array(ignore or [False] * len(labels), bool),
        areas=None,
        image_id=1,
        width=100,
        height=100,
    )


def found(boxes: list[list[int]], scores: list[float], labels: list[int]) -> Detections:
    """Detections of one image."""
    return Detections.ordered(np.array(boxes, np.float32).reshape(-1, 4), scores, labels, NAMES)


def test_the_threshold_lies_where_false_positives_begin() -> None:
    result = best_f1_threshold([truth([BOX], [0])], [found([BOX, FAR, FAR], [0.6, 0.5, 0.9], [0, 0, 1])])
    # At 0.6 the class with objects has one true and no false detection; "dog" has no objects and does not count.
    assert result.threshold == pytest.approx(0.6)
    assert (result.f1, result.precision, result.recall) == (1.0, 1.0, 1.0)


def test_a_second_detection_of_the_same_object_is_false() -> None:
    result = best_f1_threshold([truth([BOX], [0])], [found([BOX, BOX], [0.9, 0.8], [0, 0])])
    assert result.threshold == pytest.approx(0.9) and result.f1 == 1.0


def test_the_mean_is_over_classes_not_over_detections() -> None:
    boxes = [BOX, [20, 0, 30, 10], [40, 0, 50, 10]]
    result = best_f1_threshold(
        [truth([*boxes, FAR], [0, 0, 0, 1])],
        [found([*boxes, FAR, [80, 80, 90, 90]], [0.9, 0.9, 0.9, 0.3, 0.3], [0, 0, 0, 1, 1])],
    )
    # At 0.9: F1 of cat 1, of dog 0, mean 0.5. At 0.3: cat 1, dog 2/3 (one true, one false): mean 5/6.
    assert result.threshold == pytest.approx(0.3) and result.f1 == pytest.approx(5 / 6)


def test_detections_on_ignored_objects_count_neither_way() -> None:
    result = best_f1_threshold(
        [truth([BOX, FAR], [0, 0], [False, True])], [found([BOX, FAR, FAR], [0.5, 0.9, 0.8], [0, 0, 0])]
    )
    assert result.threshold == pytest.approx(0.5) and result.f1 == 1.0


def test_an_overlap_of_exactly_one_half_is_enough() -> None:
    result = best_f1_threshold([truth([BOX], [0])], [found([[0, 0, 10, 20]], [0.7], [0])])
    assert result.f1 == 1.0


def test_nothing_found_gives_zero() -> None:
    result = best_f1_threshold([truth([BOX], [0])], [Detections.empty(NAMES)])
    assert (result.f1, result.recall) == (0.0, 0.0)


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(InputError, match="do not fit"):
        best_f1_threshold([truth([BOX], [0])], [])
    with pytest.raises(InputError, match="without a single object"):
        best_f1_threshold([truth([], [])], [Detections.empty(NAMES)])
