"""RoIAlign written out point by point, in float64."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def slow_align(
    maps: NDArray[np.float64], boxes: NDArray[np.float64], cells: int, scale: float, sampling: int
) -> NDArray[np.float64]:
    """Return (R, C, cells, cells): the mean of sampling x sampling points of each cell.

    Args:
        maps: (B, C, h, w).
        boxes: (R, 5) number of the map, then x1 y1 x2 y2; times `scale` in pixels of the map.
        cells: Across and down.
        scale: From the boxes' unit to the map's pixels.
        sampling: Points across and down in each cell.
    """
    result = np.zeros((len(boxes), maps.shape[1], cells, cells))
    for region, (number, *corners) in enumerate(boxes.tolist()):
        x1, y1, x2, y2 = (corner * scale for corner in corners)
        for i in range(cells):
            for j in range(cells):
                for m in range(sampling):
                    for n in range(sampling):
                        y = y1 + (y2 - y1) * (i + (m + 0.5) / sampling) / cells
                        x = x1 + (x2 - x1) * (j + (n + 0.5) / sampling) / cells
                        result[region, :, i, j] += slow_point(maps[int(number)], y, x) / sampling**2
    return result


def slow_point(map_: NDArray[np.float64], y: float, x: float) -> NDArray[np.float64]:
    """Return the channels (C,) at a point; the first pixel of the map (C, h, w) has its centre at 0.5.

    Up to half a pixel outside the map its outermost pixels go on; beyond is 0.
    """
    height, width = map_.shape[1:]
    down, across = y - 0.5, x - 0.5
    if not (-1 <= down <= height and -1 <= across <= width):
        return np.zeros(len(map_))
    down, across = min(max(down, 0), height - 1), min(max(across, 0), width - 1)
    top, left = math.floor(down), math.floor(across)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    lower, righter = down - top, across - left
    above = (1 - righter) * map_[:, top, left] + righter * map_[:, top, right]
    below = (1 - righter) * map_[:, bottom, left] + righter * map_[:, bottom, right]
    return (1 - lower) * above + lower * below
