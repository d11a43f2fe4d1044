"""Felzenszwalb-Huttenlocher superpixels on the 8-connected pixel graph, with an exact minimum-size pass."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from inception_rcnn.proposals.compiled import compiled

SIGMA = 0.8
RADIX_BITS = 11


@dataclass(frozen=True)
class SortedEdges:
    """Edges of one picture in one colour space, weakest first; good for every k.

    An edge is 4 * pixel + direction, with direction 0 right, 1 down, 2 down and right, 3 up and right.
    """

    edges: npt.NDArray[np.uint32]
    weights: npt.NDArray[np.float32]
    height: int
    width: int


def sorted_edges(picture: npt.NDArray[np.uint8], sigma: float = SIGMA) -> SortedEdges:
    """Edges of the 8-connected graph of the smoothed picture, sorted by colour distance.

    Args:
        picture: (H, W, 1 or 3) uint8; one channel counts three times.
        sigma: of the Gaussian that smooths each channel first, in pixels.

    Source:
        Felzenszwalb & Huttenlocher, Efficient Graph-Based Image Segmentation, IJCV 2004, sections 3 and 5.
    """
    height, width, channels = picture.shape
    smooth = smoothed(picture, sigma)
    count = 4 * height * width - 3 * (height + width) + 2
    keys = np.empty(count, dtype=np.float32)
    edges = np.empty(count, dtype=np.uint32)
    fill_edges(smooth, np.float32(3.0 / channels), keys, edges)
    spare_keys, spare_edges = np.empty_like(keys), np.empty_like(edges)
    sort_by_key(keys.view(np.uint32), edges, spare_keys.view(np.uint32), spare_edges)
    return SortedEdges(spare_edges, spare_keys, height, width)


def smoothed(picture: npt.NDArray[np.uint8], sigma: float) -> npt.NDArray[np.float32]:
    """(H, W, C) float32 picture after a Gaussian with 4 sigma on either side, edge pixels repeated."""
    side = 2 * int(np.ceil(4 * sigma)) + 1
    values = picture.astype(np.float32)
    blurred = cv2.GaussianBlur(values, (side, side), sigma, borderType=cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(blurred, dtype=np.float32).reshape(picture.shape)


def superpixels(graph: SortedEdges, k: float, min_size: int) -> tuple[npt.NDArray[np.int32], int]:
    """(H, W) labels 0..n-1 in raster order of each segment's first pixel, and n.

    Args:
        graph: from `sorted_edges`.
        k: scale of observation; larger gives larger segments.
        min_size: no segment is left with fewer pixels, unless it is the whole picture.
    """
    labels = np.empty(graph.height * graph.width, dtype=np.int32)
    count = segment(graph.edges, graph.weights, graph.width, np.float32(k), min_size, labels)
    return labels.reshape(graph.height, graph.width), int(count)


@compiled("void(float32[:, :, ::1], float32, float32[::1], uint32[::1])")
def fill_edges(smooth, share, weights, edges):  # type: ignore[no-untyped-def]
    """Write every edge of the grid and its Euclidean colour distance."""
    height, width, channels = smooth.shape
    at = 0
    for y in range(height):
        for x in range(width):
            pixel = np.uint32(4 * (y * width + x))
            for direction in range(4):
                dy = -1 if direction == 3 else (0 if direction == 0 else 1)
                dx = 0 if direction == 1 else 1
                if x + dx >= width or y + dy >= height or y + dy < 0:
                    continue
                total = np.float32(0)
                for channel in range(channels):
                    difference = smooth[y, x, channel] - smooth[y + dy, x + dx, channel]
                    total += difference * difference
                weights[at] = np.sqrt(total * share)
                edges[at] = pixel + np.uint32(direction)
                at += 1


@compiled("void(uint32[::1], uint32[::1], uint32[::1], uint32[::1])")
def sort_by_key(keys, values, sorted_keys, sorted_values):  # type: ignore[no-untyped-def]
    """Stable radix sort of (key, value); the bits of non-negative floats sort as integers do.

    Three digits of 11 bits: from the first arrays to the second, back, and to the second again.
    """
    size = 1 << 11
    mask = np.uint32(size - 1)
    starts = np.zeros((3, size), dtype=np.int64)
    for i in range(keys.size):
        key = keys[i]
        starts[0, key & mask] += 1
        starts[1, (key >> np.uint32(11)) & mask] += 1
        starts[2, key >> np.uint32(22)] += 1
    for digit in range(3):
        total = 0
        for value in range(size):
            number = starts[digit, value]
            starts[digit, value] = total
            total += number
    for digit in range(3):
        shift = np.uint32(11 * digit)
        for i in range(keys.size):
            key = keys[i]
            bucket = (key >> shift) & mask
            to = starts[digit, bucket]
            starts[digit, bucket] = to + 1
            sorted_keys[to] = key
            sorted_values[to] = values[i]
        keys, sorted_keys = sorted_keys, keys
        values, sorted_values = sorted_values, values


@compiled("int64(uint32[::1], float32[::1], int64, float32, int64, int32[::1])")
def segment(edges, weights, width, k, min_size, labels):  # type: ignore[no-untyped-def]
    """Merge along the sorted edges, then merge what is too small; writes labels, returns their number."""
    pixels = labels.size
    parent = np.arange(pixels).astype(np.int32)
    sizes = np.ones(pixels, dtype=np.int32)
    thresholds = np.full(pixels, k, dtype=np.float32)
    offsets = np.array([1, width, width + 1, 1 - width], dtype=np.int64)
    # an edge inside a segment stays inside: only these can matter in the second pass
    refused = np.empty(edges.size, dtype=np.uint32)
    refusals = 0
    for i in range(edges.size):
        edge = edges[i]
        a = np.int64(edge >> np.uint32(2))
        b = a + offsets[edge & np.uint32(3)]
        while parent[a] != a:
            parent[a] = parent[parent[a]]
            a = np.int64(parent[a])
        while parent[b] != b:
            parent[b] = parent[parent[b]]
            b = np.int64(parent[b])
        if a == b:
            continue
        weight = weights[i]
        if weight <= thresholds[a] and weight <= thresholds[b]:
            if sizes[a] < sizes[b]:
                a, b = b, a
            parent[b] = a
            sizes[a] += sizes[b]
            thresholds[a] = weight + k / np.float32(sizes[a])
        else:
            refused[refusals] = edge
            refusals += 1
    for i in range(refusals):
        edge = refused[i]
        a = np.int64(edge >> np.uint32(2))
        b = a + offsets[edge & np.uint32(3)]
        while parent[a] != a:
            parent[a] = parent[parent[a]]
            a = np.int64(parent[a])
        while parent[b] != b:
            parent[b] = parent[parent[b]]
            b = np.int64(parent[b])
        if a != b and (sizes[a] < min_size or sizes[b] < min_size):
            if sizes[a] < sizes[b]:
                a, b = b, a
            parent[b] = a
            sizes[a] += sizes[b]
    count = 0
    numbers = np.full(pixels, -1, dtype=np.int32)
    for pixel in range(pixels):
        root = pixel
        while parent[root] != root:
            root = parent[root]
        if numbers[root] < 0:
            numbers[root] = count
            count += 1
        labels[pixel] = numbers[root]
    return count
