"""Detections and objects of a whole data set as arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inception_rcnn.structures import Detections, GroundTruth, InputError
from inception_rcnn.structures.boxes import undo_sum
from inception_rcnn.structures.detections import DetectionTable
from inception_rcnn.structures.ground_truth import GroundTruthTable

BOX = [[0, 0, 9, 9]]


def test_detections_of_images_become_rows_with_labels_by_name() -> None:
    first = Detections([[0, 0, 9, 9], [1, 1, 2, 2]], [0.75, 0.5], [0, 1], ("dog", "cat"))
    third = Detections([[5, 5, 6, 6]], [0.25], [0], ("cat",))
    table = DetectionTable.from_detections([first, Detections.empty(("cat",)), third], ("cat", "dog", "cow"))
    assert (table.image.tolist(), table.label.tolist(), table.score.tolist()) == (
        [0, 0, 2],
        [1, 0, 0],
        [0.75, 0.5, 0.25],
    )
    assert table.box.tolist() == [[0, 0, 9, 9], [1, 1, 2, 2], [5, 5, 6, 6]]
    assert (table.box.dtype, table.score.dtype, table.image.dtype) == (np.float64, np.float64, np.int32)
    with pytest.raises(InputError, match=r"detections\[1\] has classes .*'cow'"):
        DetectionTable.from_detections([first, Detections.empty(("cow",))], ("cat", "dog"))


def test_ground_truths_become_rows() -> None:
    one = GroundTruth(BOX, [1], ("cat", "dog"), [True], [50], image_id=7)
    two = GroundTruth([[0, 0, 4, 5]], [0], ("cat", "dog"), image_id=5)
    table = GroundTruthTable.from_ground_truths([one, two])
    assert (table.image_ids, table.image.tolist(), table.label.tolist()) == ((7, 5), [0, 1], [1, 0])
    assert table.ignored.tolist() == [True, False]
    assert table.area is not None and table.area.tolist() == [50, 20]
    assert GroundTruthTable.from_ground_truths([two]).area is None
    assert GroundTruthTable.from_ground_truths([one, one]).image_ids == (1, 2)
    with pytest.raises(InputError, match=r"ground_truths\[1\] has other class_names"):
        GroundTruthTable.from_ground_truths([one, GroundTruth(BOX, [0], ("cat",))])


def test_scores_and_boxes_keep_all_their_digits() -> None:
    table = DetectionTable([0], [0], [0.1 + 1e-15], [[0.1, 0, 0.3, 1e-300]])
    assert table.score[0] == 0.1 + 1e-15
    assert table.box.tolist() == [[0.1, 0, 0.3, 1e-300]]


@pytest.mark.parametrize("keep", [np.array([True, False, True]), [0, 2], slice(0, 3, 2)])
def test_rows_are_selected(keep: Any) -> None:
    table = DetectionTable([0, 1, 2], [0, 0, 0], [3, 2, 1], np.arange(12).reshape(3, 4))
    chosen = table[keep]
    assert (chosen.image.tolist(), chosen.score.tolist()) == ([0, 2], [3, 1])
    assert chosen.box.tolist() == [[0, 1, 2, 3], [8, 9, 10, 11]]


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        (([0, 0], [0], [0.5], BOX), r"image should be whole numbers of shape \(1,\)"),
        (([-1], [0], [0.5], BOX), "image should be in 0"),
        (([0], [0.5], [0.5], BOX), "label should be whole numbers"),
        (([0], [0], [np.nan], BOX), "score should be finite"),
        (([0], [0], [0.5], [[0, 0, np.inf, 1]]), r"box should be finite, but row 0"),
        (([0], [0], [0.5], [[0, 0, 1]]), r"shape \(N, 4\)"),
        (([0], [0], [0.5], [["a", 0, 1, 1]]), r"numbers of shape \(N, 4\)"),
    ],
)
def test_wrong_columns_are_named(columns: Any, text: str) -> None:
    with pytest.raises(InputError, match=text):
        DetectionTable(*columns)


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        ((("cat", "cat"), (1,), [0], [0], BOX), "class_names should differ"),
        ((("cat",), (1, 1), [0], [0], BOX), "image_ids should differ"),
        ((("cat",), (1,), [1], [0], BOX), r"image should be in 0\.\.0"),
        ((("cat",), (1,), [0], [1], BOX), r"label should be in 0\.\.0"),
        ((("cat",), (1,), [0], [0], BOX, [True, False]), "ignore should have shape"),
        ((("cat",), (1,), [0], [0], BOX, None, [np.nan]), "area should be finite"),
    ],
)
def test_a_wrong_truth_is_named(columns: Any, text: str) -> None:
    with pytest.raises(InputError, match=text):
        GroundTruthTable(*columns)


@given(st.integers(-(10**9), 10**9), st.integers(0, 9), st.integers(-(10**9), 10**9), st.integers(0, 9))
def test_a_number_of_few_decimals_comes_back_from_a_sum(digits: int, places: int, other: int, more: int) -> None:
    number = float(f"{digits}e-{places}") % 1e5
    number = round(number, places)
    part = round(float(f"{other}e-{more}") % 1e5, more)
    assert undo_sum(np.array([number + part]), part)[0] == number


@given(st.floats(-1e5, 1e5), st.floats(-1e5, 1e5))
def test_any_number_comes_back_but_for_the_rounding(number: float, part: float) -> None:
    undone = undo_sum(np.array([number + part]), part)[0]
    assert abs(undone - number) <= 2 * np.spacing(max(abs(number), abs(part), abs(number + part)))
