"""What a page's tables show, against hand-worked cases."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from report_cases import case, small_report, tables

from inception_rcnn.evaluation import CocoResult, Evaluation, recall_by_size
from inception_rcnn.evaluation.bootstrap import resample_images
from inception_rcnn.evaluation.protocols import evaluate_by
from inception_rcnn.evaluation.report.confusion import confusion_matrix
from inception_rcnn.evaluation.report.tables import by_class_thirds, by_pixels, class_rows
from inception_rcnn.structures.ground_truth import GroundTruthTable


def test_sizes_count_the_objects_of_a_size_alone() -> None:
    small, medium, large = (0.0, 0.0, 20.0, 20.0), (0.0, 0.0, 50.0, 50.0), (0.0, 0.0, 200.0, 200.0)
    objects = [(0, 0, small), (1, 0, large), (2, 0, large)]
    found = [(1, 0, 0.9, large), (0, 0, 0.8, medium), (2, 0, 0.7, small), (0, 0, 0.6, small)]
    groups = by_pixels(case(objects, found))
    assert [(group.name, group.objects) for group in groups] == [("small", 1), ("medium", 0), ("large", 2)]
    assert groups[0].map == pytest.approx(0.5)  # the false small one of image 2 comes first
    assert (groups[1].map, groups[1].found) == (None, None)
    assert (groups[2].map, groups[2].found) == (pytest.approx(0.5), 0.5)


def test_sizes_go_by_cocos_own_area_where_there_is_one() -> None:
    truths, found = tables()
    truths = replace(truths, area=np.full(len(truths), 96.0**2 + 1))
    result = evaluate_by("coco", truths, found)
    groups = by_pixels(Evaluation(title="", result=result, truths=truths, detections=found))
    assert [group.objects for group in groups] == [0, 0, len(truths)]


@pytest.mark.parametrize("side", [32.0, 96.0])
def test_an_object_on_a_bound_has_one_size_and_by_cocos_rules_both(side: float) -> None:
    on_it = (0.0, 0.0, side, side)
    for protocol, expected in {"ilsvrc": 1, "voc2007": 1, "voc2010": 1, "coco": 2}.items():
        groups = by_pixels(case([(0, 0, on_it)], [(0, 0, 0.9, on_it)], protocol=protocol))
        assert sum(group.objects for group in groups) == expected
        # the larger size always has it: the page and the recall of proposals divide alike
        larger = ("medium", "large")[side > 50]
        assert {group.name for group in groups if group.objects} >= {larger}
        sized = recall_by_size(GroundTruthTable(("n1",), (1,), [0], [0], [on_it]), [np.array([on_it], np.float32)])
        assert [name for name, recall in sized.items() if recall is not None] == [larger]
    stats = case([(0, 0, on_it)], [(0, 0, 0.9, on_it)], protocol="coco").result
    assert isinstance(stats, CocoResult)
    present = [name for name in ("APs", "APm", "APl") if stats.stats[name] is not None]
    assert present == [
        {"small": "APs", "medium": "APm", "large": "APl"}[group.name] for group in groups if group.objects
    ]


def test_thirds_divide_the_objects_of_each_class() -> None:
    sides = [10.0, 20.0, 30.0, 40.0, 50.0, 60.0]
    objects = [(0, label, (0.0, 0.0, side * (1 + 9 * label), side)) for label in (0, 1) for side in sides]
    found = [(0, 0, 0.9, (0.0, 0.0, 60.0, 60.0))]
    groups = by_class_thirds(case(objects, found, protocol="ilsvrc"))
    assert [group.objects for group in groups] == [4, 4, 4]
    assert [group.map for group in groups] == [0, 0, pytest.approx(0.25)]


def test_a_row_for_each_class_with_what_was_found_of_it() -> None:
    report = small_report("ilsvrc")
    matches, threshold = report.matches, report.matches.best_f1().threshold
    confusion = confusion_matrix(matches, report.truths, report.detections, threshold)
    rows = class_rows(report, resample_images(report, resamples=20), confusion)
    assert [(row.key, row.name) for row in rows] == [
        (key, name) for key, name in zip(report.result.ap, report.truths.display_names, strict=True)
    ]
    for label, row in enumerate(rows):
        mine = report.detections.label == label
        assert (row.objects, row.detections) == (matches.objects[label], mine.sum())
        if row.objects:
            assert row.ap == report.result.ap[row.key]
            assert row.found == (matches.outcome[mine] == 1).sum() / row.objects
    assert (rows[4].ap, rows[4].found) == (None, None)
    assert np.isnan(rows[3].interval.low) and rows[0].ap in rows[0].interval
