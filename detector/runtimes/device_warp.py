"""`region_warp` in torch operations: the image goes to a device once, and its regions are cut out there, in batches.

The same numbers as on the CPU: the same halved copies, the same triangle filter, the same rounding. A filter is a
matrix with few entries a row, so that cutting is two products for each region, columns first, then rows:

    halved copy (h, w, 3) @ columns (w, side of every region) --> (h, 3, every region, side)
    rows of each region (side, h) @ that                      --> (side, 3, side)

which a GPU does at the rate of its matrix units, far faster than it gathers single pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inception_rcnn.backbones import InputSpec
from inception_rcnn.backbones.runtime import upload
from inception_rcnn.detector.region_warp import context_window
from inception_rcnn.structures import as_boxes, check_rgb
from inception_rcnn.structures.boxes import check_area, check_near

Image = NDArray[np.uint8]
Boxes = NDArray[np.float32]

# Regions of an image larger than this are put together by place, so that each product reads a part of it only.
_TILE = 1024
# Bytes of the largest matrices at a time: enough to fill a GPU, little beside what a network takes.
_BUDGET = 2**29


@dataclass(frozen=True, eq=False)
class _Group:
    """Regions read from the same part of the same halved copy.

    Attributes:
        level: How often the image was halved.
        rows: (n,) their positions among the boxes.
        windows: (n, 4) float64 x1 y1 x2 y2 in pixels of the halved copy.
        part: x1 y1 x2 y2 of the pixels that any of them reads, inside the copy.
    """

    level: int
    rows: NDArray[np.int64]
    windows: NDArray[np.float64]
    part: tuple[int, int, int, int]


class DeviceWarp:
    """Cuts regions out of one image that lies on a device; keeps the image's halved copies between calls.

    The same as `region_warp.RegionWarp` but for rounding: on a photograph a few values in a thousand differ, by one
    level of grey (a test says at most 2, and 0.3 on average).

    Args:
        image: (H, W, 3) uint8 RGB; on the device already where it is a tensor.
        spec: Side, context, order of the channels and mean of the network's input.
        device: Where all is computed.
        dtype: Of the result.
        products: Type in which pixels are multiplied; None: float16 on a GPU (values up to 255 keep two bits behind the
            point, and the sums are made in float32), float32 elsewhere.

    Raises:
        InputError: The image is not uint8 (H, W, 3), or has no pixel.
    """

    def __init__(
        self,
        image: Image | Tensor,
        spec: InputSpec,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        *,
        products: torch.dtype | None = None,
    ) -> None:
        if isinstance(image, np.ndarray):
            check_rgb(image)
            image = upload(image, device)
        self.spec = spec
        self._unscaled = replace(spec, scale=1.0)
        self.device = device
        self.dtype = dtype
        self.products = products or (torch.float16 if device.type == "cuda" else torch.float32)
        self._levels: list[Tensor] = [image]

    @torch.inference_mode()
    def cut(self, boxes: Boxes, *, out: Tensor | None = None) -> Tensor:
        """Return the regions as the network's input (N, 3, side, side), channels last, the mean subtracted.

        Args:
            boxes: (N, 4) x1 y1 x2 y2 in pixels of the image; parts outside it become zero.
            out: (M, 3, side, side) of the warp's type, channels last, M at least N: the regions are written into its
                first rows, and it is returned.

        Raises:
            InputError: Wrong shape, or a box without area or far outside the image (the message gives the row).
        """
        boxes = as_boxes(boxes)
        check_area(boxes)
        check_near(boxes, self._levels[0].shape[1], self._levels[0].shape[0])
        side = self.spec.side
        if out is None:
            size = (len(boxes), side, side, 3)
            out = torch.empty(size, dtype=self.dtype, device=self.device).permute(0, 3, 1, 2)
        pixels = out.permute(0, 2, 3, 1)
        groups = list(self._groups(context_window(boxes, self.spec)))
        if groups:
            rows = upload(np.concatenate([group.rows for group in groups]), self.device)
            starts_steps = upload(np.concatenate([_starts_and_steps(group, side) for group in groups]), self.device)
        done = 0
        for group in groups:
            mine = slice(done, done + len(group.rows))
            self._fill(pixels, group, rows[mine], starts_steps[mine])
            done += len(group.rows)
        return out

    def _groups(self, windows: NDArray[np.float64]) -> Iterator[_Group]:
        """Yield the regions by halved copy, of large copies by place, no more at a time than memory is meant for."""
        shrink = np.minimum(windows[:, 2] - windows[:, 0], windows[:, 3] - windows[:, 1]) / self.spec.side
        levels = np.maximum(np.floor(np.log2(np.maximum(shrink, 1e-9))), 0).astype(np.int64)
        full_height, full_width = self._levels[0].shape[:2]
        for level in np.unique(levels).tolist():
            height, width = self._level(level).shape[:2]
            rows = np.flatnonzero(levels == level)
            scaled = windows[rows] * np.array([width / full_width, height / full_height] * 2)
            cells = np.zeros(len(rows), np.int64)
            if max(height, width) > _TILE:
                centres = (scaled[:, :2] + scaled[:, 2:]) / 2
                tile = np.clip(centres // (_TILE / 2), 0, 2**20).astype(np.int64)
                cells = tile[:, 1] * 2**21 + tile[:, 0]
            for cell in np.unique(cells).tolist():
                here = np.flatnonzero(cells == cell)
                part = _part(scaled[here], width, height, self.spec.side)
                most = max(1, _BUDGET // self._bytes(part))
                for first in range(0, len(here), most):
                    some = here[first : first + most]
                    yield _Group(level, rows[some], scaled[some], part)

    def _bytes(self, part: tuple[int, int, int, int]) -> int:
        """Return how many bytes the matrices of one region that reads this part take."""
        width, height = part[2] - part[0], part[3] - part[1]
        return self.spec.side * (4 * (height + 8) + width + 8) * self.products.itemsize

    def _level(self, level: int) -> Tensor:
        while len(self._levels) <= level:
            self._levels.append(halved(self._levels[-1]))
        return self._levels[level]

    def _fill(self, out: Tensor, group: _Group, rows: Tensor, starts_steps: Tensor) -> None:
        """Write a group's regions into their rows of `out` (N, side, side, 3)."""
        side, n = self.spec.side, len(rows)
        # 1. the part of the image they read: colour less the fill, (h, 3, w), zero beside the image
        pixels = self._padded(group)
        height, width = pixels.shape[0], pixels.shape[2]
        # 2. what each output column and row is made of; what lies outside the image is read from the zeros beside it
        most = 2 * max(1.0, float((group.windows[:, 2:] - group.windows[:, :2]).max()) / side)
        taps = math.ceil(most) + 1
        x1, y1, x2, y2 = group.part
        columns = _filters(starts_steps[:, 0], starts_steps[:, 1], x2 - x1, width, side, taps, self.products)
        lines = _filters(starts_steps[:, 2], starts_steps[:, 3], y2 - y1, height, side, taps, self.products)
        # 3. columns of all regions at once, then rows of each
        across = pixels.view(height * 3, width) @ columns.view(n * side, width).T
        across = across.view(height, 3, n, side).permute(1, 2, 0, 3)
        crops = torch.stack([torch.bmm(lines, channel) for channel in across], dim=3)
        # 4. rounded as the CPU's are, and in the network's units
        mean = None if all(float(value).is_integer() for value in self.spec.mean) else self._mean(crops.dtype)
        crops = crops.round_() if mean is None else crops.add_(mean).round_().sub_(mean)
        if self.spec.scale != 1.0:
            crops.mul_(self.spec.scale)
        out.index_copy_(0, rows, crops.to(self.dtype))

    def _padded(self, group: _Group) -> Tensor:
        x1, y1, x2, y2 = group.part
        pixels = self._level(group.level)[y1:y2, x1:x2]
        shifted = self._unscaled.shift(pixels).to(self.products)
        # Multiples of eight, at least one more than there are pixels: matrix units want them so.
        height, width = (_above(length) for length in (y2 - y1, x2 - x1))
        padded = torch.zeros((height, 3, width), dtype=self.products, device=self.device)
        padded[: y2 - y1, :, : x2 - x1] = shifted.permute(0, 2, 1)
        return padded

    def _mean(self, dtype: torch.dtype) -> Tensor:
        zero = torch.zeros(3, dtype=torch.uint8, device=self.device)
        return -self._unscaled.shift(zero).to(dtype)


