"""A moving bar on a terminal, a line now and then in a log, nothing when quiet, and never on the output stream."""

from __future__ import annotations

import io

import pytest

from inception_rcnn.structures import ProgressBar, progress_bar
from inception_rcnn.structures.progress import StageClock


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_gets_a_line_every_thirty_seconds_and_one_at_the_end() -> None:
    stream, clock = io.StringIO(), Clock()
    with ProgressBar(10, "training", stream=stream, clock=clock) as bar:
        for step in range(10):
            clock.now += 12
            bar.advance(loss=1 / (step + 1), phase="warm-up")
    assert stream.getvalue().splitlines() == [
        "training: 3/10 after 36 s, 0.0833/s, 84 s left  loss 0.3333  phase warm-up",
        "training: 6/10 after 72 s, 0.0833/s, 48 s left  loss 0.1667  phase warm-up",
        "training: 9/10 after 108 s, 0.0833/s, 12 s left  loss 0.1111  phase warm-up",
        "training: 10/10 after 120 s, 0.0833/s  loss 0.1  phase warm-up",
    ]


def test_a_short_job_leaves_no_trace_in_a_log() -> None:
    stream = io.StringIO()
    with ProgressBar(3, "regions", stream=stream) as bar:
        bar.advance(3)
    assert stream.getvalue() == ""
    assert bar.done == 3


def test_an_unknown_total_is_not_invented() -> None:
    stream, clock = io.StringIO(), Clock()
    with ProgressBar(None, "reading", stream=stream, clock=clock) as bar:
        clock.now += 31
        bar.advance(5)
    assert stream.getvalue().splitlines()[0] == "reading: 5 after 31 s, 0.161/s"


def test_fields_stay_until_they_change() -> None:
    stream, clock = io.StringIO(), Clock()
    with ProgressBar(2, "a", stream=stream, clock=clock) as bar:
        bar.advance(loss=0.5)
        clock.now += 40
        bar.advance(speed=7)
    assert "loss 0.5  speed 7" in stream.getvalue()


def test_a_terminal_gets_a_bar_with_texts_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    stream, clock = Terminal(), Clock()
    with ProgressBar(4, "warming [bold]", stream=stream, clock=clock) as bar:
        clock.now += 0.002
        bar.advance(4, loss=0.25, note="[red]")
    shown = stream.getvalue()
    assert "2000/s" in shown
    assert "warming [bold]" in shown
    assert "4/4" in shown
    assert "loss 0.25  note [red]" in shown


@pytest.mark.parametrize("stream", [Terminal(), io.StringIO()])
def test_quiet_is_silent_everywhere(stream: io.StringIO) -> None:
    clock = Clock()
    with ProgressBar(2, "a", quiet=True, stream=stream, clock=clock) as bar:
        clock.now += 100
        bar.advance(2)
    assert stream.getvalue() == ""
    assert bar.done == 2


def test_an_error_inside_passes_through_and_the_bar_is_taken_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with pytest.raises(ZeroDivisionError), ProgressBar(2, "a", stream=stream) as bar:
        bar.advance(1 // 0)
    assert stream.getvalue().endswith("\x1b[?25h")  # the cursor is shown again


def test_the_output_stream_stays_free(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(1, "a") as bar:
        bar.advance()
    assert capsys.readouterr() == ("", "")


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


def test_what_an_earlier_start_has_done_does_not_count_for_the_speed() -> None:
    stream, clock = io.StringIO(), Clock()
    with ProgressBar(100, "training", stream=stream, clock=clock) as bar:
        clock.now += 5  # reading the state
        bar.skip(40)
        clock.now += 30
        bar.advance(10)
    assert stream.getvalue().splitlines()[0] == "training: 50/100 after 30 s, 0.333/s, 150 s left"


def test_a_terminals_bar_begins_behind_what_was_done_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = Terminal()
    with ProgressBar(100, "training", stream=stream) as bar:
        bar.skip(40)
        bar.advance(1)
    assert "41/100" in stream.getvalue()
