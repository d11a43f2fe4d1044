"""Felzenszwalb-Huttenlocher superpixels on the 8-connected pixel graph, with an exact minimum-size pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from inception_rcnn.structures.kernels import kernel

SIGMA = 0.8
LEAST_WEIGHT = 1 / 1024  # of an edge, in grey levels
# The sort goes by digits of the weight codes. 512 buckets per pass: that many write positions stay in the first-level
# cache.
DIGITS = 3
DIGIT_BITS = 9
BUCKETS = 1 << DIGIT_BITS


@dataclass(frozen=True)
class PixelGraph:
    """One image in one colour space as a graph whose edges are sorted, weakest first; good for every k.

    An edge is `weight code << 32 | 4 * pixel + direction`, with direction 0 right, 1 down, 2 down and right, 3 up and
    right. The code is the float32 weight's bit pattern less that of the smallest weight, halved.
    """

    edges: NDArray[np.uint64]
    smooth: NDArray[np.float32]  # (C, H, W) the smoothed image
    mean_weight: float

    @property
    def height(self) -> int:
        """Return the rows of the image."""
        return int(self.smooth.shape[1])

    @property
    def width(self) -> int:
        """Return the columns of the image."""
        return int(self.smooth.shape[2])


def pixel_graph(image: NDArray[np.uint8], sigma: float = SIGMA) -> PixelGraph:
    """Return the 8-connected graph of the smoothed image, its edges sorted by colour distance.

    Args:
        image: (H, W, 1 or 3) uint8; one channel counts as three equal ones.
        sigma: Of the Gaussian that smooths each channel first, in pixels.

    Source:
        Felzenszwalb & Huttenlocher, Efficient Graph-Based Image Segmentation, IJCV 2004, sections 3 and 5.
    """
    height, width, channels = image.shape
    smooth = smoothed(image, sigma)
    count = 4 * height * width - 3 * (height + width) + 2
    unsorted = np.empty(count, dtype=np.uint64)
    digits = np.zeros((DIGITS, BUCKETS), dtype=np.int64)
    total = fill_edges(smooth, np.float32(3.0 / channels), unsorted, digits)
    edges = np.empty(count, dtype=np.uint64)
    sort_edges(unsorted, digits, edges)
    return PixelGraph(edges, smooth, max(float(total) / max(1, count), LEAST_WEIGHT))


def smoothed(image: NDArray[np.uint8], sigma: float) -> NDArray[np.float32]:
    """Return the (C, H, W) float32 image after a Gaussian, 4 sigma on either side, edge pixels repeated."""
    side = 2 * int(np.ceil(4 * sigma)) + 1
    height, width, channels = image.shape
    result = np.empty((channels, height, width), dtype=np.float32)
    for channel in range(channels):
        values = image[:, :, channel].astype(np.float32)
        cv2.GaussianBlur(values, (side, side), sigma, dst=result[channel], borderType=cv2.BORDER_REPLICATE)
    return result


def superpixels(graph: PixelGraph, k: float, min_size: int) -> tuple[NDArray[np.int32], int]:
    """Return (H, W) labels 0..n-1 in raster order of each segment's first pixel, and n.

    Args:
        graph: From `pixel_graph`.
        k: Scale of observation; larger gives larger segments.
        min_size: No segment is left with fewer pixels, unless it is the whole image.
    """
    labels = np.empty(graph.height * graph.width, dtype=np.int32)
    count = segment(graph.edges, graph.width, np.float32(k), int(min_size), labels)
    return labels.reshape(graph.height, graph.width), int(count)


@kernel(fastmath=True)
def sum_of(values: Any) -> Any:
    """Return the sum, in any order, so that it vectorises."""
    total = np.float32(0)
    for value in values:
        total += value
    return total


@kernel
def fill_edges(smooth: Any, share: Any, edges: Any, digits: Any) -> Any:
    """Write every edge of the grid with the code of its colour distance; returns the sum of the distances.

    Distances under LEAST_WEIGHT count as that and the last bit is dropped, so a code has 27 bits: three digits of 9,
    which `digits` counts for the sort. Distances are computed a row at a time, so that it vectorises.
    """
    channels, height, width = smooth.shape
    least = np.float32(LEAST_WEIGHT)
    last_digit = np.uint32(BUCKETS - 1)
    # `codes` are the bit patterns of the distances in `row`: of positive numbers they rise with the number
    row = np.empty(width, dtype=np.float32)
    codes = row.view(np.uint32)
    row[0] = least
    lowest = codes[0]
    total = 0.0
    at = 0
    for y in range(height):
        for direction in range(4):
            other = y if direction == 0 else (y - 1 if direction == 3 else y + 1)
            step = 0 if direction == 1 else 1
            if other < 0 or other >= height:
                continue
            length = width - step
            # 1. squared differences between a row and its neighbour in that direction, over all channels
            row[:] = np.float32(0)
            for channel in range(channels):
                here = smooth[channel, y]
                there = smooth[channel, other, step:]
                for x in range(length):
                    difference = here[x] - there[x]
                    row[x] += difference * difference
            # 2. distances, in the place of the squares
            for x in range(length):
                row[x] = max(least, np.sqrt(row[x] * share))
            total += sum_of(row[:length])
            # 3. an edge each, and its digits counted
            first = np.uint64(4 * y * width + direction)
            for x in range(length):
                code = (codes[x] - lowest) >> np.uint32(1)
                edges[at] = (np.uint64(code) << np.uint64(32)) | (first + np.uint64(4 * x))
                digits[0, code & last_digit] += 1
                digits[1, (code >> np.uint32(DIGIT_BITS)) & last_digit] += 1
                digits[2, code >> np.uint32(2 * DIGIT_BITS)] += 1
                at += 1
    return total


@kernel
def sort_edges(unsorted: Any, digits: Any, edges: Any) -> None:
    """Sort by weight code, equal ones in their order: a radix sort with DIGITS passes.

    They go from the first array to the second, back, and to the second again.
    """
    # 1. from how often each value occurs to where the first edge with it goes
    for digit in range(DIGITS):
        start = 0
        for value in range(BUCKETS):
            number = digits[digit, value]
            digits[digit, value] = start
            start += number
    # 2. one pass for each digit, lowest first; `starts` moves on with every edge written
    for digit in range(DIGITS):
        shift = np.uint64(32 + DIGIT_BITS * digit)
        starts = digits[digit]
        for i in range(unsorted.size):
            edge = unsorted[i]
            bucket = (edge >> shift) & np.uint64(BUCKETS - 1)
            to = starts[bucket]
            starts[bucket] = to + 1
            edges[to] = edge
        unsorted, edges = edges, unsorted


@kernel
def number_segments(parent: Any, labels: Any) -> Any:
    """Write each pixel's segment, numbered in raster order of their first pixels; returns how many there are."""
    numbers = np.full(labels.size, -1, dtype=np.int32)
    count = 0
    for pixel in range(labels.size):
        root = np.uint64(pixel)
        while np.uint64(parent[root]) != root:
            root = np.uint64(parent[root])
        if numbers[root] < 0:
            numbers[root] = count
            count += 1
        labels[pixel] = numbers[root]
    return count


