"""Which hierarchies selective search builds: the published modes, and the colour spaces they see a image in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from inception_rcnn.proposals.search.grouping import (
    COLOUR_TEXTURE_SIZE_FILL,
    FILL,
    SIZE,
    TEXTURE_SIZE_FILL,
    Similarity,
)
from inception_rcnn.structures import InputError

MODES = ("single", "fast", "quality")
COLOUR_SPACES = ("hsv", "lab", "rgi", "hue", "intensity")


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """Every colour space is cut with every k, and every cut is grouped by every similarity.

    Attributes:
        spaces: Names of `COLOUR_SPACES`.
        ks: Superpixel scales; each is also the smallest size of a superpixel, in pixels.
        similarities: What the grouping goes by.
    """

    spaces: tuple[str, ...]
    ks: tuple[float, ...]
    similarities: tuple[Similarity, ...]


def strategy_of(mode: str, superpixel_scale: float = 1.0, ks: Sequence[float] | None = None) -> Strategy:
    """Return the published strategy of that name, its superpixels `superpixel_scale` times as large, or with other ks.

    Args:
        mode: One of `MODES`.
        superpixel_scale: Factor of the mode's ks; not of ks that are given.
        ks: In place of the mode's, taken as they are.

    Raises:
        InputError: Unknown mode, or a scale or k that is not positive.

    Source:
        Uijlings et al., IJCV 2013, tables 4 and 5.

    >>> strategy_of("fast", 2.0).ks
    (100.0, 200.0)
    """
    if not (math.isfinite(superpixel_scale) and superpixel_scale > 0):
        raise InputError(f"superpixel_scale should be positive, got {superpixel_scale}")
    if ks is not None and not (len(ks) > 0 and all(math.isfinite(k) and k > 0 for k in ks)):
        raise InputError(f"ks should be one or more positive numbers, got {ks}")
    both = (COLOUR_TEXTURE_SIZE_FILL, TEXTURE_SIZE_FILL)
    if mode == "single":
        strategy = Strategy(spaces=("hsv",), ks=(100,), similarities=(COLOUR_TEXTURE_SIZE_FILL,))
    elif mode == "fast":
        strategy = Strategy(spaces=("hsv", "lab"), ks=(50, 100), similarities=both)
    elif mode == "quality":
        spaces = ("hsv", "lab", "rgi", "hue", "intensity")
        strategy = Strategy(spaces=spaces, ks=(50, 100, 150, 300), similarities=(*both, FILL, SIZE))
    else:
        raise InputError(f"mode {mode!r} is unknown; known: {', '.join(MODES)}")
    return replace(strategy, ks=tuple(ks) if ks is not None else tuple(k * superpixel_scale for k in strategy.ks))


def to_colour_space(image: NDArray[np.uint8], space: str) -> NDArray[np.uint8]:
    """Return the image in `space`, (H, W, C) uint8 over the whole byte; C is 3, or 1 for "hue" and "intensity".

    The released MATLAB code repeats a single channel three times; its edges are then sqrt(3) times as strong
    (`superpixels.pixel_graph` does that) and its histograms, summing to 1, are the same as of one channel.

    Args:
        image: (H, W, 3) uint8 RGB.
        space: One of `COLOUR_SPACES`.

    Raises:
        InputError: Unknown space.

    Source:
        Uijlings et al., Selective Search for Object Recognition, IJCV 2013, section 3.2; hue over the whole byte as
        in the released code, not OpenCV's usual 0..179.
    """
    if space == "hsv":
        return _as_bytes(cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL))
    if space == "lab":
        return _as_bytes(cv2.cvtColor(image, cv2.COLOR_RGB2LAB))
    if space == "rgi":
        return _rgi(image)
    if space == "hue":
        return _as_bytes(cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)[:, :, :1])
    if space == "intensity":
        return _as_bytes(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[:, :, None])
    raise InputError(f"colour space {space!r} is unknown; known: {', '.join(COLOUR_SPACES)}")


def _as_bytes(array: NDArray[np.generic]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(array, dtype=np.uint8)


def _rgi(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return red share and green share, each stretched to the image's own range, and intensity."""
    total = image.sum(axis=2, dtype=np.float32)
    result = np.empty_like(image)
    for channel in (0, 1):
        share = np.full(total.shape, 1 / 3, dtype=np.float32)
        np.divide(image[:, :, channel], total, out=share, where=total > 0)
        low, high = float(share.min()), float(share.max())
        result[:, :, channel] = np.rint((share - low) * (255.0 / (high - low))) if high > low else 0
    result[:, :, 2] = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return result
