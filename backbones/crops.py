"""The crops of a photograph that GoogLeNet was tested with, 1, 10 or 144 of them, cut on the device.

The photograph is resized so that its shorter side has 256, 288, 320 and 352 px. Of each size three squares are taken,
left, centre and right, or top, centre and bottom; of each square the corners and the centre at 224 px, and the whole
square resized to 224 px; each of these six also mirrored. The ten crops are corners and centre of the smallest size's
central square, mirrored too; the one is the centre of it.
Source: "Going deeper with convolutions", section 7; the ten are Krizhevsky et al. 2012's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from inception_rcnn.backbones.runtime import upload
from inception_rcnn.structures import InputError, check_rgb

CROP_COUNTS: Final = (1, 10, 144)
"""How many crops of a photograph may be looked at."""
CROP_SIDE: Final = 224
SHORTER_SIDES: Final = (256, 288, 320, 352)
RESIZES: Final = ("keep", "stretch")
_PLACES: Final = ("top left", "top right", "bottom left", "bottom right", "centre", "whole")
_CENTRAL: Final = 1  # of the three squares


@dataclass(frozen=True)
class Crop:
    """One of the 144.

    Args:
        shorter_side: Of the resized photograph, in pixels.
        square: 0: at the left, or the top; 1: in the centre; 2: at the right, or the bottom.
        place: In the square: a corner or "centre", 224 px wide; "whole": all of it, resized to 224 px.
        mirrored: Left and right changed.
    """

    shorter_side: int
    square: int
    place: str
    mirrored: bool


@dataclass(frozen=True, eq=False)
class CutCrops:
    """The crops of a photograph; those that show the same, as the three squares of a square photograph, only once.

    Attributes:
        pixels: (D, 224, 224, 3) float32, R, G, B in 0..255.
        rows: (K,) for each crop of the plan its row in `pixels`.
    """

    pixels: Tensor
    rows: NDArray[np.intp]


def crop_plan(count: int) -> tuple[Crop, ...]:
    """Return which crops to take of a photograph; those of a smaller count are among those of a larger.

    Raises:
        InputError: The count is none of `CROP_COUNTS`.

    >>> crop_plan(1)
    (Crop(shorter_side=256, square=1, place='centre', mirrored=False),)
    >>> set(crop_plan(1)) < set(crop_plan(10)) < set(crop_plan(144))
    True
    """
    if count not in CROP_COUNTS:
        raise InputError(f"crops should be {', '.join(map(str, CROP_COUNTS[:-1]))} or {CROP_COUNTS[-1]}, got {count}")
    if count == 1:
        return (Crop(SHORTER_SIDES[0], _CENTRAL, "centre", False),)
    if count == 10:
        return tuple(Crop(SHORTER_SIDES[0], _CENTRAL, *rest) for rest in product(_PLACES[:-1], (False, True)))
    return tuple(Crop(*one) for one in product(SHORTER_SIDES, range(3), _PLACES, (False, True)))


def cut_crops(
    image: NDArray[np.uint8], plan: Sequence[Crop], device: torch.device, *, resize: str = "keep"
) -> CutCrops:
    """Return the crops of a photograph, cut on a device.

    Pixels of a smaller photograph are means over what they cover, and not rounded.

    Args:
        image: uint8 RGB (H, W, 3).
        plan: From `crop_plan`.
        device: Where the photograph is sent, once, and the crops stay.
        resize: "keep": the longer side keeps its share of the shorter, as in the paper. "stretch": it is made as long
            as the shorter, so that there is one square; so BVLC's GoogLeNet saw its photographs in training.

    Raises:
        InputError: The image is no uint8 (H, W, 3), or `resize` is unknown.
    """
    check_rgb(image)
    if resize not in RESIZES:
        raise InputError(f"resize should be one of {', '.join(RESIZES)}, got {resize!r}")
    whole = upload(image, device).permute(2, 0, 1)[None].float()
    resized: dict[int, Tensor] = {}
    cut: dict[tuple[int, int, str, bool], Tensor] = {}
    keys = []
    for crop in plan:
        side = crop.shorter_side
        if side not in resized:
            resized[side] = _resized(whole, _size(image.shape, side, resize))
        start = _start(resized[side], crop.square)
        keys.append((side, start, crop.place, crop.mirrored))
        if keys[-1] not in cut:
            crop_pixels = _cut(_square(resized[side], start), crop.place)
            cut[keys[-1]] = crop_pixels.flip(3) if crop.mirrored else crop_pixels
    order = {key: row for row, key in enumerate(cut)}
    pixels = torch.cat(list(cut.values())).permute(0, 2, 3, 1)
    return CutCrops(pixels, np.array([order[key] for key in keys], np.intp))


def _size(shape: tuple[int, ...], shorter_side: int, resize: str) -> tuple[int, int]:
    """Return height and width of the resized photograph.

    >>> _size((500, 375, 3), 256, "keep"), _size((500, 375, 3), 256, "stretch")
    ((341, 256), (256, 256))
    """
    height, width = shape[:2]
    if resize == "stretch":
        return shorter_side, shorter_side
    longer = round(max(height, width) * shorter_side / min(height, width))
    return (longer, shorter_side) if height > width else (shorter_side, longer)


def _resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    return functional.interpolate(x, size=size, mode="bilinear", align_corners=False, antialias=True)


def _start(resized: Tensor, square: int) -> int:
    """Return where along the longer side one of the three squares begins."""
    room = max(resized.shape[2:]) - min(resized.shape[2:])
    return (0, room // 2, room)[square]


def _square(resized: Tensor, start: int) -> Tensor:
    """Return the square (1, 3, S, S) that begins there along the longer side."""
    height, width = resized.shape[2:]
    side = min(height, width)
    return resized[:, :, start : start + side] if height > width else resized[:, :, :, start : start + side]


def _cut(square: Tensor, place: str) -> Tensor:
    """Return one crop (1, 3, 224, 224) of a square."""
    room = square.shape[2] - CROP_SIDE
    if place == "whole":
        return _resized(square, (CROP_SIDE, CROP_SIDE))
    top = room // 2 if place == "centre" else room * ("bottom" in place)
    left = room // 2 if place == "centre" else room * ("right" in place)
    return square[:, :, top : top + CROP_SIDE, left : left + CROP_SIDE]
