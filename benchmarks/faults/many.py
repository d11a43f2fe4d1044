"""10,000 small photographs: memory stays flat, the rate constant, and a run that is killed half-way has lost nothing.

    python benchmarks/faults/many.py [--count 10000] [--work FOLDER] [--quick]

The photographs are crops of 64 px of seven that come with scikit-image, made on the way as JPEG files in one folder.
`detect` goes through it with few regions, draws nothing and writes JSON Lines. When half of the lines are there it is
killed (kill -9) and called again. The table has memory (resident) and rate of each tenth of the photographs, then how
long both calls took to their first new photograph; the second one's includes the checksums of what was done before.

Survived means: every line that was there at the kill is there at the end, no photograph is missing or there twice,
memory grows by at most 2 KB a photograph in each half (its first fifth left out), and no tenth is less than half as
quick as the median one (those in which a call begins left out); and the second call comes to its first new photograph
later than the first one came to its own by at most 5 % of the time that was saved, that of the photographs done before.
The last three are judged from 2,000 photographs on.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np
import skimage
from machine import machine_line
from PIL import Image

from faults.memory import memory_of
from faults.table import FaultTable, say

_ROOT = Path(__file__).resolve().parent.parent.parent
_SOURCES = (
    *("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png", "motorcycle_right.png"),
    "retina.jpg",
)
_SIDE = 64
_REGIONS = 10
_TENTHS = 10
_LOOK_EVERY = 0.1
_GROWTH = 2.0  # KB a photograph: the names of what is done, and what an allocator keeps
_SLOWEST = 0.5  # of the median rate
_RESTART = 0.05  # of the time that is saved
_ENOUGH = 2000  # photographs, for growth, rate and restart to be more than noise
_MOST_SECONDS = 24 * 3600.0


def make_photographs(folder: Path, count: int) -> None:
    """Write crops at random places into a folder."""
    whole = [_pixels(name) for name in _SOURCES if (Path(skimage.__file__).parent / "data" / name).is_file()]
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for number in range(count):
        pixels = whole[number % len(whole)]
        top, left = (int(rng.integers(0, side - _SIDE)) for side in pixels.shape[:2])
        crop = np.ascontiguousarray(pixels[top : top + _SIDE, left : left + _SIDE])
        Image.fromarray(crop).save(folder / f"{number:05d}.jpg", quality=90)


def _pixels(name: str) -> np.ndarray:
    with Image.open(Path(skimage.__file__).parent / "data" / name) as image:
        return np.asarray(image.convert("RGB"))


@dataclass
class Watched:
    """A call of `detect`, as it was seen from outside.

    Args:
        first: Lines that were there before it.
        begun: Seconds from its start to its first new line; 0: there was none.
        status: Exit status, or minus the signal.
        seen: Seconds since the start, lines in the file, and memory in KB, again and again.
    """

    first: int
    begun: float = 0.0
    status: int | None = None
    seen: list[tuple[float, int, float]] = field(default_factory=list)


def watch(command: list[str], lines: Path, said: Path, kill_at: int | None) -> Watched:
    """Run a command and look at the file that it fills.

    Args:
        command: The command.
        lines: The file.
        said: For what it says.
        kill_at: Lines at which it is killed; None: it is left to its end.
    """
    counter = LineCounter(lines)
    watched, started = Watched(counter.count()), time.monotonic()
    with open(said, "wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    while process.poll() is None and time.monotonic() - started < _MOST_SECONDS:
        time.sleep(_LOOK_EVERY)
        there, memory = counter.count(), memory_of(process.pid)
        if there > watched.first:
            watched.begun = watched.begun or time.monotonic() - started
            watched.seen.append((time.monotonic() - started, there, memory))
        if kill_at is not None and there >= kill_at:
            process.send_signal(signal.SIGKILL)
            break
    watched.status = process.wait()
    return watched


class LineCounter:
    """Counts the photographs in a file of JSON Lines that grows, each byte read once.

    Args:
        path: The file; its first line is about the others.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._read, self._lines, self._file = path, 0, 0, 0

    def count(self) -> int:
        """Return how many lines there are now."""
        if not self._path.exists():
            return 0
        with self._path.open("rb") as file:
            number = self._path.stat().st_ino
            if number != self._file:  # written anew, whole
                self._file, self._read, self._lines = number, 0, 0
            file.seek(self._read)
            block = file.read()
        self._read += len(block)
        self._lines += block.count(b"\n")
        return max(self._lines - 1, 0)


@dataclass(frozen=True)
class Tenth:
    """A tenth of the photographs.

    Args:
        memory: Median of the process while it was at them, in MB.
        rate: Photographs a second.
        starts: Whether a call began, or was killed, in it.
    """

    memory: float
    rate: float
    starts: bool


def tenths_of(runs: list[Watched], count: int) -> list[Tenth]:
    """Return memory and rate of each tenth, as far as anything was seen of it."""
    found = []
    for number in range(_TENTHS):
        low, high = count * number // _TENTHS, count * (number + 1) // _TENTHS
        pieces = [[one for one in run.seen if low <= one[1] <= high] for run in runs]
        seen = max(pieces, key=len)
        if len(seen) < 2 or seen[-1][1] == seen[0][1]:
            continue
        rate = (seen[-1][1] - seen[0][1]) / (seen[-1][0] - seen[0][0])
        starts = any(low <= run.first < high for run in runs)
        found.append(Tenth(float(np.median([one[2] for one in seen])) / 1024, rate, starts))
    return found


