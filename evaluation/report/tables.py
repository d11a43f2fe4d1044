"""The figures of a report as plain values: what the page's tables, bars and curves show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.evaluation.average_precision import HUNDRED_AND_ONE_RECALLS, TRUE, envelope
from inception_rcnn.evaluation.bootstrap import Interval, Resampled
from inception_rcnn.evaluation.error_analysis import ERROR_KINDS, ErrorAnalysis
from inception_rcnn.evaluation.recall import ProposalRecall
from inception_rcnn.evaluation.report.calibration import Calibration
from inception_rcnn.evaluation.report.charts import Chart
from inception_rcnn.evaluation.report.confusion import Confusion
from inception_rcnn.evaluation.report.inputs import ReportInput

KIND_TEXTS: Final = {
    "Cls": ("Wrong class", "lies on an object of another class (overlap 0.5 or more)"),
    "Loc": ("Wrong place", "meets an object of its class, but overlaps it by 0.1 to 0.5 only"),
    "Both": ("Wrong class and place", "overlaps an object of another class by 0.1 to 0.5"),
    "Dupe": ("Found twice", "lies on an object of its class that a better detection has"),
    "Bkg": ("Nothing there", "overlaps no object by more than 0.1"),
    "Miss": ("Not found", "an object that no detection found, not even in the wrong place or class"),
}


@dataclass(frozen=True)
class ClassRow:
    """One class.

    Attributes:
        label: Its position.
        name: What people call it.
        key: The data set's own name, where it is another; else empty.
        ap: In [0, 1]; None without objects.
        interval: Of `ap`; NaN if the objects are all in one photograph.
        objects, detections: How many.
        found: The share of the objects found by some detection; None without objects.
        precision, recall: At the chosen score; None without detections, without objects.
    """

    label: int
    name: str
    key: str
    ap: float | None
    interval: Interval
    objects: int
    detections: int
    found: float | None
    precision: float | None
    recall: float | None

    @property
    def option(self) -> tuple[int, str]:
        """Position and name, for a list to choose from."""
        return self.label, self.name

    @property
    def sort_value(self) -> float:
        """The average precision; classes without one come last."""
        return -1.0 if self.ap is None else self.ap


@dataclass(frozen=True)
class ErrorRow:
    """One kind of error, or a sum of several.

    Attributes:
        name, text: What it is.
        count: How many there are; None for a sum.
        cost: What mAP would gain if these were mended and nothing else.
        step: What it gains if those above are mended already; None for a sum.
    """

    name: str
    text: str
    count: int | None
    cost: float
    step: float | None


def class_rows(report: ReportInput, resampled: Resampled, confusion: Confusion) -> list[ClassRow]:
    """Return the classes, in the order of the data set."""
    matches, rows = report.result.kept_matches(), []
    intervals = several_photographs(report, resampled)
    columns = zip(report.class_names, report.result.ap.items(), intervals, strict=True)
    for label, (name, (key, ap), interval) in enumerate(columns):
        objects, mine = int(matches.objects[label]), matches.of_class(label)
        hits = int((matches.outcome[mine] == TRUE).sum())
        rows.append(
            ClassRow(
                label,
                name,
                "" if key == name else key,
                ap if objects and ap is not None and not isnan(ap) else None,
                interval,
                objects,
                len(mine),
                hits / objects if objects else None,
                confusion.precision(label),
                confusion.recall(label),
            )
        )
    return rows


def several_photographs(report: ReportInput, resampled: Resampled) -> list[Interval]:
    """Return the interval of each class, and none if all its objects are in one photograph: every draw has the same."""
    wanted, truths = report.result.kept_matches().wanted, report.truths
    pairs = np.unique(np.stack([truths.label[wanted], truths.image[wanted]]), axis=1)
    photographs = np.bincount(pairs[0], minlength=len(truths.class_names)).tolist()
    unknown = Interval(np.nan, np.nan)
    return [own if n > 1 else unknown for own, n in zip(resampled.class_intervals(), photographs, strict=True)]


@dataclass(frozen=True, eq=False)
class CurveSamples:
    """The precision-recall curves at the recalls 0, 0.01 ... 1.

    Attributes:
        precision: float64 (classes, 101), the best precision at that recall or more; 0 beyond the last, NaN for classes
            without objects.
        score: float64 (classes, 101), the score at which it is reached; NaN beyond the last.
    """

    precision: NDArray[np.float64]
    score: NDArray[np.float64]

    @property
    def mean(self) -> NDArray[np.float64]:
        """The mean precision over the classes with objects, (101,)."""
        known = ~np.isnan(self.precision[:, 0])
        mean: NDArray[np.float64] = self.precision[known].mean(axis=0)
        return mean

    def as_data(self, name: str) -> dict[str, Any]:
        """Return what the page's script needs: precision in thousandths; null for classes without objects."""
        return {
            "name": name,
            "mean": np.rint(1000 * self.mean).astype(int).tolist(),
            "precision": [
                None if np.isnan(row[0]) else np.rint(1000 * row).astype(int).tolist() for row in self.precision
            ],
            "score": [[float(f"{s:.3g}") for s in row[~np.isnan(row)].tolist()] for row in self.score],
        }


