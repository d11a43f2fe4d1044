"""Picking boxes apart, against looking at every pair."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from inception_rcnn.proposals.overlaps import pick_apart, sift_down
from inception_rcnn.structures import pairwise_iou


def some_boxes(count: int, seed: int, side: int = 30) -> NDArray[np.int32]:
    """Boxes with an area; many overlap, some are equal."""
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.integers(0, side, (count, 2, 2)), axis=2)
    return np.concatenate([corners[:, :, 0], corners[:, :, 1] + 1], axis=1).astype(np.int32)


def slow_pick(boxes: NDArray[np.int32], scores: NDArray[np.float32], apart_from: float, penalty: float) -> list[int]:
    ious = pairwise_iou(boxes, boxes)
    picked: list[int] = []
    left = list(range(len(boxes)))
    while left:
        loss = [max([0.0, *(penalty * (ious[i, j] - apart_from) / (1 - apart_from) for j in picked)]) for i in left]
        best = max(range(len(left)), key=lambda at: (scores[left[at]] - loss[at], -left[at]))
        picked.append(left.pop(best))
    return picked


@given(st.integers(1, 40), st.integers(0, 200), st.sampled_from([0.0, 3.0, 50.0]))
def test_picks_in_the_slow_order(count: int, seed: int, penalty: float) -> None:
    boxes = np.unique(some_boxes(count, seed), axis=0)
    # Numbers without a pattern: no two boxes are ever worth the same, so that rounding decides nothing.
    scores = np.random.default_rng(seed).normal(0, 2, len(boxes)).astype(np.float32)
    order, values = pick_apart(boxes, scores, 0.4, penalty)
    assert order.tolist() == slow_pick(boxes, scores, 0.4, penalty)
    assert (np.diff(values) <= 0).all()


def test_without_overlap_the_scores_decide() -> None:
    boxes = np.array([[0, 0, 5, 5], [10, 0, 15, 5], [20, 0, 25, 5]], np.int32)
    order, values = pick_apart(boxes, np.array([1, 3, 2], np.float32), 0.4, 100)
    assert order.tolist() == [1, 2, 0] and values.tolist() == [3, 2, 1]


def test_a_near_copy_has_to_wait() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 11], [30, 30, 40, 40]], np.int32)
    assert pick_apart(boxes, np.array([3, 2.9, 1], np.float32), 0.4, 8)[0].tolist() == [0, 2, 1]


def test_more_pairs_than_first_guessed() -> None:
    """All of 300 boxes overlap each other: 44,850 pairs, where room for 64 a box was made."""
    boxes = np.array([[0, 0, 1000 + i, 1000] for i in range(300)], np.int32)
    scores = np.arange(300, dtype=np.float32)
    order, _ = pick_apart(boxes, scores, 0.4, 1e6)
    assert order.tolist()[:2] == [299, 0]  # the best, then the one least like it


@pytest.mark.parametrize("count", [0, 1])
def test_none_and_one(count: int) -> None:
    order, values = pick_apart(
        np.array([[0, 0, 2, 2]] * count, np.int32).reshape(-1, 4), np.ones(count, np.float32), 0.4, 1
    )
    assert order.tolist() == list(range(count)) and len(values) == count


@given(st.lists(st.integers(0, 5), min_size=1, max_size=40))
def test_heap_gives_the_largest_first_and_the_earlier_of_equals(numbers: list[int]) -> None:
    """A list that is sorted is a heap; its entries then fall, by steps of 3, as what overlaps a box makes them fall."""
    items = np.argsort(-np.array(numbers), kind="stable").astype(np.int32)
    values = np.array(numbers, np.float32)[items]
    fallen = [number - 3 * (at % 2) for at, number in enumerate(numbers)]
    taken: list[int] = []
    count = len(numbers)
    while count:
        top = int(items[0])
        if values[0] > fallen[top]:
            sift_down(values, items, count, np.float32(fallen[top]), items[0])
            continue
        taken.append(top)
        count -= 1
        sift_down(values, items, count, values[count], items[count])
    assert taken == sorted(range(len(numbers)), key=lambda i: (-fallen[i], i))
