"""PASCAL VOC's rules one by one, and thousands of random cases against a slow, obvious evaluator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from inception_rcnn.evaluation import EvaluationResult, evaluate_voc
from inception_rcnn.structures import Detections, GroundTruth, InputError
from inception_rcnn.structures.detections import DetectionTable
from inception_rcnn.structures.ground_truth import GroundTruthTable
from reference.slow_voc import slow_voc

NAMES = ("cat", "dog", "cow")
BIG = (0, 0, 99, 99)
NOWHERE = (900, 900, 950, 950)


def exclusive(boxes: Sequence[Sequence[float]]) -> np.ndarray:
    return np.array(boxes, np.float64).reshape(-1, 4) + np.array([0, 0, 1, 1])


def truth(*entries: tuple[Any, ...], difficult: Sequence[bool] | None = None) -> GroundTruthTable:
    """Objects as (image, label, inclusive box)."""
    image, label = [entry[0] for entry in entries], [entry[1] for entry in entries]
    boxes = exclusive([entry[2] for entry in entries])
    flags = None if difficult is None else np.array(difficult)
    return GroundTruthTable(NAMES, (3, 2, 1), np.array(image, int), np.array(label, int), boxes, flags)


def found(*entries: tuple[Any, ...]) -> DetectionTable:
    """Detections as (image, label, score, inclusive box)."""
    columns = [np.array([entry[k] for entry in entries], kind) for k, kind in ((0, int), (1, int), (2, float))]
    return DetectionTable(*columns, exclusive([entry[3] for entry in entries]))


def outcomes(result: EvaluationResult, name: str = "cat") -> list[int]:
    """What happened to the detections of a class, best first."""
    assert result.matches is not None
    return result.matches.outcome[result.curve(name).row].tolist()


def test_corners_are_pixels_that_belong_to_the_box() -> None:
    objects, half = truth((0, 0, (0, 0, 59, 59))), found((0, 0, 0.9, (0, 0, 29, 59)))
    assert evaluate_voc(objects, half).map == 1
    assert evaluate_voc(objects, half, inclusive=False).map == 0


@pytest.mark.parametrize(("rows", "expected"), [(50, 1), (49, 0)])
def test_an_overlap_equal_to_one_half_is_enough_unless_strict(rows: int, expected: float) -> None:
    detection = found((0, 0, 0.9, (0, 0, 99, rows - 1)))
    assert evaluate_voc(truth((0, 0, BIG)), detection).map == expected
    assert evaluate_voc(truth((0, 0, BIG)), detection, strict=True).map == 0


def test_small_objects_ask_for_as_much_unless_relaxed() -> None:
    objects, detection = truth((0, 0, (0, 0, 9, 9))), found((0, 0, 0.9, (0, 0, 4, 4)))
    assert evaluate_voc(objects, detection).map == 0
    assert evaluate_voc(objects, detection, relaxed=True).map == 1


def test_a_duplicate_is_false_even_if_another_object_would_do() -> None:
    objects = truth((0, 0, BIG), (0, 0, (0, 0, 99, 79)))
    assert outcomes(evaluate_voc(objects, found((0, 0, 0.9, BIG), (0, 0, 0.8, BIG)))) == [1, 0]
    assert outcomes(evaluate_voc(objects, found((0, 0, 0.9, BIG), (0, 0, 0.8, (0, 0, 99, 80))))) == [1, 1]


def test_of_equal_overlaps_the_first_object_is_meant() -> None:
    result = evaluate_voc(truth((0, 0, BIG), (0, 0, BIG)), found((0, 0, 0.9, BIG), (0, 0, 0.8, BIG)))
    assert outcomes(result) == [1, 0]
    assert result.matches is not None and result.matches.partner.tolist() == [0, -1]


def test_difficult_objects_do_not_count_and_excuse_any_number_of_detections() -> None:
    objects = truth((0, 0, BIG), (1, 0, BIG), difficult=[True, False])
    result = evaluate_voc(objects, found((0, 0, 0.9, BIG), (0, 0, 0.8, BIG), (1, 0, 0.7, BIG)))
    assert outcomes(result) == [-1, -1, 1]
    assert result.map == 1
    # precision is 0/0 before the third detection; that must not hide the 1 from recall 0
    assert evaluate_voc(objects, found((0, 0, 0.9, BIG), (1, 0, 0.7, BIG)), year=2007).map == pytest.approx(1)


def test_a_detection_whose_best_object_is_difficult_is_neither_even_if_another_would_do() -> None:
    objects = truth((0, 0, BIG), (0, 0, (0, 0, 99, 79)), difficult=[True, False])
    assert outcomes(evaluate_voc(objects, found((0, 0, 0.9, BIG)))) == [-1]


def test_a_difficult_object_barely_touched_excuses_nothing() -> None:
    objects = truth((0, 0, BIG), (1, 0, BIG), difficult=[True, False])
    assert outcomes(evaluate_voc(objects, found((0, 0, 0.9, (0, 0, 99, 10))))) == [0]


def test_equal_scores_stand_in_the_order_of_the_file_whatever_the_images() -> None:
    objects = truth((1, 0, BIG))
    assert evaluate_voc(objects, found((2, 0, 0.5, NOWHERE), (1, 0, 0.5, BIG))).map == 0.5
    assert evaluate_voc(objects, found((1, 0, 0.5, BIG), (2, 0, 0.5, NOWHERE))).map == 1
    assert evaluate_voc(objects, found((1, 0, 0.5, BIG), (0, 0, 0.5, NOWHERE))).map == 1


def test_inverted_boxes_and_any_number_of_detections_count() -> None:
    many = [(0, 0, 0.9, (60, 60, 50, 50))] * 150
    assert evaluate_voc(truth((0, 0, BIG)), found(*many, (0, 0, 0.1, BIG))).map == pytest.approx(1 / 151)


def test_area_and_eleven_points() -> None:
    objects = truth(*[(image, 0, BIG) for image in (0, 1, 2)])
    ranking = found((0, 0, 0.9, NOWHERE), (0, 0, 0.8, BIG), (1, 0, 0.7, BIG), (1, 0, 0.6, NOWHERE))
    assert evaluate_voc(objects, ranking, year=2010).map == pytest.approx(2 / 3 * 2 / 3)
    # recalls 0, .1 ... .6 are reached with precision 2/3, .7 ... 1 never
    assert evaluate_voc(objects, ranking, year=2007).map == pytest.approx(7 / 11 * 2 / 3)
    assert evaluate_voc(objects, ranking, year=2007).protocol == "voc2007"


@pytest.mark.parametrize(
    ("hits", "of", "matlab", "numpy"), [(3, 10, 3, 3), (6, 10, 7, 6), (7, 10, 8, 7), (5, 10, 6, 6)]
)
def test_recall_at_a_grid_point_counts_as_the_grid_is_computed(hits: int, of: int, matlab: int, numpy: int) -> None:
    boxes = [(200 * k, 0, 200 * k + 99, 99) for k in range(of)]
    objects, detections = truth(*[(0, 0, box) for box in boxes]), found(*[(0, 0, 0.9, box) for box in boxes[:hits]])
    assert evaluate_voc(objects, detections, year=2007).map == pytest.approx(matlab / 11)
    assert evaluate_voc(objects, detections, year=2007, grid="numpy").map == pytest.approx(numpy / 11)


@pytest.mark.parametrize("year", [2007, 2010])
def test_classes_without_objects_or_detections(year: int) -> None:
    objects = truth((0, 0, BIG), (0, 1, BIG), (0, 2, BIG), difficult=[False, False, True])
    result = evaluate_voc(objects, found((0, 1, 0.9, BIG), (0, 2, 0.9, BIG)), year=year)
    assert result.ap == {"cat": 0.0, "dog": pytest.approx(1), "cow": None}
    assert result.map == result.median_ap == pytest.approx(0.5)


def test_records_are_taken_as_well_as_tables() -> None:
    one = GroundTruth(exclusive([BIG, BIG]), [0, 1], NAMES, [False, True])
    detections = Detections(exclusive([BIG, BIG]), [0.9, 0.8], [1, 0], ("dog", "cat"))
    result = evaluate_voc([one], [detections])
    assert (result.ap, result.images, result.detections) == ({"cat": 1.0, "dog": None, "cow": None}, 1, 2)


def random_case(random: np.random.Generator) -> tuple[list[Any], list[bool], list[Any]]:
    """Few places, few scores: overlaps of one half, ties, duplicates, inverted boxes, empty classes."""

    def box() -> tuple[int, int, int, int]:
        x, y = random.integers(0, 4, 2) * 5
        w, h = random.integers(-1, 6, 2) * 5
        return int(x), int(y), int(x + w - 1), int(y + h - 1)

    objects, detections = [], []
    for _ in range(random.integers(1, 9)):
        x1, y1, x2, y2 = box()
        objects.append((int(random.integers(3)), int(random.integers(3)), (x1, y1, max(x1, x2), max(y1, y2))))
    for _ in range(random.integers(0, 14)):
        near = objects[random.integers(len(objects))]
        place = near[2] if random.random() < 0.3 else box()
        image, label = near[:2] if random.random() < 0.8 else random.integers(0, 3, 2).tolist()
        detections.append((image, label, float(random.integers(4)), place))
    return objects, (random.random(len(objects)) < 0.25).tolist(), detections


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("year", [2007, 2010])
def test_it_is_what_the_slow_evaluator_says(seed: int, year: int) -> None:
    random = np.random.default_rng(seed)
    compared = 0
    for _ in range(120):
        objects, difficult, detections = random_case(random)
        if all(difficult):
            continue
        expected, ranked = slow_voc(objects, difficult, detections, 3, year)
        result = evaluate_voc(truth(*objects, difficult=difficult), found(*detections), year=year)
        for label, name in enumerate(NAMES):
            assert outcomes(result, name) == ranked[label]
            assert result.ap[name] == (None if expected[label] is None else pytest.approx(expected[label], abs=1e-12))
        compared += 1
    assert compared > 90


def test_wrong_options_are_named() -> None:
    objects = truth((0, 0, BIG))
    with pytest.raises(InputError, match="year 2009 is unknown"):
        evaluate_voc(objects, found(), year=2009)
    with pytest.raises(InputError, match="grid 'octave' is unknown; known: matlab, numpy"):
        evaluate_voc(objects, found(), grid="octave")
    with pytest.raises(InputError, match="at least one object that is not ignored"):
        evaluate_voc(truth((0, 0, BIG), difficult=[True]), found())
