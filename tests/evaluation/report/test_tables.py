"""What a report's figures are computed from, against plain loops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from report_cases import KEYS, no_detections, photograph, small_report, tables, with_detections

from inception_rcnn.evaluation import Matches
from inception_rcnn.evaluation.comparison import compare, mistakes
from inception_rcnn.evaluation.protocols import PROTOCOLS, evaluate_by
from inception_rcnn.evaluation.report.calibration import calibration
from inception_rcnn.evaluation.report.confusion import best_threshold, confusion_matrix
from inception_rcnn.evaluation.report.examples import worst_false_positives, worst_misses
from inception_rcnn.evaluation.report.pictures import LONG_SIDE, Album
from inception_rcnn.evaluation.report.sizes import by_class_thirds, by_pixels
from inception_rcnn.evaluation.report.tables import sample_curves
from inception_rcnn.structures import ImageError, InputError
from inception_rcnn.structures.boxes import overlap_ratio
from inception_rcnn.structures.detections import DetectionTable
from inception_rcnn.structures.ground_truth import GroundTruthTable

BIG, SMALL = (0.0, 0.0, 100.0, 100.0), (200.0, 200.0, 220.0, 220.0)


def case(
    objects: list[tuple], found: list[tuple], classes: int = 3
) -> tuple[Matches, GroundTruthTable, DetectionTable]:
    """Objects as (image, label, box), detections as (image, label, score, box), matched by VOC's rules."""
    truths = GroundTruthTable(
        KEYS[:classes], (1, 2, 3), [o[0] for o in objects], [o[1] for o in objects], [o[2] for o in objects]
    )
    table = DetectionTable(*([f[k] for f in found] for k in range(4)))
    return evaluate_by("voc2010", truths, table).kept_matches(), truths, table


@pytest.mark.parametrize("seed", range(5))
def test_the_threshold_has_the_best_mean_f1(seed: int) -> None:
    truths, found = tables(seed)
    matches = evaluate_by("coco", truths, found).kept_matches()

    def mean_f1(threshold: float) -> float:
        values = []
        for label in np.flatnonzero(matches.objects):
            mine = (found.label == label) & (found.score >= threshold)
            true, false = (int((matches.outcome[mine] == outcome).sum()) for outcome in (1, 0))
            values.append(2 * true / (true + false + matches.objects[label]))
        return float(np.mean(values))

    assert mean_f1(best_threshold(matches)) == pytest.approx(max(mean_f1(score) for score in found.score))


def test_without_true_detections_the_threshold_is_the_highest_score() -> None:
    matches, _, _ = case([(0, 0, BIG)], [(0, 0, 0.7, SMALL), (0, 1, 0.2, SMALL)])
    assert best_threshold(matches) == 0.7
    truths, _ = tables()
    assert best_threshold(evaluate_by("coco", truths, no_detections()).kept_matches()) == 0


def test_confusion_counts_true_false_and_missing() -> None:
    objects = [(0, 0, BIG), (1, 1, BIG), (1, 2, SMALL), (2, 0, SMALL)]
    found = [
        (0, 0, 0.9, BIG),  # true
        (0, 0, 0.8, BIG),  # again: nothing is left there
        (1, 2, 0.7, BIG),  # class 1 called 2
        (1, 0, 0.6, BIG),  # too late: class 1 is taken
        (1, 0, 0.3, SMALL),  # below the threshold
    ]
    confusion = confusion_matrix(*case(objects, found), threshold=0.5)
    expected = np.zeros((4, 4), int)
    expected[0, 0], expected[3, 0], expected[1, 2] = 1, 2, 1
    expected[0, 3] = expected[2, 3] = 1
    assert confusion.counts.tolist() == expected.tolist()
    assert confusion.largest(5) == [(1, 2, 1)]
    assert confusion.most_confused(2) == [1, 2]
    assert confusion.precision(0) == pytest.approx(1 / 3)
    assert (confusion.precision(1), confusion.recall(0), confusion.recall(1)) == (None, 0.5, 0)


def test_confusion_takes_the_object_overlapped_most_and_only_by_half() -> None:
    objects = [(0, 1, (0, 0, 100, 60)), (0, 2, (0, 0, 100, 90))]
    assert confusion_matrix(*case(objects, [(0, 0, 0.9, BIG)]), threshold=0).counts[:3, 0].tolist() == [0, 0, 1]
    half, less = (0.0, 0.0, 100.0, 50.0), (0.0, 0.0, 100.0, 49.0)
    for box, expected in ((half, 1), (less, 0)):
        counts = confusion_matrix(*case([(0, 1, BIG)], [(0, 0, 0.9, box)]), threshold=0).counts
        assert counts[1, 0] == expected


