"""What the terminal shows, line by line."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from report_cases import BIG, KEYS, SMALL, case, small_report, with_detections

from inception_rcnn.evaluation import proposal_recall, recall_by_size
from inception_rcnn.evaluation.comparison import compare
from inception_rcnn.evaluation.report.inputs import ReportInput
from inception_rcnn.evaluation.report.text import class_lines, comparison_lines, coverage_lines, figure_lines
from inception_rcnn.structures import GroundTruthTable


def report() -> ReportInput:
    """Two classes with objects, one found, and one without."""
    one = case([(0, 0, BIG), (0, 1, SMALL)], [(0, 0, 0.9, BIG), (1, 0, 0.5, BIG)])
    truths = replace(one.truths, display_names=("cat", "dog", "n3"))
    return ReportInput(title="file on set", result=one.result, truths=truths, detections=one.detections)


def test_classes_by_both_names_with_ap_in_per_cent() -> None:
    assert class_lines(report()) == [
        f"  {'n1 cat':<16}  100.0",
        f"  {'n2 dog':<16}    0.0",
        f"  {'n3':<16} no objects",
    ]


def test_a_class_name_moves_no_cursor() -> None:
    one = report()
    named = replace(one.truths, display_names=("cat\n\x1b[2J", "dog", "n3"))
    assert class_lines(replace(one, truths=named))[0] == f"  {'n1 cat??[2J':<16}  100.0"


def test_figures_of_a_file() -> None:
    assert figure_lines(report()) == [
        "mAP@0.5 50.00 over 2 classes, median 50.00, by the rules of voc2010",
        "classes without objects, left out of the mean: 1 (n3)",
        "3 images, 2 detections, 2 objects",
        "best mean F1 0.500 at score 0.900 (precision 0.500, recall 0.500)",
    ]


def test_what_a_detector_does_not_know_and_what_was_left_out() -> None:
    lines = figure_lines(report(), known={0}, dropped=7)
    assert lines[2:4] == [
        "classes that the detector does not know, with AP 0: 1 (dog)",
        "mAP@0.5 100.00 over the 1 of its own classes that have objects",
    ]
    assert lines[5] == "left out: 7 detections of images that are not in the set"
    assert figure_lines(report(), known={0, 1, 2}) == figure_lines(report())


def test_figures_of_a_run_by_cocos_rules() -> None:
    shown = small_report("coco")
    lines = figure_lines(shown)
    assert lines[1].startswith("COCO: AP ") and "  ARl -" in lines[1] and lines[1].count("  ") == 11
    assert shown.coverage is not None
    recall = 100 * shown.coverage.recall[0.5]
    assert f"proposals: {shown.coverage.boxes_per_image:.0f} an image, recall at IoU 0.5 {recall:.1f} %" in lines
    assert lines[-1] == "seconds an image: 0.50 (decode 0.062, network <i> 0.438)"


def test_two_detectors() -> None:
    first = small_report()
    second = with_detections(first, first.detections[first.detections.label != 0])
    comparison = compare(first, second, resamples=50)
    lines = comparison_lines(comparison, first, replace(second, title="other"))
    assert lines[0].startswith(f"first:  mAP@0.5 {100 * first.result.map:.2f} (95 % interval ")
    assert lines[1].startswith(f"second: mAP@0.5 {100 * second.result.map:.2f} (") and lines[1].endswith(")  other")
    assert (
        f"{100 * comparison.difference:+.2f} points" in lines[2] and "on 8 images, by the rules of voc2010" in lines[2]
    )
    lost = comparison.won_by(1)[0]
    assert lines[4].startswith("classes: 0 won by the second, 1 by the first, 3 equal")
    assert lines[5].startswith(f"  by the first: cat {100 * lost.difference:+.1f}")
    assert f"photographs with unequally many mistakes: {len(comparison.photographs)}" in lines
    assert sum(" -> " in line for line in lines) == len(comparison.photographs)


def test_coverage_by_size_with_dashes_where_there_are_no_objects() -> None:
    truths = GroundTruthTable(KEYS[:1], (1,), [0, 0], [0, 0], [BIG, SMALL])
    boxes = [np.array([BIG], np.float32)]
    lines = coverage_lines(proposal_recall(truths, boxes), list(recall_by_size(truths, boxes).values()))
    columns = [line[24:].split() for line in lines[1:]]
    assert columns[0] == ["2", "1", "0", "1"]
    assert columns[1] == ["50.0", "0.0", "-", "100.0"]
    assert [line[:24].strip() for line in lines[1:4]] == ["objects", "% at IoU 0.5", "% at IoU 0.6"]
    assert lines[-1].startswith("% at IoU 0.5, first 1000") and len(lines) == 15
