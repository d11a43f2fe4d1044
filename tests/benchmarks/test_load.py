"""What benchmarks/faults/load.py and many.py judge by: answers of a server, lines of a file, memory and rate."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

if not Path("/proc/self/stat").exists():
    pytest.skip("memory of processes is read on Linux alone", allow_module_level=True)
from faults.many import LineCounter, Watched, growth, lost, make_photographs, tenths_of
from faults.memory import memory_of, processor_seconds_of

httpx = pytest.importorskip("httpx", reason="no httpx here (pip install -e '.[dev]')")
clients, serving = pytest.importorskip("faults.clients"), pytest.importorskip("faults.serving")

WANTED = {"model": "coco", "detections": [{"label": "cat", "score": 0.5, "box": [0, 0, 1, 1]}]}


@pytest.mark.parametrize(
    ("status", "answer", "retry_after", "fault"),
    [
        (200, {**WANTED, "seconds": 0.25}, 0, ""),
        (200, {**WANTED, "detections": [], "seconds": 0.25}, 0, "other detections than of a single request"),
        (429, {"error": "full"}, 3, ""),
        (429, {"error": "full"}, 0, "a refusal that does not say when to come back"),
        (503, {}, 3, "status 503: {}"),
    ],
)
def test_an_answer_is_right_or_a_refusal_with_its_time(
    status: int, answer: dict[str, object], retry_after: int, fault: str
) -> None:
    assert clients._fault(httpx.Response(status, json=answer), WANTED, retry_after) == fault


def test_the_time_that_an_answer_took_does_not_count() -> None:
    assert clients.found_in(httpx.Response(200, json={**WANTED, "seconds": 1.5})) == WANTED
    assert len(set(serving.small_photographs())) == 5


def line(name: str, **rest: object) -> bytes:
    return json.dumps({"image": name, **rest}).encode() + b"\n"


def test_lines_that_were_lost_done_twice_or_never_done_are_found() -> None:
    before, names = [line("a")], ["a", "b"]
    assert lost(before, [line("a"), line("b")], names) == ""
    assert lost(before, [line("b")], names) == "1 lines that were there at the kill are gone"
    assert lost(before, [line("a"), line("b"), line("b")], names) == "b is there 2 times"
    assert lost(before, [line("a")], names) == "1 photographs are missing"
    assert lost(before, [line("a"), line("b", error="is damaged")], names) == "b: is damaged"
    assert lost(before, [line("a"), line("b"), line("c")], names) == "3 lines, not 2"


def test_lines_are_counted_while_a_file_grows_and_when_it_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "found.jsonl"
    counter = LineCounter(path)
    assert counter.count() == 0
    path.write_bytes(b"{}\n" + line("a") + line("b")[:4])
    assert counter.count() == 1
    with path.open("ab") as file:
        file.write(line("b")[4:])
    assert counter.count() == 2
    (tmp_path / "new").write_bytes(b"{}\n" + line("a"))
    (tmp_path / "new").replace(path)
    assert counter.count() == 1


def test_memory_and_rate_of_each_tenth(tmp_path: Path) -> None:
    # Four photographs a second, and 3 KB more after each.
    seen = [(number / 4, number, 1024.0 * 100 + 3 * number) for number in range(1, 51)]
    first, second = Watched(0, seen=seen), Watched(50, seen=[(at, 50 + number, kb) for at, number, kb in seen])
    tenths = tenths_of([first, second], 100)
    assert [one.starts for one in tenths] == [number in (0, 5) for number in range(10)]
    assert all(one.rate == pytest.approx(4) and 100 <= one.memory < 100.2 for one in tenths)
    assert (growth(first), growth(second)) == (pytest.approx(3), pytest.approx(3))
    make_photographs(tmp_path / "crops", 9)
    assert len(list((tmp_path / "crops").iterdir())) == 9


def test_memory_and_work_of_a_process() -> None:
    """Of one that has just begun: this one may have room left from tests before."""
    code = "import sys; block = bytearray(b'x') * int(sys.argv[1]); print('there', flush=True); input()"
    measured = []
    for megabytes in (1, 64):
        line = [sys.executable, "-c", code, str(megabytes * 2**20)]
        with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None and process.stdout.readline() == "there\n"
            measured.append(memory_of(process.pid))
            process.communicate("\n")
    assert 60 * 1024 < measured[1] - measured[0] < 70 * 1024
    assert processor_seconds_of(os.getpid()) == pytest.approx(time.process_time(), abs=1)
    assert memory_of(2**30) == processor_seconds_of(2**30) == 0
