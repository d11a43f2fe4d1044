"""Selective search's histograms and grouping, pixel by pixel and pair by pair: nothing is updated, all is recounted."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.integer]


def slow_colour_histogram(picture: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return 25 bins a channel over the masked pixels, all together summing to 1; bin = round(v * 24), v in 0..1."""
    channels = picture.shape[2]
    counts = np.zeros((channels, 25))
    for pixel in picture[mask]:
        for channel, value in enumerate(pixel):
            counts[channel, math.floor(value / 255 * 24 + 0.5)] += 1
    return counts.reshape(-1) / counts.sum()


def slow_derivatives(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return (H, W, C, 8) half-wave rectified Gaussian derivatives, sigma 1, of the picture in 0..1.

    Order: +x, -x, +y, -y, +(x + y), -(x + y), +(x - y), -(x - y), the last four along unit diagonals. Written as sums
    over a 9 x 9 window whose weights are the derivative of a two-dimensional Gaussian in that direction.
    """
    height, width, channels = picture.shape
    offsets = range(-4, 5)
    total = sum(math.exp(-(x * x + y * y) / 2) for x in offsets for y in offsets)
    half = math.sqrt(0.5)
    result = np.zeros((height, width, channels, 8))
    for number, (towards_x, towards_y) in enumerate(((1, 0), (0, 1), (half, half), (half, -half))):
        for dy in offsets:
            for dx in offsets:
                weight = (dx * towards_x + dy * towards_y) * math.exp(-(dx * dx + dy * dy) / 2) / total
                rows = np.clip(np.arange(height) + dy, 0, height - 1)
                columns = np.clip(np.arange(width) + dx, 0, width - 1)
                result[..., 2 * number] += weight * picture[rows][:, columns] / 255
        result[..., 2 * number + 1] = np.maximum(-result[..., 2 * number], 0)
        result[..., 2 * number] = np.maximum(result[..., 2 * number], 0)
    return result


def slow_texture_histogram(derivatives: NDArray[np.float64], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return 10 bins for each channel and orientation, all together summing to 1; bin = round(v * 9 / 0.43)."""
    responses = derivatives[mask]
    counts = np.zeros((*responses.shape[1:], 10))
    for pixel in responses:
        for place in np.ndindex(pixel.shape):
            counts[(*place, min(9, math.floor(pixel[place] * 9 / 0.43 + 0.5)))] += 1
    return counts.reshape(-1) / counts.sum()


def slow_box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Return x1 y1 x2 y2, exclusive, of the masked pixels."""
    rows, columns = np.nonzero(mask)
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def slow_contacts(labels: Labels) -> dict[tuple[int, int], list[tuple[tuple[int, int], tuple[int, int]]]]:
    """Return for each touching pair of labels the pixel sides between them, as pairs of (y, x)."""
    sides: dict[tuple[int, int], list[tuple[tuple[int, int], tuple[int, int]]]] = {}
    height, width = labels.shape
    for y in range(height):
        for x in range(width):
            for there in ((y, x + 1), (y + 1, x)):
                if there[0] < height and there[1] < width and labels[y, x] != labels[there]:
                    pair = sorted((int(labels[y, x]), int(labels[there])))
                    sides.setdefault((pair[0], pair[1]), []).append(((y, x), there))
    return sides


def slow_similarity(
    a: NDArray[np.bool_],
    b: NDArray[np.bool_],
    picture: NDArray[np.uint8],
    derivatives: NDArray[np.float64],
    cues: str,
) -> float:
    """Return the sum of the similarities named in `cues`: c(olour), t(exture), s(ize), f(ill)."""
    area = a.size
    value = 0.0
    if "c" in cues:
        value += np.minimum(slow_colour_histogram(picture, a), slow_colour_histogram(picture, b)).sum()
    if "t" in cues:
        value += np.minimum(slow_texture_histogram(derivatives, a), slow_texture_histogram(derivatives, b)).sum()
    if "s" in cues:
        value += 1 - (a.sum() + b.sum()) / area
    if "f" in cues:
        x1, y1, x2, y2 = slow_box(a | b)
        value += 1 - ((x2 - x1) * (y2 - y1) - a.sum() - b.sum()) / area
    return float(value)


def slow_group(picture: NDArray[np.uint8], labels: Labels, cues: str) -> list[tuple[set[int], set[int], float]]:
    """Return the merges in order: superpixels of one side, of the other, and the similarity of the two."""
    derivatives = slow_derivatives(picture)
    regions = [frozenset([label]) for label in range(labels.max() + 1)]
    contacts = slow_contacts(labels)
    merges: list[tuple[set[int], set[int], float]] = []
    while len(regions) > 1:
        best = (-1.0, regions[0], regions[0])
        for a, b in combinations(regions, 2):
            if any((min(i, j), max(i, j)) in contacts for i in a for j in b):
                masks = [np.isin(labels, list(region)) for region in (a, b)]
                best = max(
                    best, (slow_similarity(*masks, picture, derivatives, cues), a, b), key=lambda entry: entry[0]
                )
        value, a, b = best
        merges.append((set(a), set(b), value))
        regions = [region for region in regions if region not in (a, b)] + [a | b]
    return merges
