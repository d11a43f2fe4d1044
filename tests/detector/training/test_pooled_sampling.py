"""Batches of photographs and regions for pooled training."""

from __future__ import annotations

import numpy as np
import pytest

from inception_rcnn.detector.training.pooled.sampling import (
    PooledSampler,
    PooledSamplingSettings,
    canvas_shape,
)
from inception_rcnn.detector.training.region_labels import LabelledRegions
from inception_rcnn.structures import InputError
from inception_rcnn.structures.boxes import decode_boxes

CLASSES = 3


def labelled(rng: np.random.Generator, objects: int, background: int) -> tuple[LabelledRegions, np.ndarray]:
    """Return regions of one photograph: three around each object, and background; with the objects' boxes."""
    corner = rng.uniform(0, 200, (objects, 2))
    truths = np.hstack([corner, corner + rng.uniform(30, 90, (objects, 2))]).astype(np.float32)
    around = np.repeat(truths, 3, axis=0) + rng.uniform(-4, 4, (3 * objects, 4)).astype(np.float32)
    corner = rng.uniform(0, 200, (background, 2))
    others = np.hstack([corner, corner + 40]).astype(np.float32)
    labels = np.concatenate([np.repeat(rng.integers(0, CLASSES, objects), 3), np.full(background, CLASSES)])
    numbers = np.concatenate([np.repeat(np.arange(objects), 3), np.full(background, -1)])
    overlap = np.concatenate([np.full(3 * objects, 0.8), np.linspace(0, 0.49, background)])
    boxes = np.concatenate([around, others])
    return LabelledRegions(boxes, labels.astype(np.int64), numbers, overlap.astype(np.float32)), truths


def sampler(shapes: list[tuple[int, int]], **settings: object) -> PooledSampler:
    rng = np.random.default_rng(5)
    parts = [labelled(rng, 1 + number % 4, 40) for number in range(len(shapes))]
    return PooledSampler(
        [one for one, _ in parts], [two for _, two in parts], shapes, CLASSES, PooledSamplingSettings(**settings)
    )


SHAPES = [(384, 512)] * 9 + [(512, 384)] * 5 + [(512, 512)] * 2


def test_a_pass_shows_every_photograph_once_but_for_the_rest_of_a_shape() -> None:
    drawn = sampler(SHAPES, photographs=2)
    assert drawn.batches_per_pass == 4 + 2 + 1
    for number in range(3):
        first = number * drawn.batches_per_pass
        images = [drawn.draw(first + place).images for place in range(drawn.batches_per_pass)]
        seen = np.concatenate(images)
        assert len(set(seen.tolist())) == len(seen) == 14
        assert all(len({SHAPES[image] for image in batch}) == 1 for batch in images)


def test_the_same_iteration_gives_the_same_batch_whatever_was_drawn_before() -> None:
    one, other = sampler(SHAPES), sampler(SHAPES)
    for iteration in (40, 3, 17):
        one.draw(iteration)
    a, b = one.draw(11), other.draw(11)
    assert np.array_equal(a.images, b.images) and np.array_equal(a.boxes, b.boxes) and a.scale == b.scale
    assert not np.array_equal(a.boxes, one.draw(12).boxes)


def test_a_quarter_is_foreground_and_half_of_the_rest_are_near_misses() -> None:
    drawn = sampler(SHAPES, regions=64, photographs=2)
    for iteration in range(20):
        batch = drawn.draw(iteration)
        for position, image in enumerate(batch.images):
            rows = batch.boxes[:, 0] == position
            labels = batch.labels[rows]
            objects = int((drawn.regions[image].labels < CLASSES).sum())
            assert rows.sum() == 64 and (labels < CLASSES).sum() == min(16, objects)


def test_objects_take_turns_so_that_none_is_drawn_twice_as_often_as_another() -> None:
    drawn = sampler([(384, 512)] * 4, photographs=2, regions=48, foreground=0.25)
    for iteration in range(10):
        batch = drawn.draw(iteration)
        for position, image in enumerate(batch.images):
            rows = np.flatnonzero((batch.boxes[:, 0] == position) & (batch.labels < CLASSES))
            found = decode_boxes(batch.boxes[rows, 1:], batch.offsets[rows])
            truths = drawn.truths[image]
            nearest = np.abs(found[:, None] - truths[None]).sum(axis=2)
            assert nearest.min(axis=1).max() < 1e-2  # an offset leads to its object
            turns = np.bincount(nearest.argmin(axis=1), minlength=len(truths))
            assert turns.max() - turns.min() <= 1


def test_background_has_no_offset() -> None:
    batch = sampler(SHAPES).draw(0)
    assert not batch.offsets[batch.labels == CLASSES].any()


