"""The score threshold with the best mean F1, by hand-worked cases and plain loops; records that fit each other."""

from __future__ import annotations

import pickle
import re
import time

import numpy as np
import pytest
from report_cases import BIG, EVIL, SMALL, case, no_detections, small_report, tables

from inception_rcnn.evaluation import Evaluation, ScoreThreshold, evaluate_coco, evaluate_ilsvrc, evaluate_voc
from inception_rcnn.evaluation.protocols import PROTOCOLS, evaluate_by
from inception_rcnn.structures import DetectionTable, GroundTruthTable, InputError

CELLS = [(120.0 * k, 0.0, 120.0 * k + 100, 100.0) for k in range(5)]


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

    best = matches.best_f1()
    assert mean_f1(best.threshold) == pytest.approx(best.f1) == max(mean_f1(score) for score in found.score)


def test_without_true_detections_the_threshold_is_the_highest_score() -> None:
    best = case([(0, 0, BIG)], [(0, 0, 0.7, SMALL), (0, 1, 0.2, SMALL)]).matches.best_f1()
    assert best == ScoreThreshold(0.7, 0.0, 0.0, 0.0)
    truths, _ = tables()
    assert evaluate_by("coco", truths, no_detections()).kept_matches().best_f1() == ScoreThreshold(0.0, 0.0, 0.0, 0.0)


def test_the_threshold_lies_where_false_detections_begin() -> None:
    best = case([(0, 0, BIG)], [(0, 0, 0.6, BIG), (0, 0, 0.5, SMALL), (0, 1, 0.9, SMALL)]).matches.best_f1()
    assert best == ScoreThreshold(0.6, 1.0, 1.0, 1.0)  # class 1 has no objects and does not count


def test_a_second_detection_of_the_same_object_is_false() -> None:
    assert case([(0, 0, BIG)], [(0, 0, 0.9, BIG), (0, 0, 0.8, BIG)]).matches.best_f1().threshold == 0.9


def test_the_mean_is_over_classes_not_over_detections() -> None:
    objects = [*((0, 0, box) for box in CELLS[:3]), (0, 1, CELLS[3])]
    found = [*((0, 0, 0.9, box) for box in CELLS[:3]), (0, 1, 0.3, CELLS[3]), (0, 1, 0.3, CELLS[4])]
    best = case(objects, found).matches.best_f1()
    # At 0.9: F1 1 and 0, mean 0.5. At 0.3: 1 and 2/3 (one true, one false), mean 5/6.
    assert (best.threshold, best.f1) == (0.3, pytest.approx(5 / 6))
    assert (best.precision, best.recall) == (0.75, 1.0)


def test_a_class_without_detections_above_the_threshold_has_precision_0() -> None:
    best = case([(0, 0, BIG), (0, 1, BIG)], [(0, 0, 0.9, BIG)]).matches.best_f1()
    assert best == ScoreThreshold(0.9, 0.5, 0.5, 0.5)


def test_detections_of_objects_to_ignore_count_neither_way() -> None:
    truths = GroundTruthTable(("cat",), (1,), [0, 0], [0, 0], [BIG, SMALL], [False, True])
    found = DetectionTable([0, 0, 0], [0, 0, 0], [0.5, 0.9, 0.8], [BIG, SMALL, SMALL])
    for evaluate in (evaluate_coco, evaluate_voc):
        assert evaluate(truths, found).kept_matches().best_f1() == ScoreThreshold(0.5, 1.0, 1.0, 1.0)


def test_the_rules_of_the_protocol_decide_what_is_true() -> None:
    # 0.4 of a small object: enough for ILSVRC alone
    truths = GroundTruthTable(("cat",), (1,), [0], [0], [[0, 0, 20, 20]])
    found = DetectionTable([0], [0], [0.5], [[0, 0, 20, 9]])
    assert evaluate_ilsvrc(truths, found).kept_matches().best_f1().f1 == 1
    assert evaluate_voc(truths, found).kept_matches().best_f1().f1 == 0


def test_it_is_quick() -> None:
    random = np.random.default_rng(0)
    count, images, classes = 150_000, 2000, 80
    truths = GroundTruthTable(
        tuple(map(str, range(classes))),
        tuple(range(images)),
        random.integers(0, images, 20_000),
        random.integers(0, classes, 20_000),
        np.tile([0.0, 0, 40, 40], (20_000, 1)),
    )
    box = np.tile([0.0, 0, 40, 40], (count, 1)) + random.normal(0, 6, (count, 4))
    found = DetectionTable(
        random.integers(0, images, count), random.integers(0, classes, count), random.random(count), box
    )
    matches = evaluate_ilsvrc(truths, found).kept_matches()
    start = time.process_time()
    assert 0 < matches.best_f1().f1 < 1
    assert time.process_time() - start < 1  # it was 6.4 s


def test_an_evaluation_has_the_result_of_its_tables() -> None:
    truths, found = tables()
    result = evaluate_by("voc2010", truths, found)
    assert Evaluation(title="", result=result, truths=truths, detections=found).matches is result.matches
    for other in ({"detections": found[:-1], "truths": truths}, {"detections": found, "truths": truths.of_images([0])}):
        with pytest.raises(InputError, match="other detections or another ground truth"):
            Evaluation(title="", result=result, **other)
    arbiter = Evaluation(
        title="", result=evaluate_coco(truths, found, engine="pycocotools"), truths=truths, detections=found
    )
    with pytest.raises(InputError, match="engine='native'"):
        _ = arbiter.matches


def test_every_protocol_gives_a_threshold() -> None:
    truths, found = tables(1)
    for protocol in PROTOCOLS:
        best = evaluate_by(protocol, truths, found).kept_matches().best_f1()
        assert best.threshold in found.score and 0 < best.f1 < 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_result_says_in_a_line_what_it_is_and_a_notebook_shows_the_classes(protocol: str) -> None:
    report = small_report(protocol)
    counted = [name for name, ap in report.result.ap.items() if ap is not None]
    assert repr(report.result).startswith(f"{type(report.result).__name__}({protocol}: mAP@0.5 {report.map:.3f} over ")
    assert repr(report.result).endswith(f"over {len(counted)} of 5 classes; images: 8, detections: 60)")
    assert repr(report) == f"ReportInput({EVIL} on eight pictures; {report.result!r})"
    shown = report._repr_html_()
    aps = [float(one) for one in re.findall(r"<td>n\d</td><td>([\d.]+)</td>", shown)]
    assert len(aps) == len(counted) and aps == sorted(aps, reverse=True) and EVIL not in shown
    assert ("AP75" in shown) == (protocol == "coco")


def test_results_are_pickled() -> None:
    report = small_report("coco")
    for one in (report, report.result, report.matches):
        again = pickle.loads(pickle.dumps(one))
        assert type(again) is type(one) and repr(again) == repr(one)
    again = pickle.loads(pickle.dumps(report))
    assert (again.result, again.truths, again.detections) == (report.result, report.truths, report.detections)
    assert again.matches.best_f1() == report.matches.best_f1()
    assert again.photographs is not None and again.photographs(0).shape == (90, 120, 3)