def growth(run: Watched) -> float:
    """Return by how many KB a photograph the memory of a call grew, its first fifth left out."""
    lines = np.array([one[1] for one in run.seen], float)
    late = lines >= lines[0] + (lines[-1] - lines[0]) / 5
    return float(np.polyfit(lines[late], np.array([one[2] for one in run.seen])[late], 1)[0])


def lost(before: list[bytes], after: list[bytes], names: list[str]) -> str:
    """Return what is wrong with the lines at the end; an empty text if nothing is.

    Args:
        before: Those at the kill, without one that was torn.
        after: Those at the end.
        names: Of all photographs.
    """
    images = [json.loads(line) for line in after]
    times = Counter(one["image"] for one in images)
    if gone := set(before) - set(after):
        return f"{len(gone)} lines that were there at the kill are gone"
    if twice := [name for name, often in times.items() if often > 1]:
        return f"{twice[0]} is there {times[twice[0]]} times"
    if missing := set(names) - set(times):
        return f"{len(missing)} photographs are missing"
    return f"{times.total()} lines, not {len(names)}" if times.total() != len(names) else _first_error(images)


def _first_error(images: list[dict[str, object]]) -> str:
    return next((f"{one['image']}: {one['error']}" for one in images if "error" in one), "")


def _whole_lines(path: Path) -> list[bytes]:
    """Return the lines of photographs, without a last one that is torn."""
    return [line for line in path.read_bytes().splitlines(keepends=True)[1:] if line.endswith(b"\n")]


def judge(runs: list[Watched], tenths: list[Tenth], count: int, table: FaultTable) -> None:
    """Add rows on memory, rate and restart."""
    restart = f"called again, it is at new photographs within {_RESTART:.0%} of the time that is saved"
    memory, rate = f"memory grows by at most {_GROWTH:g} KB a photograph", "no tenth is half as quick as the median"
    if count < _ENOUGH:
        for row in (memory, rate, restart):
            table.skip(row, f"{count} photographs are too few to tell")
        return
    for run in runs:
        grown = growth(run)
        table.row(memory).add(f"{grown:+.2f} KB" if grown > _GROWTH else "")
    usual = float(np.median([one.rate for one in tenths]))
    for one in tenths:
        slow = not one.starts and one.rate < _SLOWEST * usual
        table.row(rate).add(f"{one.rate:.2f} a second, the median is {usual:.2f}" if slow else "")
    saved, later = runs[0].seen[-1][0] - runs[0].begun, runs[1].begun - runs[0].begun
    table.row(restart).add(f"{later:.1f} s later, {saved:.1f} s are saved" if later > _RESTART * saved else "")


def run_twice(work: Path, count: int, table: FaultTable) -> list[Watched]:
    """Kill a run half-way, call it again, and add to the table what became of its lines."""
    photographs, lines = work / "photographs", work / "found.jsonl"
    command = [sys.executable, str(_ROOT / "tools" / "detect.py"), str(photographs), "--no-pictures", "--quiet"]
    command += ["--json", str(lines), "--max-proposals", str(_REGIONS), "--device", "cpu"]
    first = watch(command, lines, work / "first.txt", count // 2)
    say(f"killed after {first.seen[-1][1] if first.seen else 0} of {count}")
    before = _whole_lines(lines) if lines.exists() else []
    killed = table.row("kill -9 half-way, then the same call: nothing is lost or done twice")
    if first.status != -signal.SIGKILL:
        killed.add(f"ended by itself, status {first.status}: {(work / 'first.txt').read_text()[-300:]}")
        return [first]
    second = watch(command, lines, work / "second.txt", None)
    said = (work / "second.txt").read_text()
    names = [str(path) for path in sorted(photographs.iterdir())]
    wrong = f"status {second.status}: {said[-300:]}" if second.status else lost(before, _whole_lines(lines), names)
    killed.add(wrong)
    return [first, second]


def main() -> int:
    """Parse, make photographs, detect, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000, help="of the photographs")
    parser.add_argument("--work", help="folder for all files, kept; default: one that is removed")
    parser.add_argument("--quick", action="store_true", help="200 photographs")
    given = parser.parse_args()
    count = 200 if given.quick else given.count
    work, table = Path(given.work or tempfile.mkdtemp(prefix="many-")), FaultTable()
    try:
        shutil.rmtree(work / "photographs", ignore_errors=True)
        (work / "found.jsonl").unlink(missing_ok=True)
        make_photographs(work / "photographs", count)
        runs = run_twice(work, count, table)
    finally:
        if given.work is None:
            shutil.rmtree(work, ignore_errors=True)
    tenths = tenths_of(runs, count)
    if len(runs) == 2:
        judge(runs, tenths, count, table)
    print(machine_line("inception-rcnn", "torch"))
    _show(runs, tenths, count)
    return table.show()


def _show(runs: list[Watched], tenths: list[Tenth], count: int) -> None:
    """Print what was measured."""
    print(f"{count} photographs of {_SIDE} px, {_REGIONS} regions each\n")
    print("| tenth | memory | photographs a second |\n|---|---|---|")
    for number, one in enumerate(tenths, start=1):
        print(f"| {number}{', a call begins' if one.starts else ''} | {one.memory:.0f} MB | {one.rate:.2f} |")
    for words, run in zip(("begun anew", "called again after the kill"), runs, strict=False):
        print(f"\n{words}, {run.first} lines there: the first new photograph after {run.begun:.1f} s", end="")
        if len(run.seen) > 2:
            print(f"; memory {growth(run):+.2f} KB a photograph", end="")
    print("\n")


if __name__ == "__main__":
    sys.exit(main())
