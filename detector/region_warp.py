"""The one cut-and-stretch of the project: training and inference both call it.

Each region, with `context` pixels of its surroundings (counted in the output), is stretched to a square whatever its
shape. Coordinates stay continuous: nothing is rounded to whole pixels. Where a region is enlarged the interpolation
is bilinear; where it shrinks, the triangle filter grows with the shrinkage (antialiasing, which R-CNN did not have).
Pixels outside the image have the colour that the network's preprocessing turns into zero.
Source: R-CNN technical report v5, section 2.1 and appendix A ("warp", 16 px of context).
"""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import numpy.typing as npt

from inception_rcnn.backbones import InputSpec
from inception_rcnn.detector.warp_kernel import resample
from inception_rcnn.structures import InputError, as_boxes, check_rgb

Image = npt.NDArray[np.uint8]
Boxes = npt.NDArray[np.float32]


def context_window(boxes: Boxes, spec: InputSpec) -> npt.NDArray[np.float64]:
    """The windows (N, 4) that are stretched to the input: each box grown so that `context` input pixels surround it.

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

    Raises:
        InputError: the image is not uint8 (H, W, 3), or has no pixel.
    """

    def __init__(self, image: Image, spec: InputSpec) -> None:
        check_rgb(image)
        self.spec = spec
        self.fill = np.array(spec.fill, dtype=np.float32)
        # The kernel is compiled for writable memory, though it only reads; Pillow's arrays, for one, are read-only.
        self._levels: list[Image] = [np.require(image, requirements=["C_CONTIGUOUS", "WRITEABLE"])]

    def cut(self, boxes: Boxes, *, threads: int | None = None) -> Image:
        """The regions as uint8 RGB (N, side, side, 3).

        Args:
            boxes: (N, 4) x1 y1 x2 y2 in pixels of the image; parts outside it are filled.
            threads: how many run at once; by default one a core. The answer does not depend on it.
        Raises:
            InputError: wrong shape, a box without area (the message gives the row), or fewer than one thread.
        """
        boxes = as_boxes(boxes)
        if threads is not None and threads < 1:
            raise InputError(f"threads should be at least 1, or None for one a core, got {threads}")
        empty = (boxes[:, 2] <= boxes[:, 0]) | (boxes[:, 3] <= boxes[:, 1])
        if empty.any():
            row = int(np.argmax(empty))
            raise InputError(f"boxes has {int(empty.sum())} without area; first is row {row}: {boxes[row].tolist()}")
        windows = context_window(boxes, self.spec)
        levels = [self._level_of(window) for window in windows]
        crops = np.empty((len(boxes), self.spec.side, self.spec.side, 3), dtype=np.uint8)
        workers = min(threads or os.cpu_count() or 1, max(1, len(boxes) // 8))
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

    def _fill(self, crops: Image, windows: npt.NDArray[np.float64], levels: list[int], rows: range) -> None:
        full_height, full_width = self._levels[0].shape[:2]
        for row in rows:
            image = self._levels[levels[row]]
            height, width = image.shape[:2]
            scale = np.array([width / full_width, height / full_height] * 2)
            resample(image, windows[row] * scale, self.fill, crops[row])

    def _level_of(self, window: npt.NDArray[np.float64]) -> int:
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
    """Each box with its context, stretched to the network's input: uint8 RGB (N, side, side, 3).

    Args:
        image: (H, W, 3) uint8 RGB.
        boxes: (N, 4) x1 y1 x2 y2 in pixels of the image, with area.
        spec: side, context and fill colour.
        threads: how many run at once; by default one a core.
    Raises:
        InputError: wrong shapes, or a box without area.
    """
    return RegionWarp(image, spec).cut(boxes, threads=threads)
