"""What a set of weights expects to see: the small object that travels with them, and applies itself."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Final

import torch
from torch import Tensor

from inception_rcnn.structures import InputError

_LONGEST_SIDE: Final = 2048


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """How uint8 RGB pixels become a network's input; stored in every checkpoint.

    Args:
        side: Width and height of the input in pixels, in 32..2048: GoogLeNet takes 1.2 GB for one of 2048.
        channel_order: "rgb" or "bgr", the order the network reads.
        mean: Three numbers in 0..255, in `channel_order`, subtracted first.
        scale: Factor applied after the subtraction.
        context: Pixels of surroundings, counted in the input, around a region (R-CNN's 16); 0 for whole images.
        resampling: How regions are stretched to the input. Only "bilinear-antialias" exists.

    Raises:
        InputError: A value is out of range, of the wrong type, or unknown.
    """

    side: int = 224
    channel_order: str = "bgr"
    mean: tuple[float, float, float] = (104.0, 117.0, 123.0)
    scale: float = 1.0
    context: int = 0
    resampling: str = "bilinear-antialias"

    def __post_init__(self) -> None:
        if self.channel_order not in ("rgb", "bgr"):
            raise InputError(f"channel_order should be 'rgb' or 'bgr', got {self.channel_order!r}")
        if self.resampling != "bilinear-antialias":
            raise InputError(f"resampling should be 'bilinear-antialias', got {self.resampling!r}")
        for name in ("side", "context"):
            if type(getattr(self, name)) is not int:  # True is an int too
                raise InputError(f"{name} should be a whole number of pixels, got {getattr(self, name)!r}")
        if not 32 <= self.side <= _LONGEST_SIDE:
            raise InputError(f"side should lie in 32..{_LONGEST_SIDE} px, got {self.side}")
        if not 0 <= self.context < self.side / 2:
            raise InputError(
                f"context should lie in 0..{(self.side - 1) // 2} px for a side of {self.side}, got {self.context}"
            )
        if len(self.mean) != 3 or not all(0 <= value <= 255 for value in self.mean):
            raise InputError(f"mean should be three numbers in 0..255, got {self.mean}")
        if not 0 < self.scale < math.inf:
            raise InputError(f"scale should be positive and finite, got {self.scale}")

    @property
    def fill(self) -> tuple[float, float, float]:
        """The RGB colour that becomes zero: what pixels outside the image are given."""
        first, second, third = self.mean
        return (third, second, first) if self.channel_order == "bgr" else (first, second, third)

    def apply(self, pixels: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return the network's input (N, 3, H, W) in channels-last memory, from uint8 RGB pixels (N, H, W, 3).

        Raises:
            InputError: The pixels have another shape or type.
        """
        if pixels.ndim != 4 or pixels.shape[3] != 3 or pixels.dtype != torch.uint8:
            raise InputError(f"pixels should be uint8 (N, H, W, 3), got {pixels.dtype} {tuple(pixels.shape)}")
        # (N, H, W, 3) seen as (N, 3, H, W) is channels-last memory already: no copy.
        return self.shift(pixels).to(dtype).permute(0, 3, 1, 2)

    def shift(self, pixels: Tensor) -> Tensor:
        """Return RGB pixels (..., 3) of any type, in 0..255, in the network's order and units, as float32."""
        if self.channel_order == "bgr":
            pixels = pixels.flip(-1)
        # Subtract in float32: 0..255 minus the mean keeps all its bits there, and is rounded once.
        shifted = pixels.float() - _on_device(self.mean, pixels.device)
        return shifted if self.scale == 1.0 else shifted.mul_(self.scale)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a checkpoint's description."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> InputSpec:
        """Return the specification that `to_dict` described.

        Raises:
            InputError: A field is unknown, missing, of the wrong type or out of range.
        """
        known = set(cls.__dataclass_fields__)
        if set(values) != known:
            wrong = sorted(set(values) ^ known)
            raise InputError(f"input specification has unknown or missing fields: {', '.join(wrong)}")
        mean, scale = values["mean"], values["scale"]
        numbers = [*mean, scale] if isinstance(mean, list | tuple) else [None]
        if not all(_is_number(number) for number in numbers):
            raise InputError(
                f"input specification: mean should be three numbers and scale one, got {mean!r} and {scale!r}"
            )
        return cls(**{**values, "mean": tuple(float(number) for number in mean)})


@lru_cache(maxsize=64)
def _on_device(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Return numbers as a float32 tensor, kept: to send them anew would wait for all that the device has to do."""
    with torch.inference_mode(False):
        return torch.tensor(values, device=device)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e30


# BVLC GoogLeNet: B, G, R in 0..255 minus the ImageNet means. Source: Caffe's train_val.prototxt.
CAFFE_INPUT: Final = InputSpec()
# R, G, B from -1 to 1: what `torchvision.models.googlenet` makes of its images (`transform_input`).
SYMMETRIC_INPUT: Final = InputSpec(channel_order="rgb", mean=(127.5, 127.5, 127.5), scale=1 / 127.5)
