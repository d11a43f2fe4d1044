"""The warp against a slow one written in loops, at the edges, under mirroring, and from halved copies."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from inception_rcnn.backbones import InputSpec
from inception_rcnn.detector.region_warp import RegionWarp, context_window, warp_regions
from inception_rcnn.detector.runtimes.device_warp import DeviceWarp
from inception_rcnn.structures import InputError
from reference.slow_warp import slow_context, slow_halved, slow_warp

SIDE = 32
SPEC = InputSpec(side=SIDE, context=4)
PLAIN = InputSpec(side=SIDE, context=0)


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """An image in which no two pixels are alike: a wrong position shows."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def boxes(*rows: tuple[float, float, float, float]) -> NDArray[np.float32]:
    """Boxes from rows of numbers."""
    return np.array(rows, dtype=np.float32)


def check_against_slow(image: NDArray[np.uint8], box: tuple[float, ...], spec: InputSpec, *, level: int = 0) -> None:
    """Fails if the warp differs from the slow one, read from the `level` times halved image, by more than rounding."""
    corners = np.array(box, dtype=np.float32)
    found = warp_regions(image, corners[None], spec)[0]
    source = image
    for _ in range(level):
        source = slow_halved(source)
    window = [edge / 2**level for edge in slow_context(corners.astype(float).tolist(), spec.side, spec.context)]
    expected = slow_warp(source, window, spec.side, spec.fill)
    # Half a grey level is rounding; halved copies are rounded too, and ties there may go the other way.
    assert np.abs(found - expected).max() <= (0.51 if level == 0 else 1)


def test_context_is_counted_in_the_output() -> None:
    window = context_window(boxes((100, 50, 292, 146), (0, 0, 96, 192)), InputSpec(side=224, context=16))
    # 224 - 2 * 16 = 192 output pixels show the box: one is 1 source pixel across and half a pixel down.
    assert window.tolist() == [[84, 42, 308, 154], [-8, -16, 104, 208]]


def test_context_of_r_cnn_grows_a_box_by_a_sixth() -> None:
    (window,) = context_window(boxes((10.5, 20, 43.25, 31)), InputSpec(context=16))
    assert window[2] - window[0] == pytest.approx(32.75 * 224 / 192)
    assert (window[0] + window[2]) / 2 == pytest.approx(26.875)
    assert window[3] - window[1] == pytest.approx(11 * 7 / 6)


def test_no_context_leaves_boxes_alone() -> None:
    given = boxes((1.5, 2, 30, 40.25))
    assert context_window(given, PLAIN).tolist() == given.tolist()


@pytest.mark.parametrize(
    "box",
    [
        (10, 8, 34, 32),  # one to one, with the context
        (12, 9, 20, 17),  # enlarged three times
        (3.3, 5.7, 21.9, 11.2),  # enlarged, between pixels, each direction differently
        (2, 4, 40, 44),  # shrunk a little
        (6.5, 1.25, 8, 45),  # a narrow one: enlarged across, shrunk down
        (0, 0, 16, 16),  # the context leaves the image at the top left
        (30.2, 30.1, 46, 48),  # and at the bottom right
        (-20, 10, 12, 30),  # the box itself leaves it on the left
        (20, -9.5, 45, 14),
        (40, 20, 75, 41),
        (10, 40, 30, 70),
        (-0.5, -1, 46.5, 49),  # larger than the image on all sides
        (-60, -60, -20, -20),  # wholly outside
        (70, 10, 90, 40),
        (44, 46.5, 48, 47.5),
        (10.2, 10.2, 10.7, 10.6),  # less than a pixel
    ],
)
@pytest.mark.parametrize("spec", [SPEC, PLAIN], ids=["context", "plain"])
def test_equals_the_slow_warp(box: tuple[float, ...], spec: InputSpec) -> None:
    check_against_slow(noise(48, 46), box, spec)


def test_equals_the_slow_warp_for_random_boxes() -> None:
    rng = np.random.default_rng(1)
    image = noise(50, 61)
    for _ in range(12):
        corner, size = rng.uniform(-20, 50, 2), rng.uniform(1, 45, 2)
        check_against_slow(image, (*corner, *(corner + size)), SPEC)


