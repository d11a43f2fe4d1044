"""Why a detector is wrong: a made-up photograph for each thing that may become of an object or a box."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from inception_rcnn.evaluation.explanation import FATES, REASONS, Candidates, Explanation, explain
from inception_rcnn.structures import Detections, GroundTruth, InputError, nms_per_class

NAMES = ("cat", "dog", "cow")
OBJECT = [100.0, 100.0, 200.0, 200.0]
FITS = [100.0, 100.0, 200.0, 190.0]
MISSES = [100.0, 100.0, 140.0, 140.0]
FAR = [400.0, 400.0, 500.0, 500.0]


def explained(
    boxes: list[list[float]],
    scores: list[list[float]],
    objects: list[list[float]] | None = None,
    labels: list[int] | None = None,
    **changes: Any,
) -> Explanation:
    """What is explained of regions with these scores, suppressed as the detector does; by default, of one cat."""
    truth = GroundTruth(objects or [OBJECT], labels or [0], NAMES, changes.pop("ignore", np.zeros(0, bool)))
    moved, values = np.array(boxes, np.float32), np.array(scores, np.float32)
    seen = Candidates(
        **{
            "proposals": moved,
            "regions": moved,
            "boxes": moved,
            "scores": values,
            "score_threshold": 0.5,
            "iou_threshold": 0.3,
            **changes,
        }
    )
    kept, found, best = nms_per_class(moved, np.nan_to_num(values), score_threshold=0.5, iou_threshold=0.3)
    return explain(truth, Detections(moved[kept], best, found, NAMES), seen)


def fate_of(*arguments: Any, **options: Any) -> tuple[str, str]:
    one = explained(*arguments, **options).objects[0]
    assert one.fate in FATES and one.text.startswith((one.fate, "called"))
    return one.fate, one.text


def test_each_stage_at_which_an_object_is_lost_is_named() -> None:
    sure = [[0.9, 0, 0]]
    assert fate_of([FITS], sure) == ("found", "found, 0.90")
    assert fate_of([MISSES], sure)[0] == "not proposed"
    assert fate_of([FITS], [[0.4, 0.1, 0]]) == ("below the threshold", "below the threshold: cat 0.40, 0.50 needed")
    assert fate_of([FITS], [[0.4, 0.8, 0]]) == ("called something else", "called dog 0.80; cat 0.40, 0.50 needed")
    assert fate_of([FITS], [[np.nan, 0.1, 0]])[0] == "unknown class"
    assert fate_of([FITS], [[0.1, 0, 0]], ignore=np.array([True]))[0] == "to ignore"


def test_a_box_that_was_not_looked_at_is_told_by_its_number() -> None:
    proposals = np.array([FAR] * 6 + [FITS], np.float32)
    fate, text = fate_of([FAR], [[0.9, 0, 0]], proposals=proposals)
    assert fate == "not looked at" and "the first box that fits is number 7, and 1 were looked at" in text


def test_a_box_that_was_moved_off_its_object_is_told() -> None:
    fate, text = fate_of([MISSES], [[0.9, 0, 0]], proposals=np.array([FITS]), regions=np.array([FITS], np.float32))
    assert fate == "moved away" and "overlapped it by 0.90, moved by 0.16" in text


def test_a_box_that_fits_once_it_was_moved_is_judged_by_its_scores() -> None:
    beside = np.array([[100.0, 100.0, 145.0, 200.0]], np.float32)  # an IoU of 0.45
    before = {"proposals": beside, "regions": beside}
    assert fate_of([FITS], [[0.4, 0, 0]], **before) == (
        "below the threshold",
        "below the threshold: cat 0.40, 0.50 needed",
    )
    twice = {"proposals": np.repeat(beside, 2, 0), "regions": np.repeat(beside, 2, 0)}
    shifted = [120.0, 100.0, 220.0, 200.0]
    told = explained([OBJECT, shifted], [[0.9, 0, 0], [0.7, 0, 0]], [OBJECT, shifted], [0, 0], **twice)
    assert [one.fate for one in told.objects] == ["found", "suppressed"]
    fate, text = fate_of([MISSES], [[0.9, 0, 0]], **before)
    assert fate == "not proposed" and "the best overlaps it by 0.45" in text


def test_of_two_cats_that_overlap_the_better_suppresses_the_other() -> None:
    second = [130.0, 100.0, 230.0, 200.0]
    told = explained([OBJECT, second], [[0.9, 0, 0], [0.7, 0, 0]], [OBJECT, second], [0, 0])
    first, other = told.objects
    assert first.fate == "found" and (other.fate, other.by) == ("suppressed", 0)
    assert other.text == "suppressed: cat 0.70 overlaps cat 0.90 by 0.54"
    assert told.lost() == (other,) and told.false() == ()
    (_, other) = explained([OBJECT], [[0.9, 0, 0]], [OBJECT, second], [0, 0]).objects
    assert other.text == "suppressed: the box that fits, cat 0.90, found another cat" and other.by == 0


def test_one_name_for_one_thing_is_told() -> None:
    truth = GroundTruth([OBJECT], [0], NAMES)
    boxes, scores = np.array([FITS, FITS], np.float32), np.array([[0.6, 0.9, 0], [0.6, 0.9, 0]], np.float32)
    shown = Detections(boxes[:1], [0.9], [1], NAMES)
    seen = Candidates(
        proposals=boxes,
        regions=boxes,
        boxes=boxes,
        scores=scores,
        score_threshold=0.5,
        iou_threshold=0.3,
        one_name_iou=0.8,
    )
    (one,) = explain(truth, shown, seen).objects
    assert one.text == "suppressed: dog 0.90 has the place of cat 0.60, one name for one thing" and one.by == 0


def test_every_reason_for_which_a_detection_is_false_is_told() -> None:
    near = [150.0, 100.0, 250.0, 200.0]
    for boxes, scores, reason, text in (
        ([FITS], [[0, 0.9, 0]], "wrong class", "wrong class: a cat is there"),
        ([near], [[0.9, 0, 0]], "wrong place", "wrong place: overlaps the cat by 0.33"),
        ([near], [[0, 0.9, 0]], "wrong class and place", "wrong class and place: overlaps a cat by 0.33"),
        ([FAR], [[0.9, 0, 0]], "nothing there", "nothing there"),
    ):
        (one,) = explained(boxes, scores).false()
        assert (one.reason, one.text, one.true) == (reason, text, False)
    assert {reason for reason in REASONS.values()} >= {"found twice", "on what is to be ignored"}
    truth = GroundTruth([OBJECT], [0], NAMES)
    twice = Detections(np.array([OBJECT, FITS]), [0.9, 0.8], [0, 0], NAMES)
    no = np.zeros((0, 4), np.float32)
    seen = Candidates(
        proposals=no, regions=no, boxes=no, scores=np.zeros((0, 3)), score_threshold=0.5, iou_threshold=0.95
    )
    right, wrong = explain(truth, twice, seen).detections
    assert right.true and (wrong.reason, wrong.of) == ("found twice", 0)


def test_a_photograph_without_objects_and_one_without_detections() -> None:
    nothing = GroundTruth(np.zeros((0, 4)), np.zeros(0, int), NAMES)
    no = np.zeros((0, 4), np.float32)
    seen = Candidates(
        proposals=no, regions=no, boxes=no, scores=np.zeros((0, 3)), score_threshold=0.5, iou_threshold=0.3
    )
    told = explain(nothing, Detections([FAR], [0.9], [0], NAMES), seen)
    assert told.objects == () and told.false()[0].reason == "nothing there"
    lost = explain(GroundTruth([OBJECT], [0], NAMES), Detections.empty(NAMES), seen)
    assert lost.objects[0].text == "not proposed: of 0 boxes the best overlaps it by 0.00"


def test_scores_of_other_classes_are_refused() -> None:
    with pytest.raises(InputError, match="of 1 regions and 3 classes"):
        explained([FITS], [[0.9, 0]])


@pytest.mark.parametrize("seed", range(5))
def test_every_object_and_every_detection_has_one_answer_that_agrees_with_the_boxes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    corner, size = rng.uniform(0, 200, (60, 2)), rng.uniform(20, 90, (60, 2))
    boxes = np.hstack([corner, corner + size])
    told = explained(
        boxes.tolist(), rng.uniform(0, 0.8, (60, 3)).tolist(), boxes[:9].tolist(), rng.integers(0, 3, 9).tolist()
    )
    assert len(told.objects) == 9
    true = [place for place, one in enumerate(told.detections) if one.true]
    assert sorted(one.by for one in told.objects if one.fate == "found") == true  # type: ignore[type-var]
    for one in told.objects:
        assert one.fate not in ("not proposed", "not looked at", "moved away", "unknown class")
        assert one.score is not None and (one.score >= 0.5) == (one.fate in ("found", "suppressed"))