def halved(image: Tensor) -> Tensor:
    """Return a uint8 image (H, W, C) of half the sides, rounded, each pixel the mean of those it covers.

    The same as OpenCV's INTER_AREA, with which `RegionWarp` halves.
    """
    height, width = image.shape[:2]
    size = (max(1, round(height / 2)), max(1, round(width / 2)))
    if size[0] * 2 == height and size[1] * 2 == width:
        fours = image.view(size[0], 2, size[1], 2, -1).sum(dim=(1, 3), dtype=torch.int32)
        return ((fours + 2) >> 2).to(torch.uint8)
    found = image.float()
    for dim in (0, 1):
        found = _averaged(found, size[dim], dim)
    return found.round_().to(torch.uint8)


def _averaged(image: Tensor, size: int, dim: int) -> Tensor:
    """Return the image with one of its sides shrunk to `size`, pixels partly covered counted by their share."""
    length = image.shape[dim]
    step = length / size
    edges = torch.arange(size, device=image.device, dtype=torch.float64) * step
    first = edges.floor()
    total: Tensor | None = None
    for tap in range(math.ceil(step) + 1):
        low, high = torch.maximum(first + tap, edges), torch.minimum(first + tap + 1, edges + step)
        share = ((high - low).clamp_min(0) / step).float().view(size, *[1] * (2 - dim))
        chosen = image.index_select(dim, (first + tap).long().clamp_max(length - 1))
        total = chosen * share if total is None else total.addcmul_(chosen, share)
    assert total is not None
    return total


