"""Training examples: which photographs, and that windows, mirroring, objects and proposals agree with the pixels."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from inception_rcnn.proposals.network.samples import (
    BoxSource,
    Sample,
    SampleDrawer,
    choose_window,
    labels_in,
    mirrored,
    recoloured,
)
from inception_rcnn.structures import GroundTruth, InputError, Proposals
from inception_rcnn.structures.dataset import DetectionDataset

WIDTH, HEIGHT = 200, 120


def truth_of(boxes: list[list[float]], ignore: list[bool] | None = None) -> GroundTruth:
    return GroundTruth(boxes, [0] * len(boxes), ("thing",), ignore or [], width=WIDTH, height=HEIGHT)


class BrightSquares:
    """Grey photographs, each with one bright object and a proposal on it; the grey tells which it is."""

    def __init__(self, count: int, first: int = 0) -> None:
        self.first = first
        corners = np.random.default_rng(first).integers(5, 70, (count, 2))
        self.boxes = np.concatenate([corners, corners + np.array([50, 40])], axis=1).astype(np.float32)

    def __len__(self) -> int:
        return len(self.boxes)

    def load_image(self, index: int) -> NDArray[np.uint8]:
        image = np.full((HEIGHT, WIDTH, 3), 30 + 2 * (self.first + index), np.uint8)
        x1, y1, x2, y2 = self.boxes[index].astype(int)
        image[y1:y2, x1:x2] = 230
        return image

    def ground_truth(self, index: int) -> GroundTruth:
        return truth_of([self.boxes[index].tolist()])

    def source(self, *, complete: bool = True) -> BoxSource:
        proposals = [Proposals.ordered([box], [1]) for box in self.boxes]
        return BoxSource(cast(DetectionDataset, self), lambda: proposals, complete, range(len(self)))


def equal(one: Sample, two: Sample) -> bool:
    return (
        np.array_equal(one.pixels, two.pixels)
        and np.array_equal(one.labels.objects, two.labels.objects)
        and np.array_equal(one.regions, two.regions)
    )


# --- which photographs


def test_the_batch_of_a_number_is_always_the_same() -> None:
    drawers = [SampleDrawer([BrightSquares(5).source()], 64, 3, seed=4) for _ in range(2)]
    drawers[1].draw(0)  # what was drawn before does not matter
    for one, two in zip(drawers[0].draw(7), drawers[1].draw(7), strict=True):
        assert equal(one, two)


def test_other_numbers_and_other_seeds_give_other_batches() -> None:
    source = BrightSquares(5).source()
    first = SampleDrawer([source], 64, 3, seed=4).draw(7)
    for other in (SampleDrawer([source], 64, 3, seed=4).draw(8), SampleDrawer([source], 64, 3, seed=5).draw(7)):
        assert not any(equal(one, two) for one, two in zip(first, other, strict=True))


def test_every_photograph_comes_once_an_epoch_each_time_in_another_order() -> None:
    """Seven photographs of two sets in batches of three: epochs end inside batches."""
    seen: list[int] = []

    class Watched(BrightSquares):
        def ground_truth(self, index: int) -> GroundTruth:
            seen.append(self.first + index)
            return super().ground_truth(index)

    drawer = SampleDrawer([Watched(5).source(), Watched(2, first=5).source()], 64, 3, seed=0)
    assert len(drawer) == 7
    for number in range(7):
        assert len(drawer.draw(number)) == 3
    epochs = [seen[start : start + 7] for start in (0, 7, 14)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs) and epochs[0] != epochs[1] != epochs[2]


def test_only_the_rows_named_are_used_and_completeness_is_the_sources() -> None:
    asked: list[int] = []

    class Watched(BrightSquares):
        def load_image(self, index: int) -> NDArray[np.uint8]:
            asked.append(self.first + index)
            return super().load_image(index)

    whole, part = Watched(4), Watched(4, first=4)
    rows = [replace(whole.source(), rows=[1]), replace(part.source(complete=False), rows=[3])]
    drawer = SampleDrawer(rows, 64, 2, 0)
    assert len(drawer) == 2 and {one.labels.complete for one in drawer.draw(0)} == {True, False}
    assert sorted(asked) == [1, 7]


def test_without_photographs_there_is_nothing_to_draw() -> None:
    with pytest.raises(InputError, match="no photograph"):
        SampleDrawer([replace(BrightSquares(2).source(), rows=[])], 64, 2, 0)


def test_every_photograph_needs_its_proposals() -> None:
    with pytest.raises(InputError, match="there are proposals of 1 images, the data set has 2"):
        SampleDrawer([replace(BrightSquares(2).source(), propose_set=lambda: [Proposals.empty()])], 64, 2, 0)


def test_an_epoch_is_put_in_order_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not once for each sample: for 118,000 photographs that takes longer than to draw them."""
    orders: list[int] = []
    default_rng = np.random.default_rng

    def watched(seed: list[int]) -> np.random.Generator:
        orders.extend(seed[1:] if len(seed) == 2 else [])
        return default_rng(seed)

    drawer = SampleDrawer([BrightSquares(7).source()], 64, 3, seed=0)
    monkeypatch.setattr(np.random, "default_rng", watched)
    for number in range(7):
        drawer.draw(number)
    assert orders == [0, 1, 2]


# --- what is on them