@kernel
def segment(edges: Any, width: int, k: Any, min_size: int, labels: Any) -> Any:
    """Merge along the sorted edges, then merge what is too small; writes labels, returns their number.

    Segments are trees of pixels, each pointing at its `parent`, a root at itself; `sizes` and `thresholds` are those of
    the roots. Indices are unsigned because numba checks signed ones for Python's negative indexing.
    """
    pixels = labels.size
    parent = np.arange(pixels).astype(np.uint32)
    sizes = np.ones(pixels, dtype=np.int32)
    thresholds = np.full(pixels, k, dtype=np.float32)
    offsets = np.array([1, width, width + 1, 1 - width]).astype(np.uint64)  # the last wraps around, as it should
    low_half = np.uint64(0xFFFFFFFF)
    bits = np.empty(1, dtype=np.uint32)
    value = bits.view(np.float32)
    value[0] = np.float32(LEAST_WEIGHT)
    lowest = bits[0]
    # an edge inside a segment stays inside, so only the edges refused here can matter in the second pass
    refused = np.empty(edges.size, dtype=np.uint64)
    refusals = 0
    batch = 64
    pending = np.empty((batch, 3), dtype=np.uint64)
    for start in range(0, edges.size, batch):
        # 1. without a branch, keep those of a batch of edges whose ends are not known to be in one segment: the
        # processor then overlaps the memory accesses of many edges and guesses no branch wrong, in half the time
        waiting = 0
        for i in range(start, min(start + batch, edges.size)):
            edge = edges[i]
            a = (edge & low_half) >> np.uint64(2)
            b = a + offsets[edge & np.uint64(3)]
            above_a = np.uint64(parent[np.uint64(parent[a])])
            above_b = np.uint64(parent[np.uint64(parent[b])])
            parent[a] = above_a
            parent[b] = above_b
            pending[waiting, 0] = edge
            pending[waiting, 1] = above_a
            pending[waiting, 2] = above_b
            waiting += 1 if above_a != above_b else 0
        # 2. find the segments that each edge connects, halving the way to their roots
        for i in range(waiting):
            edge = pending[i, 0]
            a = pending[i, 1]
            b = pending[i, 2]
            while np.uint64(parent[a]) != a:
                parent[a] = parent[np.uint64(parent[a])]
                a = np.uint64(parent[a])
            while np.uint64(parent[b]) != b:
                parent[b] = parent[np.uint64(parent[b])]
                b = np.uint64(parent[b])
            if a == b:
                continue
            # 3. join them if the edge is no stronger than what holds either together; the code gives its weight back
            bits[0] = (np.uint32(edge >> np.uint64(32)) << np.uint32(1)) + lowest
            weight = value[0]
            if weight <= min(thresholds[a], thresholds[b]):
                if sizes[a] < sizes[b]:
                    a, b = b, a
                parent[b] = a
                sizes[a] += sizes[b]
                thresholds[a] = weight + k / np.float32(sizes[a])
            else:
                refused[refusals] = edge & low_half
                refusals += 1
    # 4. flatten the trees: nearly all pixels then point at their root, and the others do no harm
    for pixel in range(pixels):
        parent[pixel] = parent[np.uint64(parent[pixel])]
    # 5. of the refused edges keep, again without a branch, those at a segment that is too small
    small = 0
    for i in range(refusals):
        edge = refused[i]
        a = np.uint64(parent[edge >> np.uint64(2)])
        b = np.uint64(parent[(edge >> np.uint64(2)) + offsets[edge & np.uint64(3)]])
        refused[small] = edge
        small += 1 if a != b and min(sizes[a], sizes[b]) < min_size else 0
    # 6. join along these, weakest first, as long as an end is too small
    for i in range(small):
        edge = refused[i]
        a = edge >> np.uint64(2)
        b = a + offsets[edge & np.uint64(3)]
        while np.uint64(parent[a]) != a:
            a = np.uint64(parent[a])
        while np.uint64(parent[b]) != b:
            b = np.uint64(parent[b])
        if a != b and min(sizes[a], sizes[b]) < min_size:
            if sizes[a] < sizes[b]:
                a, b = b, a
            parent[b] = a
            sizes[a] += sizes[b]
    return number_segments(parent, labels)
