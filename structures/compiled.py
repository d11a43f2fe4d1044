"""Compile a kernel ahead of its first call, keep it for the next process, and say so when that takes long."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Kernel = TypeVar("Kernel", bound=Callable[..., Any])

SECONDS_BEFORE_NOTICE = 2.0


class CompileClock:
    """Adds up the seconds spent compiling in this process and announces a long wait once."""

    def __init__(self, notice_after: float = SECONDS_BEFORE_NOTICE) -> None:
        self.seconds = 0.0
        self.announced = False
        self.notice_after = notice_after

    def add(self, seconds: float) -> None:
        """Count `seconds`; the first time the sum passes the limit, one line goes to stderr."""
        self.seconds += seconds
        if self.seconds > self.notice_after and not self.announced:
            self.announced = True
            sys.stderr.write("inception-rcnn: compiling kernels, once per environment (`inception-rcnn warmup`)\n")


clock = CompileClock()


def compiled(signature: str, *, fastmath: bool = False) -> Callable[[Kernel], Kernel]:
    """Decorator that compiles a function for one signature; the result runs without the GIL.

    The machine code is stored beside the source or in the user's cache folder. Where neither can be written, the
    kernel is compiled in memory for this process only.

    Args:
        signature: numba signature text, e.g. "int64(int32[::1])".
        fastmath: allow sums to be reordered so that they vectorise.
    """
    reordering: bool | set[str] = {"reassoc", "nsz", "contract"} if fastmath else False

    def decorate(function: Kernel) -> Kernel:
        start = time.perf_counter()
        kernel: Any
        try:
            kernel = numba.njit(signature, cache=True, nogil=True, fastmath=reordering)(function)
        except (RuntimeError, OSError):
            # numba: "cannot cache function: no locator available", or a cache folder that vanished or is full
            kernel = numba.njit(signature, nogil=True, fastmath=reordering)(function)
        # Loaded from the store, it was not compiled, however long that took; NUMBA_DISABLE_JIT leaves plain Python.
        if hasattr(kernel, "stats") and not kernel.stats.cache_hits:
            clock.add(time.perf_counter() - start)
        return cast(Kernel, kernel)

    return decorate
