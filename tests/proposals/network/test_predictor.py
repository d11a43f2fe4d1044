"""Proposals and scores of a network that has learned nothing: their number, place, order and scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from inception_rcnn.backbones import InputSpec
from inception_rcnn.backbones.runtime import Runtime
from inception_rcnn.proposals import MultiBox
from inception_rcnn.proposals.network.predictor import View
from inception_rcnn.structures import ImageError, InputError, Proposals, pairwise_iou

pytestmark = pytest.mark.usefixtures("one_thread")
Pixels = NDArray[np.uint8]


def check_proposals(found: Proposals, image: Pixels, most: int, iou: float = 0.5) -> None:
    """At most so many, inside the picture, best first, no two nearly the same."""
    height, width = image.shape[:2]
    assert 0 < len(found) <= most and found.source_names == ("multibox",) and not found.source.any()
    assert (found.boxes >= 0).all() and (found.boxes <= [width, height, width, height]).all()
    assert (found.boxes[:, 2:] > found.boxes[:, :2]).all() and (np.diff(found.scores) <= 0).all()
    overlaps = pairwise_iou(found.boxes, found.boxes)
    np.fill_diagonal(overlaps, 0)
    assert overlaps.max(initial=0) <= iou + 1e-4


@pytest.mark.parametrize("top_k", [1, 7, 60, 5000])
@pytest.mark.parametrize("crops", [False, True])
def test_proposals_are_few_inside_ordered_and_apart(
    untrained: MultiBox, photograph: Pixels, top_k: int, crops: bool
) -> None:
    check_proposals(untrained.propose(photograph, top_k=top_k, crops=crops), photograph, top_k)


def test_enough_boxes_are_found_where_there_are_enough(untrained: MultiBox, photograph: Pixels) -> None:
    assert len(untrained.propose(photograph, top_k=60)) == 60


def test_the_most_confident_box_comes_first(untrained: MultiBox, photograph: Pixels) -> None:
    view = untrained.look([photograph])[0]
    found = untrained.propose(photograph, top_k=5)
    height, width = photograph.shape[:2]
    best = view.boxes[view.logits.argmax()].clamp(0, 1).numpy() * [width, height, width, height]
    np.testing.assert_allclose(found.boxes[0], best, atol=1e-3)
    assert found.scores[0] == float(view.logits.max())


def view_of(boxes: list[list[float]], logits: list[float]) -> View:
    return View(torch.tensor(boxes), torch.tensor(logits), torch.zeros(1, 64, 8, 8), 100, 50)


def test_boxes_are_cut_at_the_border_before_near_copies_go(untrained: MultiBox) -> None:
    """Two boxes that differ outside the picture only are one."""
    boxes = [[0.5, 0.2, 1.0, 0.8], [0.5, 0.2, 2.0, 0.8], [0.1, 0.1, 0.3, 0.3], [1.1, 0.1, 1.4, 0.3]]
    found = untrained.proposals(view_of(boxes, [1.0, 2.0, 3.0, 4.0]), 10)
    np.testing.assert_allclose(found.boxes, [[10, 5, 30, 15], [50, 10, 100, 40]], atol=1e-4)
    assert found.scores.tolist() == [3, 2]


def test_the_limit_of_suppression_is_a_setting(untrained: MultiBox, photograph: Pixels) -> None:
    strict = MultiBox(untrained.network, untrained.spec, untrained.runtime, suppression_iou=0.3)
    found = strict.propose(photograph, top_k=1000)
    check_proposals(found, photograph, 1000, 0.3)
    assert len(found) < len(untrained.propose(photograph, top_k=1000))


def test_a_batch_gives_what_single_images_give(untrained: MultiBox, photograph: Pixels) -> None:
    """Six photographs of several sizes, four a batch."""
    cut = (photograph[:50], photograph[:, ::-1].copy(), photograph[30:], photograph[:40, :30])
    images = [photograph, *cut, photograph]
    together = untrained.look(images)
    for image, view in zip(images, together, strict=True):
        alone = untrained.look([image])[0]
        assert (view.height, view.width) == image.shape[:2] and view.regions.shape == (1, 64, 8, 8)
        for name in ("boxes", "logits", "regions"):
            torch.testing.assert_close(getattr(view, name), getattr(alone, name), rtol=1e-3, atol=1e-4)
    batched = untrained.propose_batch(images, top_k=9)
    for image, view, found in zip(images, together, batched, strict=True):
        assert found.boxes.tolist() == untrained.proposals(view, 9).boxes.tolist()
        check_proposals(found, image, 9)
    assert batched[0].boxes.tolist() == batched[5].boxes.tolist() != batched[2].boxes.tolist()
    assert untrained.propose_batch([]) == []


class Seer(MultiBox):
    """Sees one object, at x 20..50 and y 15..35 of a photograph whose pixels say where they are, whatever the window.

    In each window it is surer of what is larger there; and it sees the rest of the object where the window cuts it.
    """

    def look(self, images: Sequence[Pixels]) -> list[View]:
        views = []
        for image in images:
            height, width = image.shape[:2]
            left, top = image[0, 0, :2].astype(float)
            box = (np.array([20, 15, 50, 35]) - (left, top, left, top)) / (width, height, width, height)
            box = np.clip(box, 0, 1)
            seen = bool((box[2:] > box[:2]).all())
            logit = float((box[2:] - box[:2]).prod()) if seen else -9.0
            shown = torch.from_numpy(box if seen else np.zeros(4)).float()[None]
            views.append(View(shown, torch.tensor([logit]), torch.zeros(1, 64, 8, 8), width, height))
        return views


def coordinates(width: int, height: int) -> Pixels:
    """Each pixel's x and y as its colour."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x, y, 0 * x], axis=2).astype(np.uint8)


