"""The kinds of errors, each by a case made for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from inception_rcnn.evaluation import ErrorAnalysis, analyse_errors
from inception_rcnn.evaluation.error_analysis import ERROR_KINDS
from inception_rcnn.structures import InputError
from inception_rcnn.structures.detections import DetectionTable
from inception_rcnn.structures.ground_truth import GroundTruthTable

CAT, DOG = 0, 1
BOX = (0, 0, 10, 10)
PART = (0, 0, 10, 4)  # overlaps BOX by 0.4
TOUCH = (0, 0, 10, 1)  # by 0.1
AWAY = (50, 50, 60, 60)


def analyse(
    objects: list[Any], detections: list[Any], *, ignore: list[bool] | None = None, **options: Any
) -> ErrorAnalysis:
    """Objects as (label, box) in the first of two images, detections as (label, score, box) there."""
    truth = GroundTruthTable(
        ("cat", "dog"),
        (1, 2),
        np.zeros(len(objects), int),
        np.array([label for label, _ in objects], int),
        np.array([box for _, box in objects], float).reshape(-1, 4),
        None if ignore is None else np.array(ignore),
    )
    found = DetectionTable(
        np.zeros(len(detections), int),
        np.array([entry[0] for entry in detections], int),
        np.array([entry[1] for entry in detections], float),
        np.array([entry[2] for entry in detections], float).reshape(-1, 4),
    )
    return analyse_errors(truth, found, **options)


def errors(result: ErrorAnalysis) -> dict[str, int]:
    return {kind: count for kind, count in result.counts.items() if count}


@pytest.mark.parametrize(
    ("detection", "expected"),
    [
        ((CAT, 0.9, BOX), {}),
        ((CAT, 0.9, PART), {"Loc": 1}),
        ((CAT, 0.9, TOUCH), {"Loc": 1}),  # exactly the background's threshold
        ((CAT, 0.9, (0, 0, 10, 0.9)), {"Bkg": 1, "Miss": 1}),
        ((CAT, 0.9, AWAY), {"Bkg": 1, "Miss": 1}),
        ((DOG, 0.9, BOX), {"Cls": 1}),
        ((DOG, 0.9, PART), {"Both": 1, "Miss": 1}),
        ((DOG, 0.9, TOUCH), {"Bkg": 1, "Miss": 1}),
        ((DOG, 0.9, AWAY), {"Bkg": 1, "Miss": 1}),
    ],
)
def test_one_detection_and_one_cat(detection: Any, expected: dict[str, int]) -> None:
    assert errors(analyse([(CAT, BOX)], [detection])) == expected


def test_a_second_detection_of_a_cat_is_a_duplicate() -> None:
    result = analyse([(CAT, BOX)], [(CAT, 0.9, BOX), (CAT, 0.8, BOX)])
    assert errors(result) == {"Dupe": 1}
    assert (result.kind.tolist(), result.target.tolist(), result.missed.tolist()) == ([0, 4], [0, 0], [False])


def test_a_badly_placed_second_detection_is_a_matter_of_place() -> None:
    assert errors(analyse([(CAT, BOX)], [(CAT, 0.9, BOX), (CAT, 0.8, PART)])) == {"Loc": 1}


def test_place_is_asked_before_class() -> None:
    objects = [(CAT, BOX), (DOG, (0, 0, 10, 4.5))]
    assert errors(analyse(objects, [(CAT, 0.9, PART)])) == {"Loc": 1, "Miss": 1}


def test_without_objects_all_is_background() -> None:
    truth = GroundTruthTable(("cat",), (1, 2), np.array([1]), np.array([0]), np.array([BOX]))
    found = DetectionTable(np.array([0, 1]), np.array([0, 0]), np.array([0.9, 0.8]), np.array([BOX, BOX]))
    result = analyse_errors(truth, found)
    assert errors(result) == {"Bkg": 1}
    assert (result.ap, result.cost["Bkg"]) == (pytest.approx(0.5), pytest.approx(0.5))


def test_of_two_errors_at_an_object_only_the_better_is_mended() -> None:
    result = analyse([(CAT, BOX)], [(CAT, 0.8, PART), (CAT, 0.9, (0, 0, 10, 3))])
    assert errors(result) == {"Loc": 2}
    assert (result.ap, result.cost["Loc"]) == (0, pytest.approx(1))


def test_an_error_at_an_object_found_already_vanishes() -> None:
    result = analyse([(CAT, BOX)], [(CAT, 0.9, PART), (CAT, 0.8, BOX)])
    assert (result.ap, result.cost["Loc"]) == (pytest.approx(0.5), pytest.approx(0.5))


def test_a_mended_class_leaves_its_own() -> None:
    result = analyse([(CAT, BOX), (DOG, AWAY)], [(DOG, 0.9, BOX), (DOG, 0.8, AWAY)])
    assert errors(result) == {"Cls": 1}
    assert result.ap == pytest.approx(0.25)  # cat 0, dog 1/2
    assert result.cost["Cls"] == pytest.approx(0.75)


def test_a_missed_object_taken_away() -> None:
    result = analyse([(CAT, BOX), (CAT, AWAY)], [(CAT, 0.9, BOX)])
    assert errors(result) == {"Miss": 1}
    assert result.missed.tolist() == [False, True]
    assert result.ap == pytest.approx(51 / 101)
    assert result.cost["Miss"] == result.false_negatives == pytest.approx(50 / 101)


def test_false_positives_below_all_true_ones() -> None:
    result = analyse([(CAT, BOX)], [(CAT, 0.9, AWAY), (CAT, 0.8, BOX)])
    assert (result.ap, result.false_positives) == (pytest.approx(0.5), pytest.approx(0.5))


def test_the_best_of_an_image_count_over_all_classes() -> None:
    detections = [(DOG, 0.9, AWAY), (DOG, 0.8, AWAY), (CAT, 0.7, BOX)]
    assert analyse([(CAT, BOX)], detections, max_detections=3).counts["Miss"] == 0
    result = analyse([(CAT, BOX)], detections, max_detections=2)
    assert (result.counts["Bkg"], result.counts["Miss"], result.kind.tolist()) == (2, 1, [5, 5, 7])


def test_a_class_with_detections_only_counts_as_0_and_one_with_neither_not_at_all() -> None:
    assert analyse([(CAT, BOX)], [(CAT, 0.9, BOX), (DOG, 0.9, AWAY)]).ap == pytest.approx(0.5)
    assert analyse([(CAT, BOX)], [(CAT, 0.9, BOX)]).ap == pytest.approx(1)


def test_what_lies_in_an_object_to_ignore_of_its_class_is_no_error() -> None:
    objects, detections = [(CAT, BOX), (CAT, (40, 40, 100, 100))], [(CAT, 0.9, AWAY), (CAT, 0.8, BOX), (DOG, 0.7, AWAY)]
    result = analyse(objects, detections, ignore=[False, True])
    assert errors(result) == {"Bkg": 1}
    assert result.kind.tolist() == [6, 0, 5]


def test_thresholds_can_be_set() -> None:
    assert errors(analyse([(CAT, BOX)], [(CAT, 0.9, PART)], positive=0.4)) == {}
    assert errors(analyse([(CAT, BOX)], [(CAT, 0.9, PART)], background=0.45)) == {"Bkg": 1, "Miss": 1}


@pytest.mark.parametrize("seed", range(5))
def test_steps_add_up_and_kinds_cover_all(seed: int) -> None:
    random = np.random.default_rng(seed)
    for _ in range(20):
        places = random.integers(0, 4, (8, 2)) * 4
        objects = [
            (int(label), (x, y, x + 10, y + 10)) for label, (x, y) in zip(random.integers(0, 2, 8), places, strict=True)
        ]
        detections = [
            (int(random.integers(2)), float(random.integers(5)), (x, y, x + random.integers(3, 12), y + 10))
            for x, y in random.integers(0, 16, (20, 2)).tolist()
        ]
        result = analyse(objects, detections)
        assert tuple(result.counts) == ERROR_KINDS
        assert sum(result.steps.values()) == pytest.approx(1 - result.ap)
        assert (result.kind == 0).sum() + sum(result.counts[kind] for kind in ERROR_KINDS[:5]) == 20
        assert min(result.cost.values()) >= 0


@pytest.mark.parametrize(
    ("options", "text"),
    [({"background": 0.6}, "background < positive"), ({"max_detections": 0}, "max_detections should be 1 or more")],
)
def test_wrong_options_are_named(options: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        analyse([(CAT, BOX)], [], **options)
    with pytest.raises(InputError, match="at least one object"):
        analyse([], [])
