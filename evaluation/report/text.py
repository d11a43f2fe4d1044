"""Numbers as text, and what the terminal shows of an evaluation, of two detectors compared, and of proposals."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from math import isnan
from typing import Final

import numpy as np

from inception_rcnn.evaluation.coco import CocoResult
from inception_rcnn.evaluation.comparison import ClassDifference, Comparison
from inception_rcnn.evaluation.recall import COUNTS, THRESHOLDS, ProposalRecall
from inception_rcnn.evaluation.report.inputs import ReportInput
from inception_rcnn.evaluation.results import Evaluation, EvaluationResult, Matches
from inception_rcnn.evaluation.score_calibration import CalibratedThreshold, score_bins
from inception_rcnn.structures.columns import shown_name

_SHOWN: Final = 8  # classes and photographs of a comparison, on either side


def percent(value: float | None, digits: int = 1) -> str:
    """Return a share as percentage without its sign; a dash for what is not known.

    >>> percent(0.4567), percent(None), percent(float("nan"))
    ('45.7', '–', '–')
    """
    return "–" if value is None or isnan(value) else f"{100 * value:.{digits}f}"


def signed(value: float | None, digits: int = 1) -> str:
    """Return a difference of shares in percentage points with its sign.

    >>> signed(0.0456), signed(-0.01), signed(0.0)
    ('+4.6', '−1.0', '±0.0')
    """
    if value is None or isnan(value):
        return "–"
    text = f"{abs(100 * value):.{digits}f}"
    return ("±" if float(text) == 0 else "+" if value > 0 else "−") + text


def score(value: float) -> str:
    """Return a score with three digits behind the point; of a very small or large one the first three or four digits.

    >>> score(0.99971), score(0.0), score(0.0000312), score(-1234.5)
    ('1.000', '0.000', '3.12e-05', '-1234')
    """
    if value == 0 or 0.001 <= abs(value) < 100:
        return f"{value:.3f}"
    return f"{value:.3g}" if abs(value) < 1 else f"{value:.4g}"


def class_lines(evaluation: Evaluation) -> list[str]:
    """Return a line for each class: its names and its average precision in per cent."""
    result, names = evaluation.result, evaluation.truths.display_names
    both = [key if key == name else f"{key} {name}" for key, name in zip(result.ap, names, strict=True)]
    shown = [shown_name(name) for name in both]
    width = max(16, *map(len, shown))
    return [
        f"  {name:<{width}} {'no objects' if ap is None else format(100 * ap, '6.1f')}"
        for name, ap in zip(shown, result.ap.values(), strict=True)
    ]


def figure_lines(report: ReportInput, *, known: Collection[int] | None = None, dropped: int = 0) -> list[str]:
    """Return mAP and what it is made of; of a detector's run also proposals and time.

    Args:
        report: The evaluation.
        known: Positions of the classes that the detector knows; None if that is not known.
        dropped: How many detections were left out because they are of other images.
    """
    result, objects = report.result, int((~report.truths.ignored).sum())
    counted = [ap for ap in result.ap.values() if ap is not None]
    best = report.matches.best_f1()
    lines = [
        f"mAP@0.5 {100 * result.map:.2f} over {len(counted)} classes, median {100 * result.median_ap:.2f}, "
        f"by the rules of {result.protocol}",
        *_coco_lines(result),
        *_missing_classes(report, known),
        f"{result.images} images, {result.detections} detections, {objects} objects",
    ]
    if dropped:
        lines.append(f"left out: {dropped} detections of images that are not in the set")
    if report.coverage is not None:
        recall = 100 * report.coverage.recall[0.5]
        lines.append(f"proposals: {report.coverage.boxes_per_image:.0f} an image, recall at IoU 0.5 {recall:.1f} %")
    lines.append(
        f"best mean F1 {best.f1:.3f} at score {score(best.threshold)} "
        f"(precision {best.precision:.3f}, recall {best.recall:.3f})"
    )
    return lines + _time_lines(report)


def _coco_lines(result: EvaluationResult) -> list[str]:
    if not isinstance(result, CocoResult):
        return []
    shown = (f"{name} {'-' if value is None else format(100 * value, '.2f')}" for name, value in result.stats.items())
    return [f"COCO: {'  '.join(shown)}"]


def _missing_classes(evaluation: Evaluation, known: Collection[int] | None) -> list[str]:
    """Return lines that name the classes without objects, and those the detector does not know."""
    names, aps = evaluation.truths.display_names, list(evaluation.result.ap.values())
    without = [name for name, ap in zip(names, aps, strict=True) if ap is None]
    lines = []
    if without:
        lines.append(f"classes without objects, left out of the mean: {len(without)} ({', '.join(without)})")
    if known is None:
        return lines
    unknown = [names[label] for label, ap in enumerate(aps) if ap is not None and label not in known]
    own = [ap for label, ap in enumerate(aps) if ap is not None and label in known]
    if unknown:
        lines.append(f"classes that the detector does not know, with AP 0: {len(unknown)} ({', '.join(unknown)})")
    if unknown and own:
        mean = 100 * sum(own) / len(own)
        lines.append(f"mAP@0.5 {mean:.2f} over the {len(own)} of its own classes that have objects")
    return lines


def _time_lines(report: ReportInput) -> list[str]:
    if not report.seconds:
        return []
    images = report.result.images
    spent = ", ".join(f"{stage} {seconds / images:.3f}" for stage, seconds in report.seconds.items())
    return [f"seconds an image: {sum(report.seconds.values()) / images:.2f} ({spent})"]


def calibration_lines(title: str, stored: CalibratedThreshold, matches: Matches) -> list[str]:
    """Return what was stored about scores, and how often detections are right by their calibrated score.

    Args:
        title: Where it was stored.
        stored: What.
        matches: From which it was measured.
    """
    lines = [
        f"  score {one.lowest:.1f} to {one.highest:.1f}: {100 * one.right:.0f} % of {one.count} are right"
        for one in score_bins(replace(matches, score=stored.calibration.apply(matches.score).astype(np.float64)))
    ]
    return [
        *lines,
        f"stored in {title}: slope {stored.calibration.slope:.3f}, offset {stored.calibration.offset:.3f}, "
        f"score threshold {stored.threshold:.3f} ({stored.reason})",
    ]


def comparison_lines(comparison: Comparison, first: Evaluation, second: Evaluation) -> list[str]:
    """Return which of two detectors is better, by how much, how sure that is, and where."""
    low, high = 100 * comparison.interval.low, 100 * comparison.interval.high
    won, lost, equal = (comparison.won_by(detector) for detector in (2, 1, 0))
    lines = [
        f"{word:<7} mAP@0.5 {100 * value:.2f} (95 % interval {100 * interval.low:.2f} to {100 * interval.high:.2f})  "
        f"{one.title}"
        for word, value, interval, one in zip(
            ("first:", "second:"), comparison.maps, comparison.map_intervals, (first, second), strict=True
        )
    ]
    lines += [
        f"second minus first: {100 * comparison.difference:+.2f} points (95 % interval {low:+.2f} to {high:+.2f}) "
        f"on {first.result.images} images, by the rules of {first.result.protocol}",
        f"the second is better in {100 * comparison.better_in:.0f} % of the draws of photographs",
        f"classes: {len(won)} won by the second, {len(lost)} by the first, {len(equal)} equal (*: surely)",
    ]
    for word, classes in (("second", won), ("first", lost)):
        if classes:
            lines.append(f"  by the {word}: {', '.join(_class_words(one) for one in classes[:_SHOWN])}")
    return lines + _photograph_lines(comparison) + _silent_lines(first, second)


def _silent_lines(first: Evaluation, second: Evaluation) -> list[str]:
    """Return a line if a detector has nothing at all where the other has something: perhaps it did not look there."""
    images, lines = first.result.images, []
    one, two = (set(each.detections.image.tolist()) for each in (first, second))
    for word, silent in (("first", len(two - one)), ("second", len(one - two))):
        if silent:
            lines.append(f"the {word} has no detections on {silent} of {images} photographs where the other has some")
    return lines


def _class_words(one: ClassDifference) -> str:
    return f"{one.name} {100 * one.difference:+.1f}{'*' if one.is_sure else ''}"


def _photograph_lines(comparison: Comparison) -> list[str]:
    lines = [f"photographs with unequally many mistakes: {len(comparison.photographs)}"]
    for word, detector in (("second", 2), ("first", 1)):
        shown = comparison.photographs_won_by(detector)[:_SHOWN]
        lines += [f"  fewer by the {word}:"] if shown else []
        for one in shown:
            counts = (f"{false} false {missed} missed" for false, missed in zip(one.false, one.missed, strict=True))
            lines.append(f"    {one.name}: {' -> '.join(counts)}")
    return lines


def coverage_lines(whole: ProposalRecall, by_size: Sequence[ProposalRecall | None]) -> list[str]:
    """Return a table of what share of the objects proposals cover; a dash where there are no objects of a size.

    Args:
        whole: Of all objects.
        by_size: Of the small, the medium and the large ones.
    """
    columns = [whole, *by_size]
    rows: list[tuple[str, Callable[[ProposalRecall], float]]] = [
        *((f"% at IoU {threshold:g}", lambda one, at=threshold: one.recall[at]) for threshold in THRESHOLDS),
        ("average recall, %", lambda one: one.average_recall),
        ("average best overlap, %", lambda one: one.average_best_overlap),
        *((f"% at IoU 0.5, first {count}", lambda one, first=count: one.recall_at[first]) for count in COUNTS),
    ]
    lines = [
        f"{'':<24}{'all':>8}{'small':>8}{'medium':>8}{'large':>8}   (small: area < 32², medium: < 96² pixels)",
        f"{'objects':<24}" + "".join(f"{0 if one is None else one.truths:8d}" for one in columns),
    ]
    for name, share in rows:
        values = (f"{'-':>8}" if one is None else f"{100 * share(one):8.1f}" for one in columns)
        lines.append(f"{name:<24}" + "".join(values))
    return lines
