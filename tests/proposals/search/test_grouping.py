"""The grouping against recounting everything after each merge, and its laws."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from inception_rcnn.proposals.search.grouping import (
    COLOUR_TEXTURE_SIZE_FILL,
    FILL,
    SIZE,
    TEXTURE_SIZE_FILL,
    Hierarchy,
    Similarity,
    group,
    push,
    replace_top,
)
from inception_rcnn.proposals.search.region_features import Regions, describe_regions, pixel_texture
from inception_rcnn.proposals.search.superpixels import pixel_graph, superpixels
from reference.slow_grouping import slow_contacts, slow_group

CUES = {"ctsf": COLOUR_TEXTURE_SIZE_FILL, "tsf": TEXTURE_SIZE_FILL, "f": FILL, "s": SIZE, "c": Similarity(colour=True)}


def blobs(height: int, width: int, seed: int, count: int) -> NDArray[np.int32]:
    """Connected regions: the pixels nearest to each of `count` random points."""
    rng = np.random.default_rng(seed)
    points = rng.random((count, 2)) * (height, width)
    y, x = np.mgrid[:height, :width]
    nearest = ((y[..., None] - points[:, 0]) ** 2 + (x[..., None] - points[:, 1]) ** 2).argmin(axis=2)
    return np.unique(nearest, return_inverse=True)[1].reshape(height, width).astype(np.int32)


def describe(picture: NDArray[np.uint8], labels: NDArray[np.int32]) -> Regions:
    graph = pixel_graph(picture)
    return describe_regions(picture, pixel_texture(picture), graph.smooth, labels, int(labels.max()) + 1)


def noise(height: int, width: int, seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def members(hierarchy: Hierarchy, count: int) -> list[set[int]]:
    """The superpixels of each region, superpixels first."""
    parts = [{region} for region in range(count)]
    for a, b in hierarchy.merges:
        parts.append(parts[a] | parts[b])
    return parts


@pytest.fixture(scope="module")
def photograph() -> tuple[Regions, NDArray[np.int32], NDArray[np.float32]]:
    picture = np.ascontiguousarray(skimage.data.astronaut()[:200, 100:340])
    graph = pixel_graph(picture)
    labels, count = superpixels(graph, 50, 50)
    return describe_regions(picture, pixel_texture(picture), graph.smooth, labels, count), labels, graph.smooth


@pytest.mark.parametrize("cues", ["ctsf", "tsf", "f", "c"])
@pytest.mark.parametrize("seed", [0, 1])
def test_equals_recounting_everything(cues: str, seed: int) -> None:
    picture, labels = noise(18, 23, seed), blobs(18, 23, seed, 9)
    expected = slow_group(picture, labels, cues)
    hierarchy = group(describe(picture, labels), CUES[cues], labels.size)
    parts = members(hierarchy, labels.max() + 1)
    ours = [{frozenset(parts[a]), frozenset(parts[b])} for a, b in hierarchy.merges]
    assert ours == [{frozenset(a), frozenset(b)} for a, b, _ in expected]
    np.testing.assert_allclose(hierarchy.similarities, [value for _, _, value in expected], atol=0.02)


def test_size_alone_merges_the_smallest_first() -> None:
    labels = np.repeat([0, 1, 2, 3], [1, 2, 4, 8])[None].repeat(3, axis=0).astype(np.int32)
    hierarchy = group(describe(noise(3, 15, 0), labels), SIZE, labels.size)
    assert hierarchy.merges.tolist() == [[0, 1], [2, 4], [3, 5]]


def test_equal_similarities_merge_in_order_of_contact() -> None:
    labels = np.repeat(np.arange(4, dtype=np.int32), 5)[None].repeat(4, axis=0)
    hierarchy = group(describe(np.zeros((4, 20, 3), np.uint8), labels), COLOUR_TEXTURE_SIZE_FILL, labels.size)
    assert hierarchy.merges[0].tolist() == [0, 1]


def test_one_superpixel_has_nothing_to_merge() -> None:
    hierarchy = group(describe(noise(4, 4, 0), np.zeros((4, 4), np.int32)), COLOUR_TEXTURE_SIZE_FILL, 16)
    assert hierarchy.merges.shape == (0, 2) and hierarchy.boxes.shape == (0, 4)


@settings(max_examples=30)
@given(st.integers(2, 20), st.integers(2, 20), st.integers(0, 99), st.integers(1, 40), st.sampled_from(sorted(CUES)))
def test_laws(height: int, width: int, seed: int, points: int, cues: str) -> None:
    picture, labels = noise(height, width, seed), blobs(height, width, seed, points)
    check_laws(describe(picture, labels), labels, CUES[cues])


@pytest.mark.parametrize("cues", sorted(CUES))
def test_laws_on_a_photograph(photograph: tuple[Regions, NDArray[np.int32], NDArray[np.float32]], cues: str) -> None:
    regions, labels, _ = photograph
    check_laws(regions, labels, CUES[cues])


def check_laws(regions: Regions, labels: NDArray[np.int32], similarity: Similarity) -> None:
    """N superpixels, N - 1 merges of regions that exist and touch; boxes and sizes are those of the pixels."""
    count = len(regions.sizes)
    hierarchy = group(regions, similarity, labels.size)
    parts = members(hierarchy, count)
    contacts = slow_contacts(labels)
    alive = set(range(count))
    for step, (a, b) in enumerate(hierarchy.merges):
        assert {a, b} <= alive and a != b
        alive = (alive - {a, b}) | {count + step}
        assert any((min(i, j), max(i, j)) in contacts for i in parts[a] for j in parts[b])
        assert hierarchy.sizes[step] == sum(regions.sizes[i] for i in parts[count + step])
        boxes = np.array([regions.boxes[i] for i in parts[count + step]])
        assert hierarchy.boxes[step].tolist() == [*boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0)]
    assert len(alive) == 1 and parts[-1] == set(range(count))
    if count > 1:
        assert hierarchy.boxes[-1].tolist() == [0, 0, labels.shape[1], labels.shape[0]]
        assert hierarchy.sizes[-1] == labels.size


def test_contours_are_those_of_the_pixels(
    photograph: tuple[Regions, NDArray[np.int32], NDArray[np.float32]],
) -> None:
    regions, labels, smooth = photograph
    count = len(regions.sizes)
    hierarchy = group(regions, COLOUR_TEXTURE_SIZE_FILL, labels.size)
    parts = members(hierarchy, count)
    for step in range(0, count - 1, 40):
        inside = np.isin(labels, list(parts[count + step])).astype(np.int32)
        sides = slow_contacts(inside).get((0, 1), [])
        strength = sum(np.linalg.norm(smooth[:, a[0], a[1]] - smooth[:, b[0], b[1]]) for a, b in sides)
        assert hierarchy.contours[step, 0] == len(sides)
        assert hierarchy.contours[step, 1] == pytest.approx(strength, rel=1e-3)
    np.testing.assert_allclose(hierarchy.contours[-1], 0, atol=0.5)  # the whole picture has none but rounding


def test_similar_neighbours_merge_before_others() -> None:
    """Two dark halves of a dark half, two bright of a bright one."""
    picture = np.zeros((40, 40, 3), np.uint8)
    picture[:, 20:] = 220
    labels = np.repeat(np.arange(4, dtype=np.int32), 10)[None].repeat(40, axis=0)
    hierarchy = group(describe(picture, labels), COLOUR_TEXTURE_SIZE_FILL, labels.size)
    assert {tuple(sorted(pair)) for pair in hierarchy.merges[:2].tolist()} == {(0, 1), (2, 3)}


def test_boxes_nest(photograph: tuple[Regions, NDArray[np.int32], NDArray[np.float32]]) -> None:
    regions, labels, _ = photograph
    hierarchy = group(regions, TEXTURE_SIZE_FILL, labels.size)
    boxes = np.concatenate([regions.boxes, hierarchy.boxes])
    for box, (a, b) in zip(hierarchy.boxes, hierarchy.merges, strict=True):
        for part in (boxes[a], boxes[b]):
            assert (box[:2] <= part[:2]).all() and (part[2:] <= box[2:]).all()


def test_the_regions_are_not_used_up(
    photograph: tuple[Regions, NDArray[np.int32], NDArray[np.float32]],
) -> None:
    regions, labels, _ = photograph
    first = group(regions, COLOUR_TEXTURE_SIZE_FILL, labels.size)
    again = group(regions, COLOUR_TEXTURE_SIZE_FILL, labels.size)
    assert (first.merges == again.merges).all()


@given(st.lists(st.integers(0, 5), min_size=1, max_size=40))
def test_heap_gives_the_largest_first_and_the_earlier_of_equals(numbers: list[int]) -> None:
    values, items = np.zeros(len(numbers), np.float32), np.zeros(len(numbers), np.int32)
    for count, number in enumerate(numbers):
        push(values, items, count, np.float32(number), np.int32(count))
    taken = []
    for count in range(len(numbers) - 1, -1, -1):
        taken.append(int(items[0]))
        replace_top(values, items, count, values[count], items[count])
    assert taken == sorted(range(len(numbers)), key=lambda i: (-numbers[i], i))
