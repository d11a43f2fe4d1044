"""Who is let in: a limited number of requests at a time, with so many bytes; the others are told when to come back."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final, TypeVar

Result = TypeVar("Result")

_USUAL: Final = 1.0  # seconds, before anything was measured
_BUCKETS: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class FullError(Exception):
    """The queue is full.

    Args:
        seconds: After so many it should be worth to try again.
    """

    def __init__(self, seconds: int) -> None:
        super().__init__(f"too many requests are waiting; try again in {seconds} s")
        self.seconds = seconds


class Admission:
    """Does work on one thread, in the order of the requests, and refuses what would wait behind too many.

    The networks use all processors for one photograph, so a second thread would make both slower and none sooner.

    Args:
        most: Requests that may be in work or waiting, at least 1.
        most_bytes: That the bodies of all requests may have together, those included of which only a part has come.

    Attributes:
        refused: How many were not let in.
    """

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._inside = self._bytes = 0
        self._mean = _USUAL
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="detector")
        self.refused = 0

    @property
    def waiting(self) -> int:
        """How many requests are in work or waiting."""
        return self._inside

    def check(self) -> None:
        """Refuse a request if there is no room, before its body is read.

        Raises:
            FullError: There is none.
        """
        if self._inside >= self._most:
            raise self._refusal()

    @contextmanager
    def body(self) -> Iterator[Callable[[int], None]]:
        """Give what is told of the bytes of a request as they come; they count until the `with` statement ends.

        Requests that send slowly are many before they weigh anything, so that not their number is limited.

        Raises:
            FullError: There is no room for so many, from what is given.
        """
        mine = 0

        def add(count: int) -> None:
            nonlocal mine
            if self._bytes + count > self._most_bytes:
                raise self._refusal()
            mine += count
            self._bytes += count

        try:
            yield add
        finally:
            self._bytes -= mine

    def _refusal(self) -> FullError:
        self.refused += 1
        return FullError(max(math.ceil(self._mean * self._inside), 1))

    async def run(self, work: Callable[[], Result]) -> Result:
        """Return what the work returns, when its turn has come.

        Raises:
            FullError: Too many are waiting.
        """
        self.check()
        self._inside += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._timed, work)
        finally:
            self._inside -= 1

    def _timed(self, work: Callable[[], Result]) -> Result:
        start = time.perf_counter()
        try:
            return work()
        finally:
            self._mean += 0.2 * (time.perf_counter() - start - self._mean)

    def close(self) -> None:
        """End the thread, once its work is done; what waits is not begun."""
        self._pool.shutdown(wait=True, cancel_futures=True)


class Figures:
    """Counts requests, for Prometheus."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, int]] = Counter()
        self._seconds: Counter[str] = Counter()
        self._within: Counter[tuple[str, float]] = Counter()
        self._objects = 0

    def count(self, address: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        self._requests[address, status] += 1
        if status == 200:
            self._seconds[address] += seconds  # type: ignore[assignment]
            for bound in _BUCKETS:
                self._within[address, bound] += seconds <= bound

    def found(self, objects: int) -> None:
        """Count what was found on a photograph."""
        self._objects += objects

    def text(self, admission: Admission) -> str:
        """Return all figures in Prometheus' text format, version 0.0.4."""
        lines = ["# TYPE inception_rcnn_requests_total counter"]
        for (address, status), count in sorted(self._requests.items()):
            lines.append(f'inception_rcnn_requests_total{{path="{address}",status="{status}"}} {count}')
        lines.append("# TYPE inception_rcnn_request_seconds histogram")
        for address in sorted(self._seconds):
            count = self._requests[address, 200]
            for bound in _BUCKETS:
                inside = self._within[address, bound]
                lines.append(f'inception_rcnn_request_seconds_bucket{{path="{address}",le="{bound}"}} {inside}')
            lines.append(f'inception_rcnn_request_seconds_bucket{{path="{address}",le="+Inf"}} {count}')
            lines.append(f'inception_rcnn_request_seconds_sum{{path="{address}"}} {self._seconds[address]:.6f}')
            lines.append(f'inception_rcnn_request_seconds_count{{path="{address}"}} {count}')
        single = {
            "inception_rcnn_objects_total counter": self._objects,
            "inception_rcnn_refused_total counter": admission.refused,
            "inception_rcnn_waiting gauge": admission.waiting,
        }
        for name, value in single.items():
            lines += [f"# TYPE {name}", f"{name.partition(' ')[0]} {value}"]
        return "\n".join(lines) + "\n"
