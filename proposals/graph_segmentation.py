"""Felzenszwalb-Huttenlocher superpixels on the 8-connected pixel graph, with an exact minimum-size pass."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from inception_rcnn.proposals.compiled import compiled

SIGMA = 0.8


@dataclass(frozen=True)
class PixelGraph:
    """One picture in one colour space as a graph whose edges are sorted, weakest first; good for every k.

    An edge is `weight code << 32 | 4 * pixel + direction`, with direction 0 right, 1 down, 2 down and right, 3 up and
    right. The code is the float32 weight's bit pattern less that of the smallest weight, halved.
    """

    edges: npt.NDArray[np.uint64]
    smooth: npt.NDArray[np.float32]  # (H, W, C) the smoothed picture
    mean_weight: float

    @property
    def height(self) -> int:
        """Rows of the picture."""
        return int(self.smooth.shape[0])

    @property
    def width(self) -> int:
        """Columns of the picture."""
        return int(self.smooth.shape[1])


def pixel_graph(picture: npt.NDArray[np.uint8], sigma: float = SIGMA) -> PixelGraph:
    """Return the 8-connected graph of the smoothed picture, its edges sorted by colour distance.

    Args:
        picture: (H, W, 1 or 3) uint8; one channel counts as three equal ones.
        sigma: Of the Gaussian that smooths each channel first, in pixels.

    Source:
        Felzenszwalb & Huttenlocher, Efficient Graph-Based Image Segmentation, IJCV 2004, sections 3 and 5.
    """
    height, width, channels = picture.shape
    smooth = smoothed(picture, sigma)
    count = 4 * height * width - 3 * (height + width) + 2
    unsorted = np.empty(count, dtype=np.uint64)
    digits = np.zeros((3, 512), dtype=np.int64)
    total = fill_edges(smooth, 3.0 / channels, unsorted, digits)
    edges = np.empty(count, dtype=np.uint64)
    sort_edges(unsorted, digits, edges)
    return PixelGraph(edges, smooth, float(total) / max(1, count))


def smoothed(picture: npt.NDArray[np.uint8], sigma: float) -> npt.NDArray[np.float32]:
    """Return the (H, W, C) float32 picture after a Gaussian, 4 sigma on either side, edge pixels repeated."""
    side = 2 * int(np.ceil(4 * sigma)) + 1
    values = picture.astype(np.float32)
    blurred = cv2.GaussianBlur(values, (side, side), sigma, borderType=cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(blurred, dtype=np.float32).reshape(picture.shape)


def superpixels(graph: PixelGraph, k: float, min_size: int) -> tuple[npt.NDArray[np.int32], int]:
    """Return (H, W) labels 0..n-1 in raster order of each segment's first pixel, and n.

    Args:
        graph: From `pixel_graph`.
        k: Scale of observation; larger gives larger segments.
        min_size: No segment is left with fewer pixels, unless it is the whole picture.
    """
    labels = np.empty(graph.height * graph.width, dtype=np.int32)
    count = segment(graph.edges, graph.width, k, min_size, labels)
    return labels.reshape(graph.height, graph.width), int(count)


@compiled("float64(float32[:, :, ::1], float32, uint64[::1], int64[:, ::1])")
def fill_edges(smooth, share, edges, digits):  # type: ignore[no-untyped-def]
    """Write every edge of the grid with the code of its colour distance; returns the sum of the distances.

    Distances under 1/1024 of a grey level count as 1/1024 and the last bit is dropped, so a code has 27 bits: three
    digits of 9, which `digits` counts for the sort.
    """
    height, width, channels = smooth.shape
    bits = np.empty(1, dtype=np.uint32)
    value = bits.view(np.float32)
    least = np.float32(1 / 1024)
    value[0] = least
    lowest = bits[0]
    total = 0.0
    at = 0
    for y in range(height):
        for x in range(width):
            pixel = np.uint64(4 * (y * width + x))
            for direction in range(4):
                dy = -1 if direction == 3 else (0 if direction == 0 else 1)
                dx = 0 if direction == 1 else 1
                if x + dx >= width or y + dy >= height or y + dy < 0:
                    continue
                square = np.float32(0)
                for channel in range(channels):
                    difference = smooth[y, x, channel] - smooth[y + dy, x + dx, channel]
                    square += difference * difference
                value[0] = max(least, np.sqrt(square * share))
                total += value[0]
                code = (bits[0] - lowest) >> np.uint32(1)
                edges[at] = (np.uint64(code) << np.uint64(32)) | (pixel + np.uint64(direction))
                digits[0, code & np.uint32(511)] += 1
                digits[1, (code >> np.uint32(9)) & np.uint32(511)] += 1
                digits[2, code >> np.uint32(18)] += 1
                at += 1
    return total


@compiled("void(uint64[::1], int64[:, ::1], uint64[::1])")
def sort_edges(unsorted, digits, edges):  # type: ignore[no-untyped-def]
    """Stable radix sort by weight code. 512 buckets a pass: that many write positions stay in the first-level cache.

    Three passes: from the first array to the second, back, and to the second again.
    """
    for digit in range(3):
        start = 0
        for value in range(512):
            number = digits[digit, value]
            digits[digit, value] = start
            start += number
    for digit in range(3):
        shift = np.uint64(32 + 9 * digit)
        starts = digits[digit]
        for i in range(unsorted.size):
            edge = unsorted[i]
            bucket = (edge >> shift) & np.uint64(511)
            to = starts[bucket]
            starts[bucket] = to + 1
            edges[to] = edge
        unsorted, edges = edges, unsorted


@compiled("int64(uint64[::1], int64, float32, int64, int32[::1])")
def segment(edges, width, k, min_size, labels):  # type: ignore[no-untyped-def]
    """Merge along the sorted edges, then merge what is too small; writes labels, returns their number.

    Indices are unsigned because numba checks signed ones for Python's negative indexing, which costs a fifth here.
    """
    pixels = labels.size
    parent = np.arange(pixels).astype(np.uint32)
    sizes = np.ones(pixels, dtype=np.int32)
    thresholds = np.full(pixels, k, dtype=np.float32)
    offsets = np.array([1, width, width + 1, 1 - width]).astype(np.uint64)  # the last wraps around, as it should
    bits = np.empty(1, dtype=np.uint32)
    value = bits.view(np.float32)
    value[0] = np.float32(1 / 1024)
    lowest = bits[0]
    # an edge inside a segment stays inside, so only the edges refused here can matter in the second pass
    refused = np.empty(edges.size, dtype=np.uint32)
    refusals = 0
    for i in range(edges.size):
        edge = edges[i]
        a = (edge & np.uint64(0xFFFFFFFF)) >> np.uint64(2)
        b = a + offsets[edge & np.uint64(3)]
        root_a = np.uint64(parent[a])
        root_b = np.uint64(parent[b])
        if root_a == root_b:
            continue
        while True:  # path halving, one step behind
            above = np.uint64(parent[root_a])
            if above == root_a:
                break
            parent[a] = above
            a = root_a
            root_a = above
        while True:
            above = np.uint64(parent[root_b])
            if above == root_b:
                break
            parent[b] = above
            b = root_b
            root_b = above
        if root_a == root_b:
            continue
        bits[0] = (np.uint32(edge >> np.uint64(32)) << np.uint32(1)) + lowest
        weight = value[0]
        if weight <= thresholds[root_a] and weight <= thresholds[root_b]:
            if sizes[root_a] < sizes[root_b]:
                root_a, root_b = root_b, root_a
            parent[root_b] = root_a
            size = sizes[root_a] + sizes[root_b]
            sizes[root_a] = size
            thresholds[root_a] = weight + k / np.float32(size)
        else:
            refused[refusals] = np.uint32(edge & np.uint64(0xFFFFFFFF))
            refusals += 1
    for i in range(refusals):
        edge = np.uint64(refused[i])
        a = edge >> np.uint64(2)
        b = a + offsets[edge & np.uint64(3)]
        while np.uint64(parent[a]) != a:
            parent[a] = parent[parent[a]]
            a = np.uint64(parent[a])
        while np.uint64(parent[b]) != b:
            parent[b] = parent[parent[b]]
            b = np.uint64(parent[b])
        if a != b and (sizes[a] < min_size or sizes[b] < min_size):
            if sizes[a] < sizes[b]:
                a, b = b, a
            parent[b] = a
            sizes[a] += sizes[b]
    count = 0
    numbers = np.full(pixels, -1, dtype=np.int32)
    for pixel in range(pixels):
        root = np.uint64(pixel)
        while np.uint64(parent[root]) != root:
            root = np.uint64(parent[root])
        if numbers[root] < 0:
            numbers[root] = count
            count += 1
        labels[pixel] = numbers[root]
    return count
