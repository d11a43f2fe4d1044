"""The 1, 10 and 144 crops, each against its definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from inception_rcnn.backbones import Crop, crop_plan, cut_crops
from inception_rcnn.structures import InputError
from reference.slow_crops import slow_crop

CPU = torch.device("cpu")
SQUARES = ("first", "middle", "last")
# Pillow rounds to whole numbers after each direction, and "whole" is resized twice.
MOST_DIFFERENCE, MEAN_DIFFERENCE = 2.5, 0.5
WIDE, TALL = data.chelsea(), np.ascontiguousarray(data.chelsea()[:, 60:290].transpose(1, 0, 2)[:, 100:260])


def test_the_plan_is_all_that_the_paper_names_once() -> None:
    plan = crop_plan(144)
    places = {"top left", "top right", "bottom left", "bottom right", "centre", "whole"}
    expected = {
        Crop(side, square, place, mirrored)
        for side in (256, 288, 320, 352)
        for square in (0, 1, 2)
        for place in places
        for mirrored in (False, True)
    }
    assert len(plan) == 144 and set(plan) == expected
    ten = crop_plan(10)
    assert len(set(ten)) == 10 and {(one.shorter_side, one.square) for one in ten} == {(256, 1)}
    assert {one.place for one in ten} == places - {"whole"}
    assert crop_plan(1) == (Crop(256, 1, "centre", False),)


@pytest.mark.parametrize("image", [WIDE, TALL], ids=["wide", "tall"])
def test_each_of_the_144_is_its_definition(image: np.ndarray) -> None:
    plan = crop_plan(144)
    cut = cut_crops(image, plan, CPU)
    assert cut.pixels.shape == (144, 224, 224, 3) and cut.rows.tolist() == list(range(144))
    for crop, row in zip(plan, cut.rows, strict=True):
        expected = slow_crop(image, crop.shorter_side, SQUARES[crop.square], crop.place, crop.mirrored)
        difference = np.abs(cut.pixels[row].numpy() - expected)
        assert difference.max() < MOST_DIFFERENCE and difference.mean() < MEAN_DIFFERENCE, crop


def test_no_two_of_the_144_are_the_same() -> None:
    """So that a crop that is another's would be noticed above; whole squares differ by resampling alone."""
    plan = [one for one in crop_plan(144) if one.place != "whole" or one.shorter_side == 256]
    pixels = cut_crops(WIDE, plan, CPU).pixels[:, ::16, ::16].flatten(1)
    nearest = torch.cdist(pixels, pixels, p=1) / pixels.shape[1]
    assert nearest.fill_diagonal_(torch.inf).min() > 4 * MEAN_DIFFERENCE


def test_ten_and_one_are_those_of_the_144() -> None:
    whole, plan = cut_crops(WIDE, crop_plan(144), CPU), crop_plan(144)
    for count in (1, 10):
        cut = cut_crops(WIDE, crop_plan(count), CPU)
        for crop, row in zip(crop_plan(count), cut.rows, strict=True):
            assert torch.equal(cut.pixels[row], whole.pixels[whole.rows[plan.index(crop)]])


def test_crops_that_show_the_same_are_cut_once() -> None:
    square = cut_crops(np.ascontiguousarray(WIDE[:, :300]), crop_plan(144), CPU)
    assert len(square.pixels) == 48 and len(square.rows) == 144
    stretched = cut_crops(WIDE, crop_plan(144), CPU, resize="stretch")
    assert len(stretched.pixels) == 48
    by_hand = cut_crops(WIDE, crop_plan(1), CPU, resize="stretch").pixels[0].numpy()
    expected = np.asarray(Image.fromarray(WIDE).resize((256, 256), Image.Resampling.BILINEAR))[16:240, 16:240]
    assert np.abs(by_hand - expected).max() < MOST_DIFFERENCE


def test_a_small_photograph_is_enlarged() -> None:
    cut = cut_crops(np.full((3, 5, 3), 7, np.uint8), crop_plan(144), CPU)
    torch.testing.assert_close(cut.pixels, torch.full_like(cut.pixels, 7.0))


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match="crops should be 1, 10 or 144, got 12"):
        crop_plan(12)
    with pytest.raises(InputError, match="resize should be one of keep, stretch, got 'crop'"):
        cut_crops(WIDE, crop_plan(1), CPU, resize="crop")
    with pytest.raises(InputError, match="image should be a uint8 array"):
        cut_crops(WIDE[:, :, 0], crop_plan(1), CPU)