@pytest.mark.parametrize(
    ("box", "level"),
    [
        ((20, 10, 83.9, 74), 0),  # shrunk less than twice
        ((20, 10, 84, 74), 1),  # exactly twice
        ((1, 2, 97, 98), 1),  # three times
        ((20, 16, 148, 80), 1),  # four times across, twice down: the smaller one counts
        ((10, 5, 170, 30), 0),  # a strip
        ((16, 0, 144, 128), 2),  # four times
        ((-30, -20, 150, 140), 2),  # reaching outside
    ],
)
def test_large_regions_are_read_from_halved_copies(box: tuple[float, ...], level: int) -> None:
    image = noise(128, 192)
    check_against_slow(image, box, PLAIN, level=level)
    warp = RegionWarp(image, PLAIN)
    warp.cut(boxes(box))
    assert len(warp._levels) == level + 1


def test_levels_of_odd_sizes_stay_in_place() -> None:
    # A ramp keeps its values under any symmetric filter: each output pixel must show the place it was read from.
    height, width = 157, 251
    image = np.zeros((height, width, 3), np.uint8)
    image[:, :, 0] = np.arange(width)
    image[:, :, 1] = np.arange(height)[:, None]
    for box in ((20, 10, 200, 140), (100, 60, 240, 150), (40.5, 30.25, 80.5, 70.25)):
        (crop,) = warp_regions(image, boxes(box), PLAIN)
        step_x, step_y = (box[2] - box[0]) / SIDE, (box[3] - box[1]) / SIDE
        across, down = (np.arange(SIDE) + 0.5) * step_x + box[0] - 0.5, (np.arange(SIDE) + 0.5) * step_y + box[1] - 0.5
        assert np.abs(crop[2:-2, 2:-2, 0] - across[None, 2:-2]).max() <= 1
        assert np.abs(crop[2:-2, 2:-2, 1] - down[2:-2, None]).max() <= 1


def test_a_region_of_the_input_s_size_is_copied() -> None:
    image = noise(60, 70)
    (crop,) = warp_regions(image, boxes((5, 7, 5 + SIDE, 7 + SIDE)), PLAIN)
    assert np.array_equal(crop, image[7 : 7 + SIDE, 5 : 5 + SIDE])


