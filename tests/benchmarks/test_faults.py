"""The fault benchmarks: what they compare and count, and a few seconds of what they inject."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if not Path("/proc/self/stat").exists():
    pytest.skip("faults are injected on Linux alone", allow_module_level=True)

from faults import kills
from faults.failing import Ended, one_line
from faults.many import Watched, judge, tenths_of
from faults.results import difference, done_twice, results_of
from faults.small_runs import CLASSES, OBJECTS, RUNS, Materials, _cut
from faults.table import FaultTable

from inception_rcnn.structures import InceptionError
from inception_rcnn.structures.array_file import write_array_file

FAULTS = Path(__file__).resolve().parent.parent.parent / "benchmarks" / "faults"
sys.path.append(str(FAULTS))
from foreign_readers import READERS, make_reader  # noqa: E402


def script(name: str, *words: str) -> tuple[int, str, str]:
    """Exit status, table and progress of a script."""
    done = subprocess.run(
        [sys.executable, str(FAULTS / name), *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return done.returncode, done.stdout, done.stderr


def test_a_detection_that_is_killed_goes_on_and_ends_as_if_it_had_not_been() -> None:
    status, table, said = script("kills.py", "--quick")
    assert status == 0, table + said
    assert "| kill -9, detect | 2 | 2 | - |" in table and "\n2 injected, 2 survived" in table


def test_failing_writes_and_photographs_that_change_meanwhile_are_survived() -> None:
    status, table, said = script("writes.py", "--quick")
    assert status == 0, table + said
    assert len(re.findall(r"\| detect: .* \| 1 \| 1 \| - \|", table)) == 5
    assert len(re.findall(r"\| propose, .* meanwhile \| 1 \| 1 \| - \|", table)) == 3


def test_each_way_of_killing_several_processes_is_tried_as_often(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []
    monkeypatch.setattr(kills, "undisturbed", lambda *_: kills.Undisturbed({}, 0.0, 1.0, 0))
    monkeypatch.setattr(kills, "killed", lambda *given: tried.append(given[4]) or "")
    table = FaultTable()
    kills._kill_often(RUNS["eval_map torchrun"], Materials(Path()), Path(), table, random.Random(0), None)
    assert {way: tried.count(way) for way in tried} == {"all": 20, "first": 20, "rank": 20}
    assert [row.injected for row in table.rows] == [20, 20, 20]


@pytest.mark.parametrize(("begun", "failures"), [(9.0, 0), (31.0, 1)])
def test_a_restart_is_cheap_if_it_takes_little_of_the_time_that_is_saved(begun: float, failures: int) -> None:
    seen = [(4 + number / 2, number, 1024.0) for number in range(1, 1001)]
    second = Watched(1000, begun, 0, [(begun + number / 2, 1000 + number, 1024.0) for number in range(1, 1001)])
    runs, table = [Watched(0, 4.5, -9, seen), second], FaultTable()
    judge(runs, tenths_of(runs, 2000), 2000, table)
    assert [len(row.failures) for row in table.rows] == [0, 0, failures]


@pytest.mark.parametrize("name", READERS)
def test_every_reader_reads_or_refuses_what_is_wrong(name: str, tmp_path: Path) -> None:
    """A few inputs each; `benchmarks/faults/fuzz.py` has thousands, and looks at time and memory too."""
    if name == "POST /detect":
        pytest.importorskip("fastapi")
    if name.startswith("archives"):
        pytest.importorskip("pyarrow")
    reader = make_reader(name, tmp_path)

    @settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, 2**32).map(lambda number: reader.mutator.make(1, number)) | st.binary(max_size=200))
    def read(data: bytes) -> None:
        with suppress(InceptionError), warnings.catch_warnings(action="ignore"):
            reader.read(data)

    read()


def test_results_are_compared_without_times_and_a_difference_is_named(tmp_path: Path) -> None:
    for name, seconds, value in (("a", 1.5, 3), ("b", 2.5, 3), ("c", 1.5, 4)):
        folder = tmp_path / name
        (folder / "run").mkdir(parents=True)
        (folder / "run" / "log.csv").write_text(f"iteration,loss,seconds\n1,{value},{seconds}\n")
        write_array_file(folder / "x.safetensors", "kind", {"seconds": {"all": seconds}}, {"v": np.full(2, value)})
        (folder / "boxes.json").write_text(f'{{"images": {value}, "seconds_per_image": {seconds}}}')
        (folder / "index.html").write_text(f'{value}<section id="time">\n{seconds}</section>')
    a, b, c = (results_of(tmp_path / name) for name in "abc")
    assert len(a) == 4 and difference(a, b) == ""
    assert difference(a, c) == "differs in boxes.json, index.html, run/log.csv"
    (tmp_path / "b" / ".x.part").touch()
    (tmp_path / "b" / "boxes.json").unlink()
    assert difference(a, results_of(tmp_path / "b")) == "lacks boxes.json; has left .x.part"


@pytest.mark.parametrize(
    ("lines", "wrong"),
    [
        ("", ""),
        ("done\trun\ta\ndone\trun\tb\ndone\tother\ta\n", ""),
        ("done\trun\ta\ndone\trun\ta\n", "did a again, after it was stored"),
        ("step\trun\t1\nstep\trun\t2\nsaved\trun\t2\nstep\trun\t3\nstep\trun\t3\nsaved\trun\t4\n", ""),
        ("step\trun\t1\nsaved\trun\t2\nstep\trun\t2\n", "took step 2 again, after the state of 2 was saved"),
        ("saved\tfirst\t2\nstep\tsecond\t1\n", ""),
    ],
)
def test_what_is_done_again_although_it_was_stored_is_found(tmp_path: Path, lines: str, wrong: str) -> None:
    (tmp_path / "journal").write_text(lines)
    assert done_twice(tmp_path / "journal") == wrong


@pytest.mark.parametrize(
    ("status", "said", "wrong"),
    [
        (1, "warning: w\nnote: n\nerror: the disk is full\n", ""),
        (0, "error: the disk is full\n", "status 0, expected 1"),
        (1, "error: one\nerror: two\n", "2 lines"),
        (1, "", "0 lines"),
        (1, "Traceback (most recent call last):\nOSError\n", "a traceback"),
        (None, "", "did not end"),
    ],
)
def test_one_clear_line_is_told_from_anything_else(status: int | None, said: str, wrong: str) -> None:
    assert one_line(Ended(status, said, "", {})).startswith(wrong)
    assert bool(one_line(Ended(status, said, "", {}))) == bool(wrong)


def test_a_table_fails_if_anything_did_or_nothing_was_tried(capsys: pytest.CaptureFixture[str]) -> None:
    table = FaultTable()
    table.skip("full disk", "it cannot be mounted here")
    assert table.show() == 1
    table.row("kill").add("")
    assert table.show() == 0
    table.row("kill").add("left a|b\n")
    assert table.show() == 1
    assert "| kill | 2 | 1 | left a/b |" in capsys.readouterr().out


def test_photographs_are_cut_so_that_most_of_the_object_is_seen() -> None:
    rng = np.random.default_rng(0)
    for name, (class_name, (x1, y1, x2, y2)) in OBJECTS.items():
        pixels, box = _cut(name, rng)
        assert class_name in CLASSES and 0 <= box[0] < box[2] <= pixels.shape[1] and 0 <= box[1] < box[3] <= len(pixels)
        assert (box[2] - box[0]) * (box[3] - box[1]) >= 0.6 * (x2 - x1) * (y2 - y1)
