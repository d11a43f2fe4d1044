"""The one cut-and-stretch of the project: training and inference both call it.

Each region, with `context` pixels of its surroundings (counted in the output), is stretched to a square whatever its
shape. Coordinates stay continuous: nothing is rounded to whole pixels. Where a region is enlarged the interpolation
is bilinear; where it shrinks, the triangle filter grows with the shrinkage (antialiasing, which R-CNN did not have).
Pixels outside the image have the colour that the network's preprocessing turns into zero.

Source: R-CNN technical report v5, section 2.1 and appendix A ("warp", 16 px of context).
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from inception_rcnn.backbones import InputSpec
from inception_rcnn.structures import InputError, as_boxes, check_rgb
from inception_rcnn.structures.boxes import check_area, check_near
from inception_rcnn.structures.jobs import available_processors
from inception_rcnn.structures.kernels import kernel

Image = NDArray[np.uint8]
Boxes = NDArray[np.float32]


def context_window(boxes: Boxes, spec: InputSpec) -> NDArray[np.float64]:
    """Return the windows (N, 4) that become the input: boxes grown so that `context` input pixels surround them.

    They may reach outside the image. For 224 and 16 px each side grows by 224 / 192.
    """
    corners = boxes.astype(np.float64)
    centre = (corners[:, :2] + corners[:, 2:]) / 2
    half = (corners[:, 2:] - corners[:, :2]) / 2 * (spec.side / (spec.side - 2 * spec.context))
    return np.concatenate([centre - half, centre + half], axis=1)


class RegionWarp:
    """Cuts regions out of one image; keeps the image's halved copies between calls.

    A region that shrinks to less than half in both directions is read from a halved copy (area-averaged), again and
    again halved if need be: the work for a region then depends on the input's size, not on the photograph's.

    Args:
        image: (H, W, 3) uint8 RGB.
        spec: Side, context and fill colour of the network's input.

    Raises:
        InputError: The image is not uint8 (H, W, 3), or has no pixel.
    """

    def __init__(self, image: Image, spec: InputSpec) -> None:
        check_rgb(image)
        self.spec = spec
        self.processors = available_processors()
        self.fill = np.array(spec.fill, dtype=np.float32)
        # The kernel is compiled for writable memory, though it only reads; Pillow's arrays, for one, are read-only.
        self._levels: list[Image] = [np.require(image, requirements=["C_CONTIGUOUS", "WRITEABLE"])]

    def cut(self, boxes: Boxes, *, threads: int | None = None) -> Image:
        """Return the regions as uint8 RGB (N, side, side, 3).

        Args:
            boxes: (N, 4) x1 y1 x2 y2 in pixels of the image; parts outside it are filled.
            threads: How many run at once; by default one per processor. The answer does not depend on it.

        Raises:
            InputError: Wrong shape, a box without area or far outside the image (the message gives the row), or fewer
                than one thread.
        """
        boxes = as_boxes(boxes)
        if threads is not None and threads < 1:
            raise InputError(f"threads should be at least 1, or None for one per processor, got {threads}")
        check_area(boxes)
        check_near(boxes, self._levels[0].shape[1], self._levels[0].shape[0])
        windows = context_window(boxes, self.spec)
        levels = [self._level_of(window) for window in windows]
        crops = np.empty((len(boxes), self.spec.side, self.spec.side, 3), dtype=np.uint8)
        workers = min(threads or self.processors, max(1, len(boxes) // 8))
        if workers == 1:
            self._fill(crops, windows, levels, range(len(boxes)))
        else:
            with ThreadPoolExecutor(workers) as pool:
                list(
                    pool.map(
                        lambda part: self._fill(crops, windows, levels, range(part, len(boxes), workers)),
                        range(workers),
                    )
                )
        return crops

    def _fill(self, crops: Image, windows: NDArray[np.float64], levels: list[int], rows: range) -> None:
        full_height, full_width = self._levels[0].shape[:2]
        for row in rows:
            image = self._levels[levels[row]]
            height, width = image.shape[:2]
            scale = np.array([width / full_width, height / full_height] * 2)
            resample(image, windows[row] * scale, self.fill, crops[row])

    def _level_of(self, window: NDArray[np.float64]) -> int:
        shrink = min(window[2] - window[0], window[3] - window[1]) / self.spec.side
        level = max(0, math.floor(math.log2(shrink))) if shrink > 0 else 0
        while len(self._levels) <= level:
            height, width = self._levels[-1].shape[:2]
            size = (max(1, round(width / 2)), max(1, round(height / 2)))
            self._levels.append(
                np.asarray(cv2.resize(self._levels[-1], size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
            )
        return level


def warp_regions(image: Image, boxes: Boxes, spec: InputSpec, *, threads: int | None = None) -> Image:
    """Return each box with its context, stretched to the network's input: uint8 RGB (N, side, side, 3).

    Args:
        image: (H, W, 3) uint8 RGB.
        boxes: (N, 4) x1 y1 x2 y2 in pixels of the image, with area.
        spec: Side, context and fill colour.
        threads: How many run at once; by default one per processor.

    Raises:
        InputError: Wrong shapes, or a box without area.
    """
    return RegionWarp(image, spec).cut(boxes, threads=threads)


@kernel
def filter_taps(start: float, stop: float, limit: int, side: int) -> Any:
    """Return for each of `side` output pixels: first source pixel, count, weights, and the weight that falls outside.

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
    """Stretch `window` (x1, y1, x2, y2, pixels of `image`, possibly outside it) over `crop`, in place.

    Rows are combined first (contiguous, so the loop vectorises), then columns. Rounded to nearest.
    """
    # 1. what each output column and row is made of
    height, width = image.shape[0], image.shape[1]
    side = crop.shape[0]
    x_first, x_count, x_weights, x_outside = filter_taps(window[0], window[2], width, side)
    y_first, y_count, y_weights, y_outside = filter_taps(window[1], window[3], height, side)
    # 2. the source columns that any output column needs
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
        # 3. the source rows of this output row, combined
        row[:] = 0.0
        for n in range(y_count[y]):
            weight = y_weights[y, n]
            source = flat[y_first[y] + n, left * 3 : left * 3 + span]
            for k in range(span):
                row[k] += weight * source[k]
        # 4. of that one row, the columns of each output pixel
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
