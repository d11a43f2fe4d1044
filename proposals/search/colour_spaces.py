"""Colour spaces in which selective search sees a picture: all as uint8 with the full range 0..255."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

COLOUR_SPACES = ("hsv", "lab", "rgi", "hue", "intensity")


def to_colour_space(image: npt.NDArray[np.uint8], space: str) -> npt.NDArray[np.uint8]:
    """(H, W, C) uint8 picture in `space`; C is 3, or 1 for "hue" and "intensity".

    The released MATLAB code repeats a single channel three times; its edges are then sqrt(3) times as strong
    (`graph_segmentation.pixel_graph` does that) and its histograms, summing to 1, are the same as of one channel.

    Args:
        image: (H, W, 3) uint8 RGB.
        space: one of `COLOUR_SPACES`.

    Raises:
        ValueError: unknown space.

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
    raise ValueError(f"colour space {space!r} is unknown; known: {', '.join(COLOUR_SPACES)}")


def _as_bytes(array: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(array, dtype=np.uint8)


def _rgi(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Red share and green share, each stretched to the picture's own range, and intensity."""
    total = image.sum(axis=2, dtype=np.float32)
    result = np.empty_like(image)
    for channel in (0, 1):
        share = np.full(total.shape, 1 / 3, dtype=np.float32)
        np.divide(image[:, :, channel], total, out=share, where=total > 0)
        low, high = float(share.min()), float(share.max())
        result[:, :, channel] = np.rint((share - low) * (255.0 / (high - low))) if high > low else 0
    result[:, :, 2] = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return result
