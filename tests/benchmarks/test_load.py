"""What benchmarks/faults/load.py and many.py judge by: answers of a server, lines of a file, memory and rate."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
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
load = pytest.importorskip("faults.load")

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


def test_who_reads_nothing_holds_an_answer_until_the_server_breaks_off() -> None:
    held: list[asyncio.StreamWriter] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(bytes(16_000_000))
        held.append(writer)
        if len(held) == 1:
            lingering = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, lingering)
            writer.transport.abort()

    async def left() -> tuple[int, int]:
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
            async with clients.crowd(host, "answers that are not read", 2) as crowd:
                open_ones = await crowd.left(0.1)
                return open_ones, held[1].transport.get_write_buffer_size()

    open_ones, unread = asyncio.run(left())
    assert open_ones == 1 and unread > 1_000_000


class Steady:
    """A server's process whose memory stays."""

    detect = ""

    def memory(self) -> float:
        return 1024.0


def test_a_server_that_accepts_nobody_does_not_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(*given: object) -> list[object]:
        await asyncio.sleep(0.01)
        return [clients.Answer(429, 0.1, "", 3)] * 4

    monkeypatch.setattr(load, "many_clients", refused)
    under = load.Load(Steady(), [], [], load.FaultTable())
    asyncio.run(load.under_clients(under, 2, 0.05))
    (row,) = [one for one in under.table.rows if one.failures]
    assert "answered right" in row.fault and row.failures == ["none of 4 was accepted"]


def test_memory_that_grows_in_the_second_half_is_a_fault() -> None:
    megabyte = 1024.0
    assert load.grown_late([megabyte * 500, megabyte * 900, megabyte * 950]) == ""
    assert load.grown_late([megabyte * 500, megabyte * 900, megabyte * 1000]) == "from 900 to 1000 MB"


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
