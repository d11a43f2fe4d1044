"""A window of an image stretched to a square, pixel by pixel, in plain loops and float64."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


def slow_context(box: Sequence[float], side: int, context: int) -> tuple[float, float, float, float]:
    """Return the window in which the box leaves `context` of `side` pixels free on every side."""
    x1, y1, x2, y2 = box
    # The box fills side - 2 context output pixels: one output pixel is so many source pixels.
    step_x, step_y = (x2 - x1) / (side - 2 * context), (y2 - y1) / (side - 2 * context)
    return x1 - context * step_x, y1 - context * step_y, x2 + context * step_x, y2 + context * step_y


def triangle(start: float, stop: float, side: int, at: int) -> list[tuple[int, float]]:
    """Return (source pixel, weight) for output pixel `at`; weights add up to 1, pixels may lie outside the image."""
    step = (stop - start) / side
    centre = start + (at + 0.5) * step
    radius = max(1.0, step)
    around = range(math.floor(centre - radius) - 1, math.ceil(centre + radius) + 1)
    weights = [(j, max(0.0, 1 - abs(j + 0.5 - centre) / radius)) for j in around]
    total = sum(weight for _, weight in weights)
    return [(j, weight / total) for j, weight in weights if weight > 0]


def slow_warp(image: Image, window: Sequence[float], side: int, fill: Sequence[float]) -> NDArray[np.float64]:
    """Return the window (x1, y1, x2, y2) as float64 (side, side, 3), not rounded; outside the image is `fill`."""
    height, width = image.shape[:2]
    out = np.zeros((side, side, 3))
    for y in range(side):
        for x in range(side):
            for row, weight_y in triangle(window[1], window[3], side, y):
                for column, weight_x in triangle(window[0], window[2], side, x):
                    inside = 0 <= row < height and 0 <= column < width
                    colour = image[row, column] if inside else np.asarray(fill)
                    out[y, x] += weight_y * weight_x * colour
    return out


def slow_halved(image: Image) -> Image:
    """Return the mean of every 2 x 2 pixels, rounded; the sides should be even."""
    height, width = image.shape[0] // 2, image.shape[1] // 2
    out = np.zeros((height, width, 3), np.uint8)
    for y in range(height):
        for x in range(width):
            out[y, x] = np.floor(image[2 * y : 2 * y + 2, 2 * x : 2 * x + 2].astype(float).mean(axis=(0, 1)) + 0.5)
    return out
