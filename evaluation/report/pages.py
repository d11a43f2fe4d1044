"""One evaluation as a page for the browser: where a detector is good, and where and how it fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from inception_rcnn import __version__
from inception_rcnn.evaluation.bootstrap import RESAMPLES, resample_images
from inception_rcnn.evaluation.coco import CocoResult
from inception_rcnn.evaluation.report.calibration import calibration
from inception_rcnn.evaluation.report.charts import Chart
from inception_rcnn.evaluation.report.confusion import Confusion, best_threshold, confusion_matrix
from inception_rcnn.evaluation.report.examples import worst_false_positives, worst_misses
from inception_rcnn.evaluation.report.inputs import ReportInput
from inception_rcnn.evaluation.report.pictures import Album
from inception_rcnn.evaluation.report.render import write_page
from inception_rcnn.evaluation.report.sizes import by_class_thirds, by_pixels
from inception_rcnn.evaluation.report.tables import (
    calibration_chart,
    class_rows,
    confusion_data,
    coverage_charts,
    curve_chart,
    error_rows,
    sample_curves,
)
from inception_rcnn.structures import InputError

PROTOCOL_NAMES: Final = {
    "ilsvrc": "ILSVRC DET",
    "voc2007": "PASCAL VOC 2007 (11 points)",
    "voc2010": "PASCAL VOC 2010 (area)",
    "coco": "COCO, at IoU 0.5",
}


def write_report(folder: Path, report: ReportInput) -> Path:
    """Write the page ``index.html`` into a folder and return its path.

    The page is one file that opens from the disk and asks for nothing from elsewhere: style, script and pictures are
    part of it.

    Args:
        folder: Where to; it is made if need be.
        report: The evaluation.

    Raises:
        InputError: `folder` is a file, the names do not fit the tables, or the result has no matches.
    """
    check_names(report)
    matches = report.result.kept_matches()
    resampled = resample_images(report.result, report.truths, report.detections)
    threshold = best_threshold(matches)
    confusion = confusion_matrix(matches, report.truths, report.detections, threshold)
    curves = sample_curves(report)
    album = Album(report.photographs)
    values = {
        **common_values(report),
        "interval": resampled.map_interval(),
        "rows": class_rows(report, resampled, confusion),
        "threshold": threshold,
        "curve_chart": curve_chart([curves]),
        "errors": None if report.errors is None else error_rows(report.errors),
        "error_ap": None if report.errors is None else report.errors.ap,
        "confusions": _named(report, confusion),
        "sizes": by_pixels(report.result, report.truths, report.detections),
        "thirds": by_class_thirds(report.result, report.truths, report.detections),
        "false_positives": worst_false_positives(report, album),
        "misses": worst_misses(report, album, threshold),
        "album": album,
        **_charts(report),
    }
    data = {
        "names": list(report.class_names),
        "models": [curves.as_data("")],
        "confusion": confusion_data(confusion),
    }
    return write_page(folder, "report.html", values, data)


def common_values(report: ReportInput) -> dict[str, Any]:
    """Return what every page says of an evaluation."""
    result = report.result
    return {
        "report": report,
        "result": result,
        "protocol": PROTOCOL_NAMES[result.protocol],
        "stats": result.stats if isinstance(result, CocoResult) else {},
        "objects": int(result.kept_matches().objects.sum()),
        "version": __version__,
        "resamples": RESAMPLES,
    }


def check_names(report: ReportInput) -> None:
    """Raise an `InputError` if classes or images have more or fewer names than the tables know."""
    for names, known, what in (
        (report.class_names, report.truths.class_names, "class_names"),
        (report.image_names, report.truths.image_ids, "image_names"),
    ):
        if len(names) != len(known):
            raise InputError(f"a report's {what} should be {len(known)}, one for each, got {len(names)}")


def _named(report: ReportInput, confusion: Confusion) -> list[tuple[str, str, int, int]]:
    """Return the most frequent confusions as (what it is, what it was called, how often, of how many objects)."""
    names, objects = report.class_names, confusion.counts.sum(axis=1)
    return [(names[is_], names[called], n, int(objects[is_])) for is_, called, n in confusion.largest(15)]


def _charts(report: ReportInput) -> dict[str, Any]:
    shown = calibration(report.result.kept_matches())
    charts: list[Chart] = [] if report.coverage is None else coverage_charts(report.coverage)
    return {
        "calibration": shown,
        "calibration_chart": None if shown is None else calibration_chart(shown),
        "coverage_charts": charts,
        "total_seconds": sum(report.seconds.values()),
    }