def test_rare_classes_come_more_often() -> None:
    rng = np.random.default_rng(1)
    parts = [labelled(rng, 1, 30) for _ in range(40)]
    for number, (one, _) in enumerate(parts):
        one.labels[one.labels < CLASSES] = 2 if number == 7 else number % 2
    settings = PooledSamplingSettings(photographs=2, repeat_below=0.4)
    drawn = PooledSampler([one for one, _ in parts], [two for _, two in parts], [(384, 512)] * 40, CLASSES, settings)
    images = np.concatenate([drawn.draw(number).images for number in range(6 * drawn.batches_per_pass)])
    count = np.bincount(images, minlength=40)
    # sqrt(0.4 / (1 / 40)) = 4 times a pass; of 43 in a pass one is left over
    assert 22 <= count[7] <= 24 and np.median(np.delete(count, 7)) == 6


def test_colours_are_drawn_on_request_only() -> None:
    assert sampler(SHAPES).draw(0).colour is None
    colour = sampler(SHAPES, photometric=0.3).draw(0).colour
    assert colour is not None and colour.shape == (2, 3, 4)
    grey = colour[:, :, :3] @ np.full(3, 115.0) + colour[:, :, 3]  # contrast turns about grey
    assert np.allclose(grey, grey[:, :1], rtol=1e-5) and np.all((grey > 115 / 1.31) & (grey < 115 * 1.31))


@pytest.mark.parametrize("regions", [6, 40])
def test_a_photograph_of_nothing_but_objects_or_without_any_gives_as_many_regions(regions: int) -> None:
    one, truths = labelled(np.random.default_rng(0), 2, 0)
    other, more = labelled(np.random.default_rng(1), 0, 5)
    drawn = PooledSampler(
        [one, other], [truths, more], [(384, 512)] * 2, CLASSES, PooledSamplingSettings(photographs=2, regions=regions)
    )
    batch = drawn.draw(0)
    position = batch.boxes[:, 0]
    for place, image in enumerate(batch.images):
        labels = batch.labels[position == place]
        assert len(labels) == regions and ((labels < CLASSES) == (image == 0)).all()
    assert not batch.offsets[batch.labels == CLASSES].any()


def test_near_misses_and_the_rest_share_the_background_unless_one_is_lacking() -> None:
    one, truths = labelled(np.random.default_rng(0), 1, 50)
    for least, expected in ((0.1, 24), (0.0, 48), (1.0, 0)):
        one.overlap[3:] = np.where(np.arange(50) % 2, 0.3 if least < 1 else 0.0, 0.3 if least == 0 else 0.05)
        drawn = PooledSampler([one], [truths], [(384, 512)], CLASSES, PooledSamplingSettings(photographs=1, regions=51))
        batch = drawn.draw(0)
        near = [bool((one.overlap[(one.boxes == box).all(axis=1)] >= 0.1).any()) for box in batch.boxes[:, 1:]]
        assert (batch.labels == CLASSES).sum() == 48 and sum(near[3:]) == expected


def test_cells_take_turns() -> None:
    drawn = sampler(SHAPES, cells=(7, 6, 5))
    assert [drawn.draw(number).cells for number in (0, 1, 2, 3, 40)] == [7, 6, 5, 7, 6]
    assert sampler(SHAPES).draw(0).cells is None


@pytest.mark.parametrize(("objects", "background"), [(0, 5), (3, 0)])
def test_only_one_kind_of_region_is_refused(objects: int, background: int) -> None:
    one, truths = labelled(np.random.default_rng(0), objects, background)
    with pytest.raises(InputError, match="foreground and background regions"):
        PooledSampler([one], [truths], [(384, 512)], CLASSES, PooledSamplingSettings(photographs=1))


def test_photographs_of_a_rare_shape_come_too_again_and_again_in_their_batch() -> None:
    drawn = sampler([(384, 512), (512, 384), (512, 384), (512, 384)], photographs=2)
    for number in range(3):  # passes
        batches = [
            drawn.draw(number * drawn.batches_per_pass + place).images for place in range(drawn.batches_per_pass)
        ]
        assert sorted(len(one) for one in batches) == [2, 2]
        assert [one.tolist() for one in batches if 0 in one] == [[0, 0]]
    assert sampler([(384, 512)], photographs=3).draw(0).images.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("photographs", 0),
        ("regions", 0),
        ("foreground", 1.1),
        ("stored_side", 10),
        ("scales", ()),
        ("scales", (9.0,)),
        ("cells", (7, 0)),
    ],
)
def test_settings_out_of_range_are_refused(name: str, value: object) -> None:
    with pytest.raises(InputError, match=name):
        PooledSamplingSettings(**{name: value})


def test_canvas_shapes_hold_their_photographs() -> None:
    for height, width in ((1, 512), (384, 512), (385, 512), (512, 384), (512, 385), (100, 90)):
        shape = canvas_shape(height, width, 512)
        assert shape[0] >= height and shape[1] >= width
