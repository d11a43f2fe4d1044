"""The two orders of the candidates."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from inception_rcnn.proposals.search.ranking import (
    EVIDENCE_WEIGHTS,
    Candidates,
    agreement_order,
    distinct,
    evidence,
    large_enough,
    random_order,
    sum_overlapping,
)
from inception_rcnn.structures import pairwise_iou


def candidates(boxes: list[list[int]], positions: list[float] | None = None) -> Candidates:
    places = np.arange(1, len(boxes) + 1) if positions is None else positions
    return Candidates(
        np.array(boxes, np.int32), np.array(places, np.float32), np.ones(len(boxes), np.float32)
    )  # fmt: skip


def many(seed: int, count: int = 80) -> Candidates:
    """Boxes on a coarse grid, so that some are equal."""
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.integers(0, 5, (count, 2, 2)) * 10, axis=2)
    boxes = np.concatenate([corners[:, :, 0], corners[:, :, 1] + 10], axis=1).astype(np.int32)
    return Candidates(boxes, rng.integers(1, 40, count).astype(np.float32), rng.random(count, dtype=np.float32))


@given(st.integers(0, 500))
def test_distinct_gives_first_occurrences_in_order(seed: int) -> None:
    boxes = many(seed).boxes
    seen: list[tuple[int, ...]] = []
    which = []
    for box in map(tuple, boxes.tolist()):
        if box not in seen:
            seen.append(box)
        which.append(seen.index(box))
    first, ours = distinct(boxes)
    assert [tuple(box) for box in boxes[first].tolist()] == seen
    assert first.tolist() == sorted(first.tolist()) and ours.tolist() == which


def test_distinct_with_corners_too_large_for_one_key() -> None:
    boxes = np.array([[0, 0, 2**20, 2**20], [1, 1, 2**20, 2**20], [0, 0, 2**20, 2**20]], np.int32)
    first, which = distinct(boxes)
    assert first.tolist() == [0, 1] and which.tolist() == [0, 1, 0]


def test_boxes_that_are_a_little_small_are_widened_and_smaller_ones_go() -> None:
    boxes = [[0, 0, 20, 20], [40, 5, 59, 35], [10, 10, 23, 23], [10, 10, 22, 40], [10, 10, 40, 22], [0, 0, 40, 14]]
    widened = [[0, 0, 20, 20], [40, 5, 60, 35], [7, 7, 27, 27], [0, 0, 40, 20]]
    assert large_enough(candidates(boxes), 100, 40, 20, 0.65).boxes.tolist() == widened


def test_r_cnn_widened_none() -> None:
    boxes = [[0, 0, 20, 20], [0, 0, 19, 30], [0, 0, 30, 19], [0, 0, 100, 15], [0, 0, 40, 14]]
    assert large_enough(candidates(boxes), 100, 40, 20).boxes.tolist() == boxes[:1]


def test_boxes_are_widened_inside_the_picture() -> None:
    boxes = [[0, 0, 13, 30], [87, 0, 100, 30], [83, 26, 100, 40]]
    widened = [[0, 0, 20, 30], [80, 0, 100, 30], [80, 20, 100, 40]]
    assert large_enough(candidates(boxes), 100, 40, 20, 0.65).boxes.tolist() == widened


def test_a_side_as_long_as_the_picture_is_long_enough() -> None:
    boxes = [[0, 0, 30, 15], [0, 0, 15, 10], [4, 0, 12, 15]]
    assert large_enough(candidates(boxes), 100, 15, 20, 0.65).boxes.tolist() == [[0, 0, 30, 15], [0, 0, 20, 15]]


@given(st.integers(0, 100))
def test_random_order_is_the_formula(seed: int) -> None:
    """Ascending by position times a random number; of equal boxes the first one counts."""
    some = many(seed)
    order, scores = random_order(some, seed)
    draws = np.random.default_rng(seed).random(len(some.boxes), dtype=np.float32)
    values = some.positions * draws
    np.testing.assert_array_equal(-scores, values[order])
    assert (np.diff(scores) <= 0).all()
    for box, value in zip(some.boxes[order], values[order], strict=True):
        assert value == values[(some.boxes == box).all(axis=1)].min()


def test_random_order_depends_on_the_seed_only() -> None:
    some = many(0)
    assert random_order(some, 1)[0].tolist() == random_order(some, 1)[0].tolist()
    assert random_order(some, 1)[0].tolist() != random_order(some, 2)[0].tolist()


def test_random_order_prefers_the_top_of_the_hierarchy() -> None:
    boxes = [[i, 0, i + 30, 30] for i in range(400)]
    order, _ = random_order(candidates(boxes), 0)
    assert np.mean(order[:100]) < 120 < 240 < np.mean(order[300:])


@given(st.integers(0, 200))
def test_agreement_order_names_every_box_once(seed: int) -> None:
    some = many(seed)
    order, scores = agreement_order(some, 50, 50)
    assert sorted(order.tolist()) == sorted(distinct(some.boxes)[0].tolist())
    assert (np.diff(scores) <= 0).all()


def slow_evidence(some: Candidates, box: NDArray[np.int32], width: int, height: int) -> list[float]:
    def iou(other: NDArray[np.int32]) -> float:
        span = [max(0, min(box[i + 2], other[i + 2]) - max(box[i], other[i])) for i in (0, 1)]
        areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (box, other)]
        return span[0] * span[1] / (sum(areas) - span[0] * span[1])

    agreeing = [math.log(sum(iou(other) > level for other in some.boxes)) for level in (0.5, 0.7)]
    equal = (some.boxes == box).all(axis=1)
    sides = sum(int(a) == b for a, b in zip(box, (0, 0, width, height), strict=True))
    share = math.log((box[2] - box[0]) * (box[3] - box[1]) / (width * height))
    aspect = math.log((box[2] - box[0]) / (box[3] - box[1]))
    return [*agreeing, math.log(some.contrasts[equal].max() + 0.1), sides, share, aspect, share**2, aspect**2]


@pytest.mark.parametrize("seed", range(5))
def test_evidence_is_the_slow_one(seed: int) -> None:
    some = many(seed)
    first, which = distinct(some.boxes)
    ours = evidence(some, first, which, 50, 50)
    assert ours.shape == (len(first), len(EVIDENCE_WEIGHTS))
    expected = [slow_evidence(some, some.boxes[i], 50, 50) for i in first]
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_what_many_found_stands_before_what_one_found() -> None:
    found_often = [[20, 20, 60, 60]] * 6
    order, _ = agreement_order(candidates([[30, 80, 70, 120], *found_often, [80, 30, 120, 70]]), 140, 140)
    assert order[0] == 1


def test_a_near_copy_stands_behind_another_place() -> None:
    boxes = [[20, 20, 60, 60], [20, 20, 60, 60], [20, 20, 60, 62], [80, 80, 120, 120]]
    order, _ = agreement_order(candidates(boxes), 140, 140)
    assert order[1] == 3


def test_a_strong_contour_stands_before_a_weak_one() -> None:
    some = candidates([[20, 20, 60, 60], [80, 80, 120, 120]])
    strong = Candidates(some.boxes, some.positions, np.array([0.5, 3], np.float32))
    assert agreement_order(strong, 140, 140)[0].tolist() == [1, 0]


def some_boxes(count: int, seed: int, side: int = 30) -> NDArray[np.int32]:
    """Boxes with an area; many overlap, some are equal."""
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.integers(0, side, (count, 2, 2)), axis=2)
    return np.concatenate([corners[:, :, 0], corners[:, :, 1] + 1], axis=1).astype(np.int32)


@given(st.integers(1, 60), st.integers(0, 200))
def test_sums_are_those_over_all_pairs(count: int, seed: int) -> None:
    boxes = some_boxes(count, seed)
    values = np.random.default_rng(seed).integers(1, 5, count).astype(np.float32)
    levels = (0.3, 0.5, 0.71)
    ious = pairwise_iou(boxes, boxes)
    expected = np.stack([((ious > level) * values[None]).sum(axis=1) for level in levels], axis=1)
    np.testing.assert_array_equal(sum_overlapping(boxes, values, levels), expected)
