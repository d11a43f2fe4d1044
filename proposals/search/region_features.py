"""What selective search knows of a superpixel: size, box, colour and texture histograms, and its neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from inception_rcnn.structures.kernels import kernel

COLOUR_BINS = 25  # of a channel
TEXTURE_BINS = 10  # of an orientation of a channel
ORIENTATIONS = 8  # the four directions that `fill_texture` computes, each with both signs
TEXTURE_SIGMA = 1.0
STRONGEST_DERIVATIVE = 0.43


@dataclass(frozen=True)
class PixelTexture:
    """Texture bins above the lowest, pixel by pixel: bins[starts[p]:starts[p + 1]] are the columns of pixel p."""

    starts: NDArray[np.int32]
    bins: NDArray[np.uint8]


@dataclass(frozen=True)
class Contacts:
    """Pairs of regions that share a pixel's side, each pair once, in order of first contact in raster order."""

    pairs: NDArray[np.int32]  # (pairs, 2) smaller region first
    lengths: NDArray[np.float32]  # (pairs,) sides of pixels shared
    strengths: NDArray[np.float32]  # (pairs,) sum over these sides of the colour distance across


@dataclass(frozen=True)
class Regions:
    """The n superpixels of one segmentation."""

    sizes: NDArray[np.int32]  # (n,) pixels
    boxes: NDArray[np.int32]  # (n, 4) x1 y1 x2 y2, exclusive
    histograms: NDArray[np.float32]  # (n, colour columns + texture columns), each part sums to 1
    colour_columns: int
    contacts: Contacts
    contours: NDArray[np.float32]  # (n, 2) length and strength of each contour, the image's border not counted


