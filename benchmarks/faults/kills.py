"""Kill -9 at random moments: called again, every command ends with what a run that nothing befell ends with.

    python benchmarks/faults/kills.py [--kills N] [--only NAME ...] [--seed N] [--work FOLDER] [--quick]

Of each run of small_runs.py one goes through undisturbed: its files are what the others are compared with, to the byte
but for times, and its length is the range of the moments. Then, N times, in a folder of its own: the run is begun,
killed at a random moment, begun again, in a third of the cases killed once more, and at last left to its end. It
has survived if its end is that of the undisturbed run, no other file is left, and nothing that was stored is done
twice. Runs of several processes are killed N times as a whole, N times their first process alone, and N times one rank:
within some seconds no process may be left running.

Stale parts: a run is stopped half-way, then a photograph, an annotation, the weights, a setting or the code is changed,
and the run is called again. It has to end as one that began after the change, or to refuse in one line.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import torch
from machine import machine_line

from faults.processes import Started, start
from faults.results import difference, done_twice, results_of
from faults.small_runs import RUNS, Materials, SmallRun, make_materials
from faults.stale import STALE, stale_failure
from faults.table import FaultTable, say

KILLS, KILLS_OF_LONG = 50, 20  # of trainings, and of runs of several processes
QUICK = ("detect",)
_MOST_SECONDS = 900.0  # for any run
_SECONDS_TO_END = 60.0  # for what a killed process started, which may still be importing
_TWICE = 1 / 3  # share of the runs that are killed twice


@dataclass(frozen=True)
class Undisturbed:
    """How a run goes when nothing befalls it.

    Args:
        results: What it leaves.
        begins: Seconds after which the first file was there.
        seconds: It took.
        status: Its exit status.
    """

    results: dict[str, str]
    begins: float
    seconds: float
    status: int


def undisturbed(run: SmallRun, materials: Materials, work: Path) -> Undisturbed:
    """Let a run go through, and return what it leaves.

    Raises:
        RuntimeError: It fails by itself.
    """
    with folder_of(run, materials, work) as output:
        before = set(results_of(output))
        started = start(run, run.words(materials, output), work / "journal.txt", work / "logs")
        begins = None
        while not started.wait(0.05):
            if begins is None and set(_names(output)) - before:
                begins = time.monotonic() - started.since
            if time.monotonic() - started.since > _MOST_SECONDS:
                started.kill("all")
                raise RuntimeError(f"{run.name} took more than {_MOST_SECONDS:.0f} s")
        seconds = time.monotonic() - started.since
        if started.status:
            raise RuntimeError(f"{run.name} ends with status {started.status} by itself: {started.said()[-2000:]}")
        return Undisturbed(results_of(output), begins or 0.0, seconds, started.status or 0)


def killed(run: SmallRun, materials: Materials, work: Path, usual: Undisturbed, which: str, rng: random.Random) -> str:
    """Kill a run once or twice and call it again; return what is wrong in the end, an empty text if nothing is.

    Args:
        run: Which.
        materials: It works on them.
        work: Folder of this trial.
        usual: How it goes.
        which: Processes that are killed: "all", "first" or "rank".
        rng: Of the moments.
    """
    with folder_of(run, materials, work) as output:
        journal, words, moments = work / "journal.txt", run.words(materials, output), list[float]()
        for kills_left in (1, 1, 0) if rng.random() < _TWICE else (1, 0):
            moment = rng.uniform(0.8 * usual.begins, usual.seconds) if kills_left else _MOST_SECONDS
            started = start(run, words, journal, work / "logs")
            if started.wait(moment):
                break
            if not kills_left:
                started.kill("all")
                return f"does not end when called again (killed after {moments} s)"
            moments.append(round(moment, 2))
            started.kill(which, rng.random())
            if failure := _end(started, which):
                return f"{failure} (killed after {moments} s)"
            if not difference(usual.results, results_of(output)):
                moments.pop()  # all was done, and nothing would be proved
                break
        if not moments:
            quicker = replace(usual, begins=0.8 * usual.begins, seconds=0.8 * usual.seconds)
            return killed(run, materials, work, quicker, which, rng)
        if started.status != usual.status and started.status != -9:
            return f"called again: status {started.status}, {started.said()[-600:]} (killed after {moments} s)"
        wrong = difference(usual.results, results_of(output)) or done_twice(journal)
        return f"{wrong} (killed after {moments} s)" if wrong else ""


def _end(started: Started, which: str) -> str:
    """Wait for the end of what was killed; return what is wrong with it."""
    if which == "rank" and not started.wait(3 * _SECONDS_TO_END):
        started.kill("all")
        started.wait(_SECONDS_TO_END)
        return "goes on though a rank was killed"
    left = started.outlived(_SECONDS_TO_END)
    started.wait(_SECONDS_TO_END)
    return f"{len(left)} processes still run {_SECONDS_TO_END:.0f} s later" if left else ""


@contextmanager
def folder_of(run: SmallRun, materials: Materials, work: Path) -> Iterator[Path]:
    """Give an empty folder for the results of a run, prepared for it, always under the same name."""
    shutil.rmtree(work, ignore_errors=True)
    output = work / "results"
    output.mkdir(parents=True)
    if run.prepare is not None:
        run.prepare(materials, output)
    yield output
    shutil.rmtree(work, ignore_errors=True)


def _names(folder: Path) -> Iterator[str]:
    for path, _, names in os.walk(folder):
        yield from (str(Path(path, name).relative_to(folder)) for name in names)


def ways_of(run: SmallRun) -> tuple[str, ...]:
    """Return which processes of a run are killed."""
    if run.processes > 1:
        return ("all", "first", "rank")
    return ("all", "first") if run.name == "train_ensemble" else ("all",)


def main() -> int:
    """Parse, kill, print."""
    given = _arguments()
    torch.set_num_threads(1)  # a copy of a process whose threads have computed would wait for these for ever
    root = Path(given.work or tempfile.mkdtemp(prefix="kills-"))
    table, rng = FaultTable(), random.Random(given.seed)
    try:
        shutil.rmtree(root / "materials", ignore_errors=True)
        materials = make_materials(root / "materials")
        for name in given.only:
            _kill_often(RUNS[name], materials, root / "run", table, rng, given.kills)
        for case in [] if given.quick else [one for one in STALE if one.run in given.only]:
            say(f"stale: {case.title}")
            table.row(f"stale parts: {case.title}").add(stale_failure(case, materials, root / "run"))
    finally:
        if given.work is None:
            shutil.rmtree(root, ignore_errors=True)
    print(machine_line("inception-rcnn", "torch"))
    return table.show()


def _kill_often(
    run: SmallRun, materials: Materials, work: Path, table: FaultTable, rng: random.Random, kills: int | None
) -> None:
    """Kill a run as often as asked for in each of its ways, these by turns."""
    if kills == 0:
        return
    usual = undisturbed(run, materials, work)
    say(f"{run.name}: undisturbed {usual.seconds:.1f} s, its first file after {usual.begins:.1f} s")
    ways = ways_of(run)
    often = kills or (KILLS_OF_LONG if run.is_training or run.processes > 1 else KILLS)
    words = {"all": "", "first": ", its first process alone", "rank": ", one rank"}
    for number in range(often * len(ways)):
        which = ways[number % len(ways)]
        row = table.row(f"kill -9, {run.name}{words[which]}")
        row.add(killed(run, materials, work, usual, which, rng))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--kills",
        type=int,
        help=f"of each run, in each way; default {KILLS}, of trainings and under torchrun {KILLS_OF_LONG}; 0: stale "
        "parts alone",
    )
    parser.add_argument("--only", nargs="+", choices=[*RUNS], metavar="NAME", help=f"of {', '.join(RUNS)}")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--work", help="folder for all files, kept; default: one that is removed")
    parser.add_argument("--quick", action="store_true", help=f"twice each: {', '.join(QUICK)}")
    given = parser.parse_args()
    given.only = given.only or (list(QUICK) if given.quick else list(RUNS))
    given.kills = 2 if given.quick and given.kills is None else given.kills
    return given


if __name__ == "__main__":
    sys.exit(main())
