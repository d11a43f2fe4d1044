"""One thing, one name: what a person is shown of detections at one place, against the slow truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from inception_rcnn.detector import DetectionSettings, RegionScores
from inception_rcnn.detector.postprocessing import postprocess
from inception_rcnn.structures import Detections, InputError, Proposals
from reference.slow_nms import slow_iou, slow_one_name_each

NAMES = ("cat", "dog", "fox")


def shown(rows: Any, probabilities: Any, **settings: Any) -> Detections:
    """What is left of regions with class probabilities, background left to the rest."""
    table = np.array(probabilities, np.float32)
    table = np.hstack([table, 1 - table.sum(axis=1, keepdims=True)])
    boxes = np.array(rows, np.float32)
    proposals = Proposals(boxes, np.linspace(1, 0, len(boxes), dtype=np.float32))
    return postprocess(RegionScores(proposals, table[None]), DetectionSettings(**settings), NAMES)


CAT_OR_DOG = ([(0, 0, 100, 100), (0, 0, 100, 80), (0, 0, 100, 79)], [(0.5, 0.3, 0), (0, 0.4, 0), (0, 0, 0.35)])


@pytest.mark.parametrize(
    ("one_name_iou", "names"),
    [
        (None, ["cat", "dog", "fox"]),  # the dog's second region goes by its own class's suppression
        (1.0, ["cat", "dog", "fox"]),
        (0.8, ["cat", "fox"]),  # exactly 0.8 is one thing, 0.79 is another
        (0.79, ["cat"]),
    ],
)
def test_of_boxes_at_one_place_only_the_best_is_shown(one_name_iou: float | None, names: list[str]) -> None:
    assert shown(*CAT_OR_DOG, score_threshold=0.2, one_name_iou=one_name_iou).names() == names


def test_evaluation_has_every_name_unless_it_is_asked_otherwise() -> None:
    assert DetectionSettings().one_name_iou is None
    rows = [(0, 0, 100, 100)]
    assert shown(rows, [(0.5, 0.3, 0.1)]).names() == ["cat", "dog", "fox"]
    assert shown(rows, [(0.5, 0.3, 0.1)], one_name_iou=1.0).names() == ["cat"]


def test_a_name_left_out_makes_room_for_another_thing() -> None:
    """The limit counts what is shown: the second thing comes in, though two names of the first are better."""
    rows, probabilities = [(0, 0, 100, 100), (200, 0, 300, 100)], [(0.5, 0.4, 0), (0, 0, 0.3)]
    assert shown(rows, probabilities, max_detections=2, score_threshold=0.1).names() == ["cat", "dog"]
    limited = shown(rows, probabilities, max_detections=2, one_name_iou=0.8, score_threshold=0.1)
    assert limited.names() == ["cat", "fox"]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("limit", [None, 5])
def test_it_is_the_slow_truth_over_what_each_class_keeps(seed: int, limit: int | None) -> None:
    rng = np.random.default_rng(seed)
    corner = rng.integers(0, 20, (40, 2))
    rows = np.concatenate([corner, corner + rng.integers(30, 40, (40, 2))], axis=1)
    probabilities = rng.dirichlet(np.ones(4), 40)[:, :3]
    every = shown(rows, probabilities, iou_threshold=0.6, max_detections=None)
    found = shown(rows, probabilities, iou_threshold=0.6, max_detections=limit, one_name_iou=0.8)
    kept = slow_one_name_each(every.boxes.astype(int).tolist(), every.scores.tolist(), 0.8)[:limit]
    assert found.boxes.tolist() == every.boxes[kept].tolist()
    assert found.labels.tolist() == every.labels[kept].tolist() and found.scores.tolist() == every.scores[kept].tolist()
    assert len(found) < len(every)
    seen = found.boxes.astype(int).tolist()
    assert all(slow_iou(one, two) * 10 < 8 for number, one in enumerate(seen) for two in seen[:number])


@pytest.mark.parametrize("value", [0, -0.5, 1.01, float("nan")])
def test_an_overlap_that_cannot_be_is_refused(value: float) -> None:
    with pytest.raises(InputError, match="one_name_iou should be above 0 and at most 1, or None, got"):
        DetectionSettings(one_name_iou=value)
