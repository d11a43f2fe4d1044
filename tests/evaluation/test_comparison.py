"""Two detectors compared, against what their own evaluations say."""

from __future__ import annotations

import pickle
import re

import numpy as np
import pytest
from report_cases import BIG, EVIL, SMALL, case, small_report, with_detections

from inception_rcnn.evaluation import compare
from inception_rcnn.evaluation.bootstrap import drawn_images
from inception_rcnn.evaluation.comparison import mistakes
from inception_rcnn.evaluation.report.text import comparison_lines
from inception_rcnn.structures import InputError
from inception_rcnn.structures.boxes import overlap_ratio


def test_mistakes_are_false_detections_and_objects_not_found() -> None:
    objects = [(0, 0, BIG), (0, 1, SMALL), (1, 0, BIG)]
    found = [(0, 0, 0.9, BIG), (0, 0, 0.8, SMALL), (1, 0, 0.1, BIG), (2, 0, 0.2, BIG)]
    one = case(objects, found)
    false, missed = mistakes(one, 0.5)
    assert (false.tolist(), missed.tolist()) == ([1, 0, 0], [1, 1, 0])
    false, missed = mistakes(one, 0.0)
    assert (false.tolist(), missed.tolist()) == ([1, 0, 1], [1, 0, 0])


def test_a_comparison_tells_who_wins_where() -> None:
    second = small_report()
    keep = overlap_ratio(second.detections.box, second.truths.box[0]) < 0.5
    keep &= second.detections.label != 1
    first = with_detections(second, second.detections[keep])
    comparison = compare(first, second, resamples=200)
    assert comparison.difference == pytest.approx(second.result.map - first.result.map)
    assert comparison.difference in comparison.interval
    assert {one.label for one in comparison.classes} == {0, 1, 2, 3}
    for one in comparison.classes:
        assert one.winner == (0 if one.first == one.second else 2 if one.second > one.first else 1)
    assert sum(len(comparison.won_by(k)) for k in range(3)) == len(comparison.classes)
    won = [one.difference for one in comparison.won_by(2)]
    assert won == sorted(won, reverse=True)
    turned = compare(second, first, resamples=200)
    assert turned.difference == -comparison.difference
    assert turned.interval.low == pytest.approx(-comparison.interval.high)
    assert [one.label for one in turned.won_by(1)] == [one.label for one in comparison.won_by(2)]
    for one in comparison.photographs:
        counts = [mistakes(r, t) for r, t in zip((first, second), comparison.thresholds, strict=True)]
        assert one.false == tuple(int(false[one.image]) for false, _ in counts)
        assert one.missed == tuple(int(missed[one.image]) for _, missed in counts)
    sizes = [abs(one.difference) for one in comparison.photographs]
    assert sizes == sorted(sizes, reverse=True)
    assert 0 not in sizes
    fewer = [[one.difference for one in comparison.photographs_won_by(k)] for k in (1, 2)]
    assert len(fewer[0]) + len(fewer[1]) == len(sizes)
    assert max(fewer[0], default=-1) < 0 < min(fewer[1])


def test_a_detector_does_not_win_against_itself() -> None:
    report = small_report()
    comparison = compare(report, report, resamples=20)
    assert (comparison.difference, comparison.better_in, comparison.photographs) == (0, 0, ())
    assert len(comparison.won_by(0)) == 4


def test_only_evaluations_of_the_same_objects_by_the_same_rules_are_compared() -> None:
    report = small_report()
    with pytest.raises(InputError, match="protocols differ: voc2010 and coco"):
        compare(report, small_report("coco"))
    with pytest.raises(InputError, match="same ground truth"):
        compare(report, small_report(seed=1))


def test_a_comparison_says_in_a_line_who_is_better_and_a_notebook_shows_the_classes() -> None:
    second = small_report()
    first = with_detections(second, second.detections[second.detections.label != 1])
    comparison = compare(first, second, resamples=200)
    assert repr(comparison).startswith(f"Comparison(mAP@0.5 {first.map:.3f} and {second.map:.3f}: +")
    assert repr(comparison).endswith("of 4 classes the first has 0, the second 1)")
    shown = comparison._repr_html_()
    differences = [abs(float(one)) for one in re.findall(r"<td>([+-]\d\.\d{3})</td>", shown)]
    assert len(differences) == 4 and differences == sorted(differences, reverse=True) and differences[0] > 0
    assert EVIL not in shown
    again = pickle.loads(pickle.dumps(comparison))
    assert again.to_dict() == comparison.to_dict() and repr(again) == repr(comparison)


def test_one_missed_object_proves_nothing_and_who_is_never_better_is_better_in_no_draw() -> None:
    """One object on each of twelve photographs; the second does not find that of the last one."""
    objects = [(image, 0, BIG) for image in range(12)]
    found = [(image, 0, 0.9, BIG) for image in range(12)]
    first, second = case(objects, found, images=12), case(objects, found[:-1], images=12)
    comparison = compare(first, second)
    equal = float(np.mean([draw[11] == 0 for draw in drawn_images(12, 1000, 0)]))
    assert 0.3 < equal < 0.4  # of the draws do not have that photograph
    assert comparison.better_in == 0 and comparison.difference < 0
    assert comparison.interval.high == 0 and not comparison.classes[0].is_sure
    lines = comparison_lines(comparison, first, second)
    assert "  by the first: n1 -8.3" in lines
    assert lines[-1] == "the second has no detections on 1 of 12 photographs where the other has some"
    turned = compare(second, first)
    assert turned.better_in == pytest.approx(1 - equal) and turned.interval.low == 0


def test_a_difference_on_most_photographs_is_sure() -> None:
    objects = [(image, 0, BIG) for image in range(12)]
    found = [(image, 0, 0.9, BIG) for image in range(12)]
    comparison = compare(case(objects, found[:3], images=12), case(objects, found, images=12))
    assert comparison.interval.low > 0 and comparison.classes[0].is_sure and comparison.better_in == 1
