"""The compiled inner loop of the region warp: one window of an image, resampled to a square."""

from __future__ import annotations

from typing import Any

import numpy as np

from inception_rcnn.structures.kernels import kernel


@kernel
def filter_taps(start: float, stop: float, limit: int, side: int) -> Any:
    """For each of `side` output pixels: first source pixel, count, weights, and the weight that falls outside.

    Weights are a triangle whose half-width is one source pixel, or one output pixel where that is larger.
    """
    step = (stop - start) / side
    radius = max(1.0, step)
    most = int(np.ceil(2 * radius)) + 1
    first = np.zeros(side, dtype=np.int64)
    count = np.zeros(side, dtype=np.int64)
    weights = np.zeros((side, most), dtype=np.float32)
    outside = np.zeros(side, dtype=np.float32)
    for i in range(side):
        centre = start + (i + 0.5) * step
        low = int(np.floor(centre - radius + 0.5))
        total = 0.0
        beyond = 0.0
        for j in range(low, low + most):
            weight = 1.0 - abs(j + 0.5 - centre) / radius
            if weight <= 0.0:
                continue
            total += weight
            if j < 0 or j >= limit:
                beyond += weight
            else:
                if count[i] == 0:
                    first[i] = j
                weights[i, count[i]] = weight
                count[i] += 1
        for n in range(count[i]):
            weights[i, n] /= total
        outside[i] = beyond / total
    return first, count, weights, outside


@kernel(fastmath=True)
def resample(image: Any, window: Any, fill: Any, crop: Any) -> None:
    """Stretches `window` (x1, y1, x2, y2, pixels of `image`, possibly outside it) over `crop`, in place.

    Rows are combined first (contiguous, so the loop vectorises), then columns. Rounded to nearest.
    """
    height, width = image.shape[0], image.shape[1]
    side = crop.shape[0]
    x_first, x_count, x_weights, x_outside = filter_taps(window[0], window[2], width, side)
    y_first, y_count, y_weights, y_outside = filter_taps(window[1], window[3], height, side)
    left = width
    right = 0
    for i in range(side):
        if x_count[i] > 0:
            left = min(left, x_first[i])
            right = max(right, x_first[i] + x_count[i])
    span = max(0, right - left) * 3
    flat = image.reshape(height, width * 3)
    row = np.empty(max(span, 1), dtype=np.float32)
    for y in range(side):
        row[:] = 0.0
        for n in range(y_count[y]):
            weight = y_weights[y, n]
            source = flat[y_first[y] + n, left * 3 : left * 3 + span]
            for k in range(span):
                row[k] += weight * source[k]
        inside = np.float32(1.0) - y_outside[y]
        for x in range(side):
            red = np.float32(0.0)
            green = np.float32(0.0)
            blue = np.float32(0.0)
            at = (x_first[x] - left) * 3
            for n in range(x_count[x]):
                weight = x_weights[x, n]
                red += weight * row[at]
                green += weight * row[at + 1]
                blue += weight * row[at + 2]
                at += 3
            # What is not image is fill: columns outside, and in the columns inside the rows outside.
            rest = np.float32(1.0) - inside * (np.float32(1.0) - x_outside[x])
            crop[y, x, 0] = np.uint8(red + rest * fill[0] + np.float32(0.5))
            crop[y, x, 1] = np.uint8(green + rest * fill[1] + np.float32(0.5))
            crop[y, x, 2] = np.uint8(blue + rest * fill[2] + np.float32(0.5))
