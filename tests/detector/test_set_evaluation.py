"""Stored detections, scored: every run, in the data set's classes, by any protocol."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from inception_rcnn.datasets.detections.stored import StoredDetections
from inception_rcnn.detector.set_evaluation import evaluate_stored, ground_truths_of, region_recall
from inception_rcnn.evaluation import best_f1_threshold, evaluate_coco, evaluate_voc, proposal_recall
from inception_rcnn.evaluation.protocols import evaluate_by
from inception_rcnn.structures import Detections, GroundTruth, GroundTruthTable, Proposals

NAMES = ("cat", "sofa", "owl")
TRUTHS = [
    GroundTruth([[0, 0, 40, 40], [50, 0, 90, 30]], [0, 1], NAMES, image_id=7),
    GroundTruth([], [], NAMES, image_id=8),
    GroundTruth([[5, 5, 60, 60], [0, 0, 9, 9]], [1, 0], NAMES, ignore=[False, True], image_id=9),
]
TRUTH = GroundTruthTable.from_ground_truths(TRUTHS)


def detections(shift: float) -> list[Detections]:
    """Nearly right, with a class that the data set does not have among them."""
    names = ("couch", "kite", "cat")
    boxes = np.array([[0, 0, 40, 40], [50, 0, 90, 30], [5, 5, 60, 60]]) + shift
    return [
        Detections.ordered(boxes[:2], [0.8, 0.6], [2, 0], names),
        Detections.ordered(boxes[:1], [0.7], [1], names),
        Detections.ordered(boxes[1:], [0.5, 0.9], [2, 0], names),
    ]


def in_classes_of_the_set(found: list[Detections]) -> list[Detections]:
    """The same, by hand."""
    label = {"couch": 1, "cat": 0}
    kept = [one[[k for k, name in enumerate(one.names()) if name in label]] for one in found]
    return [
        Detections(one.boxes, one.scores, np.array([label[name] for name in one.names()], np.int64), NAMES)
        for one in kept
    ]


RUNS = [detections(0.0), detections(8.0)]
STORED = StoredDetections(
    settings={},
    class_names=("couch", "kite", "cat"),
    runs=("a", "b"),
    image_ids=(7, 8, 9),
    checksums=("", "", ""),
    found=tuple(zip(*RUNS, strict=True)),
    regions=tuple(np.array([[0, 0, 40, 40], [5, 5, 60, 58]][:n], np.float32).reshape(-1, 4) for n in (1, 0, 2)),
)


@pytest.mark.parametrize("protocol", ["ilsvrc", "voc2007", "voc2010", "coco"])
def test_every_run_is_scored_by_the_protocol(protocol: str) -> None:
    evaluations = evaluate_stored(STORED, TRUTH, protocol=protocol)
    for evaluation, found in zip(evaluations, RUNS, strict=True):
        expected = in_classes_of_the_set(found)
        assert evaluation.result == evaluate_by(protocol, TRUTHS, expected)
        assert evaluation.threshold == best_f1_threshold(TRUTHS, expected)
        assert len(evaluation.detections) == 4 and evaluation.result.ap["owl"] is None
    first, second = (evaluation.result.map for evaluation in evaluations)
    assert first == 1.0 > second


def test_protocols_are_the_public_evaluators() -> None:
    expected = in_classes_of_the_set(RUNS[1])
    assert evaluate_stored(STORED, TRUTH, protocol="coco")[1].result == evaluate_coco(TRUTHS, expected)
    assert evaluate_stored(STORED, TRUTH, protocol="voc2007")[1].result == evaluate_voc(TRUTHS, expected, year=2007)


def test_spoken_names_match_and_the_blacklist_counts() -> None:
    wnids = replace(TRUTH, class_names=("n1", "n2", "n3"), display_names=NAMES)
    (first, _) = evaluate_stored(STORED, wnids, protocol="ilsvrc")
    assert (first.result.map, first.result.ap) == (1.0, {"n1": 1.0, "n2": 1.0, "n3": None})
    (_, second) = evaluate_stored(STORED, wnids, protocol="ilsvrc", blacklist=[(7, "n1")])
    assert second.result.ap["n1"] is None


def test_the_recall_of_the_regions() -> None:
    proposals = [Proposals(boxes, np.zeros(len(boxes), np.float32)) for boxes in STORED.regions]
    recall = region_recall(STORED, TRUTH)
    assert recall == proposal_recall(TRUTHS, proposals) and recall.recall[0.5] == pytest.approx(2 / 3)


def test_the_objects_image_by_image() -> None:
    for mine, expected in zip(ground_truths_of(TRUTH), TRUTHS, strict=True):
        assert mine.boxes.tolist() == expected.boxes.tolist() and mine.ignore.tolist() == expected.ignore.tolist()
        assert mine.names() == expected.names()