def test_what_voc_calls_a_duplicate_is_found_nowhere_even_beside_a_free_object_of_its_class() -> None:
    objects = [(0, 0, BIG), (0, 0, (0.0, 0.0, 100.0, 80.0))]
    found = [(0, 0, 0.9, BIG), (0, 0, 0.8, (0.0, 0.0, 100.0, 95.0))]
    counts = confusion_matrix(*case(objects, found), threshold=0).counts
    assert (counts[0, 0], counts[3, 0], counts[0, 3]) == (1, 1, 1)


@pytest.mark.parametrize("seed", range(4))
def test_confusion_leaves_nothing_out_and_its_diagonal_is_what_is_true(seed: int) -> None:
    truths, found = tables(seed)
    matches = evaluate_by("ilsvrc", truths, found).kept_matches()
    confusion = confusion_matrix(matches, truths, found, 0.3)
    assert confusion.counts[:-1].sum(axis=1).tolist() == matches.objects.tolist()
    asked = found.score >= 0.3
    assert confusion.counts[:, :-1].sum(axis=0).tolist() == np.bincount(found.label[asked], minlength=5).tolist()
    assert np.trace(confusion.counts) == (matches.outcome[asked] == 1).sum()


def test_calibration_bin_by_bin() -> None:
    objects = [(0, 0, BIG), (1, 0, BIG), (2, 0, BIG)]
    found = [(0, 0, 0.95, BIG), (1, 0, 1.0, BIG), (2, 0, 0.92, SMALL), (2, 0, 0.25, BIG), (1, 1, 0.0, SMALL)]
    shown = calibration(case(objects, found)[0])
    assert shown is not None
    assert [b.count for b in shown.bins] == [1, 0, 1, 0, 0, 0, 0, 0, 0, 3]
    assert (shown.bins[9].score, shown.bins[9].precision) == (pytest.approx(2.87 / 3), pytest.approx(2 / 3))
    assert (shown.bins[1].score, shown.bins[1].precision) == (None, None)
    assert shown.error == pytest.approx((abs(2.87 - 2) + abs(0.25 - 1) + 0) / 5)


def test_scores_that_are_no_probabilities_are_not_calibrated() -> None:
    assert calibration(case([(0, 0, BIG)], [(0, 0, 1.5, BIG)])[0]) is None
    assert calibration(case([(0, 0, BIG)], [(0, 0, -0.1, BIG)])[0]) is None
    truths, _ = tables()
    assert calibration(evaluate_by("coco", truths, no_detections()).kept_matches()) is None


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_curves_are_the_envelope_at_101_recalls_and_the_score_that_reaches_it(protocol: str) -> None:
    report = small_report(protocol)
    samples = sample_curves(report)
    for label, key in enumerate(KEYS):
        if not report.result.kept_matches().objects[label]:
            assert np.isnan(samples.precision[label]).all()
            continue
        curve = report.result.curve(key)
        for k, recall in enumerate(np.linspace(0, 1, 101)):
            there = np.flatnonzero(curve.recall >= recall)
            best = max((curve.precision[i] for i in there), default=0.0)
            assert samples.precision[label, k] == best
            if len(there):
                rows = curve.score == samples.score[label, k]
                assert best in curve.precision[rows]
            else:
                assert np.isnan(samples.score[label, k])
    assert samples.mean[0] == pytest.approx(np.nanmean(samples.precision[:4, 0]))


def test_coco_curves_have_cocos_average_precision() -> None:
    report = small_report("coco")
    assert sample_curves(report).precision[:4].mean() == pytest.approx(report.result.map)


def test_sizes_judge_the_objects_of_a_size_alone() -> None:
    small, medium, large = (0.0, 0.0, 20.0, 20.0), (0.0, 0.0, 50.0, 50.0), (0.0, 0.0, 200.0, 200.0)
    objects = [(0, 0, small), (1, 0, large), (2, 0, large)]
    found = [(1, 0, 0.9, large), (0, 0, 0.8, medium), (2, 0, 0.7, small), (0, 0, 0.6, small)]
    _, truths, table = case(objects, found)
    result = evaluate_by("voc2010", truths, table)
    groups = by_pixels(result, truths, table)
    assert [(group.name, group.objects) for group in groups] == [("small", 1), ("medium", 0), ("large", 2)]
    assert groups[0].map == pytest.approx(0.5)  # the false small one of image 2 comes first
    assert (groups[1].map, groups[1].found) == (None, None)
    assert (groups[2].map, groups[2].found) == (pytest.approx(0.5), 0.5)


