"""Felzenszwalb-Huttenlocher segmentation as slowly and plainly as it can be written."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

STEPS = ((0, 1), (1, 0), (1, 1), (-1, 1))  # dy, dx: right, down, down and right, up and right


def slow_edges(smooth: NDArray[np.float32]) -> list[tuple[np.float32, int, int]]:
    """Return (weight, pixel, pixel) of the 8-connected grid, weakest first; equal weights row by row.

    Weights have 22 bits after the point and are at least 1/1024, as the kernel's are.
    """
    channels, height, width = smooth.shape
    edges = []
    for y in range(height):
        for dy, dx in STEPS:
            for x in range(width):
                if not (0 <= y + dy < height and x + dx < width):
                    continue
                difference = smooth[:, y, x] - smooth[:, y + dy, x + dx]
                square = np.float32(0)
                for part in difference:
                    square += part * part
                weight = np.maximum(np.sqrt(square * np.float32(3 / channels)), np.float32(1 / 1024))
                bits = np.array([weight]).view(np.uint32) & np.uint32(0xFFFFFFFE)
                edges.append((bits.view(np.float32)[0], y * width + x, (y + dy) * width + x + dx))
    return sorted(edges, key=lambda edge: edge[0])


def slow_superpixels(smooth: NDArray[np.float32], k: float, min_size: int) -> NDArray[np.int64]:
    """Return (H, W) labels: every pixel carries its segment's number, and a merge renumbers all pixels of one side."""
    labels = np.arange(smooth[0].size)
    internal: dict[int, np.float32] = {}
    edges = slow_edges(smooth)
    for weight, p, q in edges:
        a, b = labels[p], labels[q]
        if a == b:
            continue
        limits = [internal.get(s, np.float32(0)) + np.float32(k) / np.float32((labels == s).sum()) for s in (a, b)]
        if weight <= min(limits):
            labels[labels == b] = a
            internal[a] = weight
    for _, p, q in edges:
        a, b = labels[p], labels[q]
        if a != b and min((labels == a).sum(), (labels == b).sum()) < min_size:
            labels[labels == b] = a
    _, first, which = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[which].reshape(smooth.shape[1:])