@pytest.fixture
def seer(untrained: MultiBox) -> Seer:
    return Seer(untrained.network, untrained.spec, untrained.runtime)


def test_boxes_of_a_window_land_where_the_object_is(seer: Seer) -> None:
    """The picture is 100 x 60: the object is whole in the windows on the left, cut by those on the right."""
    found = seer.propose(coordinates(100, 60), crops=True)
    np.testing.assert_allclose(found.boxes, [[20, 15, 50, 35]], atol=1e-4)
    assert found.scores[0] == pytest.approx((30 / 60) * (20 / 36))  # seen closer up than in the whole


def test_boxes_that_a_windows_border_cuts_are_left_out_but_not_at_the_pictures_border(seer: Seer) -> None:
    """76 x 50: every window cuts the object but the first, at whose border x2 = 46 it ends; so only the whole is right.

    30 x 60: the object ends at the picture's own border, which cuts nothing.
    """
    found = seer.propose(coordinates(76, 50), crops=True)
    np.testing.assert_allclose(found.boxes, [[20, 15, 50, 35]], atol=1e-4)
    assert found.scores[0] == pytest.approx((30 / 76) * (20 / 50))
    found = seer.propose(coordinates(30, 60), crops=True)
    np.testing.assert_allclose(found.boxes, [[20, 15, 30, 35]], atol=1e-4)
    assert found.scores[0] == pytest.approx((10 / 18) * (20 / 36))


@pytest.mark.parametrize("shape", [(1, 1), (2, 300), (40, 3)])
@pytest.mark.parametrize("crops", [False, True])
def test_odd_pictures(untrained: MultiBox, shape: tuple[int, int], crops: bool) -> None:
    image = np.full((*shape, 3), 90, np.uint8)
    check_proposals(untrained.propose(image, top_k=20, crops=crops), image, 20)


# --- objectness


