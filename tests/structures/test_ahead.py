"""Work done ahead: in order, bounded, errors at their place, and no thread left however it ends."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from inception_rcnn.structures import InputError
from inception_rcnn.structures.ahead import run_ahead

WORKERS = [0, 1, 2, 7]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """Every test here ends with the threads it began with."""
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("workers", WORKERS)
def test_results_come_in_the_order_of_the_items(workers: int) -> None:
    def slow_at_first(number: int) -> int:
        time.sleep(0.02 if number % 3 == 0 else 0)
        return number * number

    assert [done.result() for done in run_ahead(slow_at_first, range(20), workers=workers)] == [
        n * n for n in range(20)
    ]
    assert list(run_ahead(slow_at_first, [], workers=workers)) == []


def test_the_next_items_are_worked_on_meanwhile() -> None:
    """The second item ends while the first one's result is held; in turn that would never happen."""
    second = threading.Event()

    def work(number: int) -> int:
        if number == 1:
            second.set()
        return number

    ready = run_ahead(work, range(3), workers=1)
    assert next(ready).result() == 0
    assert second.wait(timeout=10)
    assert [done.result() for done in ready] == [1, 2]


@pytest.mark.parametrize(("workers", "most"), [(0, None), (1, None), (3, None), (2, 1), (2, 5)])
def test_only_a_few_items_are_taken_ahead(workers: int, most: int | None) -> None:
    taken: list[int] = []

    def endless() -> Iterator[int]:
        while True:
            taken.append(len(taken))
            yield len(taken)

    ready = run_ahead(lambda number: number, endless(), workers=workers, most=most)
    assert taken == []
    bound = (workers + 1 if most is None else most) if workers else 1
    for count in range(1, 6):
        assert next(ready).result() == count
        assert len(taken) <= count - 1 + bound
    ready.close()


def test_results_handed_out_are_not_kept() -> None:
    ready = run_ahead(lambda number: np.full(4, number), range(6), workers=2)
    first = weakref.ref(next(ready).result())
    next(ready)
    gc.collect()
    assert first() is None
    ready.close()


@pytest.mark.parametrize("workers", WORKERS)
def test_an_error_comes_at_its_place_and_the_rest_goes_on(workers: int) -> None:
    answers = []
    for done in run_ahead(lambda number: 12 // number, [3, 0, 4], workers=workers):
        try:
            answers.append(str(done.result()))
        except ZeroDivisionError as error:
            answers.append(type(error).__name__)
    assert answers == ["4", "ZeroDivisionError", "3"]


@pytest.mark.parametrize("workers", WORKERS)
def test_an_error_of_the_source_comes_after_the_items_before_it(workers: int) -> None:
    def source() -> Iterator[int]:
        yield 1
        yield 2
        raise OSError("the camera is gone")

    answers = []
    with pytest.raises(OSError, match="the camera is gone"):
        for done in run_ahead(lambda number: -number, source(), workers=workers):
            answers.append(done.result())
    assert answers == [-1, -2]


@pytest.mark.parametrize("workers", [1, 3])
def test_the_source_is_asked_by_who_iterates(workers: int) -> None:
    asked: set[threading.Thread] = set()

    def source() -> Iterator[int]:
        for number in range(10):
            asked.add(threading.current_thread())
            yield number

    worked = {done.result() for done in run_ahead(lambda _: threading.current_thread(), source(), workers=workers)}
    assert asked == {threading.current_thread()} and threading.current_thread() not in worked


@pytest.mark.parametrize("ending", ["close", "garbage", "error"])
def test_whatever_ends_it_no_item_is_begun_any_more(ending: str) -> None:
    begun: list[int] = []

    def work(number: int) -> None:
        begun.append(number)
        time.sleep(0.02)

    def run() -> None:
        ready = run_ahead(work, range(1000), workers=2, most=50)
        next(ready)
        if ending == "close":
            ready.close()
        if ending == "error":
            for _ in ready:
                raise KeyError("of who iterates")

    if ending == "error":
        with pytest.raises(KeyError):
            run()
    else:
        run()
    gc.collect()
    count = len(begun)
    assert count < 20
    time.sleep(0.1)
    assert len(begun) == count


def test_an_interrupt_ends_the_process_at_once(tmp_path: Path) -> None:
    """Ctrl-C while the results are waited for: the process ends with KeyboardInterrupt, though 1000 items are left."""
    script = """
import signal, time
from inception_rcnn.structures.ahead import run_ahead

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that started us in the background ignores it

def work(number):
    time.sleep(0.2)

for _ in run_ahead(work, range(1000), workers=2, most=100):
    print("ready", flush=True)
"""
    source = Path(__file__).resolve().parents[2] / "src"
    environment = {**os.environ, "PYTHONPATH": str(source)}
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert "KeyboardInterrupt" in errors and process.returncode != 0


@pytest.mark.parametrize(("workers", "most"), [(-1, None), (1, 0)])
def test_wrong_numbers_are_refused_at_the_call(workers: int, most: int | None) -> None:
    with pytest.raises(InputError, match="workers should be at least 0 and most at least 1"):
        run_ahead(abs, [1], workers=workers, most=most)
