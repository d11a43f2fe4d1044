"""The assignment against trying everything, the loss against the paper's formula in plain Python."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from inception_rcnn.proposals.network.loss import (
    Labels,
    LossSettings,
    assign,
    multibox_loss,
    squared_distances,
)
from inception_rcnn.proposals.network.model import BOX_SCALE, MultiBoxOutput
from inception_rcnn.structures import InputError
from reference.slow_multibox import Picture, distance, slow_assignment, slow_loss

Floats = NDArray[np.float64]
NONE = np.zeros((0, 4))


def some_boxes(count: int, rng: np.random.Generator) -> Floats:
    """Boxes in the unit square, sides at least 0.1."""
    corner, size = rng.uniform(0, 0.6, (count, 2)), rng.uniform(0.1, 0.4, (count, 2))
    return np.concatenate([corner, corner + size], axis=1)


# --- who answers for which object


@given(st.integers(0, 3), st.integers(1, 6), st.integers(1, 3), st.integers(0, 999))
@settings(max_examples=60)
def test_no_assignment_is_cheaper(objects: int, boxes: int, matches: int, seed: int) -> None:
    cost = np.random.default_rng(seed).normal(size=(objects, boxes))
    rows, columns = assign(cost, matches)
    assert len(set(columns.tolist())) == len(columns)
    assert cost[rows, columns].sum() == pytest.approx(slow_assignment(cost.tolist(), matches))
    if objects:
        each = min(matches, boxes // objects)
        counts = np.bincount(rows, minlength=objects)
        assert (counts == each).all() if each else counts.sum() == boxes and counts.max() == 1


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("crowded", [False, True])
def test_looking_at_the_cheapest_boxes_only_costs_nothing(seed: int, crowded: bool) -> None:
    """Against the whole matrix; when crowded, all objects want the same few boxes."""
    rng = np.random.default_rng(seed)
    objects, boxes, matches = rng.integers(1, 9), rng.integers(40, 300), rng.integers(1, 6)
    cost = rng.random((objects, boxes))
    if crowded:
        cost = np.linspace(0, 1, boxes) + 0.001 * cost
    rows, columns = assign(cost, int(matches))
    whole = np.repeat(cost, min(matches, boxes // objects), axis=0)
    assert len(rows) == len(whole) == len(set(columns.tolist()))
    assert cost[rows, columns].sum() == pytest.approx(whole[linear_sum_assignment(whole)].sum())


def test_more_objects_than_boxes_take_the_best_pairs() -> None:
    rows, columns = assign(np.array([[5.0, 9.0], [1.0, 9.0], [9.0, 2.0]]), 4)
    assert dict(zip(rows.tolist(), columns.tolist(), strict=True)) == {1: 0, 2: 1}


def test_without_objects_nothing_is_assigned() -> None:
    rows, columns = assign(np.zeros((0, 5)), 4)
    assert rows.dtype.kind == columns.dtype.kind == "i" and len(rows) == len(columns) == 0


# --- how far a box is from an object


@pytest.mark.parametrize("seed", range(3))
def test_distances_are_those_of_the_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    boxes, objects = some_boxes(6, rng), some_boxes(4, rng)
    expected = [[distance(box, one) for box in boxes.tolist()] for one in objects.tolist()]
    np.testing.assert_allclose(squared_distances(boxes, objects), expected)


@given(st.floats(0.02, 0.3), st.floats(0.02, 0.3), st.floats(1.1, 4.0))
def test_too_large_is_as_far_as_too_small(width: float, height: float, factor: float) -> None:
    half = np.array([-width, -height, width, height]) / 2
    large, small = squared_distances(0.5 + np.stack([half * factor, half / factor]), 0.5 + half[None])[0]
    assert large == pytest.approx(small) and large > 0


def test_a_distance_of_one_is_a_tenth_of_the_side_at_any_size() -> None:
    for size in (0.01, 0.1, 0.8):
        box = np.array([[0, 0, size, 2 * size]])
        for step in ([0.1, 0, 0.1, 0], [0, 0.2, 0, 0.2]):
            moved = box + size * np.array(step)
            assert squared_distances(moved, box)[0, 0] == pytest.approx(2)  # one for each of both corners


# --- the loss


def output_of(boxes: Floats, logits: Floats, priors: Floats) -> MultiBoxOutput:
    """What a network that says this would return; gradients reach residuals and logits."""
    sides = np.tile(priors[:, 2:] - priors[:, :2], 2)
    residuals = torch.tensor((boxes - priors) / (BOX_SCALE * sides), requires_grad=True)
    leaf = torch.tensor(logits, requires_grad=True)
    moved = residuals * torch.from_numpy(BOX_SCALE * sides) + torch.from_numpy(priors)
    return MultiBoxOutput(moved, residuals, leaf, torch.zeros(len(boxes), 64, 1, 1))


def batch_of(seed: int, *, count: int = 9) -> tuple[list[Picture], Floats]:
    """Four pictures: one complete, one with a crowd, one labelled in part, one without objects; and priors."""
    rng = np.random.default_rng(seed)
    priors = some_boxes(count, rng)
    pictures = []
    for objects, neutral, complete in ((2, 0, True), (1, 1, True), (2, 1, False), (0, 0, True)):
        boxes = priors + rng.normal(0, 0.02, priors.shape)
        known = np.concatenate([boxes[:objects] + rng.normal(0, 0.03, (objects, 4))])  # so that some are neutral
        logits = rng.normal(-1, 2, count)
        pictures.append(
            Picture(known.tolist(), boxes.tolist(), logits.tolist(), some_boxes(neutral, rng).tolist(), complete)
        )
    return pictures, priors


def labels_of(pictures: list[Picture]) -> list[Labels]:
    return [
        Labels(np.array(one.objects).reshape(-1, 4), np.array(one.neutral).reshape(-1, 4), one.complete)
        for one in pictures
    ]


def slow_choices(pictures: list[Picture], priors: Floats, chosen: LossSettings) -> list[dict[int, int]]:
    """Box -> object for each picture, by SciPy on the whole matrix of costs written out."""
    found = []
    for picture in pictures:
        judged = priors.tolist() if chosen.matching == "prior" else picture.boxes
        cost = np.zeros((len(picture.objects), len(priors)))
        for row, thing in enumerate(picture.objects):
            for number, box in enumerate(judged):
                cost[row, number] = chosen.alpha / 2 * distance(box, thing)
                if chosen.matching == "prediction":
                    certainty = 1 / (1 + np.exp(-picture.logits[number]))
                    cost[row, number] += -np.log(certainty) + np.log(1 - certainty)
        rows, columns = linear_sum_assignment(np.repeat(cost, chosen.matches, axis=0))
        found.append(dict(zip(columns.tolist(), (rows // chosen.matches).tolist(), strict=True)))
    return found


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("matching", ["prior", "prediction"])
@pytest.mark.parametrize("matches", [1, 2])
def test_the_loss_is_the_formula(seed: int, matching: str, matches: int) -> None:
    pictures, priors = batch_of(seed)
    chosen = LossSettings(alpha=0.4, matching=matching, matches=matches, neutral_iou=0.45, tolerated=0.35)
    output = output_of(np.array([one.boxes for one in pictures]), np.array([one.logits for one in pictures]), priors)
    location, confidence = multibox_loss(output, torch.from_numpy(priors), labels_of(pictures), chosen)
    expected = slow_loss(
        pictures,
        priors.tolist(),
        slow_choices(pictures, priors, chosen),
        alpha=0.4,
        neutral_iou=0.45,
        tolerated=0.35,
        limit=chosen.largest_residual,
    )
    assert (location.item(), confidence.item()) == pytest.approx(expected)


def test_prior_and_prediction_matching_differ() -> None:
    """Else the test above would hold one of them to what the other does."""
    pictures, priors = batch_of(0)
    assert slow_choices(pictures, priors, LossSettings(matches=1)) != slow_choices(
        pictures, priors, LossSettings(matches=1, matching="prediction")
    )


FAR = [0.8, 0.8, 0.9, 0.9]
OBJECT = [0.1, 0.1, 0.2, 0.2]


def small_loss(
    boxes: list[list[float]], logits: list[float], labels: Labels, **changes: Any
) -> tuple[float, list[bool], list[bool]]:
    """The location loss of one picture whose boxes are their priors, and which residuals and logits get a gradient."""
    priors = np.array(boxes)
    moved = priors + changes.pop("move", 0.0)
    output = output_of(moved[None], np.array([logits], np.float64), priors)
    chosen = replace(LossSettings(matches=1), **changes)
    location, confidence = multibox_loss(output, torch.from_numpy(priors), [labels], chosen)
    (location + confidence).backward()
    assert output.residuals.grad is not None and output.logits.grad is not None
    return (
        location.item(),
        output.residuals.grad[0].ne(0).any(dim=1).tolist(),
        output.logits.grad[0].ne(0).tolist(),
    )


def test_alpha_has_the_unit_that_is_said() -> None:
    """For a box a tenth of the photograph wide, 0.3 is as 3000 on coordinates from 0 to 1."""
    labels = Labels(np.array([OBJECT]), NONE, True)
    move = np.array([0.01, 0.0, -0.02, 0.005])
    found, _, _ = small_loss([OBJECT, FAR], [0, 0], labels, alpha=0.3, move=move)
    assert found == pytest.approx(3000 / 2 * (move**2).sum())


def test_an_error_beyond_the_limit_counts_in_proportion() -> None:
    labels = Labels(np.array([OBJECT]), NONE, True)
    far, farther, farthest = (
        small_loss([OBJECT, FAR], [0, 0], labels, alpha=1.0, move=np.array([step, 0, 0, 0]))[0]
        for step in (-0.03, -0.05, -0.07)  # 3, 5 and 7 tenths of the side
    )
    assert far == pytest.approx(9 / 2)
    assert farther - far == pytest.approx(2 * 3) and farthest - farther == pytest.approx(2 * 3)


@pytest.mark.parametrize("matching", ["prior", "prediction"])
def test_gradients_reach_assigned_boxes_and_every_confidence_that_is_not_neutral(matching: str) -> None:
    near = [0.1, 0.1, 0.2, 0.19]
    labels = Labels(np.array([OBJECT]), NONE, True)
    move = np.array([0.001, 0, 0, 0])
    _, residuals, logits = small_loss([OBJECT, near, FAR], [0, 0, 0], labels, move=move, matching=matching)
    assert residuals == [True, False, False] and logits == [True, False, True]  # `near` overlaps by 0.9


def test_a_confident_box_answers_for_an_object_where_predictions_are_matched() -> None:
    near = [0.1, 0.1, 0.2, 0.19]
    labels = Labels(np.array([OBJECT]), NONE, True)
    move = np.array([0.001, 0, 0, 0])
    _, residuals, _ = small_loss([OBJECT, near, FAR], [-3, 3, 3], labels, move=move, matching="prediction")
    assert residuals == [False, True, False]


def test_boxes_mostly_inside_a_crowd_are_neutral() -> None:
    half_in, less_in = [0.76, 0.8, 0.86, 0.9], [0.74, 0.8, 0.84, 0.9]
    labels = Labels(np.array([OBJECT]), np.array([[0.8, 0.7, 1, 1]]), True)
    _, _, logits = small_loss([OBJECT, FAR, half_in, less_in], [0, 0, 0, 0], labels)
    assert logits == [True, False, False, True]


def test_an_object_inside_a_crowd_is_learned_all_the_same() -> None:
    labels = Labels(np.array([OBJECT]), np.array([[0, 0, 1, 1]]), True)
    _, residuals, logits = small_loss([OBJECT, FAR], [0, 0], labels, move=np.array([0.001, 0, 0, 0]))
    assert residuals == [True, False] and logits == [True, False]


@pytest.mark.parametrize(("complete", "expected"), [(True, [True] * 4), (False, [True, True, False, False])])
def test_confident_boxes_are_neutral_where_a_picture_is_labelled_in_part(complete: bool, expected: list[bool]) -> None:
    boxes = [OBJECT, FAR, [0.5, 0.5, 0.6, 0.6], [0.3, 0.7, 0.4, 0.8]]
    level = float(np.log(0.3 / 0.7))  # a confidence of 0.3
    labels = Labels(np.array([OBJECT]), NONE, complete)
    assert small_loss(boxes, [4, level - 0.01, level + 0.01, 4], labels, tolerated=0.3)[2] == expected
    assert small_loss(boxes, [4, level - 0.01, level + 0.01, 4], labels, tolerated=1.0)[2] == [True] * 4


def test_a_picture_without_objects_speaks_against_all_boxes() -> None:
    location, residuals, logits = small_loss([OBJECT, FAR], [0, 2], Labels(NONE, NONE, True))
    assert location == 0 and residuals == [False, False] and logits == [True, True]


@pytest.mark.parametrize("matching", ["prior", "prediction"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_network_that_has_diverged_has_a_loss_that_says_so(matching: str, bad: float) -> None:
    """The training step then names the remedy; the assignment must not fail before it."""
    priors = np.array([OBJECT, FAR])
    output = output_of(np.array([[[bad] * 4, FAR]]), np.array([[bad, 0.0]]), priors)
    labels = [Labels(np.array([OBJECT]), NONE, False)]
    chosen = LossSettings(matching=matching, matches=2)
    location, confidence = multibox_loss(output, torch.from_numpy(priors), labels, chosen)
    assert not torch.isfinite(location + confidence)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"matching": "boxes"}, "matching 'boxes' is unknown; known: prior, prediction"),
        ({"matches": 0}, "matches should be at least 1, got 0"),
        ({"alpha": 0.0}, "alpha should be positive and finite, got 0.0"),
        ({"alpha": float("nan")}, "alpha should be positive and finite"),
        ({"largest_residual": float("inf")}, "largest_residual should be positive and finite"),
        ({"neutral_iou": 0.0}, r"neutral_iou should lie in \(0, 1\], got 0.0"),
        ({"tolerated": 1.5}, r"tolerated should lie in \(0, 1\], got 1.5"),
    ],
)
def test_settings_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        LossSettings(**changes)
