"""Ground truth of an image, and of many as a table: what it promises about its columns, what selecting keeps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from inception_rcnn.structures import GroundTruth, GroundTruthTable, InputError

NAMES = ("cat", "dog", "cow")
BOXES = [[0, 0, 10, 10], [5, 5, 20, 20], [1, 2, 3, 4]]
BOX = [[0, 0, 9, 9]]


def truth(**change: Any) -> GroundTruth:
    given_arguments = {"boxes": BOXES, "labels": [2, 0, 1], "class_names": NAMES} | change
    return GroundTruth(**given_arguments)


def test_ground_truth_fills_in_what_is_left_out() -> None:
    objects = truth()
    assert (objects.ignore.tolist(), objects.areas, objects.image_id) == ([False] * 3, None, 0)
    assert (objects.width, objects.height, len(objects)) == (None, None, 3)
    assert (objects.boxes.dtype, objects.labels.dtype, objects.ignore.dtype) == (np.float32, np.int64, np.bool_)
    assert objects.names() == ["cow", "cat", "dog"]


def test_selected_ground_truth_keeps_everything() -> None:
    objects = truth(ignore=[True, False, True], areas=[9, 8, 7], image_id="a", width=30, height=20)
    chosen = objects[~objects.ignore]
    assert (chosen.boxes.tolist(), chosen.labels.tolist(), chosen.ignore.tolist()) == ([BOXES[1]], [0], [False])
    assert chosen.areas is not None
    assert (chosen.areas.tolist(), chosen.image_id, chosen.width, chosen.height) == ([8], "a", 30, 20)
    assert objects[[2, 0]].labels.tolist() == [1, 2]  # objects have no order to keep
    assert objects[1:].ignore.tolist() == [False, True]
    assert truth()[:1].areas is None


def test_an_image_without_objects() -> None:
    nothing = GroundTruth(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), NAMES)
    assert (len(nothing), nothing.ignore.shape, nothing.names()) == (0, (0,), [])


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"labels": [0, 1]}, "labels should have shape"),
        ({"labels": [0, 1, 3]}, "entry 2 is 3"),
        ({"ignore": [True]}, "ignore should have shape"),
        ({"ignore": ["no", "no", "no"]}, "ignore should be flags"),
        ({"areas": [1, 2]}, "areas should have shape"),
        ({"areas": [1, 2, float("inf")]}, "areas should be finite"),
        ({"boxes": [1, 2, 3, 4]}, "ground truth's boxes should have shape"),
    ],
)
def test_ground_truth_refuses_columns_that_do_not_fit(change: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        truth(**change)


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
