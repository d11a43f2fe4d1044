"""Suppression against the slow truth in exact fractions, on boxes built to sit on the edge."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inception_rcnn.structures import InputError, nms, nms_per_class, one_name_each
from inception_rcnn.structures.suppression import greedy, nms_by_label
from reference.slow_nms import slow_iou, slow_nms, slow_nms_per_class, slow_one_name_each

corner = st.integers(0, 12)
boxes_on_a_grid = st.lists(st.tuples(corner, corner, corner, corner), max_size=14)
few_scores = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])  # few, so that many are equal
thresholds = st.sampled_from([0.0, 0.1, 0.2, 0.25, 0.3, 0.5, 0.6, 0.7, 0.9, 1.0])


@given(st.data(), boxes_on_a_grid, thresholds)
def test_nms_keeps_what_the_slow_truth_keeps(data: st.DataObject, boxes: Any, threshold: float) -> None:
    scores = data.draw(st.lists(few_scores, min_size=len(boxes), max_size=len(boxes)))
    assert nms(boxes, scores, threshold).tolist() == slow_nms(boxes, scores, threshold)


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.3, 0.5, 0.9, 0.99])
@pytest.mark.parametrize(("across", "widest"), [(2000, 40), (2000, 2000), (300, 300), (1, 600)])
def test_among_many_boxes_those_that_are_compared_are_enough(threshold: float, across: int, widest: int) -> None:
    """Narrow ones that spread over all strips, wide ones that reach over many, and all at one place."""
    rng = np.random.default_rng(0)
    corner = np.column_stack([rng.integers(-across, across, 80), rng.integers(0, 20, 80)])
    first = np.hstack([corner, corner + np.column_stack([rng.integers(1, widest, 80), rng.integers(20, 40, 80)])])
    moved = first + rng.integers(-3, 4, (80, 4))  # each box again, a little elsewhere
    boxes, scores = np.concatenate([first, moved]), rng.random(160)
    assert nms(boxes, scores, threshold).tolist() == slow_nms(boxes.tolist(), scores.tolist(), threshold)


@pytest.mark.parametrize("tenths", range(1, 10))
@pytest.mark.parametrize("scale", [1, 7, 113])
def test_a_box_exactly_at_the_threshold_stays_and_just_above_it_goes(tenths: int, scale: int) -> None:
    start = (10 - tenths) // 2  # of ten columns the two boxes share `tenths`
    boxes = np.array([[0, 0, start + tenths, 3], [start, 0, 10, 3]]) * scale
    assert slow_iou(*boxes.tolist()) * 10 == tenths
    assert nms(boxes, [0.9, 0.8], tenths / 10).tolist() == [0, 1]
    assert nms(boxes, [0.9, 0.8], tenths / 10 - 1e-9).tolist() == [0]


def test_equal_scores_keep_the_first() -> None:
    assert nms([[0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10]], [0.5, 0.5, 0.5]).tolist() == [0]


def test_a_suppressed_box_suppresses_nothing() -> None:
    chain = [[0, 0, 10, 10], [5, 0, 15, 10], [10, 0, 20, 10]]  # neighbours overlap by a third, the ends touch
    assert nms(chain, [0.9, 0.8, 0.7], 0.3).tolist() == [0, 2]
    assert nms(chain, [0.8, 0.9, 0.7], 0.3).tolist() == [1]


def test_boxes_without_area_always_stay() -> None:
    assert nms([[3, 3, 3, 9], [3, 3, 3, 9], [5, 5, 2, 2]], [0.1, 0.2, 0.3], 0.0).tolist() == [2, 1, 0]


def test_nothing_in_nothing_out() -> None:
    kept = nms([], [])
    assert kept.shape == (0,)
    assert kept.dtype == np.int64


def test_arguments_are_not_changed() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10]], np.float32)
    scores = np.array([0.1, 0.2], np.float32)
    nms(boxes, scores)
    assert (boxes.tolist(), scores.tolist()) == ([[0, 0, 10, 10], [1, 0, 11, 10]], [np.float32(0.1), np.float32(0.2)])


@pytest.mark.parametrize(
    ("scores", "threshold", "text"),
    [
        ([0.5], 0.3, r"scores should have shape \(2,\)"),
        ([[0.5], [0.5]], 0.3, r"got \(2, 1\)"),
        ([0.5, float("nan")], 0.3, "entry 1 is nan"),
        (["a", "b"], 0.3, "scores should be numbers"),
        ([0.5, 0.4], 1.01, r"iou_threshold should be in \[0, 1\], got 1.01"),
        ([0.5, 0.4], -0.1, "got -0.1"),
        ([0.5, 0.4], float("nan"), "got nan"),
    ],
)
def test_wrong_arguments_are_named(scores: Any, threshold: float, text: str) -> None:
    with pytest.raises(InputError, match=text):
        nms([[0, 0, 1, 1], [0, 0, 1, 1]], scores, threshold)


@given(
    st.data(),
    boxes_on_a_grid,
    st.integers(1, 4),
    few_scores,
    thresholds,
    st.integers(0, 6),
    st.integers(0, 12),
)
def test_per_class_keeps_what_the_slow_truth_keeps(
    data: st.DataObject,
    boxes: Any,
    classes: int,
    score_threshold: float,
    iou_threshold: float,
    max_per_class: int,
    max_detections: int,
) -> None:
    row = st.lists(few_scores, min_size=classes, max_size=classes)
    scores = data.draw(st.lists(row, min_size=len(boxes), max_size=len(boxes)))
    found = nms_per_class(
        boxes,
        np.reshape(np.array(scores, np.float32), (len(boxes), classes)),
        score_threshold=score_threshold,
        iou_threshold=iou_threshold,
        max_per_class=max_per_class,
        max_detections=max_detections,
    )
    expected = slow_nms_per_class(boxes, scores, score_threshold, iou_threshold, max_per_class, max_detections)
    assert list(zip(*(values.tolist() for values in found), strict=True)) == expected


def test_classes_do_not_suppress_each_other() -> None:
    position, label, score = nms_per_class(
        [[0, 0, 10, 10], [1, 0, 11, 10]],
        [[0.75, 0.5], [0.5, 0.25]],
        score_threshold=0.1,
        iou_threshold=0.3,
        max_per_class=10,
        max_detections=10,
    )
    assert (position.tolist(), label.tolist(), score.tolist()) == ([0, 0], [0, 1], [0.75, 0.5])
    assert (position.dtype, label.dtype, score.dtype) == (np.int64, np.int64, np.float32)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"scores": [[1e300, 0.5], [0.25, 0.25]]}, r"finite, but entry \(0, 0\) is inf"),
        ({"scores": [[0.5, 0.5]]}, r"scores should have shape \(2, C\)"),
        ({"scores": [0.5, 0.5]}, r"got \(2,\)"),
        ({"scores": [[0.5, 0.5], [float("nan"), 0.5]]}, r"entry \(1, 0\) is nan"),
        ({"scores": [["a"], ["b"]]}, "scores should be numbers"),
        ({"score_threshold": float("nan")}, "score_threshold should be a number"),
        ({"iou_threshold": 2}, "iou_threshold"),
        ({"max_per_class": -1}, "max_per_class"),
        ({"max_per_class": 2.5}, "max_per_class should be a whole number"),
        ({"max_detections": -1}, "max_detections"),
    ],
)
def test_per_class_wrong_arguments_are_named(change: dict[str, Any], text: str) -> None:
    arguments: dict[str, Any] = {
        "boxes": [[0, 0, 1, 1], [0, 0, 2, 2]],
        "scores": [[0.5, 0.5], [0.25, 0.25]],
        "score_threshold": 0.1,
        "iou_threshold": 0.3,
        "max_per_class": 5,
        "max_detections": 5,
    }
    with pytest.raises(InputError, match=text):
        nms_per_class(**(arguments | change))


def test_a_limit_gives_the_first_of_what_stays_without() -> None:
    rng = np.random.default_rng(3)
    corner = rng.uniform(0, 80, (300, 2))
    boxes = np.hstack([corner, corner + rng.uniform(5, 40, (300, 2))])
    scores = rng.integers(0, 20, 300) / 20  # many ties
    whole = nms(boxes, scores, 0.5)
    for limit in (0, 1, 7, len(whole), 10_000, 10**30):
        assert nms(boxes, scores, 0.5, limit=limit).tolist() == whole[:limit].tolist()
    with pytest.raises(InputError, match="limit should be a whole number, 0 or more, or None for no limit, got -1"):
        nms(boxes, scores, 0.5, limit=-1)


def test_a_limit_of_all_classes_is_reached_when_the_best_entries_suppress_each_other() -> None:
    """More entries are sorted than at first if too few of these stay: 9,000 equal boxes come before ten others."""
    boxes = np.concatenate([np.tile([[0, 0, 10, 10]], (9_000, 1)), [[20 * k, 0, 20 * k + 9, 9] for k in range(1, 11)]])
    scores = np.concatenate([np.full(9_000, 0.9), np.linspace(0.5, 0.4, 10)])[:, None]
    settings = {"score_threshold": 0.1, "iou_threshold": 0.3}
    position, _, _ = nms_per_class(boxes, scores, **settings, max_detections=8)
    assert position.tolist() == [0, *range(9_000, 9_007)]
    assert nms_per_class(boxes, scores, **settings)[0].tolist() == [0, *range(9_000, 9_010)]


def test_one_type_of_arguments_reaches_the_kernel() -> None:
    nms([[0, 0, 1, 1]], [1])
    nms(np.zeros((0, 4)), [])
    nms_per_class([[0, 0, 1, 1]], [[1.0, 0.5]], score_threshold=0, iou_threshold=1)
    nms_by_label([[0, 0, 1, 1]], [1], [4], 0.5)
    assert len(greedy.dispatcher.signatures) == 1  # type: ignore[attr-defined]


@given(st.data(), boxes_on_a_grid, thresholds, st.sampled_from([None, 1, 2]))
def test_by_label_is_nms_of_each_class(data: st.DataObject, boxes: Any, threshold: float, limit: int | None) -> None:
    count = len(boxes)
    scores = data.draw(st.lists(few_scores, min_size=count, max_size=count))
    labels = data.draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
    expected = []
    for label in set(labels):
        rows = [row for row in range(count) if labels[row] == label]
        kept = slow_nms([boxes[row] for row in rows], [scores[row] for row in rows], threshold)
        expected += [rows[one] for one in kept[:limit]]
    expected.sort(key=lambda row: (-scores[row], row))
    assert nms_by_label(boxes, scores, labels, threshold, max_per_class=limit).tolist() == expected


@pytest.mark.parametrize("labels", [[0], [0, -1], [[0, 0]]])
def test_by_label_wants_a_label_for_each_box(labels: Any) -> None:
    with pytest.raises(InputError, match="labels should be 2 whole numbers from 0 on, one for each box"):
        nms_by_label([[0, 0, 1, 1]] * 2, [1, 0.5], labels, 0.5)


@given(st.data(), boxes_on_a_grid, thresholds.filter(bool))
def test_one_name_each_keeps_what_the_slow_truth_keeps(data: st.DataObject, boxes: Any, threshold: float) -> None:
    scores = data.draw(st.lists(few_scores, min_size=len(boxes), max_size=len(boxes)))
    expected = slow_one_name_each(boxes, scores, threshold)
    assert one_name_each(boxes, scores, threshold).tolist() == expected
    assert one_name_each(boxes, scores, threshold, limit=2).tolist() == expected[:2]


@pytest.mark.parametrize("tenths", range(1, 11))
@pytest.mark.parametrize("scale", [1, 7, 113])
def test_one_thing_has_one_name_exactly_at_the_threshold_too(tenths: int, scale: int) -> None:
    start = (10 - tenths) // 2  # of ten columns the two boxes share `tenths`
    boxes = np.array([[0, 0, start + tenths, 3], [start, 0, 10, 3]]) * scale
    assert one_name_each(boxes, [0.8, 0.9], tenths / 10).tolist() == [1]
    if tenths < 10:
        assert one_name_each(boxes, [0.8, 0.9], tenths / 10 + 1e-9).tolist() == [1, 0]


@pytest.mark.parametrize("threshold", [0, -0.1, 1.01, float("nan")])
def test_one_name_each_wants_an_overlap(threshold: float) -> None:
    with pytest.raises(InputError, match="iou_threshold should be above 0 and at most 1, got"):
        one_name_each([[0, 0, 1, 1]], [0.5], threshold)
