"""Precision and recall at score thresholds, over all classes together."""

from __future__ import annotations

import pytest
from bench_threshold import THRESHOLDS, rows_of

from inception_rcnn.evaluation import evaluate_coco
from inception_rcnn.structures import Detections, GroundTruth

NAMES = ("cat", "dog")


def test_each_threshold_counts_what_scores_at_least_as_much() -> None:
    truths = [
        GroundTruth([[0, 0, 10, 10], [20, 0, 30, 10]], [0, 1], NAMES, image_id=1),
        GroundTruth([[0, 0, 10, 10], [20, 0, 40, 40]], [0, 1], NAMES, [False, True], image_id=2),
    ]
    found = [
        Detections([[0, 0, 10, 10], [50, 0, 60, 10]], [0.5, 0.3], [0, 1], NAMES),  # right, wrong
        Detections([[20, 0, 40, 40], [0, 0, 10, 9]], [0.9, 0.12], [1, 0], NAMES),  # on what is ignored; right
    ]
    rows = {row[0]: row[1:] for row in rows_of(evaluate_coco(truths, found).kept_matches(), images=2)}
    assert tuple(rows) == THRESHOLDS
    assert rows[0.1] == pytest.approx((2 / 3, 2 / 3, 1.5))
    assert rows[0.15] == rows[0.3] == pytest.approx((1 / 2, 1 / 3, 1.0))
    assert rows[0.35] == rows[0.5] == pytest.approx((1.0, 1 / 3, 0.5))
    assert rows[0.6] == (0.0, 0.0, 0.0)
