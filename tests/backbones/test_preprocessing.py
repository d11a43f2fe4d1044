"""What the weights expect to see: hand-worked pixels, the way through JSON, and what is refused."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch

from inception_rcnn.backbones import CAFFE_INPUT, InputSpec
from inception_rcnn.structures import InputError

# One image of 1 x 2 pixels: (R, G, B).
PIXELS = torch.tensor([[[[10, 20, 30], [255, 0, 104]]]], dtype=torch.uint8)


def test_caffe_input_is_blue_green_red_minus_the_means() -> None:
    found = CAFFE_INPUT.apply(PIXELS)
    assert found.shape == (1, 3, 1, 2) and found.dtype == torch.float32
    assert found[0, :, 0, 0].tolist() == [30 - 104, 20 - 117, 10 - 123]
    assert found[0, :, 0, 1].tolist() == [104 - 104, 0 - 117, 255 - 123]


def test_red_green_blue_with_mean_and_scale() -> None:
    spec = InputSpec(channel_order="rgb", mean=(127.5, 0.0, 4.0), scale=0.5)
    assert spec.apply(PIXELS)[0, :, 0, 0].tolist() == [(10 - 127.5) / 2, 10.0, 13.0]


def test_pixels_are_left_as_they_were() -> None:
    before = PIXELS.clone()
    InputSpec(channel_order="rgb", scale=2.0).apply(PIXELS)
    assert torch.equal(PIXELS, before)


def test_rounding_to_bfloat16_comes_last() -> None:
    every = torch.arange(256, dtype=torch.uint8)[:, None, None, None].expand(256, 1, 1, 3).contiguous()
    spec = InputSpec(scale=1 / 3)
    found = spec.apply(every, torch.bfloat16)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, spec.apply(every).bfloat16())


def test_memory_is_channels_last() -> None:
    found = CAFFE_INPUT.apply(torch.zeros(2, 5, 4, 3, dtype=torch.uint8))
    assert found.shape == (2, 3, 5, 4) and found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("order", "colour"), [("bgr", (3.0, 2.0, 1.0)), ("rgb", (1.0, 2.0, 3.0))])
def test_fill_is_the_colour_that_becomes_zero(order: str, colour: tuple[float, ...]) -> None:
    spec = InputSpec(channel_order=order, mean=(1.0, 2.0, 3.0), scale=7.0)
    assert spec.fill == colour
    pixels = torch.tensor(colour, dtype=torch.uint8).reshape(1, 1, 1, 3)
    assert spec.apply(pixels).abs().max() == 0


@pytest.mark.parametrize(
    "pixels",
    [
        torch.zeros(4, 4, 3, dtype=torch.uint8),
        torch.zeros(1, 3, 4, 4, dtype=torch.uint8),
        torch.zeros(1, 4, 4, 3),
    ],
)
def test_other_pixels_are_refused(pixels: torch.Tensor) -> None:
    with pytest.raises(InputError, match=r"pixels should be uint8 \(N, H, W, 3\), got"):
        CAFFE_INPUT.apply(pixels)


@pytest.mark.parametrize(
    "spec", [CAFFE_INPUT, InputSpec(side=64, channel_order="rgb", mean=(0.1, 127.5, 255.0), scale=1 / 3, context=16)]
)
def test_the_way_through_json_and_back(spec: InputSpec) -> None:
    assert InputSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_whole_numbers_in_json_are_numbers_too() -> None:
    assert InputSpec.from_dict({**CAFFE_INPUT.to_dict(), "mean": [104, 117, 123], "scale": 1}) == CAFFE_INPUT


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channel_order": "grb"}, "channel_order should be 'rgb' or 'bgr', got 'grb'"),
        ({"channel_order": ["rgb"]}, "channel_order should be"),
        ({"resampling": "nearest"}, "resampling should be 'bilinear-antialias', got 'nearest'"),
        ({"side": 31}, r"side should lie in 32..2048 px, got 31"),
        ({"side": 2049}, r"side should lie in 32..2048 px, got 2049"),
        ({"side": 224.5}, "side should be a whole number of pixels, got 224.5"),
        ({"side": "224"}, "side should be a whole number of pixels, got '224'"),
        ({"context": True}, "context should be a whole number of pixels, got True"),
        ({"context": -1}, r"context should lie in 0..111 px for a side of 224, got -1"),
        ({"context": 112}, r"context should lie in 0..111 px for a side of 224, got 112"),
        ({"mean": [1, 2]}, "mean should be three numbers in 0..255"),
        ({"mean": [1, 2, 256]}, "mean should be three numbers in 0..255"),
        ({"mean": [1, 2, -0.5]}, "mean should be three numbers in 0..255"),
        ({"mean": [1, 2, math.nan]}, "mean should be three numbers"),
        ({"mean": [1, 2, 10**400]}, "mean should be three numbers"),
        ({"mean": [1, 2, "3"]}, "mean should be three numbers"),
        ({"mean": "123"}, "mean should be three numbers"),
        ({"mean": None}, "mean should be three numbers"),
        ({"scale": 0}, "scale should be positive and finite, got 0"),
        ({"scale": math.inf}, "scale"),
        ({"scale": math.nan}, "scale"),
        ({"scale": "1"}, "scale one, got"),
        ({"gamma": 2.2}, "unknown or missing fields: gamma"),
    ],
)
def test_lies_in_a_dictionary_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        InputSpec.from_dict({**CAFFE_INPUT.to_dict(), **changes})


@pytest.mark.parametrize("field", sorted(CAFFE_INPUT.to_dict()))
def test_missing_fields_are_named(field: str) -> None:
    values = CAFFE_INPUT.to_dict()
    del values[field]
    with pytest.raises(InputError, match=f"missing fields: {field}"):
        InputSpec.from_dict(values)


@pytest.mark.parametrize("scale", [0.0, -1.0, math.inf, math.nan])
def test_scales_that_cannot_be(scale: float) -> None:
    with pytest.raises(InputError, match="scale should be positive and finite"):
        InputSpec(scale=scale)