def _part(windows: NDArray[np.float64], width: int, height: int, side: int) -> tuple[int, int, int, int]:
    """Return x1 y1 x2 y2 of the whole pixels, at least one, that filters over these windows can reach in the image."""
    reach = np.maximum(1.0, (windows[:, 2:] - windows[:, :2]) / side) + 1
    low = np.floor((windows[:, :2] - reach).min(axis=0)).astype(np.int64)
    high = np.ceil((windows[:, 2:] + reach).max(axis=0)).astype(np.int64)
    x1, y1 = np.clip(low, 0, [width - 1, height - 1]).tolist()
    x2, y2 = np.clip(high, [x1 + 1, y1 + 1], [width, height]).tolist()
    return x1, y1, x2, y2


def _starts_and_steps(group: _Group, side: int) -> NDArray[np.float32]:
    """Return (n, 4) float32: where each window begins in the group's part, and its step, across and then down."""
    begin = group.windows[:, :2] - np.array(group.part[:2])
    step = (group.windows[:, 2:] - group.windows[:, :2]) / side
    return np.stack([begin[:, 0], step[:, 0], begin[:, 1], step[:, 1]], axis=1).astype(np.float32)


def _filters(start: Tensor, step: Tensor, limit: int, width: int, side: int, taps: int, dtype: torch.dtype) -> Tensor:
    """Return matrices (n, side, width): row i has the triangle of output pixel i, as `region_warp.filter_taps`.

    Args:
        start: (n,) where windows begin, in pixels.
        step: (n,) pixels from one output pixel to the next.
        limit: How many pixels there are; what lies outside them goes into column `limit`, where all pixels are zero.
        width: Columns, more than `limit`.
        side: Output pixels.
        taps: At least as many as any triangle has pixels.
        dtype: Of the result.
    """
    at = torch.arange(side, device=start.device, dtype=torch.float32) + 0.5
    centre = torch.addcmul(start[:, None], at[None], step[:, None])[:, :, None]
    radius = step.clamp_min(1.0)[:, None, None]
    pixel = (centre - radius + 0.5).floor() + torch.arange(taps, device=start.device)
    weight = (1.0 - (pixel + 0.5 - centre).abs() / radius).clamp_min_(0.0)
    weight /= weight.sum(dim=2, keepdim=True)
    column = torch.where((pixel >= 0) & (pixel < limit), pixel, float(limit)).long()
    return torch.zeros((len(start), side, width), dtype=dtype, device=start.device).scatter_(
        2, column, weight.to(dtype)
    )


def _above(length: int) -> int:
    """Return the next multiple of eight above a number."""
    return (length // 8 + 1) * 8
