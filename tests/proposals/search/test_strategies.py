"""Colour spaces use the whole byte."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest

from inception_rcnn.proposals.search.strategies import COLOUR_SPACES, to_colour_space
from inception_rcnn.structures import InputError


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)


def test_hue_saturation_and_value_fill_the_byte(picture: np.ndarray) -> None:
    ours = to_colour_space(picture, "hsv").reshape(-1, 3).astype(int)
    expected = np.array([colorsys.rgb_to_hsv(*(pixel / 255)) for pixel in picture.reshape(-1, 3)]) * [256, 255, 255]
    difference = np.abs(ours - expected)
    assert np.minimum(difference[:, 0], 256 - difference[:, 0]).max() <= 1.5  # hue is a circle
    assert difference[:, 1:].max() <= 1


def test_red_and_green_shares_are_stretched(picture: np.ndarray) -> None:
    ours = to_colour_space(picture, "rgi").astype(int)
    total = picture.sum(axis=2, dtype=float)
    for channel in (0, 1):
        share = picture[..., channel] / total
        expected = (share - share.min()) / (share.max() - share.min()) * 255
        assert np.abs(ours[..., channel] - expected).max() <= 0.51
        assert ours[..., channel].min() == 0 and ours[..., channel].max() == 255


def test_black_counts_as_equal_shares() -> None:
    """Red, black, green: black lies between, at a third of each share's range 0..1."""
    picture = np.array([[[255, 0, 0], [0, 0, 0], [0, 255, 0]]], np.uint8)
    assert to_colour_space(picture, "rgi")[0, :, :2].tolist() == [[255, 0], [85, 85], [0, 255]]


def test_lab_of_white_and_black() -> None:
    picture = np.array([[[0, 0, 0], [255, 255, 255]]], np.uint8)
    assert to_colour_space(picture, "lab").tolist() == [[[0, 128, 128], [255, 128, 128]]]


def test_single_channels_are_those_of_the_others(picture: np.ndarray) -> None:
    assert (to_colour_space(picture, "hue")[..., 0] == to_colour_space(picture, "hsv")[..., 0]).all()
    assert (to_colour_space(picture, "intensity")[..., 0] == to_colour_space(picture, "rgi")[..., 2]).all()


@pytest.mark.parametrize("space", COLOUR_SPACES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1)])
def test_shape_and_kind(space: str, shape: tuple[int, int]) -> None:
    converted = to_colour_space(np.zeros((*shape, 3), np.uint8), space)
    assert converted.shape == (*shape, 1 if space in ("hue", "intensity") else 3)
    assert converted.dtype == np.uint8 and converted.flags.c_contiguous


def test_an_unknown_space_is_named() -> None:
    with pytest.raises(InputError, match="'cmyk' is unknown; known: hsv, lab"):
        to_colour_space(np.zeros((1, 1, 3), np.uint8), "cmyk")
