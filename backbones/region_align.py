"""RoIAlign: regions read off a map as cells x cells each, on the CPU by kernels of our own, where the map allows it.

torchvision's works on one thread and channel by channel. Here the channels of a pixel lie side by side, as they do
behind a convolution: the places and weights that make up a cell are found once for all channels, and each place is
read as one run of memory.

Source: He et al. 2017, "Mask R-CNN", section 3; torchvision's roi_align with aligned=True, which it equals to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable
from torchvision.ops import roi_align

from inception_rcnn.structures import InputError
from inception_rcnn.structures.jobs import available_processors
from inception_rcnn.structures.kernels import kernel

# Channels that one thread adds up the gradient of; fixed, so that the answer does not depend on the threads.
_BLOCK: Final = 128
_PARTS: Final = 4  # for each thread, so that none waits long for the slowest
_FEW: Final = 8  # regions that are not worth a second thread
_NO_FLOATS, _NO_BITS = (np.zeros((0, 0, 0, 0), kind) for kind in (np.float32, np.uint16))


def align_regions(
    maps: Tensor,
    boxes: Tensor,
    cells: int,
    spatial_scale: float,
    sampling: int = 2,
    *,
    threads: int | None = None,
) -> Tensor:
    """Return what maps (B, C, h, w) show of regions: (R, C, cells, cells), in the maps' type, channels last.

    A cell is the mean of sampling x sampling points, each interpolated between the four pixels around it. Up to half a
    pixel outside the map its outermost pixels go on; points beyond count as 0. Sums are made in float32. The maps have
    a gradient, the boxes have none.

    Args:
        maps: Of any floating-point type; channels last is quickest.
        boxes: (R, 5) number of the map in the batch, then x1 y1 x2 y2; times `spatial_scale` they are in pixels of the
            map, whose first pixel is centred at 0.5.
        cells: Across and down, at least 1.
        spatial_scale: From the boxes' unit to the map's pixels.
        sampling: Points across and down in each cell, at least 1.
        threads: How many run at once on the CPU, by default as many as torch uses. The answer does not depend on it.

    Raises:
        InputError: Wrong shapes, a map without pixels, a box of no map, or cells, sampling or threads below 1.
    """
    _check(maps, boxes, cells, sampling, threads)
    if maps.device.type != "cpu":
        # Made for bfloat16 on no device.
        pooled = roi_align(maps.float(), boxes.float(), cells, spatial_scale, sampling, aligned=True)
        found: Tensor = pooled.to(maps.dtype).contiguous(memory_format=torch.channels_last)
        return found
    workers = threads or min(torch.get_num_threads(), available_processors())
    workers = min(workers, max(1, len(boxes) // _FEW))
    taps = _Taps(maps, boxes, cells, spatial_scale, sampling, workers)
    found = _AlignRegions.apply(maps, taps)
    return found


def _check(maps: Tensor, boxes: Tensor, cells: int, sampling: int, threads: int | None) -> None:
    if maps.ndim != 4 or 0 in maps.shape[2:]:
        raise InputError(f"maps should be (B, C, h, w) with pixels, got {tuple(maps.shape)}")
    if boxes.ndim != 2 or boxes.shape[1] != 5:
        raise InputError(f"boxes should be (R, 5): map, x1, y1, x2, y2, got {tuple(boxes.shape)}")
    for name, value in (("cells", cells), ("sampling", sampling), ("threads", 1 if threads is None else threads)):
        if value < 1:
            raise InputError(f"{name} should be at least 1, got {value}")
    if maps.device.type == "cpu" and len(boxes):  # elsewhere looking would mean waiting for the device
        first, last = boxes[:, 0].aminmax()
        if not 0 <= float(first) <= float(last) < len(maps):
            raise InputError(f"boxes should be of maps 0..{len(maps) - 1}, got {float(first):g}..{float(last):g}")


class _Taps:
    """Which pixels of the maps make up each cell, and with what weights; the same for all channels."""

    def __init__(
        self, maps: Tensor, boxes: Tensor, cells: int, spatial_scale: float, sampling: int, workers: int
    ) -> None:
        self.workers, self.cells = workers, cells
        height, self.width = maps.shape[2:]
        corners = np.require(boxes.detach().float().numpy(), requirements=["C", "W"])
        self.starts = corners[:, 0].astype(np.int64) * (height * self.width)  # row of each region's map among all
        shape = (len(boxes), 2, cells, 2 * sampling)
        self.places = np.empty(shape, np.int32)
        self.weights = np.empty(shape, np.float32)
        self.counts = np.empty(shape[:3], np.int32)
        scale = np.float32(spatial_scale)
        find_taps(corners, scale, height, self.width, sampling, self.places, self.weights, self.counts)

    def __len__(self) -> int:
        return len(self.starts)


class _AlignRegions(torch.autograd.Function):
    """The kernels, with the gradient of the maps."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, taps: _Taps) -> Tensor:
        ctx.taps, ctx.shape, ctx.dtype = taps, maps.shape, maps.dtype
        flat = _floats(maps.detach().permute(0, 2, 3, 1).contiguous()).reshape(-1, maps.shape[1])
        size = (len(taps), maps.shape[1], taps.cells, taps.cells)
        kind = torch.bfloat16 if maps.dtype == torch.bfloat16 else torch.float32
        result = torch.empty(size, dtype=kind, memory_format=torch.channels_last)
        floats, bits = _memory(result)
        parts = min(len(taps), _PARTS * taps.workers)

        def work(part: int) -> None:
            gather(flat, taps.starts, taps.width, taps.places, taps.weights, taps.counts, floats, bits, part, parts)

        _run(work, parts, taps.workers)
        return result.to(maps.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        taps, (batch, channels, height, width) = ctx.taps, ctx.shape
        if gradient.dtype != torch.bfloat16:
            gradient = gradient.float()
        floats, bits = _memory(gradient.contiguous(memory_format=torch.channels_last))
        result = np.zeros((batch * height * width, channels), np.float32)

        def work(part: int) -> None:
            low, high = part * _BLOCK, min(channels, (part + 1) * _BLOCK)
            spread(floats, bits, taps.starts, taps.width, taps.places, taps.weights, taps.counts, result, low, high)

        _run(work, -(-channels // _BLOCK) if len(taps) else 0, taps.workers)
        of_maps = torch.from_numpy(result.reshape(batch, height, width, channels)).permute(0, 3, 1, 2)
        return of_maps.to(ctx.dtype), None


def _floats(x: Tensor) -> NDArray[np.float32]:
    """Return a tensor as float32; of bfloat16 a copy, since maps are small beside the cells read off them."""
    if x.dtype != torch.bfloat16:
        found: NDArray[np.float32] = x.float().numpy()
        return found
    # Not by torch, whose threads wait for each other: 20 ms where others use the processors, for work of half of one.
    bits = x.view(torch.int16).numpy().astype(np.int32)
    bits <<= 16
    return bits.view(np.float32)


def _memory(x: Tensor) -> tuple[NDArray[np.float32], NDArray[np.uint16]]:
    """Return the memory (R, cells, cells, C) of float32, or of bfloat16 as bits; the other one is empty.

    Kernels take both: one that had to be compiled for each type would be there twice.
    """
    x = x.permute(0, 2, 3, 1)
    if x.dtype == torch.bfloat16:
        return _NO_FLOATS, x.view(torch.int16).numpy().view(np.uint16)
    return x.numpy(), _NO_BITS


def _run(work: Callable[[int], None], parts: int, workers: int) -> None:
    """Call `work` for each part, on several threads."""
    if min(workers, parts) <= 1:
        for part in range(parts):
            work(part)
        return
    with ThreadPoolExecutor(min(workers, parts)) as pool:
        list(pool.map(work, range(parts)))


@kernel
def find_taps(
    boxes: Any, scale: np.float32, height: int, width: int, sampling: int, places: Any, weights: Any, counts: Any
) -> None:
    """Write for each region, axis (y, x) and cell: pixels of the map, their weights, and how many there are.

    The points of a cell share most of their pixels, so these are merged. All in float32 and in torchvision's order:
    whether a point lies outside is decided in the last bit.
    """
    half = np.float32(0.5)
    for region in range(len(boxes)):
        for axis in range(2):
            limit = height if axis == 0 else width
            start = boxes[region, 2 - axis] * scale - half
            end = boxes[region, 4 - axis] * scale - half
            step = (end - start) / np.float32(counts.shape[2])
            for cell in range(counts.shape[2]):
                count = 0
                for point in range(sampling):
                    inside = (np.float32(point) + half) * step / np.float32(sampling)
                    at = start + np.float32(cell) * step + inside
                    if not (at >= np.float32(-1.0) and at <= np.float32(limit)):  # nor a number that is none
                        continue
                    at = min(max(at, np.float32(0.0)), np.float32(limit - 1))
                    low = int(at)
                    share = at - np.float32(low)
                    for side in range(2):
                        weight = share if side == 1 else np.float32(1.0) - share
                        if weight == np.float32(0.0):
                            continue
                        known = 0
                        while known < count and places[region, axis, cell, known] != low + side:
                            known += 1
                        if known == count:
                            places[region, axis, cell, known] = low + side
                            weights[region, axis, cell, known] = np.float32(0.0)
                            count += 1
                        weights[region, axis, cell, known] += weight / np.float32(sampling)
                counts[region, axis, cell] = count


@kernel(fastmath=True)
def gather(
    maps: Any,
    starts: Any,
    width: int,
    places: Any,
    weights: Any,
    counts: Any,
    floats: Any,
    bits: Any,
    first: int,
    step: int,
) -> None:
    """Write every `step`-th region's cells from `first` on, into `floats` or, rounded to bfloat16, into `bits`.

    `maps` has one row of channels a pixel.
    """
    channels = maps.shape[1]
    cells = counts.shape[2]
    rounded = len(bits) > 0
    buffer = np.empty(channels, np.float32)
    most = places.shape[3] ** 2
    rows = np.empty(most + 3, np.int64)
    shares = np.empty(most + 3, np.float32)
    for region in range(first, len(starts), step):
        for i in range(cells):
            for j in range(cells):
                # 1. the pixels of this cell, padded to a multiple of four
                count = 0
                for m in range(counts[region, 0, i]):
                    row = starts[region] + np.int64(places[region, 0, i, m]) * width
                    for n in range(counts[region, 1, j]):
                        rows[count] = row + places[region, 1, j, n]
                        shares[count] = weights[region, 0, i, m] * weights[region, 1, j, n]
                        count += 1
                # 2. their weighted sum, in cache
                target = buffer if rounded else floats[region, i, j]
                if count == 0:
                    for k in range(channels):
                        target[k] = np.float32(0.0)
                while count % 4:
                    rows[count] = rows[0]
                    shares[count] = np.float32(0.0)
                    count += 1
                for n in range(0, count, 4):
                    a, b, c, d = maps[rows[n]], maps[rows[n + 1]], maps[rows[n + 2]], maps[rows[n + 3]]
                    u, v, w, z = shares[n], shares[n + 1], shares[n + 2], shares[n + 3]
                    if n == 0:
                        for k in range(channels):
                            target[k] = u * a[k] + v * b[k] + w * c[k] + z * d[k]
                    else:
                        for k in range(channels):
                            target[k] += u * a[k] + v * b[k] + w * c[k] + z * d[k]
                # 3. its upper half, to nearest, ties to even; what is no number stays none
                if rounded:
                    whole = buffer.view(np.int32)
                    half = bits[region, i, j]
                    for k in range(channels):
                        upper = np.uint16((whole[k] + 0x7FFF + ((whole[k] >> 16) & 1)) >> 16)
                        half[k] = upper if buffer[k] == buffer[k] else np.uint16(0x7FC0)


@kernel(fastmath=True)
def spread(
    floats: Any,
    bits: Any,
    starts: Any,
    width: int,
    places: Any,
    weights: Any,
    counts: Any,
    maps: Any,
    low: int,
    high: int,
) -> None:
    """Add the gradient of each cell, channels `low` to `high`, to the pixels that the cell was made of."""
    cells = counts.shape[2]
    rounded = len(bits) > 0
    buffer = np.empty(high - low, np.float32)
    for region in range(len(starts)):
        for i in range(cells):
            for j in range(cells):
                if rounded:
                    half = bits[region, i, j, low:high]
                    whole = buffer.view(np.uint32)
                    for k in range(len(half)):
                        whole[k] = np.uint32(half[k]) << np.uint32(16)
                source = buffer if rounded else floats[region, i, j, low:high]
                for m in range(counts[region, 0, i]):
                    row = starts[region] + np.int64(places[region, 0, i, m]) * width
                    for n in range(counts[region, 1, j]):
                        share = weights[region, 0, i, m] * weights[region, 1, j, n]
                        target = maps[row + places[region, 1, j, n], low:high]
                        for k in range(len(target)):
                            target[k] += share * source[k]