def test_a_bright_object_stays_under_its_box_whatever_the_window() -> None:
    samples = [one for number in range(15) for one in SampleDrawer([BrightSquares(4).source()], 64, 4, 1).draw(number)]
    checked = 0
    for sample in samples:
        bright = sample.pixels.mean(axis=2) > (float(sample.pixels.max()) + float(sample.pixels.min())) / 2
        rows, columns = np.flatnonzero(bright.any(axis=1)), np.flatnonzero(bright.any(axis=0))
        seen = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) / 64
        for box in sample.labels.objects:
            np.testing.assert_allclose(box, seen, atol=1.5 / 64)
            checked += 1
        np.testing.assert_array_equal(sample.regions, np.concatenate([sample.labels.objects, sample.labels.neutral]))
    assert checked > 50
    whole = {tuple((one.labels.objects[:, 2:] - one.labels.objects[:, :2]).ravel().round(3)) for one in samples}
    assert len(whole) > 20  # windows of many sizes


def test_half_of_the_samples_are_mirrored() -> None:
    class Ramp(BrightSquares):
        def load_image(self, index: int) -> NDArray[np.uint8]:
            return np.broadcast_to(np.linspace(60, 190, WIDTH).astype(np.uint8)[:, None], (HEIGHT, WIDTH, 3)).copy()

    drawer = SampleDrawer([Ramp(4).source()], 64, 40, 0)
    rising = [float(one.pixels[:, -1].mean()) > float(one.pixels[:, 0].mean()) for one in drawer.draw(0)]
    assert 10 < sum(rising) < 30


@given(st.lists(st.tuples(*[st.floats(0, 1)] * 4), max_size=4))
def test_mirrored_twice_is_as_before(rows: list[tuple[float, ...]]) -> None:
    boxes = np.array(rows).reshape(-1, 4)
    once = mirrored(boxes)
    np.testing.assert_allclose(once[:, 2] - once[:, 0], boxes[:, 2] - boxes[:, 0], atol=1e-12)
    np.testing.assert_allclose(mirrored(once), boxes, atol=1e-12)


def test_left_becomes_right() -> None:
    assert mirrored(np.array([[0.0, 0.25, 0.125, 0.5]])).tolist() == [[0.875, 0.25, 1.0, 0.5]]


@given(st.integers(0, 300), st.integers(8, 400), st.integers(8, 400), st.integers(0, 3))
def test_windows_lie_in_the_photograph_and_show_the_middle_of_an_object(
    seed: int, width: int, height: int, count: int
) -> None:
    rng = np.random.default_rng(seed)
    size = np.array([width, height])
    corners = rng.random((count, 2)) * size * 0.8
    objects = np.concatenate([corners, corners + size * 0.2], axis=1).astype(np.float32)
    x1, y1, x2, y2 = choose_window(width, height, objects, rng)
    assert 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height
    across, down = (x2 - x1) / width, (y2 - y1) / height
    assert 0.25 <= across * down <= 1 + 1e-9  # 30 %, less where a side would exceed the photograph
    assert 1 / 1.41 <= across / down <= 1.41
    middles = (objects[:, :2] + objects[:, 2:]) / 2
    assert not count or any(x1 < x < x2 and y1 < y < y2 for x, y in middles)


def test_the_whole_photograph_is_seen_half_of_the_time() -> None:
    rng = np.random.default_rng(0)
    windows = [choose_window(100, 50, np.zeros((0, 4), np.float32), rng) for _ in range(200)]
    whole = [window.tolist() == [0, 0, 100, 50] for window in windows]
    assert 70 < sum(whole) < 130
    areas = [(window[2] - window[0]) * (window[3] - window[1]) / 5000 for window in windows]
    assert min(areas) < 0.4 and np.std([area for area in areas if area < 1]) > 0.1


def test_what_a_window_cuts_is_an_object_neutral_or_gone() -> None:
    truth = truth_of(
        [
            [60, 30, 80, 50],  # inside
            [40, 30, 60, 50],  # half inside
            [33, 30, 53, 50],  # 15 % inside
            [31, 30, 51, 50],  # 5 % inside
            [60, 30, 80, 50],  # inside, to be ignored
            [0, 0, 20, 20],  # outside
            [100, 60, 100.9, 90],  # too narrow to be seen
        ],
        [False, False, False, False, True, False, False],
    )
    labels = labels_in(np.array([50.0, 20.0, 150.0, 100.0]), truth, complete=False)
    assert labels.complete is False
    np.testing.assert_allclose(labels.objects, [[0.1, 0.125, 0.3, 0.375], [0.0, 0.125, 0.1, 0.375]])
    np.testing.assert_allclose(labels.neutral, [[0.0, 0.125, 0.03, 0.375], [0.1, 0.125, 0.3, 0.375]])


def test_a_photograph_without_objects_has_labels_of_no_rows() -> None:
    labels = labels_in(np.array([0.0, 0.0, 200.0, 120.0]), truth_of([]), complete=True)
    assert labels.objects.shape == labels.neutral.shape == (0, 4)


def test_colours_change_but_not_shape_or_type_and_grey_stays_grey() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    changed = [recoloured(pixels, np.random.default_rng(seed)) for seed in range(20)]
    assert all(one.shape == pixels.shape and one.dtype == np.uint8 for one in changed)
    assert len({one.tobytes() for one in changed}) == 20
    grey = recoloured(np.full((4, 4, 3), 100, np.uint8), rng)
    assert len(np.unique(grey)) == 1
    means = [float(one.mean()) for one in changed]
    assert 60 < min(means) < 115 and 140 < max(means) < 195