def pixel_texture(image: NDArray[np.uint8]) -> PixelTexture:
    """Return Gaussian-derivative bins of every pixel: 8 orientations per channel, 10 bins each.

    An isotropic Gaussian's derivative along a diagonal is (d/dx +- d/dy) / sqrt(2), so two filters give all four
    directions; the sign splits each into two half-wave rectified maps, of which one is always 0.

    Source:
        Uijlings et al., IJCV 2013, section 3.2: sigma 1, all channels; range 0..0.43 as in the released code.
    """
    height, width, channels = image.shape
    values = image.astype(np.float32)
    along_x = _derivative(values, 0).reshape(image.shape)
    along_y = _derivative(values, 1).reshape(image.shape)
    starts = np.empty(height * width + 1, dtype=np.int32)
    bins = np.empty(height * width * channels * (ORIENTATIONS // 2), dtype=np.uint8)
    scale = np.float32((TEXTURE_BINS - 1) / (255.0 * STRONGEST_DERIVATIVE))
    count = fill_texture(along_x.reshape(-1, channels), along_y.reshape(-1, channels), scale, starts, bins)
    return PixelTexture(starts, bins[:count].copy())


def _derivative(values: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Correlate with a Gaussian across and its derivative along `axis` (0: x, 1: y)."""
    taps = np.arange(-4, 5, dtype=np.float64)
    gaussian = np.exp(-0.5 * (taps / TEXTURE_SIGMA) ** 2)
    gaussian /= gaussian.sum()
    slope = taps / TEXTURE_SIGMA**2 * gaussian
    across, down = (slope, gaussian) if axis == 0 else (gaussian, slope)
    filtered = cv2.sepFilter2D(values, cv2.CV_32F, across, down, borderType=cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(filtered, dtype=np.float32)


def describe_regions(
    image: NDArray[np.uint8],
    texture: PixelTexture,
    smooth: NDArray[np.float32],
    labels: NDArray[np.int32],
    count: int,
) -> Regions:
    """Return sizes, boxes, histograms and contacts of the segments 0..count-1 of `labels`."""
    channels = image.shape[2]
    colour_columns = COLOUR_BINS * channels
    columns = colour_columns + TEXTURE_BINS * ORIENTATIONS * channels
    sizes = np.zeros(count, dtype=np.int32)
    boxes = np.empty((count, 4), dtype=np.int32)
    measure(labels, sizes, boxes)
    counts = np.zeros((count, columns), dtype=np.int32)
    count_bins(image.reshape(-1, channels), labels.reshape(-1), texture.starts, texture.bins, counts)
    histograms = np.empty((count, columns), dtype=np.float32)
    normalise(counts, sizes, channels, histograms)
    contacts = find_contacts(labels, count, smooth)
    return Regions(sizes, boxes, histograms, colour_columns, contacts, contours_of(contacts, count))


def contours_of(contacts: Contacts, count: int) -> NDArray[np.float32]:
    """Return (n, 2) length and strength of each region's contour: the sums over its contacts."""
    ends = contacts.pairs.T.reshape(-1)
    columns = (contacts.lengths, contacts.strengths)
    sums = [np.bincount(ends, weights=np.tile(column, 2), minlength=count) for column in columns]
    return np.stack(sums, axis=1).astype(np.float32)


def find_contacts(labels: NDArray[np.int32], count: int, smooth: NDArray[np.float32]) -> Contacts:
    """Return which of the regions 0..count-1 touch along how many pixel sides, and the contrast across these.

    Args:
        labels: (H, W) region of each pixel.
        count: Number of regions.
        smooth: (C, H, W) the image in which colour distances are measured; one channel counts as three equal ones.
    """
    # A planar graph has under 3n edges, but 8-connected segments can cross each other, so this is only a first guess.
    capacity = 3 * count + 16
    while True:
        pairs = np.empty((capacity, 2), dtype=np.int32)
        lengths = np.zeros(capacity, dtype=np.float32)
        strengths = np.zeros(capacity, dtype=np.float32)
        found = int(fill_contacts(labels, count, smooth, np.float32(3.0 / smooth.shape[0]), pairs, lengths, strengths))
        if found >= 0:
            return Contacts(pairs[:found].copy(), lengths[:found].copy(), strengths[:found].copy())
        capacity *= 4


@kernel
def fill_texture(along_x: Any, along_y: Any, scale: Any, starts: Any, bins: Any) -> Any:
    """Write the columns of all texture responses above the lowest bin, pixel by pixel; returns their number.

    The bins of an orientation of a channel are TEXTURE_BINS columns in a row, the orientations of a channel follow each
    other. `scale` brings the strongest derivative to the highest bin.
    """
    pixels, channels = along_x.shape
    diagonal, half = np.float32(np.sqrt(0.5)), np.float32(0.5)
    at = 0
    for pixel in range(pixels):
        starts[pixel] = at  # where this pixel's columns begin
        for channel in range(channels):
            x = along_x[pixel, channel] * scale
            y = along_y[pixel, channel] * scale
            if abs(x) + abs(y) < half:  # then no direction leaves the lowest bin
                continue
            for direction in range(ORIENTATIONS // 2):
                # the derivative along the direction, from those along the axes
                if direction == 0:
                    value = x
                elif direction == 1:
                    value = y
                elif direction == 2:
                    value = (x + y) * diagonal
                else:
                    value = (x - y) * diagonal
                # the nearest bin, and which way the derivative points
                level = np.minimum(np.int32(TEXTURE_BINS - 1), np.int32(abs(value) + half))
                orientation = 2 * direction + (1 if value < 0 else 0)
                bins[at] = (channel * ORIENTATIONS + orientation) * TEXTURE_BINS + level
                at += 1 if level > 0 else 0  # written in any case: a branch here is guessed wrong too often
    starts[pixels] = at
    return at


@kernel
def measure(labels: Any, sizes: Any, boxes: Any) -> Any:
    """Write pixel counts and bounding boxes of all labels."""
    height, width = labels.shape
    for region in range(sizes.size):
        boxes[region, 0] = width
        boxes[region, 1] = height
        boxes[region, 2] = 0
        boxes[region, 3] = 0
    for y in range(height):
        start = 0
        while start < width:  # a run of equal labels at a time
            region = labels[y, start]
            end = start + 1
            while end < width and labels[y, end] == region:
                end += 1
            sizes[region] += end - start
            boxes[region, 0] = min(boxes[region, 0], start)
            boxes[region, 1] = min(boxes[region, 1], y)
            boxes[region, 2] = max(boxes[region, 2], end)
            boxes[region, 3] = y + 1
            start = end


@kernel
def count_bins(image: Any, labels: Any, starts: Any, bins: Any, counts: Any) -> Any:
    """Count in each region's row the colour bins of its pixels, and their texture bins above the lowest."""
    pixels, channels = image.shape
    colour_bin = np.empty(256, dtype=np.int64)
    for value in range(256):
        colour_bin[value] = int(value * (COLOUR_BINS - 1) / 255 + 0.5)
    texture_from = COLOUR_BINS * channels
    for pixel in range(pixels):
        region = labels[pixel]
        for channel in range(channels):
            counts[region, COLOUR_BINS * channel + colour_bin[image[pixel, channel]]] += 1
        for i in range(starts[pixel], starts[pixel + 1]):
            counts[region, texture_from + np.int64(bins[i])] += 1


@kernel
def normalise(counts: Any, sizes: Any, channels: Any, histograms: Any) -> Any:
    """Complete the lowest texture bin (the pixels in no other) and make colour and texture sum to 1 each."""
    regions, columns = counts.shape
    texture_from = COLOUR_BINS * channels
    for region in range(regions):
        for first in range(texture_from, columns, TEXTURE_BINS):
            rest = sizes[region]
            for level in range(1, TEXTURE_BINS):
                rest -= counts[region, first + level]
            counts[region, first] = rest
        colour_share = np.float32(1.0 / (sizes[region] * channels))
        texture_share = np.float32(1.0 / (sizes[region] * channels * ORIENTATIONS))
        for column in range(texture_from):
            histograms[region, column] = counts[region, column] * colour_share
        for column in range(texture_from, columns):
            histograms[region, column] = counts[region, column] * texture_share


@kernel
def fill_contacts(labels: Any, count: Any, smooth: Any, share: Any, pairs: Any, lengths: Any, strengths: Any) -> Any:
    """Write pairs of touching regions and what they share; returns their number, or -1 if there is no room.

    Pairs are found again through a hash table with open addressing: `keys` are the pairs, `slots` their positions.
    `share` weighs the squared differences of the channels.
    """
    channels, height, width = smooth.shape
    # 1. an empty table of a power of two places, at most half of them ever taken
    capacity = pairs.shape[0]
    places = 16
    while places < 2 * capacity:
        places *= 2
    keys = np.full(places, -1, dtype=np.int64)
    slots = np.empty(places, dtype=np.int32)
    found = 0
    # 2. every pixel against its neighbour on the right and the one below
    for y in range(height):
        for x in range(width):
            here = np.int64(labels[y, x])
            for direction in range(2):
                to_y = y + direction
                to_x = x + 1 - direction
                if to_x == width or to_y == height:
                    continue
                there = np.int64(labels[to_y, to_x])
                if here == there:
                    continue
                # 3. the pair's place: its own, or the next free one
                key = min(here, there) * count + max(here, there)
                place = ((key * 0x9E3779B1) >> 12) & (places - 1)
                while keys[place] != -1 and keys[place] != key:
                    place = (place + 1) & (places - 1)
                if keys[place] == -1:  # a new pair
                    if found == capacity:
                        return -1
                    keys[place] = key
                    slots[place] = found
                    pairs[found, 0] = min(here, there)
                    pairs[found, 1] = max(here, there)
                    found += 1
                # 4. add the side they share and the colour distance across it
                square = np.float32(0)
                for channel in range(channels):
                    difference = smooth[channel, y, x] - smooth[channel, to_y, to_x]
                    square += difference * difference
                lengths[slots[place]] += np.float32(1)
                strengths[slots[place]] += np.sqrt(square * share)
    return found
