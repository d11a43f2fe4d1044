"""How far a long job has come, on the error stream so that results can be piped, and where its time goes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_SECONDS_BETWEEN_LINES = 30.0


def progress_bar(total: int | None, description: str, *, quiet: bool = False) -> ProgressBar:
    """Return a progress bar to use in a `with` statement.

    On a terminal it is a moving bar; elsewhere (a log file, a pipe) a plain line every 30 seconds; nothing if `quiet`.
    Both say how many steps are done a second, and how long the others will take.

    Args:
        total: Number of steps; None if unknown.
        description: A word or two, standing before the bar.
        quiet: Show nothing.

    >>> with progress_bar(2, "regions", quiet=True) as bar:
    ...     for _ in range(2):
    ...         bar.advance(loss=0.5)
    >>> bar.done
    2
    """
    return ProgressBar(total, description, quiet=quiet)


class ProgressBar:
    """A count of steps that shows itself. See `progress_bar`.

    Args:
        total: Number of steps; None if unknown.
        description: Text before the bar.
        quiet: Show nothing.
        stream: Where to show it; None for the error stream.
        clock: Seconds, rising.
    """

    def __init__(
        self,
        total: int | None,
        description: str,
        *,
        quiet: bool = False,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total = total
        self.description = description
        self.done = 0
        self._quiet = quiet
        self._stream = stream if stream is not None else sys.stderr
        self._clock = clock
        self._fields: dict[str, str] = {}
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._started = self._spoke = clock()
        self._lines = 0
        self._before = 0

    def __enter__(self) -> Self:
        """Start the clock, and the bar if there is a terminal."""
        self._started = self._spoke = self._clock()
        if not self._quiet and self._stream.isatty():
            self._start_bar(self._stream)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the bar; close a series of plain lines with a last one."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        elif self._lines:
            self._print_line()

    def advance(self, n: int = 1, **fields: object) -> None:
        """Count `n` more steps; `fields` are shown behind the bar until they change, such as ``loss=0.31``."""
        self.done += n
        self._fields.update({name: _show(value) for name, value in fields.items()})
        if self._bar is not None and self._task is not None:
            rate = self._rate(self._clock() - self._started)
            self._bar.update(self._task, completed=self.done, rate=rate, fields_text=self._text())
        elif not self._quiet and self._clock() - self._spoke >= _SECONDS_BETWEEN_LINES:
            self._print_line()

    def skip(self, n: int) -> None:
        """Count `n` steps that an earlier start has done: the time that is left is that of the others."""
        self._before += n
        self.done += n
        self._started = self._clock()
        if self._bar is not None and self._task is not None:
            self._bar.reset(self._task, completed=self.done, rate="", fields_text=self._text())

    def _start_bar(self, stream: TextIO) -> None:
        # rich is imported here because most users of this room never draw a bar
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
        from rich.progress import TimeRemainingColumn as Remaining

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}", markup=False),
            TimeElapsedColumn(),
            Remaining(),
            TextColumn("{task.fields[fields_text]}", markup=False),
        )
        self._bar = Progress(*columns, console=Console(file=stream))
        self._task = self._bar.add_task(self.description, total=self.total, rate="", fields_text="")
        self._bar.start()

    def _print_line(self) -> None:
        self._spoke = self._clock()
        self._lines += 1
        count = f"{self.done}" if self.total is None else f"{self.done}/{self.total}"
        spent = self._spoke - self._started
        parts = [f"{count} after {spent:.0f} s", self._rate(spent), self._left(spent)]
        line = f"{self.description}: {', '.join(filter(None, parts))}  {self._text()}"
        print(line.rstrip(), file=self._stream, flush=True)

    def _rate(self, spent: float) -> str:
        own = self.done - self._before
        if own < 1 or spent <= 0:
            return ""
        return f"{own / spent:.3g}/s" if own < 1000 * spent else f"{own / spent:.0f}/s"

    def _left(self, spent: float) -> str:
        own = self.done - self._before
        if self.total is None or own < 1 or self.done >= self.total:
            return ""
        return f"{spent / own * (self.total - self.done):.0f} s left"

    def _text(self) -> str:
        return "  ".join(f"{name} {value}" for name, value in self._fields.items())


def _show(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@dataclass
class StageClock:
    """Seconds by stage, in the order in which the stages first came.

    >>> ticks = iter([0.0, 2.0, 2.0, 5.0])
    >>> clock = StageClock(now=lambda: next(ticks))
    >>> with clock.stage("warp"):
    ...     pass
    >>> with clock.stage("network"):
    ...     pass
    >>> clock.seconds
    {'warp': 2.0, 'network': 3.0}
    """

    now: Callable[[], float] = time.perf_counter
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the seconds spent in the `with` block to the stage of that name."""
        start = self.now()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + self.now() - start
