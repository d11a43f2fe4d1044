"""Which detections count as second ones on an object that is found."""

from __future__ import annotations

import pytest
from bench_tiles import doubled

from inception_rcnn.structures import Detections, GroundTruth

NAMES = ("cat", "dog")


def test_a_part_of_an_object_that_is_found_is_doubled_and_what_finds_another_is_not() -> None:
    truth = GroundTruth([[0, 0, 100, 100], [0, 0, 40, 40], [200, 0, 240, 40]], [0, 0, 1], NAMES, image_id=1)
    boxes = [[0, 0, 100, 95], [0, 0, 40, 38], [60, 0, 100, 40], [60, 60, 130, 130], [210, 0, 230, 20], [10, 0, 50, 40]]
    labels = [0, 0, 0, 0, 1, 1]  # found, found, a part of the first, largely beside it, of a dog not found, no dog's
    found = Detections(boxes, [0.9, 0.8, 0.7, 0.6, 0.5, 0.4], labels, NAMES)
    assert doubled([truth], [found]) == pytest.approx(100 / 6)
    low = Detections(boxes[:3], [0.9, 0.8, 0.2], labels[:3], NAMES)
    assert doubled([truth], [low]) == 0 == doubled([truth], [Detections.empty(NAMES)])