def test_sizes_go_by_cocos_own_area_where_there_is_one() -> None:
    truths, found = tables()
    truths = replace(truths, area=np.full(len(truths), 96.0**2))
    groups = by_pixels(evaluate_by("coco", truths, found), truths, found)
    assert [group.objects for group in groups] == [0, 0, len(truths)]


def test_thirds_divide_the_objects_of_each_class() -> None:
    sides = [10.0, 20.0, 30.0, 40.0, 50.0, 60.0]
    objects = [(0, label, (0.0, 0.0, side * (1 + 9 * label), side)) for label in (0, 1) for side in sides]
    found = [(0, 0, 0.9, (0.0, 0.0, 60.0, 60.0))]
    _, truths, table = case(objects, found)
    groups = by_class_thirds(evaluate_by("ilsvrc", truths, table), truths, table)
    assert [group.objects for group in groups] == [4, 4, 4]
    assert [group.map for group in groups] == [0, 0, pytest.approx(0.25)]


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
    _, truths, table = case(objects, found[::-1])
    report = replace(
        small_report(),
        truths=truths,
        detections=table,
        result=evaluate_by("voc2010", truths, table),
        class_names=KEYS[:3],
        image_names=("a", "b", "c"),
    )
    shown = worst_false_positives(report, Album(None))
    assert [one.score for one in shown] == [0.98, *(0.9 - k / 100 for k in range(6))]
    for one, text in zip(shown, ["found twice", *texts.values()], strict=True):
        assert text in one.explanation
    assert shown[0].picture is None
    assert shown[2].explanation == "wrong class: it is a n2 (overlap 1.00)"


def test_the_worst_misses_are_the_largest_objects_without_a_true_detection() -> None:
    report = small_report()
    matches, truths = report.result.kept_matches(), report.truths
    shown = worst_misses(report, Album(report.photographs), 0.0, count=100)
    missed = set(np.flatnonzero(matches.wanted)) - set(matches.partner[matches.outcome == 1].tolist())
    areas = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (one.box for one in shown)]
    assert 0 < len(shown) <= len(missed)
    assert areas == sorted(areas, reverse=True)
    boxes = {tuple(truths.box[row].astype(int)) for row in missed}
    assert {one.box for one in shown} <= boxes
    assert all(one.picture is not None and one.picture.boxes[0].role == "missed" for one in shown)


def test_a_picture_shows_the_boxes_where_they_are() -> None:
    album = Album(photograph)
    box = np.array([30.0, 20.0, 90.0, 70.0])
    picture = album.cut(0, box[None], [("found", box), ("other", np.array([500.0, 500.0, 600.0, 600.0]))])
    assert picture is not None
    assert picture.data.startswith("data:image/webp;base64,")
    assert max(picture.width, picture.height) <= LONG_SIDE
    (drawn,) = picture.boxes  # the other one is outside
    assert drawn.width / drawn.height == pytest.approx(60 / 50, rel=0.01)
    scale = drawn.width / 60
    assert (drawn.x, drawn.y) == (pytest.approx(21 * scale, abs=0.2), pytest.approx(20 * scale, abs=0.2))
    whole = album.cut(0, np.zeros((0, 4)), [])
    assert whole is not None
    assert whole.width / whole.height == pytest.approx(120 / 90, rel=0.01)


@pytest.mark.parametrize("box", [(-50, -50, -10, -10), (500, 500, 600, 700), (10, 10, 10, 10), (50, 50, 20, 20)])
def test_a_box_outside_the_photograph_still_gives_a_picture(box: tuple[float, ...]) -> None:
    picture = Album(photograph).cut(0, np.array([box], float), [("found", np.array(box, float))])
    assert picture is not None
    assert picture.width >= 1


def test_photographs_that_cannot_be_opened_are_counted() -> None:
    def broken(position: int) -> np.ndarray:
        if position:
            raise ImageError("no such photograph")
        raise OSError("gone")

    album = Album(broken)
    assert [album.cut(k, np.zeros((0, 4)), []) for k in range(2)] == [None, None]
    assert album.broken == 2


def test_mistakes_are_false_detections_and_objects_not_found() -> None:
    objects = [(0, 0, BIG), (0, 1, SMALL), (1, 0, BIG)]
    found = [(0, 0, 0.9, BIG), (0, 0, 0.8, SMALL), (1, 0, 0.1, BIG), (2, 0, 0.2, BIG)]
    _, truths, table = case(objects, found)
    report = replace(
        small_report(),
        truths=truths,
        detections=table,
        image_names=("a", "b", "c"),
        result=evaluate_by("voc2010", truths, table),
    )
    false, missed = mistakes(report, 0.5)
    assert (false.tolist(), missed.tolist()) == ([1, 0, 0], [1, 1, 0])
    false, missed = mistakes(report, 0.0)
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
