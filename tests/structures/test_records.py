"""Proposals, Detections and GroundTruth: what they promise about their columns, and what selecting keeps."""

from __future__ import annotations

import json
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inception_rcnn.structures import Detections, GroundTruth, InputError, Proposals
from inception_rcnn.structures.proposals import boxes_checksum

NAMES = ("cat", "dog", "cow")
BOXES = [[0, 0, 10, 10], [5, 5, 20, 20], [1, 2, 3, 4]]


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


def test_proposals_default_to_one_source() -> None:
    proposals = Proposals(BOXES, [3, 2, 1])  # type: ignore[arg-type]
    assert proposals.source.tolist() == [0, 0, 0]
    assert proposals.source_names == ("selective-search",)
    assert (proposals.boxes.dtype, proposals.scores.dtype, proposals.source.dtype) == (np.float32, np.float32, np.uint8)


def test_ordered_proposals_keep_box_score_and_source_together() -> None:
    proposals = Proposals.ordered(BOXES, [1, 3, 1], [0, 1, 1], ("a", "b"))
    assert proposals.boxes.tolist() == [BOXES[1], BOXES[0], BOXES[2]]
    assert (proposals.scores.tolist(), proposals.source.tolist()) == ([3, 1, 1], [1, 0, 1])


def test_selected_proposals_keep_their_sources() -> None:
    proposals = Proposals(BOXES, [3, 2, 1], [1, 0, 1], ("a", "b"))  # type: ignore[arg-type]
    assert proposals[proposals.source == 1].boxes.tolist() == [BOXES[0], BOXES[2]]
    assert proposals[1:].source_names == ("a", "b")
    assert (len(proposals.top(2)), len(proposals.top(9)), len(proposals.top(-3)), len(proposals[[]])) == (2, 3, 0, 0)


def test_objectness_stays_with_its_box() -> None:
    proposals = Proposals.ordered(BOXES, [1, 3, 1], objectness=[0.25, 1, 0])
    assert proposals.objectness is not None and proposals.objectness.dtype == np.float32
    assert proposals.objectness.tolist() == [1, 0.25, 0]
    for chosen, expected in ((proposals[1:], [0.25, 0]), (proposals[[0, 2]], [1, 0]), (proposals.top(1), [1])):
        assert chosen.objectness is not None and chosen.objectness.tolist() == expected
    assert Proposals.ordered(BOXES, [1, 3, 1])[1:].objectness is None


def test_empty_proposals() -> None:
    nothing = Proposals.empty(("a",))
    assert (len(nothing), nothing.boxes.shape, nothing.source_names) == (0, (0, 4), ("a",))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"scores": [1, 2, 3]}, "use Proposals.ordered"),
        ({"scores": [1]}, "scores should have shape"),
        ({"source": [0, 0]}, "source should have shape"),
        ({"source": [0, 0, 1]}, "source should be in 0..0"),
        ({"source_names": ()}, "source_names should hold"),
        ({"source_names": tuple(map(str, range(257)))}, "got 257"),
        ({"boxes": [[0, 0, 1, float("nan")]] * 3}, "proposals' boxes should be finite"),
        ({"objectness": [0.5, 0.5]}, "objectness should have shape"),
        ({"objectness": [0.5, 1.5, -1]}, r"objectness should be in \[0, 1\], but entry 1 is 1.5"),
        ({"objectness": [0.5, 1, float("nan")]}, "objectness should be finite"),
    ],
)
def test_proposals_refuse_columns_that_do_not_fit(change: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        Proposals(**({"boxes": BOXES, "scores": [3, 2, 1]} | change))


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


def test_the_checksum_of_boxes_is_of_the_boxes_of_each_image_alone() -> None:
    def some(*boxes: list[int], scores: float = 1.0) -> Proposals:
        return Proposals.ordered(np.array(boxes, np.float32).reshape(-1, 4), [scores] * len(boxes))

    first, second = [0, 0, 10, 10], [5, 5, 20, 20]
    one = boxes_checksum([some(first, second), some()])
    assert boxes_checksum([some(first, second, scores=0.5), some()]) == one
    others = ([some(first), some(second)], [some(second, first), some()], [some(first, second)], [some(first), some()])
    assert len({boxes_checksum(other) for other in others} | {one}) == 5
