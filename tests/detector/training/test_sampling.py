"""Batches: their make-up, their randomness that is none, how the draws are evened out, and their pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from inception_rcnn.backbones import InputSpec
from inception_rcnn.detector.region_warp import warp_regions
from inception_rcnn.detector.training.region_labels import LabelledRegions
from inception_rcnn.detector.training.warped.sampling import Batch, RegionSampler, SamplingSettings, cut_batch
from inception_rcnn.structures import InputError
from inception_rcnn.structures.dataset import ImageCache

CLASSES = 2
BACKGROUND = CLASSES


def regions(*windows: tuple[int, int, float]) -> LabelledRegions:
    """Windows of one photograph: (label, object, overlap). Each has a box of its own."""
    labels, objects, overlap = (np.array(column) for column in zip(*windows, strict=True)) if windows else ([], [], [])
    first = np.arange(len(windows), dtype=np.float32)
    return LabelledRegions(
        np.stack([first, first, first + 9, first + 9], axis=1),
        np.asarray(labels, np.int64),
        np.asarray(objects, np.int64),
        np.asarray(overlap, np.float32),
    )


def mixed_pool() -> list[LabelledRegions]:
    """Ninety photographs with an object of class 0 and ten with one of class 1, and an empty one.

    The objects of class 0 have nine windows, the others one; of the background a fifth is near an object.
    """
    background = [(BACKGROUND, -1, 0.3)] * 2 + [(BACKGROUND, -1, 0.05)] * 8
    common = regions(*[(0, 0, 0.8)] * 9, *background)
    rare = regions(*background, (1, 0, 0.7))
    return [common] * 90 + [regions()] + [rare] * 10


def sampler(**settings: Any) -> RegionSampler:
    """A sampler of the mixed pool."""
    return RegionSampler(mixed_pool(), CLASSES, SamplingSettings(**settings))


def share_of_class_1(**settings: Any) -> float:
    """Share of class 1 among 200 batches' foreground."""
    draws = sampler(**settings)
    labels = np.concatenate([draws.draw(iteration).labels[:32] for iteration in range(200)])
    return float((labels == 1).mean())


def same(one: Batch, two: Batch) -> bool:
    """Whether two batches are the same to the bit."""
    names = ("images", "boxes", "labels", "mirror")
    return all(np.array_equal(getattr(one, name), getattr(two, name)) for name in names)


@pytest.mark.parametrize("uniform", [True, False])
def test_a_batch_is_32_foreground_and_96_background_regions(uniform: bool) -> None:
    batch = sampler(uniform=uniform).draw(7)
    assert batch.boxes.shape == (128, 4) and batch.images.shape == batch.labels.shape == batch.mirror.shape == (128,)
    assert (batch.labels[:32] < CLASSES).all() and (batch.labels[32:] == BACKGROUND).all()
    assert batch.mirror.dtype == np.bool_


@pytest.mark.parametrize("uniform", [True, False])
def test_every_region_is_one_of_the_pool_s(uniform: bool) -> None:
    pool = mixed_pool()
    batch = sampler(uniform=uniform, foreground=20, background=30).draw(0)
    for image, box, label in zip(batch.images, batch.boxes, batch.labels, strict=True):
        row = int(box[0])
        assert np.array_equal(pool[image].boxes[row], box) and pool[image].labels[row] == label


@pytest.mark.parametrize("uniform", [True, False])
def test_a_batch_depends_on_seed_and_iteration_alone(uniform: bool) -> None:
    one, two = sampler(uniform=uniform, seed=4), sampler(uniform=uniform, seed=4)
    later = two.draw(9)
    for iteration in (3, 0, 11):
        two.draw(iteration)
    assert same(one.draw(9), later) and same(two.draw(9), later)
    assert not same(one.draw(8), later)
    assert not same(sampler(uniform=uniform, seed=5).draw(9), later)


def test_uniform_draws_follow_the_windows() -> None:
    # 810 windows of class 0, 10 of class 1.
    assert share_of_class_1(uniform=True) == pytest.approx(10 / 820, abs=0.005)


@pytest.mark.parametrize(("power", "share"), [(1.0, 0.1), (0.5, 0.25), (0.0, 0.5)])
def test_evened_out_draws_follow_the_objects_to_a_power(power: float, share: float) -> None:
    # 90 objects and 10: 0.1 of the draws by number, 1 / (3 + 1) by square root, half each by class.
    assert share_of_class_1(class_power=power) == pytest.approx(share, abs=0.02)


