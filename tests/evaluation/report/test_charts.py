"""What a page's charts show, against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from report_cases import BIG, KEYS, SMALL, case, no_detections, small_report, tables

from inception_rcnn.evaluation.protocols import PROTOCOLS, evaluate_by
from inception_rcnn.evaluation.report.charts import calibration, sample_curves


def test_calibration_bin_by_bin() -> None:
    objects = [(0, 0, BIG), (1, 0, BIG), (2, 0, BIG)]
    found = [(0, 0, 0.95, BIG), (1, 0, 1.0, BIG), (2, 0, 0.92, SMALL), (2, 0, 0.25, BIG), (1, 1, 0.0, SMALL)]
    shown = calibration(case(objects, found).matches)
    assert shown is not None
    assert [b.count for b in shown.bins] == [1, 0, 1, 0, 0, 0, 0, 0, 0, 3]
    assert (shown.bins[9].score, shown.bins[9].precision) == (pytest.approx(2.87 / 3), pytest.approx(2 / 3))
    assert (shown.bins[1].score, shown.bins[1].precision) == (None, None)
    assert shown.error == pytest.approx((abs(2.87 - 2) + abs(0.25 - 1) + 0) / 5)


def test_scores_that_are_no_probabilities_are_not_calibrated() -> None:
    assert calibration(case([(0, 0, BIG)], [(0, 0, 1.5, BIG)]).matches) is None
    assert calibration(case([(0, 0, BIG)], [(0, 0, -0.1, BIG)]).matches) is None
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
