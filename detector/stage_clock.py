"""Where the time goes: seconds added up by the name of a stage."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


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
        """Adds the seconds spent in the `with` block to the stage of that name."""
        start = self.now()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + self.now() - start
