"""`@kernel`: a function of loops over arrays, compiled when it is first called and kept for the next process."""

from __future__ import annotations

import functools
import sys
import threading
import time
from collections.abc import Callable
from pickle import UnpicklingError
from types import FunctionType
from typing import Any, TypeVar, cast, overload

Function = TypeVar("Function", bound=Callable[..., Any])

SECONDS_BEFORE_NOTICE = 2.0

# Kernels are prepared one at a time: two that share a callee must not both compile it.
_PREPARING = threading.RLock()


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


class Kernel:
    """A plain function that numba compiles at its first call; it runs without the GIL.

    Importing a file with kernels imports no numba and compiles nothing. The machine code is stored beside the source
    or in the user's cache folder; where neither can be written it is compiled in memory, for this process only.

    A kernel may call other kernels of its own file and of no other: numba's store of a caller does not notice that a
    callee in another file was changed. Callers pass contiguous, writable arrays of one type each and scalars of one
    type each, since any other type means a second compilation.

    Args:
        function: What to compile: arrays and numbers in, positional arguments only.
        fastmath: Whether sums may be reordered so that they vectorise.
    """

    def __init__(self, function: Callable[..., Any], *, fastmath: bool = False) -> None:
        functools.update_wrapper(self, function)
        self.function = cast(FunctionType, function)
        self.dispatcher: Any = None
        """What numba made of the function; None before the first call."""
        self._run: Callable[..., Any] | None = None
        self._fastmath: bool | set[str] = {"reassoc", "nsz", "contract"} if fastmath else False

    def __call__(self, *arguments: Any) -> Any:
        """Return what the function returns, at the speed of compiled code."""
        run = self._run or self._compile(arguments)
        return run(*arguments)

    def _compile(self, arguments: tuple[Any, ...]) -> Callable[..., Any]:
        """Return the compiled function, ready for arguments of these types."""
        with _PREPARING:
            if self._run is None:
                start = time.perf_counter()
                try:
                    compiled = self._prepared(arguments, cache=True)
                except (RuntimeError, OSError, EOFError, UnpicklingError):
                    # numba: "cannot cache function: no locator available"; a cache folder that vanished or is full; or
                    # a file in it that was cut short when the machine went down
                    compiled = self._prepared(arguments, cache=False)
                # What was loaded from the store was not compiled, however long that took.
                if hasattr(compiled, "stats") and not compiled.stats.cache_hits:
                    clock.add(time.perf_counter() - start)
                self._run = compiled
            return self._run

    def _prepared(self, arguments: tuple[Any, ...], *, cache: bool) -> Callable[..., Any]:
        import numba

        self._decorate(cache)
        if hasattr(self.dispatcher, "compile"):  # NUMBA_DISABLE_JIT leaves plain Python
            typeof: Callable[[Any], Any] = numba.typeof
            self.dispatcher.compile(tuple(typeof(argument) for argument in arguments))
        return cast(Callable[..., Any], self.dispatcher)

    def _decorate(self, cache: bool) -> None:
        """Hand the function to numba, with every kernel that it calls handed over before."""
        import numba

        source = self.function
        names = {name: source.__globals__.get(name) for name in source.__code__.co_names}
        callees = {name: found for name, found in names.items() if isinstance(found, Kernel)}
        for callee in callees.values():
            if callee.dispatcher is None or not cache:
                callee._decorate(cache)
        # numba reads a function's globals as constants; in this copy a callee's name stands for what numba knows of it.
        known = source.__globals__ | {name: callee.dispatcher for name, callee in callees.items()}
        copy = FunctionType(source.__code__, known, source.__name__, source.__defaults__, source.__closure__)
        functools.update_wrapper(copy, source)
        del vars(copy)["__wrapped__"]  # or numba would compile the original
        self.dispatcher = numba.njit(cache=cache, nogil=True, fastmath=self._fastmath)(copy)


@overload
def kernel(function: Function) -> Function: ...


@overload
def kernel(*, fastmath: bool = False) -> Callable[[Function], Function]: ...


def kernel(function: Any = None, *, fastmath: bool = False) -> Any:
    """Return `function` as a `Kernel`; with `fastmath`, sums may be reordered.

    >>> @kernel
    ... def total(values):
    ...     result = 0.0
    ...     for value in values:
    ...         result += value
    ...     return result
    >>> total.dispatcher is None
    True
    """
    if function is None:
        return lambda given: Kernel(given, fastmath=fastmath)
    return Kernel(function)
