"""Superpixels against the plain algorithm, against scikit-image, and their laws."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage.segmentation import felzenszwalb

from inception_rcnn.proposals.search.superpixels import pixel_graph, superpixels
from reference.slow_superpixels import slow_edges, slow_superpixels

Picture = NDArray[np.uint8]


def noise(height: int, width: int, seed: int, levels: int = 256, channels: int = 3) -> Picture:
    """Random pixels of few or many levels: few make many equal weights."""
    draws = np.random.default_rng(seed).integers(0, levels, (height, width, channels))
    return (draws * (255 // max(1, levels - 1))).astype(np.uint8)


def cut(picture: Picture, k: float, min_size: int) -> tuple[NDArray[np.int32], int]:
    return superpixels(pixel_graph(picture), k, min_size)


@pytest.fixture(scope="module")
def photograph() -> Picture:
    return np.ascontiguousarray(skimage.data.astronaut()[60:160, 180:300])


@settings(max_examples=40)
@given(
    st.integers(1, 9), st.integers(1, 9), st.integers(0, 99), st.sampled_from([2, 3, 256]), st.sampled_from([1, 3]),
    st.sampled_from([1.0, 30.0, 200.0, 2000.0]), st.sampled_from([1, 3, 20]),
)  # fmt: skip
def test_equals_the_plain_algorithm(
    height: int, width: int, seed: int, levels: int, channels: int, k: float, min_size: int
) -> None:
    graph = pixel_graph(noise(height, width, seed, levels, channels))
    labels, count = superpixels(graph, k, min_size)
    expected = slow_superpixels(graph.smooth, k, min_size)
    assert labels.tolist() == expected.tolist()
    assert count == expected.max() + 1


@given(st.integers(1, 7), st.integers(1, 7), st.integers(0, 99), st.sampled_from([2, 256]))
def test_edges_are_all_there_and_sorted(height: int, width: int, seed: int, levels: int) -> None:
    graph = pixel_graph(noise(height, width, seed, levels))
    pixels = (graph.edges & np.uint64(0xFFFFFFFF)) >> np.uint64(2)
    step = np.array([1, width, width + 1, 1 - width])[(graph.edges & np.uint64(3)).astype(int)]
    ours = [(int(p), int(p) + int(s)) for p, s in zip(pixels, step, strict=True)]
    assert ours == [(p, q) for _, p, q in slow_edges(graph.smooth)]


@pytest.mark.parametrize("k", [50, 100, 400])
def test_is_nearly_scikit_images_felzenszwalb(photograph: Picture, k: int) -> None:
    """Borders are treated differently there, and equal weights come in another order; so not all pixels agree."""
    theirs = felzenszwalb(photograph, scale=k, sigma=0.8, min_size=k)
    ours, count = cut(photograph, k, k)
    assert count == pytest.approx(theirs.max() + 1, rel=0.1, abs=1)
    together = np.zeros((count, theirs.max() + 1), np.int64)
    np.add.at(together, (ours.reshape(-1), theirs.reshape(-1)), 1)
    assert together.max(axis=1).sum() > 0.9 * ours.size
    assert together.max(axis=0).sum() > 0.9 * ours.size


def test_one_colour_is_one_segment() -> None:
    assert cut(np.full((40, 30, 3), 77, np.uint8), 10, 1)[1] == 1


def test_two_colours_are_two_segments() -> None:
    picture = np.zeros((40, 30, 3), np.uint8)
    picture[:, 15:] = 200
    labels, count = cut(picture, 50, 50)
    assert count == 2
    assert (labels[:, :14] == 0).all() and (labels[:, 16:] == 1).all()


@given(st.integers(0, 99), st.integers(2, 60))
def test_no_segment_is_smaller_than_asked(seed: int, min_size: int) -> None:
    labels, count = cut(noise(12, 15, seed), 5, min_size)
    sizes = np.bincount(labels.reshape(-1), minlength=count)
    assert count == 1 or sizes.min() >= min_size


def test_labels_are_numbered_in_raster_order(photograph: Picture) -> None:
    labels, count = cut(photograph, 50, 50)
    _, first = np.unique(labels, return_index=True)
    assert (np.diff(first) > 0).all() and len(first) == count


def test_segments_are_connected(photograph: Picture) -> None:
    import cv2

    labels, count = cut(photograph, 100, 100)
    for segment in range(count):
        parts, _ = cv2.connectedComponents((labels == segment).astype(np.uint8), connectivity=8)
        assert parts == 2  # the background and the segment


def test_larger_k_gives_fewer_segments(photograph: Picture) -> None:
    graph = pixel_graph(photograph)
    counts = [superpixels(graph, k, k)[1] for k in (25, 50, 100, 200, 400)]
    assert counts == sorted(counts, reverse=True) and counts[0] > 2 * counts[2]


def test_one_channel_counts_as_three_equal_ones() -> None:
    grey = noise(20, 20, 0, channels=1)
    single, triple = pixel_graph(grey), pixel_graph(np.repeat(grey, 3, axis=2))
    assert single.mean_weight == pytest.approx(triple.mean_weight, rel=1e-5)
    assert superpixels(single, 300, 5)[1] == pytest.approx(superpixels(triple, 300, 5)[1], abs=1)
