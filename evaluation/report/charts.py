"""Where the lines, points and ticks of a chart go: the page draws them as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

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
