"""Seconds by stage: added up, kept in order, counted even when the stage fails."""

from __future__ import annotations

import pytest

from inception_rcnn.detector import StageClock


def clock(*ticks: float) -> StageClock:
    """A clock that shows these times, one after the other."""
    left = iter(ticks)
    return StageClock(now=lambda: next(left))


def test_repeated_stages_are_added_up_in_the_order_they_first_came() -> None:
    watch = clock(0, 1, 1, 4, 10, 12)
    for name in ("warp", "network", "warp"):
        with watch.stage(name):
            pass
    assert watch.seconds == {"warp": 3, "network": 3} and list(watch.seconds) == ["warp", "network"]


def test_a_failing_stage_is_counted_and_its_error_passed_on() -> None:
    watch = clock(0, 5)
    with pytest.raises(KeyError), watch.stage("decode"):
        raise KeyError("x")
    assert watch.seconds == {"decode": 5}


def test_real_time_passes() -> None:
    watch = StageClock()
    with watch.stage("all"):
        sum(range(1000))
    assert watch.seconds["all"] > 0
