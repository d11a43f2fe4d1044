"""Two detectors side by side as a page for the browser."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.evaluation.average_precision import FALSE, TRUE
from inception_rcnn.evaluation.comparison import Comparison, PhotographDifference
from inception_rcnn.evaluation.report.inputs import ReportInput
from inception_rcnn.evaluation.report.pages import check_names, common_values
from inception_rcnn.evaluation.report.pictures import Album, Picture
from inception_rcnn.evaluation.report.render import write_page
from inception_rcnn.evaluation.report.sizes import by_class_thirds, by_pixels
from inception_rcnn.evaluation.report.tables import curve_chart, error_rows, sample_curves

_PHOTOGRAPHS: Final = 8  # on either side


@dataclass(frozen=True)
class PhotographPair:
    """A photograph with what either detector makes of it; no pictures if it is not at hand."""

    difference: PhotographDifference
    pictures: tuple[Picture, Picture] | None


def write_comparison(folder: Path, comparison: Comparison, first: ReportInput, second: ReportInput) -> Path:
    """Write the page ``index.html`` into a folder and return its path.

    Args:
        folder: Where to; it is made if need be.
        comparison: Of the two.
        first, second: The evaluations; their titles name the detectors.

    Raises:
        InputError: `folder` is a file, or the names do not fit the tables.
    """
    reports = first, second
    for report in reports:
        check_names(report)
    curves, album = [sample_curves(report) for report in reports], Album(first.photographs)
    sides = [comparison.photographs_won_by(detector)[:_PHOTOGRAPHS] for detector in (2, 1)]
    names = tuple(report.title for report in reports)
    errors = [error_rows(report.errors) for report in reports if report.errors is not None]
    values = {
        **common_values(first),
        "reports": reports,
        "names": names,
        "comparison": comparison,
        "curve_chart": curve_chart(curves),
        "errors": list(zip(*errors, strict=True)) if len(errors) == 2 else None,
        "sizes": [
            list(zip(*(size(r.result, r.truths, r.detections) for r in reports), strict=True))
            for size in (by_pixels, by_class_thirds)
        ],
        "pairs": [[_pair(one, reports, comparison.thresholds, album) for one in shown] for shown in sides],
        "album": album,
    }
    data = {
        "names": list(first.class_names),
        "models": [curve.as_data(name) for curve, name in zip(curves, names, strict=True)],
    }
    return write_page(folder, "comparison.html", values, data)


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
    matches, found = report.result.kept_matches(), report.detections
    asked = (found.image == image) & (matches.score >= threshold)
    true, false = asked & (matches.outcome == TRUE), asked & (matches.outcome == FALSE)
    missed = matches.wanted & (report.truths.image == image)
    missed[matches.partner[true]] = False
    return [
        *(("missed", box) for box in report.truths.box[missed]),
        *(("found", box) for box in found.box[false]),
        *(("hit", box) for box in found.box[true]),
    ]
