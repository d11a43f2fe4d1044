"""Detections of an image, and of many as a table: what they promise about their columns, what selecting keeps."""

from __future__ import annotations

import json
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inception_rcnn.structures import Detections, DetectionTable, GroundTruth, InputError, Proposals

NAMES = ("cat", "dog", "cow")
BOXES = [[0, 0, 10, 10], [5, 5, 20, 20], [1, 2, 3, 4]]
BOX = [[0, 0, 9, 9]]


def detections() -> Detections:
    return Detections(BOXES, [0.75, 0.5, 0.25], [2, 0, 1], NAMES)  # type: ignore[arg-type]


def truth(**change: Any) -> GroundTruth:
    given_arguments = {"boxes": BOXES, "labels": [2, 0, 1], "class_names": NAMES} | change
    return GroundTruth(**given_arguments)


def test_detections_become_the_promised_types() -> None:
    found = detections()
    assert (found.boxes.dtype, found.scores.dtype, found.labels.dtype) == (np.float32, np.float32, np.int64)
    assert (found.boxes.shape, found.class_names, len(found)) == ((3, 4), NAMES, 3)


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), max_size=12))
def test_ordered_sorts_by_score_and_keeps_equal_ones_in_place(scores: list[float]) -> None:
    boxes = [[i, 0, i + 1, 1] for i in range(len(scores))]
    found = Detections.ordered(boxes, scores, [i % 3 for i in range(len(scores))], NAMES)
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    assert found.boxes[:, 0].tolist() == order
    assert found.scores.tolist() == [scores[i] for i in order]
    assert found.labels.tolist() == [i % 3 for i in order]


def test_detections_can_be_selected_by_slice_mask_positions_and_number() -> None:
    found = detections()
    assert found[1:].labels.tolist() == [0, 1]
    assert found[np.array([True, False, True])].labels.tolist() == [2, 1]
    assert found[[True, False, True]].labels.tolist() == [2, 1]
    assert found[[0, 2]].labels.tolist() == [2, 1]
    assert found[1].labels.tolist() == [0]
    assert found[-1].labels.tolist() == [1]
    assert len(found[[]]) == 0
    assert found[1].boxes.tolist() == [BOXES[1]]
    assert found[1].class_names == NAMES


@pytest.mark.parametrize(
    ("keep", "text"),
    [
        ([True, False], r"mask should have shape \(3,\)"),
        ([0, 3], r"positions should be in 0..2"),
        ([-4], r"positions should be in 0..2"),
        ([0.5], "slice, a mask or positions"),
        ([[0], [1]], "slice, a mask or positions"),
        ([2, 0], "scores should descend"),
    ],
)
def test_selections_that_do_not_fit_are_named(keep: Any, text: str) -> None:
    with pytest.raises(InputError, match=text):
        detections()[keep]


def test_above_includes_the_score_itself() -> None:
    found = Detections([[0, 0, 1, 1]] * 3, [0.9, 0.3, 0.1], [0, 0, 0], NAMES)  # type: ignore[arg-type]
    assert len(found.above(0.3)) == 2  # 0.3 as float32 is a little more than 0.3, 0.9 a little less
    assert len(found.above(0.9)) == 1
    assert len(found.above(np.float64(0.9))) == 1  # NumPy would compare in float64, where they differ
    assert len(found.above(0.91)) == 0


def test_top_takes_the_first() -> None:
    found = detections()
    assert (found.top(2).labels.tolist(), len(found.top(99)), len(found.top(0)), len(found.top(-1))) == (
        [2, 0],
        3,
        0,
        0,
    )


def test_records_are_plain_values() -> None:
    found = detections()
    assert found.names() == ["cow", "cat", "dog"]
    assert json.loads(json.dumps(found.to_records()))[1] == {
        "label": "cat",
        "score": 0.5,
        "box": [5.0, 5.0, 20.0, 20.0],
    }


def test_empty_detections_know_their_classes() -> None:
    nothing = Detections.empty(list(NAMES))
    assert (len(nothing), nothing.class_names, nothing.names(), nothing.to_records()) == (0, NAMES, [], [])
    assert nothing.boxes.shape == (0, 4)
    assert len(nothing.above(0.5)) == len(nothing[:]) == 0


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"scores": [0.5, 0.25]}, r"scores should have shape \(3,\) to match boxes, got \(2,\)"),
        ({"labels": [0, 1]}, r"labels should have shape \(3,\)"),
        ({"labels": [0, 1, 3]}, "labels should be in 0..2, .* entry 2 is 3"),
        ({"labels": [0, -1, 1]}, "entry 1 is -1"),
        ({"labels": [0.0, 1.0, 1.0]}, "labels should be whole numbers"),
        ({"labels": [[0], [1, 2]]}, "labels should be whole numbers"),
        ({"scores": [0.5, 0.75, 0.25]}, r"entry 1 \(0.75\) .* use Detections.ordered"),
        ({"scores": [0.5, 0.25, float("nan")]}, "scores should be finite, but entry 2"),
        ({"scores": ["a", "b", "c"]}, "scores should be numbers"),
        ({"boxes": [[0, 0, 1]]}, "detections' boxes should have shape"),
        ({"class_names": ("cat",)}, "entry 0 is 2"),
    ],
)
def test_detections_refuse_columns_that_do_not_fit(change: dict[str, Any], text: str) -> None:
    arguments: dict[str, Any] = {
        "boxes": BOXES,
        "scores": [0.75, 0.5, 0.25],
        "labels": [2, 0, 1],
        "class_names": NAMES,
    }
    with pytest.raises(InputError, match=text):
        Detections(**(arguments | change))


def test_ordered_checks_lengths_before_it_sorts() -> None:
    with pytest.raises(InputError, match="labels should have shape"):
        Detections.ordered(BOXES, [0.1, 0.2, 0.3], [0], NAMES)
    with pytest.raises(InputError, match="source should have shape"):
        Proposals.ordered(BOXES, [0.1, 0.2, 0.3], [0])


def test_records_cannot_be_reassigned() -> None:
    with pytest.raises(AttributeError):
        detections().scores = np.zeros(3, np.float32)  # type: ignore[misc]


@pytest.mark.parametrize("record", [detections(), truth(), Proposals.ordered(BOXES, [1, 2, 3])])
def test_records_travel_between_processes(record: Any) -> None:
    again = pickle.loads(pickle.dumps(record))
    assert type(again) is type(record)
    np.testing.assert_array_equal(again.boxes, record.boxes)


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