def test_an_object_with_many_windows_is_not_drawn_more_often() -> None:
    pool = [regions(*[(0, 0, 0.8)] * 99, (0, 1, 0.8), (BACKGROUND, -1, 0.0)), regions((0, 0, 0.9))]
    drawn = RegionSampler(pool, CLASSES, SamplingSettings(foreground=3000)).draw(0)
    boxes, images = drawn.boxes[:3000, 0], drawn.images[:3000]
    of_the_large_one = ((images == 0) & (boxes < 99)).mean()
    assert of_the_large_one == pytest.approx(1 / 3, abs=0.03)
    assert ((images == 0) & (boxes == 99)).mean() == pytest.approx(1 / 3, abs=0.03)
    assert len(np.unique(boxes[images == 0])) == 100  # and every window has its chance


def near_share(iterations: int = 20, **settings: Any) -> float:
    """Share of near misses among the background."""
    draws = sampler(**settings)
    batches = [draws.draw(number) for number in range(iterations)]
    rows = np.concatenate([batch.boxes[32:, 0] for batch in batches]).astype(int)
    images = np.concatenate([batch.images[32:] for batch in batches])
    pool = mixed_pool()
    return float(np.mean([pool[image].overlap[row] >= 0.1 for image, row in zip(images, rows, strict=True)]))


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_share_of_near_misses_is_kept(share: float) -> None:
    assert near_share(hard_background=share) == pytest.approx(share, abs=0.04)


def test_uniform_background_takes_near_misses_as_they_come() -> None:
    assert near_share(uniform=True, hard_background=1.0) == pytest.approx(0.2, abs=0.04)


@pytest.mark.parametrize("overlap", [0.0, 0.4])
def test_background_of_one_kind_only_will_do(overlap: float) -> None:
    pool = [regions((0, 0, 1.0), (BACKGROUND, -1, overlap))]
    batch = RegionSampler(pool, CLASSES, SamplingSettings()).draw(0)
    assert (batch.labels[32:] == BACKGROUND).all() and len(batch.labels) == 128


def test_a_pass_is_as_many_batches_as_hold_all_foreground() -> None:
    assert sampler(foreground=32).batches_per_pass == -(-(90 * 9 + 10) // 32)  # nine windows of each common object
    assert sampler(foreground=0, background=100).batches_per_pass == 10


def test_half_of_the_regions_are_mirrored() -> None:
    mirror = np.concatenate([sampler().draw(number).mirror for number in range(20)])
    assert mirror.mean() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(
    ("pool", "counts"),
    [
        ([], "0 photographs have 0 and 0"),
        ([regions()], "1 photographs have 0 and 0"),
        ([regions((0, 0, 1.0))], "1 photographs have 1 and 0"),
        ([regions((BACKGROUND, -1, 0.0)), regions()], "2 photographs have 0 and 1"),
    ],
)
def test_without_foreground_or_background_there_is_nothing_to_learn(pool: list[LabelledRegions], counts: str) -> None:
    with pytest.raises(InputError, match=f"training needs foreground and background regions; these {counts}"):
        RegionSampler(pool, CLASSES, SamplingSettings())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"foreground": -1}, "foreground and background should be 0 or more"),
        ({"foreground": 0, "background": 0}, "and not both 0"),
        ({"hard_background": 1.1}, r"hard_background should lie in 0..1, got 1.1"),
        ({"hard_background": float("nan")}, "hard_background"),
        ({"class_power": -0.5}, "class_power should be 0 or more, got -0.5"),
        ({"class_power": float("inf")}, "class_power"),
        ({"seed": -1}, "seed should be 0 or more, got -1"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SamplingSettings(**settings)


def test_a_batch_is_what_the_warp_cuts_mirrored_where_it_says_so(spec: InputSpec) -> None:
    rng = np.random.default_rng(0)
    photographs = [rng.integers(0, 256, (40, 50, 3), dtype=np.uint8) for _ in range(3)]
    boxes = np.array([(0, 0, 20, 20), (5, 3, 30, 33), (9, 9, 40, 20), (1, 1, 49, 39)], np.float32)
    batch = Batch(np.array([2, 0, 2, 1]), boxes, np.zeros(4, np.int64), np.array([False, True, True, False]))
    crops = cut_batch(ImageCache(photographs.__getitem__), batch, spec)
    for row, image in enumerate((2, 0, 2, 1)):
        expected = warp_regions(photographs[image], boxes[row : row + 1], spec)[0]
        assert np.array_equal(crops[row], expected[:, ::-1] if batch.mirror[row] else expected)
