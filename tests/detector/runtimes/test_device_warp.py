"""The warp in torch operations against the one on the CPU, on photographs; both have the same slow truth."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage import data

from inception_rcnn.backbones import InputSpec
from inception_rcnn.detector.region_warp import RegionWarp
from inception_rcnn.detector.runtimes.device_warp import DeviceWarp, halved
from inception_rcnn.structures import InputError

SPEC = InputSpec(side=64, context=5)
CPU = torch.device("cpu")


def photographs() -> dict[str, NDArray[np.uint8]]:
    """Real photographs of even and of odd sides, one of them large."""
    astronaut, coffee, rocket = data.astronaut(), data.coffee(), data.rocket()
    large = np.ascontiguousarray(np.tile(coffee, (3, 3, 1))[:1100, :1601])
    return {
        "astronaut": astronaut,
        "coffee, odd": np.ascontiguousarray(coffee[:397, :555]),
        "rocket": rocket,
        "l": large,
    }


def boxes_on(image: NDArray[np.uint8], count: int, seed: int = 0) -> NDArray[np.float32]:
    """Boxes of all sizes and shapes, partly outside, and the whole image."""
    height, width = image.shape[:2]
    rng = np.random.default_rng(seed)
    sides = np.exp(rng.uniform(np.log(2), np.log([1.2 * width, 1.2 * height]), (count, 2)))
    centre = rng.uniform(0, 1, (count, 2)) * [width, height]
    found = np.concatenate([centre - sides / 2, centre + sides / 2], axis=1)
    strips = [(0, 0, width, height), (5, 40.5, width - 3, 49), (30, 2, 33, height), (-200, -300, width + 90, height)]
    outside = [(-500, -500, -300, -200), (width + 20, 3, width + 90, 60), (10.2, 10.2, 10.7, 10.6)]
    return np.concatenate([found, np.array(strips + outside)]).astype(np.float32)


def differences(
    image: NDArray[np.uint8], boxes: NDArray[np.float32], spec: InputSpec, found: torch.Tensor
) -> NDArray[np.float32]:
    """What the two warps' inputs differ by, in levels of grey."""
    expected = spec.apply(torch.from_numpy(RegionWarp(image, spec).cut(boxes)))
    return ((found.float() - expected).abs() / spec.scale).numpy()


@pytest.mark.parametrize("name", ["astronaut", "coffee, odd", "rocket", "l"])
def test_equals_the_warp_on_the_cpu(name: str) -> None:
    image = photographs()[name]
    boxes = boxes_on(image, 25)
    found = DeviceWarp(image, SPEC, CPU).cut(boxes)
    apart = differences(image, boxes, SPEC, found)
    assert found.shape == (32, 3, 64, 64) and found.is_contiguous(memory_format=torch.channels_last)
    assert apart.max() <= 2 and apart.mean() < 0.05


@pytest.mark.parametrize("products", [torch.float16, torch.float32])
def test_half_precision_and_other_inputs_stay_near(products: torch.dtype) -> None:
    spec = InputSpec(side=48, channel_order="rgb", mean=(123.675, 116.28, 103.53), scale=0.017, context=0)
    image = photographs()["astronaut"]
    boxes = boxes_on(image, 8, seed=1)
    apart = differences(image, boxes, spec, DeviceWarp(image, spec, CPU, products=products).cut(boxes))
    assert apart.max() <= 2 and apart.mean() < 0.3
    apart = differences(image, boxes, SPEC, DeviceWarp(image, SPEC, CPU, torch.bfloat16, products=products).cut(boxes))
    assert apart.max() <= 2 and apart.mean() < 0.3


def test_what_lies_outside_is_zero() -> None:
    image = photographs()["rocket"]
    boxes = np.array([(-900, -900, -500, -500), (-100, 10, 100, 60)], np.float32)
    found = DeviceWarp(image, InputSpec(side=32, context=0), CPU).cut(boxes)
    assert found[0].abs().max() == 0 and found[1, :, :, :15].abs().max() == 0 and found[1, :, :, 17:].abs().max() > 50


def test_regions_do_not_depend_on_their_company(monkeypatch: pytest.MonkeyPatch) -> None:
    image = photographs()["l"]
    boxes = boxes_on(image, 12, seed=2)
    together = DeviceWarp(image, SPEC, CPU).cut(boxes)
    monkeypatch.setattr("inception_rcnn.detector.runtimes.device_warp._BUDGET", 1)  # one region at a time
    warp = DeviceWarp(image, SPEC, CPU)
    for rows in (slice(3, 4), slice(0, 9)):
        apart = (warp.cut(boxes[rows]) - together[rows]).abs()
        assert apart.max() <= 1 and apart.mean() < 0.01


@pytest.mark.parametrize("sides", [(8, 12), (7, 12), (12, 7), (5, 5), (1, 6), (3, 1), (1, 1)])
def test_halving_is_opencvs(sides: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*sides, 3), dtype=np.uint8)
    warp = RegionWarp(image, SPEC)
    warp._level_of(np.array([0, 0, 2 * SPEC.side, 2 * SPEC.side], np.float64))
    found = halved(torch.from_numpy(image)).numpy()
    assert found.shape == warp._levels[1].shape and np.abs(found.astype(int) - warp._levels[1]).max() <= 1


def test_an_image_may_lie_on_the_device_already_and_stays_as_it_is() -> None:
    image = photographs()["astronaut"]
    boxes, pixels = boxes_on(image, 4), torch.from_numpy(image.copy())
    assert torch.equal(DeviceWarp(pixels, SPEC, CPU).cut(boxes), DeviceWarp(image, SPEC, CPU).cut(boxes))
    assert np.array_equal(pixels.numpy(), image)


def test_no_boxes_give_no_crops() -> None:
    assert DeviceWarp(data.rocket(), SPEC, CPU).cut(np.zeros((0, 4), np.float32)).shape == (0, 3, 64, 64)


def test_boxes_without_area_are_refused_and_named() -> None:
    with pytest.raises(InputError, match=r"boxes has 1 without area; first is row 1: \["):
        DeviceWarp(data.rocket(), SPEC, CPU).cut(np.array([(0, 0, 9, 9), (5, 5, 5, 9)], np.float32))


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(InputError, match=r"image should be a uint8 array \(H, W, 3\)"):
        DeviceWarp(np.zeros((8, 8), np.uint8), SPEC, CPU)
