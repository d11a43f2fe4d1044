"""From scores of regions to detections: against a slow, obvious version, and rule by rule."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from inception_rcnn.detector import DetectionSettings, RegionScores
from inception_rcnn.detector.postprocessing import moved_boxes, postprocess, weighed_scores
from inception_rcnn.structures import InputError, Proposals
from inception_rcnn.structures.boxes import encode_boxes
from reference.slow_postprocessing import slow_postprocess

SIZE = (90, 70)
NAMES = ("cat", "cup", "person")
ALL = DetectionSettings(score_threshold=0.0, iou_threshold=1.0, max_detections=None)


def scores_of(
    boxes: NDArray[np.float32], seed: int = 0, regresses: tuple[bool, ...] = (True, False, True)
) -> RegionScores:
    """Three members' scores of boxes, those of the second without offsets; objectness of all."""
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(4, 0.4), (3, len(boxes))).astype(np.float32)
    offsets = rng.normal(0, 2, (3, len(boxes), 4)).astype(np.float32)
    offsets[[not one for one in regresses]] = 0
    objectness = rng.uniform(0, 1, len(boxes)).astype(np.float32)
    proposals = Proposals(boxes, np.linspace(1, 0, len(boxes), dtype=np.float32), objectness=objectness)
    return RegionScores(proposals, probabilities, offsets, regresses, SIZE)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("power", "regression", "score", "iou", "most"),
    [(1.0, True, 0.01, 0.3, 100), (0.5, True, 0.1, 0.5, 4), (0.0, True, 0.2, 0.0, 100), (2.0, False, 0.0, 0.3, 5)],
)
def test_equals_the_slow_version(
    boxes: NDArray[np.float32], seed: int, power: float, regression: bool, score: float, iou: float, most: int
) -> None:
    scores = scores_of(boxes, seed)
    settings = DetectionSettings(
        score_threshold=score,
        iou_threshold=iou,
        max_per_class=most,
        max_detections=None,
        objectness_power=power,
        box_regression=regression,
    )
    found = postprocess(scores, settings, NAMES)
    assert scores.offsets is not None and scores.proposals.objectness is not None
    expected = slow_postprocess(
        boxes.tolist(),
        scores.probabilities.tolist(),
        scores.offsets[[0, 2]].tolist() if regression else [],
        scores.proposals.objectness.tolist(),
        power=power,
        size=SIZE,
        score_threshold=score,
        iou_threshold=iou,
        max_per_class=most,
    )
    assert len(found) == len(expected) > 5 and (found.class_names, found.size) == (NAMES, SIZE)
    assert found.labels.tolist() == [label for _, label, _ in expected]
    np.testing.assert_allclose(found.scores, [value for _, _, value in expected], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found.boxes, [box for box, _, _ in expected], rtol=0, atol=1e-3)


def test_boxes_move_to_where_the_offsets_lead(boxes: NDArray[np.float32]) -> None:
    targets = boxes[::-1].copy()
    offsets = encode_boxes(boxes, targets)[None]
    scores = RegionScores(
        Proposals(boxes, np.linspace(1, 0, len(boxes), dtype=np.float32)),
        np.full((1, len(boxes), 4), 0.25, np.float32),
        offsets,
        (True,),
        (100, 100),
    )
    np.testing.assert_allclose(moved_boxes(scores, ALL), targets, atol=1e-3)
    assert np.array_equal(moved_boxes(scores, replace(ALL, box_regression=False)), boxes)
    assert np.array_equal(moved_boxes(replace(scores, offsets=None, regresses=()), ALL), boxes)


def test_boxes_are_cut_to_the_image_and_those_outside_left_out() -> None:
    boxes = np.array([(40, 30, 80, 60), (70, 50, 90, 70), (10, 10, 20, 20)], np.float32)
    offsets = np.array([[(0, 0, 5, 5), (100, 0, 0, 0), (0, 0, 0, 0)]], np.float32)
    proposals = Proposals(boxes, np.array([3, 2, 1], np.float32))
    scores = RegionScores(proposals, np.full((1, 3, 4), 0.25, np.float32), offsets, (True,), SIZE)
    found = postprocess(scores, ALL, NAMES)
    grown = [60 - 20 * np.e, 45 - 15 * np.e, 90, 70]
    np.testing.assert_allclose(np.unique(found.boxes, axis=0), [grown, (10, 10, 20, 20)], atol=1e-3)
    assert len(postprocess(scores, replace(ALL, box_regression=False), NAMES)) == 9


def test_a_power_of_0_is_the_probability_alone(boxes: NDArray[np.float32]) -> None:
    scores = scores_of(boxes)
    objectness = scores.proposals.objectness
    assert objectness is not None
    plain = scores.mean()[:, :-1]
    assert np.array_equal(weighed_scores(scores, 0), plain)
    assert np.array_equal(weighed_scores(scores, 1), plain * objectness[:, None])
    np.testing.assert_allclose(weighed_scores(scores, 0.5), plain * np.sqrt(objectness)[:, None], rtol=1e-6)
    unknown = replace(scores, proposals=replace(scores.proposals, objectness=None))
    assert np.array_equal(weighed_scores(unknown, 1), plain)


def test_a_member_alone_moves_boxes_its_own_way_or_not_at_all(boxes: NDArray[np.float32]) -> None:
    scores = scores_of(boxes)
    assert scores.offsets is not None
    assert np.array_equal(scores.of_member(2).mean_offsets(), scores.offsets[2])
    assert scores.of_member(1).mean_offsets() is None and scores.of_member(1).offsets is None
    assert np.array_equal(scores.of_member(1).probabilities[0], scores.probabilities[1])
    assert np.array_equal(moved_boxes(scores.of_member(1), ALL), boxes)
    np.testing.assert_allclose(scores.mean_offsets(), (scores.offsets[0] + scores.offsets[2]) / 2, atol=1e-6)


def test_offsets_of_nobody_or_of_an_image_of_no_size_are_refused(boxes: NDArray[np.float32]) -> None:
    scores = scores_of(boxes)
    with pytest.raises(InputError, match="need the image's size"):
        replace(scores, size=None)
    for wrong in ((True,), (False, False, False)):
        with pytest.raises(InputError, match="regresses should say of 3 members"):
            replace(scores, regresses=wrong)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"objectness_power": -1}, r"objectness_power should be a number in 0..4, got -1"),
        ({"objectness_power": float("nan")}, r"objectness_power should be a number in 0..4, got nan"),
        ({"objectness_power": True}, "objectness_power should be a number, got True"),
        ({"objectness_power": None}, "objectness_power should be a number, got None"),
        ({"box_regression": 1}, r"box_regression should be true or false, got 1"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        DetectionSettings(**settings)
