"""The charts of a page, and what they show: curves of precision and recall, calibration of the scores, coverage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.evaluation.average_precision import FALSE, HUNDRED_AND_ONE_RECALLS, TRUE, envelope
from inception_rcnn.evaluation.recall import ProposalRecall
from inception_rcnn.evaluation.results import Evaluation, Matches

WIDTH: Final = 420
HEIGHT: Final = 320
LEFT: Final = 48
TOP: Final = 12
PLOT_WIDTH: Final = 358
PLOT_HEIGHT: Final = 262


@dataclass(frozen=True)
class Tick:
    """A mark of an axis: where it is, in the drawing's units, and what it says."""

    at: float
    text: str


@dataclass
class Chart:
    """A chart with two axes; numbers become places as lines and bars are added.

    Args:
        name: The SVG's id, a word.
        summary: The chart in a sentence, for those who do not see it.
        x_name, y_name: What the axes show, with unit.
        x_range, y_range: Numbers at their ends.
        x_ticks, y_ticks: Number and text of each mark.
    """

    name: str
    summary: str
    x_name: str
    y_name: str
    x_range: tuple[float, float] = (0.0, 1.0)
    y_range: tuple[float, float] = (0.0, 1.0)
    x_ticks: Sequence[tuple[float, str]] = tuple((k / 5, f"{20 * k}") for k in range(6))
    y_ticks: Sequence[tuple[float, str]] = tuple((k / 5, f"{20 * k}") for k in range(6))
    lines: list[tuple[str, str]] = field(default_factory=list)
    points: list[tuple[str, float, float, float, str]] = field(default_factory=list)

    def x(self, value: float) -> float:
        """Return the place of a number on the horizontal axis."""
        low, high = self.x_range
        return round(LEFT + PLOT_WIDTH * (value - low) / (high - low), 1)

    def y(self, value: float) -> float:
        """Return the place of a number on the vertical axis, which points up."""
        low, high = self.y_range
        return round(TOP + PLOT_HEIGHT * (high - value) / (high - low), 1)

    @property
    def columns(self) -> list[Tick]:
        """The marks of the horizontal axis."""
        return [Tick(self.x(value), text) for value, text in self.x_ticks]

    @property
    def rows(self) -> list[Tick]:
        """The marks of the vertical axis."""
        return [Tick(self.y(value), text) for value, text in self.y_ticks]

    def add_line(self, role: str, values: Sequence[tuple[float, float]]) -> None:
        """Add a line through points; `role` is its style."""
        self.lines.append((role, " ".join(f"{self.x(x)},{self.y(y)}" for x, y in values)))

    def add_point(self, role: str, x: float, y: float, text: str, radius: float = 4.0) -> None:
        """Add a dot that says `text` when pointed at."""
        self.points.append((role, self.x(x), self.y(y), radius, text))


@dataclass(frozen=True, eq=False)
class CurveSamples:
    """The precision-recall curves at the recalls 0, 0.01 ... 1.

    Args:
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


def sample_curves(evaluation: Evaluation) -> CurveSamples:
    """Return the curves of all classes."""
    matches = evaluation.matches
    shape = (len(evaluation.truths.class_names), len(HUNDRED_AND_ONE_RECALLS))
    precision, score = np.full(shape, np.nan), np.full(shape, np.nan)
    for label, name in enumerate(evaluation.truths.class_names):
        if matches.objects[label] == 0:
            continue
        curve = evaluation.result.curve(name)
        height = envelope(curve.precision)
        place = np.searchsorted(curve.recall, HUNDRED_AND_ONE_RECALLS, side="left")
        precision[label] = np.append(height, 0.0)[place]
        reached = place < len(height)
        # the envelope is as high as the next true peak: the last point of those with the same height
        peak = len(height) - 1 - np.searchsorted(height[::-1], height[place[reached]], side="left")
        score[label, reached] = curve.score[peak]
    return CurveSamples(precision, score)


def curve_chart(curves: Sequence[CurveSamples], name: str = "curve") -> Chart:
    """Return the precision-recall chart with the mean curves; the page's script adds those of a class."""
    chart = Chart(name, "Precision against recall, mean of the classes", "recall (%)", "precision (%)")
    for position, curve in enumerate(curves):
        values = list(zip(HUNDRED_AND_ONE_RECALLS.tolist(), curve.mean.tolist(), strict=True))
        chart.add_line(f"mean model{position}", values)
    return chart


@dataclass(frozen=True)
class ScoreBin:
    """The detections whose score is in [low, high), in the last bin [low, high].

    Args:
        low, high: Scores.
        count: How many detections.
        score: Their mean score; None without detections.
        precision: The share that is true; None without detections.
    """

    low: float
    high: float
    count: int
    score: float | None
    precision: float | None


@dataclass(frozen=True)
class Calibration:
    """Score and truth, bin by bin.

    Args:
        bins: Of equal width, from 0 to 1.
        error: Expected calibration error: the mean over detections of the distance, in their bin, between mean score
            and precision.
    """

    bins: tuple[ScoreBin, ...]
    error: float


def calibration(matches: Matches, bins: int = 10) -> Calibration | None:
    """Return how well scores tell probabilities; None if there are no detections or scores outside [0, 1].

    Detections that count neither way are left out.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", section 2.
    """
    counts = (matches.outcome == TRUE) | (matches.outcome == FALSE)
    score, true = matches.score[counts], matches.outcome[counts] == TRUE
    if len(score) == 0 or score.min() < 0 or score.max() > 1:
        return None
    place = np.minimum((score * bins).astype(np.int64), bins - 1)
    number = np.bincount(place, minlength=bins)
    score_sum = np.bincount(place, weights=score, minlength=bins)
    true_sum = np.bincount(place, weights=true, minlength=bins)
    error = float(np.abs(score_sum - true_sum).sum()) / len(score)
    columns = zip(number.tolist(), score_sum.tolist(), true_sum.tolist(), strict=True)
    return Calibration(
        tuple(
            ScoreBin(k / bins, (k + 1) / bins, n, scores / n if n else None, hits / n if n else None)
            for k, (n, scores, hits) in enumerate(columns)
        ),
        error,
    )


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
