"""The course of a training as a table that can be plotted: a CSV file, and TensorBoard's events if asked for.

A line is appended in one piece. A run that is killed goes on from its last state, so the lines behind that state are
dropped then, and written again: the table is that of a run that was never stopped, but for its times.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from inception_rcnn.structures import DataFormatError, MissingDependencyError, write_whole

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

ITERATION: Final = "iteration"
RATE: Final = "learning_rate"
SECONDS: Final = "seconds"


class TrainingLog:
    """A table with a line every now and then.

    Args:
        path: The CSV file; its folder must exist by the first line.
        iteration: Of the state that the training goes on from; 0: from the start. What the file says of later
            iterations is dropped.
        unit: What an iteration takes in, for the column `<unit>_per_second`, such as "photographs".
        per_iteration: How many of them.
        scores: Names of figures that are not known at every line.
        events: Folder for TensorBoard's events; None: none.

    Raises:
        DataFormatError: The file has other columns, or is no table.
        MissingDependencyError: There should be events, and TensorBoard is not installed.
    """

    def __init__(
        self,
        path: Path,
        iteration: int = 0,
        *,
        unit: str = "photographs",
        per_iteration: int = 1,
        scores: Sequence[str] = (),
        events: Path | None = None,
    ) -> None:
        if events is not None:
            check_tensorboard()
        self._path, self._scores = path, tuple(scores)
        self._per_second, self._per_iteration = f"{unit}_per_second", per_iteration
        self._events_folder, self._start = events, iteration
        self._events: SummaryWriter | None = None  # begun with the first line: a finished run leaves the folder alone
        self._columns: tuple[str, ...] = ()
        self._spent = 0.0
        if iteration and path.exists():
            self._keep_until(iteration)
        elif path.exists():
            path.unlink()  # of a run that left no state
        self._begun = self._since = time.monotonic()
        self._stopped: float | None = None
        self._counted = iteration

    def stop_clock(self) -> None:
        """Stop the time that the next line's speed is of; the line starts it again."""
        self._stopped = time.monotonic()

    def write(self, iteration: int, rate: float, losses: Mapping[str, float], scores: Mapping[str, float]) -> None:
        """Append a line.

        Args:
            iteration: Iterations done.
            rate: Learning rate of the last one.
            losses: By name, each a mean since the last line.
            scores: Those of `scores` that are known now.
        """
        now = time.monotonic()
        taken = (now if self._stopped is None else self._stopped) - self._since
        speed = (iteration - self._counted) * self._per_iteration / max(taken, 1e-9)
        values: dict[str, str] = {ITERATION: str(iteration), RATE: f"{rate:.7g}"}
        values |= {name: f"{value:.7g}" for name, value in losses.items()}
        values |= {name: f"{scores[name]:.6g}" if name in scores else "" for name in self._scores}
        values |= {SECONDS: f"{self._spent + now - self._begun:.1f}", self._per_second: f"{speed:.2f}"}
        self._append(values)
        self._send(iteration, values)
        self._since, self._stopped, self._counted = time.monotonic(), None, iteration

    def close(self) -> None:
        """Close TensorBoard's file, if there is one; lines are in the table as soon as they are written."""
        if self._events is not None:
            self._events.close()  # type: ignore[no-untyped-call,unused-ignore]
            self._events = None

    def _append(self, values: Mapping[str, str]) -> None:
        """Append a line, forced to the disk; the first one with the names of the columns, both or neither."""
        if not self._columns:
            self._columns = tuple(values)
            write_whole(self._path, _lines([self._columns, tuple(values.values())]))
            return
        if tuple(values) != self._columns:
            raise DataFormatError(
                f"has the columns {', '.join(self._columns)}, this run has {', '.join(values)}; move it away",
                path=self._path,
            )
        with open(self._path, "ab") as file:
            file.write(_lines([tuple(values.values())]).encode())
            file.flush()
            os.fsync(file.fileno())

    def _keep_until(self, iteration: int) -> None:
        """Drop the lines of later iterations, and one that was not written to its end."""
        table = read_log(self._path)
        before = self._path.read_text(encoding="utf-8")
        self._columns = tuple(table)
        kept = [row for row in zip(*table.values(), strict=True) if int(row[0]) <= iteration]
        if kept:
            self._spent = float(kept[-1][self._columns.index(SECONDS)])
        text = _lines([self._columns, *kept])
        if text != before:  # a finished run leaves the file alone
            write_whole(self._path, text)

    def _send(self, iteration: int, values: Mapping[str, str]) -> None:
        """Send a line's figures to TensorBoard."""
        if self._events_folder is None:
            return
        if self._events is None:
            from torch.utils.tensorboard import SummaryWriter

            # TensorBoard hides what an earlier part of the run said of these iterations.
            self._events = SummaryWriter(  # type: ignore[no-untyped-call,unused-ignore]
                str(self._events_folder), purge_step=self._start + 1 if self._start else None
            )
        for name, value in values.items():
            if value and name != ITERATION:
                self._events.add_scalar(name, float(value), iteration)  # type: ignore[no-untyped-call,unused-ignore]
        self._events.flush()  # type: ignore[no-untyped-call,unused-ignore]


def read_log(path: Path) -> dict[str, tuple[str, ...]]:
    """Return the columns of a training's table by name, as text; a last line without its end is left out.

    Raises:
        DataFormatError: It is no such table.
    """
    try:
        whole, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
        rows = list(csv.reader(io.StringIO(whole)))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataFormatError(f"is no table in UTF-8: {error}; move it away", path=path) from error
    if not rows or rows[0][:1] != [ITERATION] or SECONDS not in rows[0]:
        raise DataFormatError(f"should be a table whose first column is {ITERATION}; move it away", path=path)
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(rows[0]) or not row[0].isdecimal() or not all(map(_is_figure, row)):
            raise DataFormatError(
                f"should have {len(rows[0])} figures, got {row!r:.200}", path=path, place=f"line {number}"
            )
    return {name: tuple(row[place] for row in rows[1:]) for place, name in enumerate(rows[0])}


def _is_figure(text: str) -> bool:
    """Return whether a cell is empty or has a number, perhaps one that is not finite."""
    try:
        float(text or 0)
    except ValueError:
        return False
    return True


def check_tensorboard() -> None:
    """Raise if TensorBoard is not installed.

    Raises:
        MissingDependencyError: It is not.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise MissingDependencyError(
            "--tensorboard needs TensorBoard: pip install 'inception-rcnn[train]', or leave the option out; log.csv "
            "has the same figures"
        )


def _lines(rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
