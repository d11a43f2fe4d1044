"""The worst mistakes and what is said of them."""

from __future__ import annotations

import numpy as np
import pytest
from report_cases import BIG, SMALL, case, small_report

from inception_rcnn.evaluation import Evaluation, analyse_errors
from inception_rcnn.evaluation.error_analysis import ERROR_KINDS
from inception_rcnn.evaluation.protocols import PROTOCOLS, evaluate_by
from inception_rcnn.evaluation.report.examples import Example, worst_false_positives, worst_misses
from inception_rcnn.evaluation.report.pictures import Album
from inception_rcnn.structures import DetectionTable, GroundTruthTable

WORDS = {
    "Cls": "wrong class: ",
    "Loc": "wrong place: ",
    "Both": "wrong class and place: ",
    "Dupe": "found twice: ",
    "Bkg": ("nothing of the known classes", "the photograph has no annotated object"),
}


def examples(one: Evaluation, count: int = 24) -> list[Example]:
    """The worst false detections, without pictures."""
    return worst_false_positives(one, analyse_errors(one.truths, one.detections), Album(None), count)


def test_the_worst_false_detections_are_the_highest_scored_at_most_three_of_a_class() -> None:
    objects = [(0, 0, BIG), (1, 1, BIG)]
    texts = {
        (0, 0, (0.0, 0.0, 100.0, 40.0)): "wrong place",
        (1, 0, BIG): "wrong class: it is a",
        (1, 2, (0.0, 0.0, 100.0, 30.0)): "wrong class and place",
        (0, 1, SMALL): "nothing of the known classes",
        (2, 2, BIG): "no annotated object",
        (0, 1, (50.0, 0.0, 40.0, 90.0)): "the box is inverted",
    }
    found = [(0, 0, 0.99, BIG), (0, 0, 0.98, BIG)]
    found += [(image, label, 0.9 - k / 100, box) for k, (image, label, box) in enumerate(texts)]
    found += [(2, 0, 0.5, SMALL)]  # a fourth of class 0
    one = case(objects, found[::-1])
    shown = worst_false_positives(one, analyse_errors(one.truths, one.detections), Album(None))
    assert [one.score for one in shown] == [0.98, *(0.9 - k / 100 for k in range(6))]
    for one, text in zip(shown, ["found twice", *texts.values()], strict=True):
        assert text in one.explanation
    assert shown[0].picture is None
    assert shown[2].explanation == "wrong class: it is a n2 (overlap 1.00)"


def test_the_worst_misses_are_the_largest_objects_without_a_true_detection() -> None:
    report = small_report()
    matches, truths = report.matches, report.truths
    shown = worst_misses(report, Album(report.photographs), 0.0, count=100)
    missed = set(np.flatnonzero(matches.wanted)) - set(matches.partner[matches.outcome == 1].tolist())
    areas = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (one.box for one in shown)]
    assert 0 < len(shown) <= len(missed)
    assert areas == sorted(areas, reverse=True)
    boxes = {tuple(truths.box[row].astype(int)) for row in missed}
    assert {one.box for one in shown} <= boxes
    assert all(one.picture is not None and one.picture.boxes[0].role == "missed" for one in shown)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_is_said_is_the_kind_that_the_error_analysis_counts(protocol: str) -> None:
    for seed in range(6):
        report = small_report(protocol, seed)
        errors = analyse_errors(report.truths, report.detections)
        for one in examples(report, 60):
            (row,) = np.flatnonzero(report.detections.score == one.score)
            if (report.detections.box[row, 2:] <= report.detections.box[row, :2]).any():
                assert one.explanation.startswith("the box is inverted: ")
                continue
            kind = int(errors.kind[row])
            expected = WORDS[ERROR_KINDS[kind - 1]] if kind else "false by the rules of this report alone: "
            assert one.explanation.startswith(expected)


def test_what_tide_calls_true_is_not_said_to_be_found_twice() -> None:
    # VOC: the object overlapped most is taken, so the second is false; TIDE lets it have the other object
    objects = [(0, 0, BIG), (0, 0, (0.0, 0.0, 100.0, 80.0))]
    found = [(0, 0, 0.9, BIG), (0, 0, 0.8, (0.0, 0.0, 100.0, 95.0))]
    (one,) = examples(case(objects, found))
    assert one.explanation == "false by the rules of this report alone: by TIDE's it finds this n1 (0.84)"


def test_detections_that_the_error_analysis_leaves_out_are_said_to_be_so() -> None:
    truths = GroundTruthTable(("n1", "n2"), (1,), [0, 0], [0, 1], [BIG, (0, 0, 300, 300)], [False, True])
    crowded = [(0, 0, 0.9 - k / 1000, (0.0, 500.0, 10.0, 510.0)) for k in range(99)]
    found = DetectionTable(*([one[k] for one in [*crowded, (0, 1, 0.8, SMALL), (0, 1, 0.7, SMALL)]] for k in range(4)))
    one = Evaluation(title="", result=evaluate_by("voc2010", truths, found), truths=truths, detections=found)
    said = [example.explanation for example in examples(one) if example.class_name == "n2"]
    assert said == [
        "lies in an object that is marked to be ignored",
        "not among the 100 best detections of its photograph, which alone are sorted into kinds of errors",
    ]
