"""The curves of a training, drawn from its log: losses and mAP against iterations, as one SVG file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Final

from inception_rcnn.backbones.training.log import ITERATION, RATE, read_log
from inception_rcnn.detector.training.validation import MAP
from inception_rcnn.evaluation.report.charts import HEIGHT, LEFT, PLOT_HEIGHT, PLOT_WIDTH, TOP, WIDTH, Chart
from inception_rcnn.structures import write_whole

Points = Sequence[tuple[float, float]]
_COLOURS: Final = ("#2066a8", "#d1692b", "#3a8f57", "#8b4fa3")
_STYLE: Final = (
    "text{font:12px sans-serif;fill:#333}line{stroke:#ddd}polyline{fill:none;stroke-width:1.8}rect{fill:#fff}"
    + "".join(f".c{n}{{stroke:{c};fill:{c}}}polyline.c{n}{{fill:none}}" for n, c in enumerate(_COLOURS))
    + "text[class]{stroke:none}"
)
_OF_DETECTORS: Final = {MAP: f"{MAP}@0.5 on held-out photographs"}
_MOST_DOTS: Final = 60  # of a line; more would hide it


def write_curves(log: Path, path: Path, scores: Mapping[str, str] = _OF_DETECTORS) -> None:
    """Draw a training's table: the losses, and below them the scores where there was a validation.

    Args:
        log: The table, as `TrainingLog` writes it.
        path: The SVG file.
        scores: The columns that are scores, in their order, each with what its axis is called.

    Raises:
        DataFormatError: The table is none.
    """
    table = read_log(log)
    charts = [curve_chart("loss", _losses(table, next(iter(scores))))]
    for name, title in scores.items():
        if scored := _points(table, name):
            charts.append(curve_chart(title, {name: scored}))
    write_charts(path, charts)


def write_charts(path: Path, charts: Sequence[tuple[Chart, tuple[str, ...]]]) -> None:
    """Write charts below each other.

    Args:
        path: The SVG file.
        charts: From `curve_chart`, one or more.
    """
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT * len(charts)}">',
        f'<style>{_STYLE}</style><rect width="100%" height="100%"/>',
    ]
    for number, (chart, names) in enumerate(charts):
        lines += [f'<g transform="translate(0 {number * HEIGHT})">', *_drawn(chart, names), "</g>"]
    write_whole(path, "\n".join([*lines, "</svg>", ""]))


def curve_chart(what: str, curves: Mapping[str, Points]) -> tuple[Chart, tuple[str, ...]]:
    """Return a chart of curves over iterations that begins at 0 both ways, and the curves' names in order.

    Args:
        what: The vertical axis shows.
        curves: Iteration and value of each point, by name.
    """
    last, highest = (max(point[axis] for points in curves.values() for point in points) for axis in (0, 1))
    columns, rows = _ticks(last), _ticks(highest)
    chart = Chart(
        "curves",
        f"{what} against iterations",
        "iterations",
        what,
        x_range=(0.0, max(last, 1.0)),
        y_range=(0.0, rows[-1]),
        x_ticks=[(one, f"{one:g}") for one in columns if one <= last],
        y_ticks=[(one, f"{one:g}") for one in rows],
    )
    for number, (name, points) in enumerate(curves.items()):
        role = f"c{number % len(_COLOURS)}"
        chart.add_line(role, points)
        if len(points) <= _MOST_DOTS:
            for x, y in points:
                chart.add_point(role, x, y, f"{name} {y:.4g} after {x:g} iterations", 2.5)
    return chart, tuple(curves)


def _losses(table: Mapping[str, Sequence[str]], score: str) -> dict[str, Points]:
    """Return the curves of the losses, whose columns stand between the learning rate and the first score."""
    names = list(table)
    return {name: _points(table, name) for name in names[names.index(RATE) + 1 : names.index(score)]}


def _points(table: Mapping[str, Sequence[str]], name: str) -> Points:
    pairs = zip(table[ITERATION], table[name], strict=True)
    return [(float(iteration), float(value)) for iteration, value in pairs if value]


def _ticks(highest: float, most: int = 6) -> list[float]:
    """Return marks from 0 up to the first one that is not below a number, in steps of 1, 2 or 5 times a power of ten.

    >>> _ticks(43.0), _ticks(0.0)
    ([0.0, 10.0, 20.0, 30.0, 40.0, 50.0], [0.0, 1.0])
    """
    if highest <= 0:
        return [0.0, 1.0]
    power = 10.0 ** math.floor(math.log10(highest / most))
    step = next(one * power for one in (1, 2, 5, 10) if highest / (one * power) <= most)
    return [float(f"{step * k:.10g}") for k in range(math.ceil(highest / step - 1e-9) + 1)]


def _drawn(chart: Chart, names: Sequence[str]) -> Iterator[str]:
    """Yield the elements of a chart."""
    bottom, middle = TOP + PLOT_HEIGHT, TOP + PLOT_HEIGHT / 2
    yield f"<title>{escape(chart.summary)}</title>"
    for tick in chart.columns:
        yield f'<line x1="{tick.at}" x2="{tick.at}" y1="{TOP}" y2="{bottom}"/>'
        yield f'<text x="{tick.at}" y="{bottom + 16}" text-anchor="middle">{tick.text}</text>'
    for tick in chart.rows:
        yield f'<line x1="{LEFT}" x2="{LEFT + PLOT_WIDTH}" y1="{tick.at}" y2="{tick.at}"/>'
        yield f'<text x="{LEFT - 7}" y="{tick.at + 4}" text-anchor="end">{tick.text}</text>'
    yield f'<text x="{LEFT + PLOT_WIDTH / 2}" y="{HEIGHT - 8}" text-anchor="middle">{chart.x_name}</text>'
    turned = f'transform="rotate(-90 13 {middle})"'
    yield f'<text x="13" y="{middle}" text-anchor="middle" {turned}>{escape(chart.y_name)}</text>'
    for number, (role, points) in enumerate(chart.lines):
        yield f'<polyline class="{role}" points="{points}"/>'
        place = f'x="{LEFT + PLOT_WIDTH - 6}" y="{TOP + 16 * (number + 1)}"'
        yield f'<text class="{role}" {place} text-anchor="end">{escape(names[number])}</text>'
    for role, x, y, radius, text in chart.points:
        yield f'<circle class="{role}" cx="{x}" cy="{y}" r="{radius}"><title>{escape(text)}</title></circle>'