def test_the_score_of_a_box_is_its_own_whatever_its_place_in_the_list(untrained: MultiBox, photograph: Pixels) -> None:
    view = untrained.look([photograph])[0]
    boxes = untrained.proposals(view, 40).boxes
    scores = untrained.logits(view, boxes)
    assert scores.shape == (40,) and scores.dtype == np.float32 and len(np.unique(scores)) == 40
    order = np.random.default_rng(0).permutation(40)
    np.testing.assert_allclose(untrained.logits(view, boxes[order]), scores[order], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(untrained.logits(view, boxes[7:8]), scores[7:8], rtol=1e-4, atol=1e-5)


def test_boxes_are_scored_in_pixels_of_the_photograph(untrained: MultiBox, photograph: Pixels) -> None:
    """The same picture stretched has the same scores for boxes stretched with it."""
    wide = photograph.repeat(2, axis=1)
    view, stretched = untrained.look([photograph, wide])
    stretched = replace(stretched, regions=view.regions)
    boxes = np.array([[10, 10, 40, 60], [0, 0, 80, 90]], np.float32)
    scores, wider = untrained.logits(view, boxes), (boxes * [2, 1, 2, 1]).astype(np.float32)
    np.testing.assert_allclose(untrained.logits(stretched, wider), scores, rtol=1e-4, atol=1e-5)
    assert abs(untrained.logits(stretched, boxes) - scores).min() > 1e-3


def test_no_boxes_have_no_scores(untrained: MultiBox, photograph: Pixels) -> None:
    none = np.zeros((0, 4), np.float32)
    view = untrained.look([photograph])[0]
    assert untrained.logits(view, none).shape == (0,)
    for seen in (photograph, view):
        assert untrained.objectness(seen, none).shape == (0,)


def test_objectness_is_the_share_that_the_logit_means(untrained: MultiBox, photograph: Pixels) -> None:
    boxes = np.array([[0, 0, 60, 50], [20, 10, 50, 70], [5, 5, 9, 9]], dtype=np.float32)
    view = untrained.look([photograph])[0]
    logits = untrained.logits(view, boxes).astype(np.float64)
    for seen in (photograph, view):
        shares = untrained.objectness(seen, boxes)
        assert shares.dtype == np.float32 and len(set(shares.tolist())) == 3
        np.testing.assert_allclose(shares, 1 / (1 + np.exp(-logits)), rtol=1e-5)


# --- bad input


@pytest.mark.parametrize("crops", [False, True])
def test_less_than_one_box_is_refused(untrained: MultiBox, photograph: Pixels, crops: bool) -> None:
    with pytest.raises(InputError, match="top_k should be at least 1, got 0"):
        untrained.propose(photograph, top_k=0, crops=crops)


def test_what_is_no_image_is_refused(untrained: MultiBox) -> None:
    with pytest.raises(ImageError):
        untrained.propose(b"not an image")


def test_a_specification_of_another_side_is_refused(untrained: MultiBox, cpu: Runtime) -> None:
    with pytest.raises(InputError, match="the network sees 64 px, the input specification says 128"):
        MultiBox(untrained.network, InputSpec(side=128), cpu)


def test_own_boxes_lead_and_the_others_are_ordered_by_objectness(untrained: MultiBox, photograph: Pixels) -> None:
    view = untrained.look([photograph])[0]
    own = untrained.proposals(view, 9)
    other = Proposals(own.boxes[::-1], np.zeros(len(own), np.float32))
    sources, scores = untrained.rank(view, own, other)
    logits = untrained.logits(view, own.boxes)
    np.testing.assert_allclose(scores[:9], (logits + own.scores) / 2 + 3, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(scores[9:], logits[::-1], rtol=1e-4, atol=1e-5)
    for before, after in zip((own, other), sources, strict=True):
        assert np.array_equal(after.boxes, before.boxes) and np.array_equal(after.scores, before.scores)
        assert after.objectness is not None
        np.testing.assert_array_equal(after.objectness, untrained.objectness(view, before.boxes))