def sample_curves(report: ReportInput) -> CurveSamples:
    """Return the curves of all classes."""
    matches = report.result.kept_matches()
    shape = (len(report.class_names), len(HUNDRED_AND_ONE_RECALLS))
    precision, score = np.full(shape, np.nan), np.full(shape, np.nan)
    for label, name in enumerate(report.truths.class_names):
        if matches.objects[label] == 0:
            continue
        curve = report.result.curve(name)
        height = envelope(curve.precision)
        place = np.searchsorted(curve.recall, HUNDRED_AND_ONE_RECALLS, side="left")
        precision[label] = np.append(height, 0.0)[place]
        reached = place < len(height)
        # the envelope is as high as the next true peak: the last point of those with the same height
        peak = len(height) - 1 - np.searchsorted(height[::-1], height[place[reached]], side="left")
        score[label, reached] = curve.score[peak]
    return CurveSamples(precision, score)


def error_rows(errors: ErrorAnalysis) -> list[ErrorRow]:
    """Return the six kinds of errors, then all false detections together, then all objects not found."""
    kinds = [
        ErrorRow(*KIND_TEXTS[kind], errors.counts[kind], errors.cost[kind], errors.steps[kind]) for kind in ERROR_KINDS
    ]
    return [
        *kinds,
        ErrorRow("All false detections", "if all scored below all true ones", None, errors.false_positives, None),
        ErrorRow("All objects not found", "if they did not exist", None, errors.false_negatives, None),
    ]


def curve_chart(curves: Sequence[CurveSamples], name: str = "curve") -> Chart:
    """Return the precision-recall chart with the mean curves; the page's script adds those of a class."""
    chart = Chart(name, "Precision against recall, mean of the classes", "recall (%)", "precision (%)")
    for position, curve in enumerate(curves):
        values = list(zip(HUNDRED_AND_ONE_RECALLS.tolist(), curve.mean.tolist(), strict=True))
        chart.add_line(f"mean model{position}", values)
    return chart


def calibration_chart(shown: Calibration) -> Chart:
    """Return the reliability diagram: precision against score; larger dots stand for more detections."""
    summary = f"Precision against score; expected calibration error {100 * shown.error:.1f} percentage points"
    chart = Chart(
        "reliability", summary, "mean score", "precision (%)", x_ticks=[(k / 5, f"{k / 5:.1f}") for k in range(6)]
    )
    chart.add_line("ideal", [(0.0, 0.0), (1.0, 1.0)])
    known = [b for b in shown.bins if b.score is not None and b.precision is not None]
    most = max(b.count for b in known)
    chart.add_line("model0", [(b.score or 0.0, b.precision or 0.0) for b in known])
    for b in known:
        text = f"score {b.low:.1f} to {b.high:.1f}: {b.count:,} detections, {100 * (b.precision or 0.0):.1f} % true"
        chart.add_point("model0", b.score or 0.0, b.precision or 0.0, text, 3.0 + 6.0 * (b.count / most) ** 0.5)
    return chart


def coverage_charts(coverage: ProposalRecall) -> list[Chart]:
    """Return recall against overlap, and against the number of proposals."""
    overlaps = Chart(
        "recall-by-overlap",
        "Share of the objects that some proposal covers, by the overlap asked for",
        "overlap asked for (IoU)",
        "objects covered (%)",
        x_range=(min(coverage.recall), max(coverage.recall)),
        x_ticks=[(iou, f"{iou:g}") for iou in coverage.recall],
    )
    numbers = {n: share for n, share in coverage.recall_at.items() if n <= max(coverage.boxes_per_image * 2, 1)}
    numbers = numbers or dict(list(coverage.recall_at.items())[:1])
    steps = np.log(np.array(list(numbers), float)).tolist()
    counts = Chart(
        "recall-by-number",
        "Share of the objects covered at IoU 0.5 by the first proposals of each photograph",
        "first proposals of a photograph",
        "objects covered (%)",
        x_range=(steps[0] - 0.2, steps[-1] + 0.2),
        x_ticks=[(step, str(n)) for step, n in zip(steps, numbers, strict=True)],
    )
    for chart, values in ((overlaps, coverage.recall.items()), (counts, zip(steps, numbers.values(), strict=True))):
        points = list(values)
        chart.add_line("model0", points)
        for (x, share), (_, text) in zip(points, chart.x_ticks, strict=True):
            chart.add_point("model0", x, share, f"{text}: {100 * share:.1f} %")
    return [overlaps, counts]


def confusion_data(confusion: Confusion) -> dict[str, Any]:
    """Return the matrix for the page's script, as (what it is, what it was called, how often) where that is not 0."""
    is_, called = np.nonzero(confusion.counts)
    return {
        "cells": np.stack([is_, called, confusion.counts[is_, called]], axis=1).tolist(),
        "shown": confusion.most_confused(24),
    }
