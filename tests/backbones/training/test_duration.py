"""Iterations that fit a time: counted against a clock that is told how long each takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from inception_rcnn.backbones import write_checkpoint
from inception_rcnn.backbones.training import duration
from inception_rcnn.backbones.training.duration import iterations_in, iterations_within
from inception_rcnn.backbones.training.loop import STATE_KIND


class Clock:
    """Time that passes only when somebody works."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.mark.parametrize("kinds", [1, 3])
def test_what_fits_is_found_though_the_first_take_longer_and_kinds_differ(
    kinds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, taken, waited = Clock(), list[int](), list[float]()
    monkeypatch.setattr(duration, "time", clock)

    def step(number: int) -> None:
        taken.append(number)
        clock.now += 50.0 if number < 2 else 1.0 + number % kinds

    found = iterations_within(3000, step, lambda: waited.append(clock.now), kinds=kinds)
    mean = sum(1.0 + number for number in range(kinds)) / kinds
    assert found == pytest.approx(3000 / mean, rel=0.05)
    assert taken == list(range(len(taken))) and len(waited) == 2


def test_shapes_that_come_for_the_first_time_are_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, taken = Clock(), list[int]()
    monkeypatch.setattr(duration, "time", clock)

    def step(number: int) -> None:
        taken.append(number)
        clock.now += 5.0 if number < 10 else 1.0

    assert iterations_within(3000, step, shapes=5) == 3000
    assert len(taken) == 10 + 60


def test_there_is_at_least_one(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(duration, "time", clock)

    def step(number: int) -> None:
        clock.now += 1000

    assert iterations_within(1, step) == 1


def test_a_state_says_for_how_many_it_was_made(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    assert iterations_in(path) is None
    write_checkpoint(path, STATE_KIND, {"run": {"settings": {"iterations": 70}}}, {})
    assert iterations_in(path) == 70
    for damaged in ({}, {"run": []}, {"run": {"settings": {"iterations": "70"}}}):
        write_checkpoint(path, STATE_KIND, damaged, {})
        assert iterations_in(path) is None
