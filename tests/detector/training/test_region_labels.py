"""Foreground, background and what is left out, with overlaps worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from inception_rcnn.detector.training.region_labels import label_regions, shaken, with_truths
from inception_rcnn.structures import GroundTruth, box_area, pairwise_iou

NAMES = ("cat", "dog")
NO_BOXES = np.zeros((0, 4), np.float32)


def boxes(*rows: tuple[float, ...]) -> np.ndarray:
    """Boxes from rows of numbers."""
    return np.array(rows, dtype=np.float32).reshape(-1, 4)


def truth(*objects: tuple[tuple[float, ...], int], ignore: tuple[bool, ...] = ()) -> GroundTruth:
    """Objects of an image of 100 x 80 pixels."""
    rows = boxes(*(box for box, _ in objects))
    labels = np.array([label for _, label in objects], dtype=np.int64)
    return GroundTruth(rows, labels, NAMES, np.array(ignore, dtype=bool), width=100, height=80)


def test_an_overlap_of_exactly_half_is_foreground() -> None:
    # 50 / 100; 49 / 100; a box of twice the area around it, 100 / 200; of 201, 100 / 201.
    given = boxes((0, 0, 10, 5), (0, 0, 7, 7), (0, 0, 20, 10), (0, 0, 20.1, 10))
    found = label_regions(given, truth(((0, 0, 10, 10), 1)))
    assert found.labels.tolist() == [1, 2, 1, 2]
    assert found.objects.tolist() == [0, -1, 0, -1]
    np.testing.assert_allclose(found.overlap, [0.5, 0.49, 0.5, 100 / 201], rtol=1e-6)
    assert np.array_equal(found.boxes, given) and len(found) == 4


def test_a_region_shows_the_object_it_overlaps_most() -> None:
    objects = truth(((0, 0, 10, 10), 0), ((0, 0, 10, 8), 1), ((50, 50, 60, 60), 1))
    found = label_regions(boxes((0, 0, 10, 7), (0, 0, 10, 9.5), (50, 50, 60, 58), (0, 0, 10, 9)), objects)
    assert found.objects.tolist()[:3] == [1, 0, 2] and found.labels.tolist()[:3] == [1, 0, 1]
    assert found.overlap[3] == np.float32(0.9)  # 90 / 100 beats 80 / 90


def test_equal_overlaps_go_to_the_first_object() -> None:
    found = label_regions(boxes((0, 0, 10, 10)), truth(((0, 0, 10, 10), 1), ((0, 0, 10, 10), 0)))
    assert found.objects.tolist() == [0] and found.labels.tolist() == [1]


def test_without_objects_everything_is_background() -> None:
    found = label_regions(boxes((0, 0, 10, 10), (5, 5, 20, 20)), truth())
    assert found.labels.tolist() == [2, 2] and found.objects.tolist() == [-1, -1] and found.overlap.tolist() == [0, 0]


def test_without_regions_there_is_nothing() -> None:
    found = label_regions(NO_BOXES, truth(((0, 0, 10, 10), 0)))
    assert len(found) == 0 and found.boxes.shape == (0, 4) and found.labels.dtype == np.int64


def test_regions_mostly_inside_a_crowd_are_left_out() -> None:
    objects = truth(((0, 0, 40, 40), 0), ignore=(True,))
    # wholly inside; 60 % inside; exactly half; 40 %; beside it
    given = boxes((5, 5, 15, 15), (34, 0, 44, 10), (35, 0, 45, 10), (36, 0, 46, 10), (60, 0, 70, 10))
    found = label_regions(given, objects)
    assert np.array_equal(found.boxes, given[2:])
    assert found.labels.tolist() == [2, 2, 2] and found.overlap.tolist() == [0, 0, 0]


def test_a_crowd_is_no_object_however_much_it_is_overlapped() -> None:
    found = label_regions(boxes((0, 0, 40, 60)), truth(((0, 0, 40, 29), 0), ignore=(True,)))
    assert found.labels.tolist() == [2] and found.objects.tolist() == [-1]


def test_an_object_inside_a_crowd_stays_foreground() -> None:
    objects = truth(((0, 0, 50, 50), 0), ((10, 10, 20, 20), 1), ignore=(True, False))
    found = label_regions(boxes((10, 10, 20, 18), (10, 10, 13, 20)), objects)
    assert found.labels.tolist() == [1] and found.objects.tolist() == [1]  # the row of the object, crowds counted


def test_objects_are_regions_too_and_come_first() -> None:
    objects = truth(
        ((0, 0, 10, 10), 1),
        ((5, 5, 5, 20), 0),
        ((30, 30, 60, 70), 0),
        ((0, 0, 90, 70), 1),
        ignore=(False,) * 3 + (True,),
    )
    regions = label_regions(boxes((0, 0, 10, 7)), objects)
    found = with_truths(regions, objects, 2, np.random.default_rng(0))
    # The object without area and the crowd are not among them.
    assert found.objects.tolist() == [0, 2, 0, 0, 2, 2, 0]
    assert found.labels.tolist() == [1, 0, 1, 1, 0, 0, 1]
    assert found.boxes[[0, 1, 6]].tolist() == [[0, 0, 10, 10], [30, 30, 60, 70], [0, 0, 10, 7]]
    iou = pairwise_iou(found.boxes, objects.boxes)
    assert np.array_equal(found.overlap, iou[np.arange(7), found.objects])
    assert (found.overlap[:2] == 1).all() and (found.overlap >= 0.5).all()


def test_no_shaken_copies_on_demand() -> None:
    objects = truth(((0, 0, 10, 10), 1))
    found = with_truths(label_regions(NO_BOXES, objects), objects, 0, np.random.default_rng(0))
    assert found.boxes.tolist() == [[0, 0, 10, 10]]


def test_without_objects_the_regions_stay_as_they_are() -> None:
    regions = label_regions(boxes((0, 0, 10, 7)), truth())
    found = with_truths(regions, truth(), 4, np.random.default_rng(0))
    assert np.array_equal(found.boxes, regions.boxes) and found.labels.tolist() == [2]


@pytest.mark.parametrize("box", [(20, 20, 60, 50), (0, 0, 30, 30), (95, 75, 100, 80), (0, 30, 100, 33)])
def test_shaken_copies_overlap_by_half_stay_inside_and_differ(box: tuple[float, ...]) -> None:
    objects = truth((box, 0))
    found = shaken(objects, np.zeros(300, np.int64), np.random.default_rng(0))
    assert (pairwise_iou(found, objects.boxes) >= 0.5).all()
    assert found.min() >= 0 and found[:, 2].max() <= 100 and found[:, 3].max() <= 80
    assert (box_area(found) > 0).all()
    changed = (found != objects.boxes).any(axis=1)
    assert changed.mean() > 0.3 and len(np.unique(found[changed], axis=0)) == changed.sum()


def test_shaken_copies_move_and_change_size_both_ways() -> None:
    objects = truth(((30, 20, 70, 60), 0))
    found = shaken(objects, np.zeros(300, np.int64), np.random.default_rng(0))
    moved = (found[:, :2] + found[:, 2:]) / 2 - [50, 40]
    size = found[:, 2:] - found[:, :2]
    for both_ways in (moved[:, 0], moved[:, 1], size[:, 0] - 40, size[:, 1] - 40):
        assert both_ways.min() < -3 and both_ways.max() > 3


def test_shaking_an_image_of_unknown_size_needs_no_clipping() -> None:
    objects = GroundTruth(boxes((0, 0, 30, 30)), np.zeros(1, np.int64), NAMES)
    assert shaken(objects, np.zeros(100, np.int64), np.random.default_rng(0)).min() < 0


def test_the_same_generator_shakes_the_same_way() -> None:
    objects = truth(((20, 20, 60, 50), 0))
    one, two, other = (shaken(objects, np.zeros(9, np.int64), np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert np.array_equal(one, two) and not np.array_equal(one, other)


def test_nothing_is_background_where_more_may_be_than_is_boxed() -> None:
    given = boxes((0, 0, 10, 9), (0, 0, 30, 30), (60, 60, 90, 80))
    known = truth(((0, 0, 10, 10), 1))
    assert label_regions(given, known).labels.tolist() == [1, 2, 2]
    partly = replace(known, exhaustive=False)
    found = label_regions(given, partly)
    assert found.labels.tolist() == [1] and found.boxes.tolist() == [[0, 0, 10, 9]]
    assert len(label_regions(given, replace(truth(), exhaustive=False))) == 0
