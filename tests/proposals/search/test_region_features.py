"""What is known of each superpixel, against counting pixel by pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from inception_rcnn.proposals.search.region_features import (
    Regions,
    count_bins,
    describe_regions,
    find_contacts,
    pixel_texture,
)
from inception_rcnn.proposals.search.superpixels import smoothed
from reference.slow_grouping import (
    slow_box,
    slow_colour_histogram,
    slow_contacts,
    slow_derivatives,
    slow_texture_histogram,
)

Labels = NDArray[np.int32]


def soft_noise(height: int, width: int, seed: int, channels: int = 3) -> NDArray[np.uint8]:
    """Random pixels in which neighbours are alike here and there."""
    draws = np.random.default_rng(seed).integers(0, 256, (height, width, channels))
    draws[:, : width // 2] //= 4
    return draws.astype(np.uint8)


def random_labels(height: int, width: int, seed: int, count: int) -> Labels:
    """Labels 0..n-1, all present, n at most `count`; not connected, which describing does not need."""
    draws = np.random.default_rng(seed).integers(0, count, (height, width))
    return np.unique(draws, return_inverse=True)[1].reshape(height, width).astype(np.int32)


def describe(picture: NDArray[np.uint8], labels: Labels) -> Regions:
    smooth = smoothed(picture, 0.8)
    return describe_regions(picture, pixel_texture(picture), smooth, labels, int(labels.max()) + 1)


case = pytest.mark.parametrize(
    ("height", "width", "channels", "count"), [(9, 14, 3, 5), (8, 11, 1, 4), (1, 17, 3, 3), (13, 1, 3, 2), (1, 1, 3, 1)]
)


@case
def test_histograms_are_the_slow_ones(height: int, width: int, channels: int, count: int) -> None:
    picture, labels = soft_noise(height, width, 1, channels), random_labels(height, width, 2, count)
    regions = describe(picture, labels)
    derivatives = slow_derivatives(picture)
    for region, histogram in enumerate(regions.histograms):
        colour, texture = np.split(histogram, [regions.colour_columns])
        mask = labels == region
        np.testing.assert_allclose(colour, slow_colour_histogram(picture, mask), atol=1e-6)
        # a response may lie so close to a bin's end that rounding decides: at most one value a region here
        slack = 2.1 / (mask.sum() * channels * 8)
        assert np.abs(texture - slow_texture_histogram(derivatives, mask)).sum() <= slack


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 50), st.sampled_from([1, 3]))
def test_histograms_sum_to_one(height: int, width: int, seed: int, channels: int) -> None:
    regions = describe(soft_noise(height, width, seed, channels), random_labels(height, width, seed, 6))
    colour, texture = np.split(regions.histograms, [regions.colour_columns], axis=1)
    np.testing.assert_allclose(colour.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(texture.sum(axis=1), 1, atol=1e-5)
    assert regions.histograms.min() >= 0


def test_three_equal_channels_have_the_colours_of_one() -> None:
    grey, labels = soft_noise(10, 10, 3, 1), random_labels(10, 10, 4, 3)
    single, triple = describe(grey, labels), describe(np.repeat(grey, 3, axis=2), labels)
    thirds = triple.histograms[:, :75].reshape(-1, 3, 25)
    np.testing.assert_allclose(thirds.sum(axis=1), single.histograms[:, :25], atol=1e-6)


def test_texture_bins_are_counted_alike_without_compilation() -> None:
    """In plain NumPy, as with NUMBA_DISABLE_JIT, an 8-bit bin plus a start of 75 would wrap around at 256."""
    bins = np.array([0, 180, 181, 239], np.uint8)
    image, labels, starts = np.zeros((1, 3), np.uint8), np.zeros(1, np.int32), np.array([0, 4], np.int32)
    compiled, plain = np.zeros((2, 1, 315), np.int32)
    count_bins(image, labels, starts, bins, compiled)
    count_bins.__wrapped__(image, labels, starts, bins, plain)
    assert np.flatnonzero(plain).tolist() == [0, 25, 50, 75, 255, 256, 314] and np.array_equal(plain, compiled)


def test_a_strong_edge_fills_the_bin_of_its_direction() -> None:
    """The derivative across a full step is 0.4 = 1 / sqrt(2 pi): bin round(0.4 * 9 / 0.43) = 8."""
    picture = np.zeros((21, 20, 1), np.uint8)
    picture[:, 10:] = 255
    regions = describe(picture, np.zeros((21, 20), np.int32))
    texture = regions.histograms[0, 25:].reshape(8, 10) * 20 * 21 * 8
    assert texture[0, 8] == pytest.approx(2 * 21)  # +x: the pixels on both sides of the step
    assert texture[1, 0] == pytest.approx(20 * 21)  # -x: nothing
    assert texture[2, 0] == texture[3, 0] == pytest.approx(20 * 21)  # nor along the edge
    diagonal = round(math.sqrt(0.5) * 0.352 * 9 / 0.43)  # 0.352: the same response, half a pixel from the step
    assert texture[4, diagonal] == texture[6, diagonal] == pytest.approx(2 * 21)


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 50))
def test_sizes_and_boxes_are_counted_right(height: int, width: int, seed: int) -> None:
    labels = random_labels(height, width, seed, 5)
    regions = describe(soft_noise(height, width, seed), labels)
    assert regions.sizes.tolist() == np.bincount(labels.reshape(-1)).tolist()
    assert [tuple(box) for box in regions.boxes.tolist()] == [slow_box(labels == r) for r in range(labels.max() + 1)]


def check_contacts(labels: Labels, smooth: NDArray[np.float32]) -> None:
    ours = find_contacts(labels, int(labels.max()) + 1, smooth)
    expected = slow_contacts(labels)
    assert [tuple(pair) for pair in ours.pairs.tolist()] == list(expected)
    for sides, length, strength in zip(expected.values(), ours.lengths, ours.strengths, strict=True):
        assert length == len(sides)
        across = [np.linalg.norm(smooth[:, a[0], a[1]] - smooth[:, b[0], b[1]]) for a, b in sides]
        assert strength == pytest.approx(sum(across) * math.sqrt(3 / len(smooth)), rel=1e-4, abs=1e-4)


@settings(max_examples=30)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 50), st.integers(1, 30), st.sampled_from([1, 3]))
def test_contacts_are_those_found_by_looking(height: int, width: int, seed: int, count: int, channels: int) -> None:
    smooth = smoothed(soft_noise(height, width, seed, channels), 0.8)
    check_contacts(random_labels(height, width, seed, count), smooth)


def test_more_contacts_than_a_planar_graph_has() -> None:
    """Diagonal lines, one pixel wide and 8-connected, crossing each other: n regions with about n * n / 8 contacts."""
    y, x = np.mgrid[:40, :40]
    lines = np.where((x + y) % 2 == 0, (x - y) // 2, 100 + (x + y) // 2)
    labels = np.unique(lines, return_inverse=True)[1].reshape(40, 40).astype(np.int32)
    assert len(slow_contacts(labels)) > 3 * (labels.max() + 1) + 16
    check_contacts(labels, smoothed(soft_noise(40, 40, 0), 0.8))
