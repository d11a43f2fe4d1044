"""The table of a training's course: its lines, what a resumed run keeps of it, and TensorBoard's events."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from inception_rcnn.backbones.training import log as log_module
from inception_rcnn.backbones.training.log import TrainingLog, read_log
from inception_rcnn.structures import DataFormatError, MissingDependencyError


class Clock:
    """A clock that stands until it is moved."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(log_module, "time", found)
    return found


def fill(path: Path, iterations: list[int], start: int = 0, **options: Any) -> TrainingLog:
    """A table with a line at each of these iterations."""
    log = TrainingLog(path, start, scores=("mAP",), **options)
    for one in iterations:
        scores = {"mAP": one / 100} if one % 20 == 0 else {}
        log.write(one, 0.1 / one, {"loss": 1 / 3 + one, "boxes": 0.5}, scores)
    log.close()
    return log


def test_a_line_has_every_figure_and_speed_is_without_the_time_of_validation(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "log.csv"
    log = TrainingLog(path, per_iteration=16, scores=("mAP",))
    clock.now += 4.0
    log.write(10, 0.002, {"loss": 1.5, "classes": 1.25}, {})
    clock.now += 2.0
    log.stop_clock()
    clock.now += 30.0
    log.write(20, 0.001, {"loss": 1 / 3, "classes": 0.25}, {"mAP": 0.5})
    clock.now += 8.0
    log.write(30, 0.0, {"loss": 1.0, "classes": 1e-9}, {})
    assert path.read_text() == (
        "iteration,learning_rate,loss,classes,mAP,seconds,photographs_per_second\n"
        "10,0.002,1.5,1.25,,4.0,40.00\n"
        "20,0.001,0.3333333,0.25,0.5,36.0,80.00\n"
        "30,0,1,1e-09,,44.0,20.00\n"
    )


def test_lines_behind_the_state_are_dropped_and_time_goes_on(tmp_path: Path, clock: Clock) -> None:
    whole, killed = tmp_path / "whole.csv", tmp_path / "killed.csv"
    fill(whole, [10, 20, 30, 40])
    fill(killed, [10, 20, 30])
    clock.now += 50.0
    log = TrainingLog(killed, 25, scores=("mAP",))
    assert read_log(killed)["iteration"] == ("10", "20")
    log = fill(killed, [30, 40], start=25)
    assert log is not None
    ours, theirs = read_log(killed), read_log(whole)
    assert {name: ours[name] for name in ("iteration", "learning_rate", "loss", "boxes", "mAP")} == {
        name: theirs[name] for name in ("iteration", "learning_rate", "loss", "boxes", "mAP")
    }
    assert theirs["mAP"] == ("", "0.2", "", "0.4")


def test_seconds_of_a_resumed_run_follow_those_before(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "log.csv"
    log = TrainingLog(path)
    clock.now += 7.0
    log.write(10, 0.1, {"loss": 1.0}, {})
    clock.now += 1000.0
    log = TrainingLog(path, 10)
    clock.now += 5.0
    log.write(20, 0.1, {"loss": 1.0}, {})
    assert read_log(path)["seconds"] == ("7.0", "12.0") and read_log(path)["photographs_per_second"][1] == "2.00"


def test_a_line_that_was_not_written_to_its_end_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    fill(path, [10, 20])
    text = path.read_text()
    path.write_text(text + "30,0.1,0.5")
    TrainingLog(path, 30, scores=("mAP",))
    assert path.read_text() == text


def test_a_finished_run_leaves_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    fill(path, [10, 20])
    before = path.stat()
    TrainingLog(path, 20, scores=("mAP",)).close()
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_a_run_from_the_start_begins_the_table_anew(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    fill(path, [10, 20])
    fill(path, [5])
    assert read_log(path)["iteration"] == ("5",)


def test_what_is_no_such_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    for text, message in (
        ("a,b\n1,2\n", "log.csv: should be a table whose first column is iteration; move it away"),
        ("", "should be a table"),
        ("iteration,seconds\n10,1\n20\n", "log.csv, line 3: should have 2 figures"),
        ("iteration,seconds\n10,one\n", "log.csv, line 2: should have 2 figures"),
    ):
        path.write_text(text)
        with pytest.raises(DataFormatError, match=message):
            TrainingLog(path, 10)
    path.write_bytes(b"iteration,seconds\n10,\xff\n")
    with pytest.raises(DataFormatError, match=r"log\.csv: is no table in UTF-8: .*move it away"):
        TrainingLog(path, 10)
    path.write_text("iteration,other,seconds\n10,1,1\n")
    log = TrainingLog(path, 10)
    with pytest.raises(DataFormatError, match="has the columns iteration, other, seconds, this run has iteration, lea"):
        log.write(20, 0.1, {"loss": 1.0}, {})


def test_a_line_names_the_extra_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'inception-rcnn\[train\]', or leave the option out"):
        TrainingLog(tmp_path / "log.csv", events=tmp_path)


def test_the_same_figures_go_to_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []

    class Writer:
        def __init__(self, folder: str, purge_step: int | None) -> None:
            sent.append((folder, purge_step))

        def add_scalar(self, name: str, value: float, iteration: int) -> None:
            sent.append((name, value, iteration))

        def flush(self) -> None:
            sent.append("flush")

        def close(self) -> None:
            sent.append("close")

    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    monkeypatch.setattr(log_module, "check_tensorboard", lambda: None)
    path, events = tmp_path / "log.csv", tmp_path / "events"
    TrainingLog(path, events=events).close()
    assert sent == []
    fill(path, [20], events=events)
    assert sent[0] == (str(events), None) and sent[-2:] == ["flush", "close"]
    assert [one for one in sent[1:-2] if one[0] in ("loss", "mAP", "learning_rate")] == [
        ("learning_rate", 0.005, 20), ("loss", 20.33333, 20), ("mAP", 0.2, 20)]  # fmt: skip
    assert not [one for one in sent if one[0] == "iteration"]
    sent.clear()
    fill(path, [30], start=25, events=events)
    assert sent[0] == (str(events), 26)


def test_tensorboard_reads_them(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    fill(tmp_path / "log.csv", [10, 20], events=tmp_path / "events")
    found = EventAccumulator(str(tmp_path / "events"))
    found.Reload()
    assert [(one.step, round(one.value, 4)) for one in found.Scalars("loss")] == [(10, 10.3333), (20, 20.3333)]
    assert [one.step for one in found.Scalars("mAP")] == [20]
