"""Box arithmetic against counting pixels, and its laws."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from inception_rcnn.structures import (
    InputError,
    as_boxes,
    box_area,
    clip_boxes,
    pairwise_iou,
)
from inception_rcnn.structures.boxes import check_area, check_near, decode_boxes, encode_boxes, share_inside, undo_sum

side = st.integers(-3, 9)
any_box = st.tuples(side, side, side, side)  # inverted and empty ones too
box_lists = st.lists(any_box, max_size=6)


def pixels(box: tuple[int, int, int, int]) -> set[tuple[int, int]]:
    """The pixels a box of whole numbers covers: x2 and y2 are exclusive."""
    x1, y1, x2, y2 = box
    return {(x, y) for x in range(x1, x2) for y in range(y1, y2)}


@given(box_lists)
def test_area_is_the_number_of_pixels(boxes: list[tuple[int, int, int, int]]) -> None:
    assert box_area(boxes).tolist() == [len(pixels(box)) for box in boxes]


@given(box_lists, box_lists)
def test_iou_is_shared_pixels_over_pixels_of_either(
    first: list[tuple[int, int, int, int]], second: list[tuple[int, int, int, int]]
) -> None:
    overlap = pairwise_iou(first, second)
    assert overlap.shape == (len(first), len(second))
    assert overlap.dtype == np.float32
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            either = pixels(a) | pixels(b)
            expected = len(pixels(a) & pixels(b)) / len(either) if either else 0.0
            assert overlap[i, j] == np.float32(expected)


finite = st.floats(-1e6, 1e6, width=32)
real_boxes = st.lists(st.tuples(finite, finite, finite, finite), max_size=5)


@given(real_boxes, real_boxes)
def test_iou_is_symmetric_and_in_range(first: list[tuple[float, ...]], second: list[tuple[float, ...]]) -> None:
    overlap = pairwise_iou(first, second)
    np.testing.assert_array_equal(overlap, pairwise_iou(second, first).T)
    assert ((overlap >= 0) & (overlap <= 1)).all()


@given(real_boxes)
def test_iou_with_itself_is_one_exactly_when_there_is_area(boxes: list[tuple[float, ...]]) -> None:
    array = as_boxes(boxes)
    with_area = (array[:, 2] > array[:, 0]) & (array[:, 3] > array[:, 1])
    assert np.diag(pairwise_iou(array, array)).tolist() == with_area.astype(float).tolist()


def test_iou_of_touching_boxes_is_zero() -> None:
    assert pairwise_iou([[0, 0, 10, 10]], [[10, 0, 20, 10], [0, 10, 10, 20]]).tolist() == [[0.0, 0.0]]


def test_iou_of_tiny_boxes_far_away_is_still_a_number() -> None:
    tiny = [[0, 0, 1e-30, 1e-30], [1e30, 1e30, 2e30, 2e30]]
    assert pairwise_iou(tiny, tiny).tolist() == [[1.0, 0.0], [0.0, 1.0]]


@given(real_boxes, st.floats(0, 1e4), st.floats(0, 1e4))
def test_clipped_boxes_lie_in_the_image_and_stay_when_clipped_again(
    boxes: list[tuple[float, ...]], width: float, height: float
) -> None:
    clipped = clip_boxes(boxes, width, height)
    limits = np.array([width, height, width, height], np.float32)
    assert ((clipped >= 0) & (clipped <= limits)).all()
    np.testing.assert_array_equal(clip_boxes(clipped, width, height), clipped)


def test_clipping_leaves_boxes_inside_as_they_are() -> None:
    inside = np.array([[0, 0, 30, 20], [1.5, 2.5, 3.5, 4.5]], np.float32)
    np.testing.assert_array_equal(clip_boxes(inside, 30, 20), inside)


def test_clipping_uses_width_for_x_and_height_for_y() -> None:
    assert clip_boxes([[-1, -1, 100, 100]], width=30, height=20).tolist() == [[0, 0, 30, 20]]


@given(box_lists, box_lists)
def test_share_inside_is_shared_pixels_over_the_boxs_own(
    first: list[tuple[int, int, int, int]], second: list[tuple[int, int, int, int]]
) -> None:
    found = share_inside(as_boxes(first).astype(np.float64), as_boxes(second).astype(np.float64))
    for row, one in enumerate(first):
        for column, other in enumerate(second):
            shared = len(pixels(one) & pixels(other))
            assert found[row, column] == pytest.approx(shared / len(pixels(one)) if pixels(one) else 0)


@pytest.mark.parametrize(
    "function",
    [
        box_area,
        lambda b: pairwise_iou(b, b),
        lambda b: clip_boxes(b, 5, 5),
    ],
)
def test_arguments_are_never_changed(function: Callable[[Any], Any]) -> None:
    boxes = np.array([[-2, 1, 9, 7], [0, 0, 3, 3]], np.float32)
    before = boxes.copy()
    result = function(boxes)
    np.testing.assert_array_equal(boxes, before)
    assert not np.shares_memory(result, boxes)


@pytest.mark.parametrize("empty", [[], np.zeros((0, 4)), np.zeros((0, 4), np.int64), ()])
def test_no_boxes_are_boxes(empty: Any) -> None:
    boxes = as_boxes(empty)
    assert boxes.shape == (0, 4)
    assert boxes.dtype == np.float32
    assert pairwise_iou(empty, [[0, 0, 1, 1]]).shape == (0, 1)


def test_right_boxes_are_not_copied() -> None:
    boxes = np.array([[0, 0, 1, 1]], np.float32)
    assert as_boxes(boxes) is boxes


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ([1, 2, 3, 4], r"shape \(N, 4\), got \(4,\); put a single box into a list"),
        ([[1, 2, 3]], r"got \(1, 3\)"),
        (np.zeros((2, 2, 4)), r"got \(2, 2, 4\)"),
        (np.zeros((0, 5)), r"got \(0, 5\)"),
        (7, r"got \(\)"),
        ([[1, 2, 3, 4], [1, 2, float("nan"), 4]], "row 1 is"),
        ([[1, 2, 3, float("inf")]], "row 0 is"),
        ([[1, 2, 3, 1e300]], "row 0 is"),
        ([[1, 2, 3, 4], [1, 2]], "numbers of shape"),
        ("boxes", "numbers of shape"),
        (None, "should"),
    ],
)
def test_wrong_boxes_are_named(wrong: Any, text: str) -> None:
    with pytest.raises(InputError, match=text) as caught:
        as_boxes(wrong, "the regions")
    assert "the regions" in str(caught.value)


def test_a_negative_image_is_refused() -> None:
    with pytest.raises(InputError, match="width and height"):
        clip_boxes([[0, 0, 1, 1]], -1, 5)


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


real_boxes = st.lists(
    st.tuples(st.floats(-50, 500), st.floats(-50, 500), st.floats(1, 300), st.floats(1, 300)), min_size=1, max_size=5
).map(lambda rows: np.array([(x, y, x + width, y + height) for x, y, width, height in rows], np.float32))


@given(real_boxes, st.integers(0, 10**6))
def test_offsets_lead_to_the_box_they_were_made_for(boxes: NDArray[np.float32], seed: int) -> None:
    rng = np.random.default_rng(seed)
    size = boxes[:, 2:] - boxes[:, :2]
    corner = boxes[:, :2] + rng.uniform(-1, 1, size.shape) * size
    targets = np.hstack([corner, corner + size * np.exp(rng.uniform(-1.9, 1.9, size.shape))]).astype(np.float32)
    offsets = encode_boxes(boxes, targets)
    assert offsets.dtype == np.float32
    np.testing.assert_allclose(decode_boxes(boxes, offsets), targets, atol=1e-3 * max(1.0, float(size.max()) / 100))
    np.testing.assert_allclose(encode_boxes(boxes, decode_boxes(boxes, offsets)), offsets, atol=1e-2)


@given(real_boxes)
def test_no_offsets_leave_boxes_where_they_are(boxes: NDArray[np.float32]) -> None:
    np.testing.assert_allclose(decode_boxes(boxes, np.zeros_like(boxes)), boxes, rtol=1e-6, atol=1e-6)
    assert np.array_equal(encode_boxes(boxes, boxes), np.zeros_like(boxes))


def test_offsets_by_hand() -> None:
    start, end = [[10, 20, 30, 60]], [[14, 16, 34, 36]]  # 20 x 40 at (20, 40) -> 20 x 20 at (24, 26)
    expected = [[0.2 / 0.1, -0.35 / 0.1, 0, np.log(0.5) / 0.2]]
    np.testing.assert_allclose(encode_boxes(start, end), expected, rtol=1e-6)
    np.testing.assert_allclose(decode_boxes(start, expected), end, rtol=1e-6)


def test_no_side_grows_or_shrinks_without_bounds() -> None:
    (grown, shrunk) = decode_boxes([[0, 0, 10, 10], [0, 0, 10, 10]], [[0, 0, 1e3, 1e3], [0, 0, -1e3, -1e3]])
    assert grown[2] - grown[0] == pytest.approx(10 * np.e**2) and shrunk[3] - shrunk[1] == pytest.approx(10 / np.e**2)


def test_boxes_without_area_have_no_offsets() -> None:
    for boxes, targets in (([[0, 0, 0, 5]], [[0, 0, 5, 5]]), ([[0, 0, 5, 5]], [[0, 5, 5, 0]])):
        with pytest.raises(InputError, match="should have area"):
            encode_boxes(boxes, targets)


def test_boxes_without_area_are_named() -> None:
    check_area(as_boxes([[0, 0, 1, 1]]))
    check_area(as_boxes([]))
    with pytest.raises(InputError, match=r"crops has 2 without area; first is row 1: \[5.0, 5.0, 5.0, 9.0\]"):
        check_area(as_boxes([[0, 0, 1, 1], [5, 5, 5, 9], [9, 0, 5, 9]]), "crops")


def test_boxes_reach_a_million_pixels_outside_and_no_more() -> None:
    near = as_boxes([[-1e6, -1e6, 1e6 + 30, 1e6 + 20], [0, 0, 30, 20]])
    check_near(near, 30, 20)
    check_near(near[:0], 30, 20)
    for far in ([-1.1e6, 0, 10, 10], [0, -1e12, 10, 10], [0, 0, 1.1e6, 10], [0, 0, 10, 3e38]):
        with pytest.raises(InputError, match=r"image of 30 x 20 px, but row 2 reaches more than 1000000 px outside it"):
            check_near(as_boxes([*near, far]), 30, 20)
