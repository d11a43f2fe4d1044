"""`serve` under load: every answer right, every refusal with its time, memory that does not grow, and as quick after.

    python benchmarks/faults/load.py [--clients 50] [--seconds 120] [--requests 2000] [--work FOLDER] [--quick]

A server is a process of its own on the loopback: the shipped model on few regions. First each of five photographs is
asked for alone; what is found then is what every later answer is compared with, value for value.

1. Clients, each with a request at a time, half of them impatient, for two minutes. An answer is right or a refusal, 429
   with Retry-After; nothing else is allowed, and some are accepted. Memory (resident) grows by no more than a tenth in
   the second half.
2. Clients that send a byte a second, half-sent bodies and heads, answers that are not read, 1,000 idle connections:
   ordinary requests beside them are answered, and memory stays within a piece of an answer for each. The server closes
   them by itself in time (not with --quick: bodies and answers have half a minute).
3. Single requests are as quick as before, by the clock (where nothing else keeps the processors busy) and by what the
   processors do for them.
4. 2,000 requests in a row: the slope of memory, over all but the first quarter.
5. Ctrl-C ends it; it has printed no traceback.

asyncio and httpx ask, which the tests need anyway: locust would do the first part alone, and bring 16 packages.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np
from machine import machine_line

from faults.clients import WAYS, Answer, ask, ask_alone, crowd, found_in, many_clients, open_client
from faults.serving import Served, serving, small_photographs
from faults.table import FaultTable, say

_REGIONS = 20
_OPTIONS = ("--max-proposals", str(_REGIONS), "--device", "cpu", "--quiet")
_SINGLE = 30  # requests for the time of one
_CROWD, _IDLE = 100, 1000  # connections that are slow or half-sent, and that are idle
_BESIDE = 5  # ordinary requests beside them
_LET_GO = 75.0  # seconds in which the server has closed them
_SLOWER = 1.5  # times, that a single request may take afterwards
_LEAK = 4.0  # KB a request that memory may grow by: 40 MB in 10,000 requests
_FEW = 500  # requests up to which that is within what an allocator does
_GROWN = 0.1  # of the memory in the middle, that there may be more at the end
_SHORT = 60.0  # seconds up to which that, too, is within what an allocator does
_HELD = 512.0  # KB of memory that a connection may hold: two pieces of an answer, a body of 100 KB, and what is around


@dataclass
class Load:
    """A server under load, and what is told of it.

    Args:
        served: The server.
        photographs: Files.
        wanted: What is found on each when nobody else asks.
        table: Has what went wrong.
        figures: By name, in words.
    """

    served: Served
    photographs: Sequence[bytes]
    wanted: list[dict[str, Any]]
    table: FaultTable
    figures: dict[str, str] = field(default_factory=dict)

    def count(self, fault: str, answers: Sequence[Answer]) -> None:
        """Add answers to the table."""
        row = self.table.row(fault)
        for one in answers:
            row.add(one.failure)


async def one_by_one(load: Load, count: int) -> list[Answer]:
    """Return the answers to one request after the other."""
    answers = []
    async with open_client() as http:
        for number in range(count):
            which = number % len(load.photographs)
            answers.append(await ask(http, load.served.detect, load.photographs[which], load.wanted[which]))
    return answers


async def under_clients(load: Load, clients: int, seconds: float) -> None:
    """Have many ask at a time."""
    memory: list[float] = []

    async def watch() -> None:
        while True:
            memory.append(load.served.memory())
            await asyncio.sleep(seconds / 100)

    watching = asyncio.create_task(watch())
    answers = await many_clients(load.served.detect, load.photographs, load.wanted, clients, seconds)
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching
    accepted = [one for one in answers if one.status == 200]
    row = f"{clients} clients for {seconds:.0f} s: an accepted request is answered right"
    load.count(row, accepted)
    if not accepted:
        load.table.row(row).add(f"none of {len(answers)} was accepted")
    refused = [one for one in answers if one.status != 200]
    load.count(f"{clients} clients for {seconds:.0f} s: a refusal is 429 with Retry-After", refused)
    load.figures["requests accepted, refused"] = f"{len(accepted)}, {len(refused)}"
    if accepted:
        middle, worst = np.quantile([one.seconds for one in accepted], [0.5, 0.99])
        load.figures["accepted: median, 99th percentile"] = f"{middle:.2f} s, {worst:.2f} s"
    at = (memory[0], memory[len(memory) // 2], memory[-1], max(memory))
    load.figures["memory at the start, in the middle, at the end, most"] = ", ".join(f"{kb / 1024:.0f} MB" for kb in at)
    row = f"{clients} clients: memory does not grow by more than {_GROWN:.0%} in the second half"
    if seconds <= _SHORT:
        load.table.skip(row, f"{seconds:.0f} s are too few to tell")
    else:
        load.table.row(row).add(grown_late(memory))


def grown_late(memory: Sequence[float]) -> str:
    """Return what is wrong with the memory (KB) of a row of equal times; an empty text if nothing is."""
    middle, end = memory[len(memory) // 2], memory[-1]
    return f"from {middle / 1024:.0f} to {end / 1024:.0f} MB" if end > (1 + _GROWN) * middle else ""


async def beside_crowds(load: Load, *, wait: bool) -> None:
    """Have connections held in every way, and ask beside them.

    Args:
        load: As ever.
        wait: Until the server closes them by itself.
    """
    for way in WAYS:
        count = _IDLE if way == "idle connections" else _CROWD
        row = f"{count} {way}: an ordinary request is answered"
        memory = load.served.memory()
        try:
            async with crowd(load.served.host, way, count) as held:
                answers = await one_by_one(load, _BESIDE)
                load.count(row, [_refusal_fails(one) for one in answers])
                each = (load.served.memory() - memory) / count
                load.figures[f"a request beside {count} {way}"] = f"{_median(answers):.2f} s"
                load.figures[f"memory of each of {count} {way}"] = f"{each:.0f} KB"
                held_row = f"{count} {way}: each holds at most {_HELD:.0f} KB of memory"
                load.table.row(held_row).add(f"{each:.0f} KB" if each > _HELD else "")
                if wait:
                    left = await held.left(_LET_GO)
                    closed = f"{count} {way}: closed by the server within {_LET_GO:.0f} s"
                    load.table.row(closed).add(f"{left} are open" if left else "")
        except OSError as error:
            load.table.row(row).add(f"a connection is refused: {error}")
        load.count("an ordinary request after they broke off", await one_by_one(load, 1))


def _refusal_fails(answer: Answer) -> Answer:
    """Return an answer of which a refusal is a failure: nobody is in work or waiting."""
    if answer.failure or answer.status == 200:
        return answer
    return Answer(answer.status, answer.seconds, "refused, though nothing is in work")


async def in_a_row(load: Load, count: int) -> None:
    """Ask again and again, and see what becomes of the memory."""
    memory, answers = [], []
    async with open_client() as http:
        for number in range(count):
            which = number % len(load.photographs)
            answers.append(await ask(http, load.served.detect, load.photographs[which], load.wanted[which]))
            memory.append(load.served.memory())
    load.count(f"{count} requests in a row", answers)
    late = np.arange(count // 4, count)
    slope = float(np.polyfit(late, np.array(memory)[late], 1)[0])
    grown = f"{memory[-1] / 1024:.0f} MB after {count} requests, {slope:+.2f} KB a request"
    load.figures["memory of a row of requests"] = f"{memory[0] / 1024:.0f} MB, {grown}"
    row = f"memory does not grow by more than {_LEAK:g} KB a request"
    if count <= _FEW:
        load.table.skip(row, f"{count} requests are too few to tell")
    else:
        load.table.row(row).add(grown if slope > _LEAK else "")


@dataclass(frozen=True)
class Singles:
    """What single requests took.

    Args:
        seconds: The median one, by the clock.
        work: Of all processors for one.
        is_disturbed: Whether other processes kept the processors busy.
    """

    seconds: float
    work: float
    is_disturbed: bool


async def single_requests(load: Load, when: str) -> Singles:
    """Ask one by one, and return what that took."""
    work = load.served.processor_seconds()
    answers = await one_by_one(load, _SINGLE)
    load.count(f"a single request {when}", answers)
    work = (load.served.processor_seconds() - work) / _SINGLE
    # The requests themselves keep at most all of them busy.
    return Singles(_median(answers), work, os.getloadavg()[0] > (os.cpu_count() or 1) + 1)


def compare_singles(load: Load, before: Singles, after: Singles) -> None:
    """Add to the table whether requests are as quick as they were."""
    for words, name in (("by the clock", "seconds"), ("of the processors", "work")):
        first, last = getattr(before, name), getattr(after, name)
        ratio = last / first
        load.figures[f"a single request before, after, {words}"] = f"{first:.3f} s, {last:.3f} s, ratio {ratio:.2f}"
        row = f"a single request takes at most {_SLOWER:g} times as long as before, {words}"
        if name == "seconds" and (before.is_disturbed or after.is_disturbed):
            load.table.skip(row, f"other processes keep the processors busy; it was {ratio:.2f}")
        else:
            load.table.row(row).add(f"{ratio:.2f} times" if ratio > _SLOWER else "")


def _median(answers: Sequence[Answer]) -> float:
    return float(np.median([one.seconds for one in answers]))


async def all_of_it(load: Load, given: argparse.Namespace) -> None:
    """Go through all parts."""
    before = await single_requests(load, "before")
    say("clients")
    await under_clients(load, given.clients, given.seconds)
    say("crowds")
    await beside_crowds(load, wait=not given.quick)
    compare_singles(load, before, await single_requests(load, "after"))
    say("in a row")
    await in_a_row(load, given.requests)


def main() -> int:
    """Parse, serve, ask, print."""
    given = _arguments()
    work = Path(given.work or tempfile.mkdtemp(prefix="load-"))
    work.mkdir(parents=True, exist_ok=True)
    photographs, table = small_photographs(), FaultTable()
    started = time.perf_counter()
    try:
        with serving(work, _OPTIONS) as served:
            # From here on: the server has the number of files that a shell gives it.
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            wanted = [found_in(ask_alone(served.detect, one)) for one in photographs]
            load = Load(served, photographs, wanted, table)
            load.figures["photographs, objects on each"] = ", ".join(str(len(one["detections"])) for one in wanted)
            load.figures["open files that the server may have"] = str(soft)
            asyncio.run(all_of_it(load, given))
            table.row("Ctrl-C ends the server, which has printed no traceback").add(served.end())
    finally:
        if given.work is None:
            shutil.rmtree(work, ignore_errors=True)
    print(machine_line("inception-rcnn", "torch", "uvicorn", "fastapi", "httpx"))
    print(f"serve {' '.join(_OPTIONS)}; {time.perf_counter() - started:.0f} s in all\n")
    print("| figure | value |\n|---|---|")
    print("\n".join(f"| {name} | {value} |" for name, value in load.figures.items()) + "\n")
    return table.show()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=50, help="that ask at a time")
    parser.add_argument("--seconds", type=float, default=120.0, help="for which they ask")
    parser.add_argument("--requests", type=int, default=2000, help="in a row")
    parser.add_argument("--work", help="folder for what the server says, kept; default: one that is removed")
    parser.add_argument("--quick", action="store_true", help="10 s, 100 requests, and no wait for the server to close")
    given = parser.parse_args()
    if given.quick:
        given.seconds, given.requests = 10.0, 100
    return given


if __name__ == "__main__":
    sys.exit(main())
