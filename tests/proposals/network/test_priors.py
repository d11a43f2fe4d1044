"""Priors: their places, sizes and order, against loops; and what k-means finds among boxes."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from inception_rcnn.proposals.network.priors import (
    STRIDES,
    PriorSettings,
    as_pixels,
    as_shares,
    common_boxes,
    common_ratios,
    flattened,
    grid_priors,
)
from inception_rcnn.structures import InputError

SETTINGS = PriorSettings(sides=((0.1,), (0.2,), (0.4,), (0.8,)), ratios=(0.5, 2.0))


@pytest.mark.parametrize("settings", [SETTINGS, PriorSettings()])
def test_priors_are_those_of_the_loops(settings: PriorSettings) -> None:
    expected = []
    for stride, sides in zip(STRIDES, settings.sides, strict=True):
        cells = 128 // stride
        for row in range(cells):
            for column in range(cells):
                for size in sides:
                    for ratio in settings.ratios:
                        width, height = size * math.sqrt(ratio), size / math.sqrt(ratio)
                        x, y = (column + 0.5) / cells, (row + 0.5) / cells
                        expected.append((x - width / 2, y - height / 2, x + width / 2, y + height / 2))
    found = grid_priors(settings, 128)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(("side", "cells"), [(64, 85), (256, 1360), (320, 2125)])
def test_as_many_priors_a_cell_as_sizes_times_ratios(side: int, cells: int) -> None:
    assert PriorSettings().per_cell == 6 and len(grid_priors(PriorSettings(), side)) == 6 * cells
    assert SETTINGS.per_cell == 2 and len(grid_priors(SETTINGS, side)) == 2 * cells


@pytest.mark.parametrize("side", [300, 32, 0, -64])
def test_a_side_that_the_grids_do_not_divide_is_refused(side: int) -> None:
    with pytest.raises(InputError, match=f"multiple of 64 px, got {side}"):
        grid_priors(SETTINGS, side)


@given(st.lists(st.tuples(*[st.integers(0, 500)] * 4), max_size=5), st.integers(500, 900), st.integers(500, 900))
def test_pixels_to_shares_and_back(rows: list[tuple[int, ...]], width: int, height: int) -> None:
    boxes = np.array(rows, np.float32).reshape(-1, 4)
    shares = as_shares(boxes, width, height)
    assert shares.dtype == np.float32 and ((shares >= 0) & (shares <= 1)).all()
    np.testing.assert_allclose(as_pixels(shares, width, height), boxes, atol=1e-3)


def test_x_goes_with_the_width_and_y_with_the_height() -> None:
    assert as_shares(np.array([[10, 10, 20, 20]], np.float32), 100, 40).tolist() == [
        pytest.approx([0.1, 0.25, 0.2, 0.5])
    ]


def test_pixels_are_cut_at_the_border() -> None:
    boxes = as_pixels(np.array([[-0.5, -1, 0.5, 2], [0.25, 0.5, 7, 0.75]], np.float32), 40, 20)
    assert boxes.tolist() == [[0, 0, 20, 20], [10, 10, 40, 15]]


def shaped(ratios: list[float], seed: int = 0) -> NDArray[np.float64]:
    """Fifty boxes of about each ratio, of any place and size."""
    rng = np.random.default_rng(seed)
    boxes = []
    for ratio in ratios:
        for _ in range(50):
            x, y, size = rng.uniform(0.05, 0.4, 3)
            near = ratio * math.exp(rng.uniform(-0.05, 0.05))
            boxes.append((x, y, x + size * math.sqrt(near), y + size / math.sqrt(near)))
    return np.array(boxes)


def test_k_means_finds_the_ratios_that_there_are() -> None:
    boxes = shaped([2.5, 0.4, 1.0])
    found = common_ratios(boxes)
    assert found == pytest.approx((0.4, 1.0, 2.5), rel=0.03) and common_ratios(boxes) == found
    assert common_ratios(boxes[:100], count=2) == pytest.approx((0.4, 2.5), rel=0.03)
    PriorSettings(ratios=found)  # can be used


def test_extreme_ratios_stay_within_what_priors_may_have() -> None:
    found = common_ratios(shaped([30.0, 1 / 30, 1.0]))
    assert found == pytest.approx((math.exp(-2), 1.0, math.exp(2)), rel=0.03)
    PriorSettings(ratios=found)


def test_boxes_with_few_ratios_have_those() -> None:
    squares = [[0, 0, 0.5, 0.5], [0.25, 0.25, 0.5, 0.5]]
    assert common_ratios(squares) == (1.0,)
    assert common_ratios([*squares, [0, 0, 0.5, 0.25]]) == (1.0, 2.0)


def test_boxes_without_area_have_no_ratio() -> None:
    empty = [[0.5, 0.5, 0.5, 0.9], [0.5, 0.5, 0.4, 0.9]]
    assert common_ratios([[0, 0, 0.5, 0.5], *empty]) == (1.0,)
    with pytest.raises(InputError, match="there is none"):
        common_ratios(empty)


def test_k_means_finds_the_boxes_that_there_are() -> None:
    centres = np.array([[0.1, 0.1, 0.3, 0.3], [0.5, 0.1, 0.9, 0.4], [0.2, 0.6, 0.8, 0.9]])
    boxes = np.repeat(centres, 20, axis=0) + np.random.default_rng(0).normal(0, 0.01, (60, 4))
    found = common_boxes(np.concatenate([boxes, [[0.9, 0.9, 0.9, 0.9]]]), 3)  # the last has no area
    expected = boxes.reshape(3, 20, 4).mean(axis=1)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[np.lexsort(found.T[::-1])], expected[[0, 2, 1]], atol=1e-6)


def test_boxes_of_several_images_in_one_array() -> None:
    parts = [np.ones((2, 4), np.float32), np.zeros((0, 4), np.float32), np.zeros((1, 4), np.float32)]
    assert flattened(parts).tolist() == [[1] * 4, [1] * 4, [0] * 4]
    assert flattened([]).shape == (0, 4)


def test_settings_go_through_json_and_back() -> None:
    for settings in (SETTINGS, PriorSettings()):
        assert PriorSettings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sides": None}, "should hold numbers as sides and ratios"),
        ({"ratios": ["wide"]}, "should hold numbers as sides and ratios"),
        ({"ratios": 2}, "should hold numbers as sides and ratios"),
        ({"sides": [[0.1], [0.2], [0.4]]}, "as many sizes for each of 4 grids"),
        ({"sides": [[0.1], [0.2], [0.4], [0.8, 0.9]]}, "as many sizes for each of 4 grids"),
        ({"sides": [[], [], [], []]}, "as many sizes for each of 4 grids"),
        ({"ratios": []}, "between 0 and 10"),
        ({"ratios": [0.0]}, "between 0 and 10"),
        ({"ratios": [float("nan")]}, "between 0 and 10"),
        ({"sides": [[0.1], [0.2], [0.4], [11]]}, "between 0 and 10"),
        ({"shift": 0.5}, "unknown prior settings: shift"),
    ],
)
def test_settings_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        PriorSettings.from_dict(SETTINGS.to_dict() | changes)


@pytest.mark.parametrize("field", ["sides", "ratios"])
def test_a_missing_setting_is_refused(field: str) -> None:
    values = SETTINGS.to_dict()
    del values[field]
    with pytest.raises(InputError, match=field):
        PriorSettings.from_dict(values)
