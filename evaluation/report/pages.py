"""Pages for the browser: one evaluation, where it is good and how it fails; two detectors side by side."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from inception_rcnn import __version__
from inception_rcnn.evaluation.average_precision import FALSE, TRUE
from inception_rcnn.evaluation.bootstrap import RESAMPLES, resample_images
from inception_rcnn.evaluation.coco import CocoResult
from inception_rcnn.evaluation.comparison import Comparison, PhotographDifference
from inception_rcnn.evaluation.error_analysis import analyse_errors
from inception_rcnn.evaluation.protocols import PROTOCOLS
from inception_rcnn.evaluation.report.charts import (
    Chart,
    calibration,
    calibration_chart,
    coverage_charts,
    curve_chart,
    sample_curves,
)
from inception_rcnn.evaluation.report.confusion import Confusion, confusion_matrix
from inception_rcnn.evaluation.report.examples import worst_false_positives, worst_misses
from inception_rcnn.evaluation.report.inputs import ReportInput
from inception_rcnn.evaluation.report.pictures import Album, Picture
from inception_rcnn.evaluation.report.render import write_page
from inception_rcnn.evaluation.report.tables import by_class_thirds, by_pixels, class_rows, confusion_data, error_rows

_PHOTOGRAPHS: Final = 8  # of a comparison, on either side


def write_report(folder: str | os.PathLike[str], report: ReportInput) -> Path:
    """Write the page ``index.html`` of one evaluation into a folder and return its path.

    The page is one file that opens from the disk and asks for nothing from elsewhere: style, script and pictures are
    part of it.

    Args:
        folder: Where to; it is made if need be.
        report: The evaluation.

    Raises:
        InputError: `folder` is a file, or the result has no matches.
    """
    resampled = resample_images(report)
    threshold = report.matches.best_f1().threshold
    confusion = confusion_matrix(report.matches, report.truths, report.detections, threshold)
    errors, curves = analyse_errors(report.truths, report.detections), sample_curves(report)
    album = Album(report.photographs)
    values = {
        **_common_values(report),
        "interval": resampled.map_interval(),
        "rows": class_rows(report, resampled, confusion),
        "threshold": threshold,
        "curve_chart": curve_chart([curves]),
        "errors": error_rows(errors),
        "error_ap": errors.ap,
        "confusions": _named(report, confusion),
        "sizes": by_pixels(report),
        "shared_bounds": PROTOCOLS[report.result.protocol].sizes[0].closed,
        "thirds": by_class_thirds(report),
        "false_positives": worst_false_positives(report, errors, album),
        "misses": worst_misses(report, album, threshold),
        "album": album,
        **_charts(report),
    }
    data = {
        "names": list(report.truths.display_names),
        "models": [curves.as_data("")],
        "confusion": confusion_data(confusion),
    }
    return write_page(Path(folder), "report.html", values, data)


def _common_values(report: ReportInput) -> dict[str, Any]:
    """Return what every page says of an evaluation."""
    result = report.result
    return {
        "report": report,
        "result": result,
        "protocol": PROTOCOLS[result.protocol].title,
        "stats": result.stats if isinstance(result, CocoResult) else {},
        "objects": int(report.matches.objects.sum()),
        "version": __version__,
        "resamples": RESAMPLES,
    }


def _named(report: ReportInput, confusion: Confusion) -> list[tuple[str, str, int, int]]:
    """Return the most frequent confusions as (what it is, what it was called, how often, of how many objects)."""
    names, objects = report.truths.display_names, confusion.counts.sum(axis=1)
    return [(names[is_], names[called], n, int(objects[is_])) for is_, called, n in confusion.largest(15)]


def _charts(report: ReportInput) -> dict[str, Any]:
    shown = calibration(report.matches)
    charts: list[Chart] = [] if report.coverage is None else coverage_charts(report.coverage)
    return {
        "calibration": shown,
        "calibration_chart": None if shown is None else calibration_chart(shown),
        "coverage_charts": charts,
        "total_seconds": sum(report.seconds.values()),
    }


@dataclass(frozen=True)
class PhotographPair:
    """A photograph with what either detector makes of it; no pictures if it is not at hand."""

    difference: PhotographDifference
    pictures: tuple[Picture, Picture] | None


def write_comparison(
    folder: str | os.PathLike[str], comparison: Comparison, first: ReportInput, second: ReportInput
) -> Path:
    """Write the page ``index.html`` of two detectors into a folder and return its path.

    Args:
        folder: Where to; it is made if need be.
        comparison: Of the two.
        first, second: The evaluations; their titles name the detectors.

    Raises:
        InputError: `folder` is a file.
    """
    reports = first, second
    curves, album = [sample_curves(report) for report in reports], Album(first.photographs)
    sides = [comparison.photographs_won_by(detector)[:_PHOTOGRAPHS] for detector in (2, 1)]
    names = tuple(report.title for report in reports)
    errors = [error_rows(analyse_errors(report.truths, report.detections)) for report in reports]
    values = {
        **_common_values(first),
        "reports": reports,
        "names": names,
        "comparison": comparison,
        "curve_chart": curve_chart(curves),
        "errors": list(zip(*errors, strict=True)),
        "sizes": [list(zip(size(first), size(second), strict=True)) for size in (by_pixels, by_class_thirds)],
        "pairs": [[_pair(one, reports, comparison.thresholds, album) for one in shown] for shown in sides],
        "album": album,
    }
    data = {
        "names": list(first.truths.display_names),
        "models": [curve.as_data(name) for curve, name in zip(curves, names, strict=True)],
    }
    return write_page(Path(folder), "comparison.html", values, data)


def _pair(
    one: PhotographDifference, reports: tuple[ReportInput, ReportInput], thresholds: tuple[float, float], album: Album
) -> PhotographPair:
    pictures = [
        album.cut(one.image, np.zeros((0, 4)), _boxes(report, one.image, threshold))
        for report, threshold in zip(reports, thresholds, strict=True)
    ]
    first, second = pictures
    return PhotographPair(one, None if first is None or second is None else (first, second))


def _boxes(report: ReportInput, image: int, threshold: float) -> list[tuple[str, NDArray[np.float64]]]:
    """Return the objects missed, the false detections and the true ones, the last on top."""
    matches, found = report.matches, report.detections
    asked = (found.image == image) & (matches.score >= threshold)
    true, false = asked & (matches.outcome == TRUE), asked & (matches.outcome == FALSE)
    missed = matches.wanted & (report.truths.image == image)
    missed[matches.partner[true]] = False
    return [
        *(("missed", box) for box in report.truths.box[missed]),
        *(("found", box) for box in found.box[false]),
        *(("hit", box) for box in found.box[true]),
    ]