def test_what_lies_outside_becomes_zero_in_the_network() -> None:
    for order in ("bgr", "rgb"):
        spec = InputSpec(side=SIDE, channel_order=order, context=0)
        crop = warp_regions(noise(20, 20), boxes((-20, 0, 20, 20)), spec)
        found = spec.apply(torch.from_numpy(crop))
        assert found[:, :, :, : SIDE // 2 - 2].abs().max() == 0 and found.abs().max() > 50


def test_shrinking_averages_instead_of_picking() -> None:
    checks = (np.indices((128, 128)).sum(axis=0) % 2 * 255).astype(np.uint8)
    (crop,) = warp_regions(np.repeat(checks[:, :, None], 3, axis=2), boxes((0, 0, 128, 128)), PLAIN)
    assert crop[1:-1, 1:-1].min() >= 125 and crop[1:-1, 1:-1].max() <= 130


@pytest.mark.parametrize("width", [46, 47, 200, 201])
def test_mirroring_the_crop_is_mirroring_the_image(width: int) -> None:
    image = noise(160, width)
    given = boxes((3.25, 4, 20, 30), (-7, 10, 25.5, 22), (30, 3, width + 9, 44), (2, 3, width - 1, 150))
    mirrored = given.copy()
    mirrored[:, 0], mirrored[:, 2] = width - given[:, 2], width - given[:, 0]
    one = warp_regions(image, given, SPEC)[:, :, ::-1]
    two = warp_regions(np.ascontiguousarray(image[:, ::-1]), mirrored, SPEC)
    assert np.abs(one.astype(int) - two).max() <= 1


def test_the_number_of_threads_changes_nothing() -> None:
    rng, image = np.random.default_rng(2), noise(180, 200)
    corner = rng.uniform(-10, 100, (41, 2))
    given = np.concatenate([corner, corner + rng.uniform(2, 110, (41, 2))], axis=1).astype(np.float32)
    one = warp_regions(image, given, SPEC, threads=1)
    for threads in (2, 3, 5, None):
        assert np.array_equal(warp_regions(image, given, SPEC, threads=threads), one)


def test_regions_do_not_depend_on_their_company() -> None:
    image, given = noise(130, 150), boxes((0, 0, 150, 130), (10, 10, 30, 30), (5, 5, 140, 100))
    together = warp_regions(image, given, PLAIN)
    warp = RegionWarp(image, PLAIN)
    for row in (2, 0, 1, 2):
        assert np.array_equal(warp.cut(given[row : row + 1])[0], together[row])


def test_views_are_read_as_they_look_and_left_alone() -> None:
    image = noise(40, 50)
    before = image.copy()
    given = boxes((3, 4, 30, 31))
    assert np.array_equal(
        warp_regions(image[:, ::-1], given, SPEC), warp_regions(np.ascontiguousarray(image[:, ::-1]), given, SPEC)
    )
    assert np.array_equal(image, before)


def test_read_only_images_are_read() -> None:
    image, given = noise(40, 50), boxes((3, 4, 30, 31))
    expected = warp_regions(image, given, SPEC)
    image.setflags(write=False)
    assert np.array_equal(warp_regions(image, given, SPEC), expected)


def test_no_boxes_give_no_crops() -> None:
    assert warp_regions(noise(40, 50), np.zeros((0, 4), np.float32), SPEC).shape == (0, SIDE, SIDE, 3)


def test_an_image_of_one_pixel_will_do() -> None:
    image = np.full((1, 1, 3), 200, np.uint8)
    assert (warp_regions(image, boxes((0.4, 0.4, 0.6, 0.6)), PLAIN)[:, 12:20, 12:20] > 170).all()
    assert warp_regions(image, boxes((-500, -500, 500, 500)), PLAIN).shape == (1, SIDE, SIDE, 3)


@pytest.mark.parametrize("bad", [(5, 5, 5, 9), (5, 5, 9, 5), (9, 5, 5, 9), (5, 9, 9, 5)])
def test_boxes_without_area_are_refused_and_named(bad: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match=r"boxes has 1 without area; first is row 1: \["):
        warp_regions(noise(20, 20), np.array([(0, 0, 9, 9), bad], np.float32), SPEC)


@pytest.mark.parametrize("given", [np.zeros(4), np.zeros((2, 5)), np.array([[0, 0, np.nan, 9]])])
def test_what_are_no_boxes_is_refused(given: NDArray[np.float64]) -> None:
    with pytest.raises(InputError, match="boxes should"):
        warp_regions(noise(20, 20), given.astype(np.float32), SPEC)


@pytest.mark.parametrize(
    "image",
    [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 3)), np.zeros((0, 8, 3), np.uint8)],
)
def test_what_is_no_image_is_refused(image: NDArray[np.uint8]) -> None:
    with pytest.raises(InputError, match=r"image should be a uint8 array \(H, W, 3\)"):
        warp_regions(image, boxes((0, 0, 5, 5)), SPEC)


def test_fewer_than_one_thread_is_refused() -> None:
    with pytest.raises(InputError, match="threads should be at least 1"):
        warp_regions(noise(20, 20), boxes((0, 0, 5, 5)), SPEC, threads=0)


@pytest.mark.parametrize("far", [(-1e12, -1e12, 1e12, 1e12), (0, 0, 1e12, 20), (0, 0, 20, 3e38), (1e9, 0, 2e9, 20)])
def test_regions_far_outside_are_refused_before_memory_is_asked_for(far: tuple[float, ...]) -> None:
    image, given = noise(20, 30), boxes((0, 0, 9, 9), far)
    for cut in (RegionWarp(image, SPEC).cut, DeviceWarp(image, SPEC, torch.device("cpu")).cut):
        with pytest.raises(InputError, match="row 1 reaches more than 1000000 px outside"):
            cut(given)


def test_a_region_as_far_outside_as_is_allowed_is_cut() -> None:
    crops = RegionWarp(noise(20, 30), SPEC).cut(boxes((-1e6, 0, 1e6, 20)))
    assert (np.abs(crops.astype(float) - np.array(SPEC.fill)) < 1).all()
