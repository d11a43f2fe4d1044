"""Patches to learn from: their sizes and places, what is done to them, and that a number gives the same batch."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from inception_rcnn.backbones.training.patches import (
    LabelledPhotographs,
    PatchSampler,
    PatchSettings,
    central_patch,
    colour_changes,
    draw_window,
    recoloured,
)
from inception_rcnn.structures import ImageError, InputError

CHELSEA, COFFEE = data.chelsea(), data.coffee()
PLAIN = {"mirror": False, "photometric": 0.0, "random_interpolation": False}


def photographs(count: int = 5) -> LabelledPhotographs:
    """Two photographs in turn, each its own class."""
    return LabelledPhotographs(
        lambda number: (CHELSEA, COFFEE)[number % 2], [number % 2 for number in range(count)], "x"
    )


def test_windows_have_the_papers_areas_and_ratios() -> None:
    rng, settings = np.random.default_rng(0), PatchSettings()
    windows = np.array([draw_window(400, 300, settings, rng) for _ in range(4000)], np.float64)
    left, top, right, bottom = windows.T
    assert left.min() == 0 and top.min() == 0 and right.max() == 400 and bottom.max() == 300
    area, ratio = (right - left) * (bottom - top) / (400 * 300), (right - left) / (bottom - top)
    assert 0.078 < area.min() < 0.09 and 0.97 < area.max() <= 1.0
    assert 3 / 4 - 0.01 < ratio.min() < 0.77 and 1.3 < ratio.max() < 4 / 3 + 0.01
    assert abs(np.log(ratio[area < 0.5]).mean()) < 0.01  # either way alike
    small = np.histogram(area[area < 0.5], 6, (0.08, 0.5))[0]
    assert small.min() > 0.8 * small.max()  # evenly in area


@pytest.mark.parametrize(("width", "height"), [(1000, 10), (10, 1000), (1, 1), (1, 50)])
def test_a_photograph_too_long_for_any_patch_gives_its_middle(width: int, height: int) -> None:
    left, top, right, bottom = draw_window(width, height, PatchSettings(least_area=0.9), np.random.default_rng(1))
    assert 0 <= left < right <= width and 0 <= top < bottom <= height
    assert abs((left + right) - width) <= 1 and abs((top + bottom) - height) <= 1
    assert max(right - left, bottom - top) <= math.ceil(4 / 3 * min(right - left, bottom - top))


def test_every_photograph_comes_once_a_pass_and_a_number_gives_the_same_batch() -> None:
    sampler = PatchSampler(photographs(5), 2, PatchSettings(side=32))
    seen = np.concatenate([sampler.numbers(iteration) for iteration in range(5)])
    assert sorted(seen[:5].tolist()) == sorted(seen[5:].tolist()) == [0, 1, 2, 3, 4]
    assert seen[:5].tolist() != seen[5:].tolist() and sampler.batches_per_pass == 3
    first, again = sampler.draw(3), PatchSampler(photographs(5), 2, PatchSettings(side=32)).draw(3)
    assert first.colour is not None and again.colour is not None
    assert np.array_equal(first.pixels, again.pixels) and np.array_equal(first.colour, again.colour)
    assert first.labels.tolist() == (first.photographs % 2).tolist()
    other = PatchSampler(photographs(5), 2, PatchSettings(side=32, seed=1)).draw(3)
    assert not np.array_equal(first.pixels, other.pixels)


def test_a_part_of_a_batch_is_that_part_of_the_whole() -> None:
    sampler = PatchSampler(photographs(5), 4, PatchSettings(side=32))
    whole, part = sampler.draw(2), sampler.draw(2, slice(1, 3))
    assert whole.colour is not None and part.colour is not None
    assert np.array_equal(whole.pixels[1:3], part.pixels) and np.array_equal(whole.colour[1:3], part.colour)
    assert np.array_equal(whole.labels[1:3], part.labels)


def test_half_are_mirrored_and_the_ways_of_resizing_differ() -> None:
    ramp = np.tile(np.arange(256, dtype=np.uint8)[None, :, None], (200, 1, 3))
    source = LabelledPhotographs(lambda _: ramp, [0] * 64, "x")
    pixels = PatchSampler(source, 64, PatchSettings(side=48, photometric=0.0)).draw(0).pixels
    rising = pixels[:, 24, -1, 0] > pixels[:, 24, 0, 0]
    assert 16 < rising.sum() < 48
    still = PatchSampler(source, 64, PatchSettings(side=48, **PLAIN)).draw(0).pixels
    assert (still[:, 24, -1, 0] > still[:, 24, 0, 0]).all()
    checks = np.zeros((64, 64, 3), np.uint8)
    checks[::2, ::2] = checks[1::2, 1::2] = 255
    board = LabelledPhotographs(lambda _: checks, [0] * 64, "x")
    small = PatchSampler(board, 64, PatchSettings(side=32, photometric=0.0, least_area=0.9)).draw(0).pixels
    kinds = {"hard" if one.std() > 100 else "soft" for one in small}
    assert kinds == {"hard", "soft"}  # the nearest pixel keeps black and white, a mean over what is covered does not


def test_the_central_patch_is_the_papers() -> None:
    image = np.zeros((256, 320, 3), np.uint8)
    image[16:240, 48:272] = 200
    assert (central_patch(image, 224) == 200).all()
    image[15], image[:, 272] = 0, 0
    assert central_patch(image, 224).shape == (224, 224, 3)
    assert central_patch(CHELSEA, 64).shape == (64, 64, 3)


def test_colours_change_by_drawn_factors_and_stay_in_range() -> None:
    changes = colour_changes(200, 0.5, np.random.default_rng(0))
    grey = torch.full((200, 1, 1, 3), 115.0)
    found = recoloured(grey, torch.from_numpy(changes))
    assert np.allclose(found[..., 0], found[..., 1], atol=1e-3)  # grey stays grey
    factor = found[:, 0, 0, 0] / 115  # contrast turns about it, so that brightness is left
    assert 1 / 1.51 < factor.min() < 0.7 and 1.4 < factor.max() < 1.51
    extreme = recoloured(torch.tensor([255.0, 0, 0]).expand(200, 1, 1, 3), torch.from_numpy(changes))
    assert extreme.min() == 0 and extreme.max() == 255


def test_the_checksum_is_of_names_sizes_and_classes(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.png", "b.png")]
    for path in paths:
        Image.fromarray(CHELSEA[:50, :60]).save(path)
    found = LabelledPhotographs.of_files(paths, [0, 1])
    assert found.checksum == LabelledPhotographs.of_files(paths, [0, 1]).checksum and found[1].shape == (50, 60, 3)
    assert found.checksum != LabelledPhotographs.of_files(paths, [1, 0]).checksum
    paths[1].write_bytes(paths[1].read_bytes() + b"0")
    assert found.checksum != LabelledPhotographs.of_files(paths, [0, 1]).checksum


def test_the_next_photograph_takes_the_place_of_one_that_is_cut_off(tmp_path: Path) -> None:
    paths, told = [tmp_path / f"{number}.png" for number in range(3)], list[str]()
    for path in paths:
        Image.fromarray(CHELSEA[:50, :60]).save(path)
    paths[2].write_bytes(paths[2].read_bytes()[:2000])
    settings = PatchSettings(side=32)
    with pytest.raises(ImageError, match=r"2\.png is damaged or cut off"):
        PatchSampler(LabelledPhotographs.of_files(paths, [5, 6, 7]), 3, settings).draw(0)
    whole = LabelledPhotographs.of_files(paths, [5, 6, 7], lambda error: told.append(str(error)))
    sampler = PatchSampler(whole, 3, settings)
    first, second = sampler.draw(0), sampler.draw(1)
    assert sorted(first.photographs) == [0, 0, 1] and sorted(first.labels) == [5, 5, 6]
    assert len(told) == 1 and "2.png is damaged" in told[0]
    anew = PatchSampler(LabelledPhotographs.of_files(paths, [5, 6, 7], lambda _: None), 3, settings).draw(1)
    assert np.array_equal(anew.pixels, second.pixels) and np.array_equal(anew.labels, second.labels)
    for path in paths:
        path.write_bytes(b"")
    with pytest.raises(ImageError, match="none of the photographs can be read"):
        LabelledPhotographs.of_files(paths, [5, 6, 7], lambda _: None).from_number(1)


@pytest.mark.parametrize(
    ("field", "value"),
    [("side", 16), ("least_area", 0.0), ("longest", 0.5), ("photometric", 2.0), ("seed", -1), ("mirror", "no")],
)
def test_settings_out_of_range_are_named(field: str, value: object) -> None:
    with pytest.raises(InputError, match=field):
        PatchSettings(**{field: value})  # type: ignore[arg-type]


def test_no_photographs_are_refused() -> None:
    with pytest.raises(InputError, match="no photographs"):
        LabelledPhotographs(lambda _: CHELSEA, [], "x")
