"""Each write of a run fails once; full and read-only disks, unreadable input, memory that runs out, Ctrl-C.

    python benchmarks/faults/writes.py [--only NAME ...] [--of COMMAND ...] [--every N] [--quick]

Of each command one run goes through undisturbed, and every file and folder that it makes is counted. Then each of these
fails in turn: it cannot be made, written beyond its first byte, forced to the disk, or given its name. Survived means:
one clear line on the error stream, an exit status that is not 0, no traceback, no temporary or half-written file; and
the same call afterwards ends with what the undisturbed run ended with. --every 3 takes every third write.

The other faults are in surroundings.py; --of says on which of the commands.
"""

from __future__ import annotations

import argparse
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import torch
from machine import machine_line

from faults.failing import IN_WORDS, KINDS, FailingDisk, one_line, run_failing
from faults.results import difference, results_of
from faults.small_runs import RUNS, Materials, make_materials
from faults.surroundings import SURROUNDINGS
from faults.table import FaultTable, say
from inception_rcnn.structures.array_file import read_array_description

_QUICK, _QUICK_OF, _QUICK_EVERY = ("detect", "changing"), ("propose",), 12
# What grows, is replaced, or has what was done so far: neither that of the end nor half-written after a failure.
_GROWING = re.compile(
    r"(.*/)?(found\.json\.part|found\.csv|log\.csv|state\.safetensors|best\.safetensors|.*\.(claim|old|now))"
)


@dataclass(frozen=True)
class WritingCommand:
    """A command whose writes fail.

    Args:
        name: In the table.
        words: Materials, folder of the results -> the command line.
    """

    name: str
    words: Callable[[Materials, Path], list[str]]


def _data(materials: Materials, output: Path) -> list[str]:
    where = [str(materials.coco), "--split", "val"]
    where += ["--sheet", str(output / "sheet.jpg"), "--list", str(output / "ids.txt")]
    return ["data", *where, "--origin", "0", "--convert", "voc", str(output / "voc")]


def _compare(materials: Materials, output: Path) -> list[str]:
    truth = ["--data", f"coco:{materials.coco}", "--split", "val", "--origin", "0"]
    found = [str(materials.detections(name)) for name in ("first", "second")]
    return ["compare", *found, *truth, "--json", str(output / "compared.json"), "--report", str(output / "report")]


def _detect(materials: Materials, output: Path) -> list[str]:
    return [*RUNS["detect"].words(materials, output), "--quiet"]


COMMANDS: dict[str, WritingCommand] = {
    one.name: one
    for one in (
        WritingCommand("detect", _detect),
        WritingCommand("propose", RUNS["propose"].words),
        WritingCommand("eval_map", RUNS["eval_map"].words),
        WritingCommand("data", _data),
        WritingCommand("compare", _compare),
        WritingCommand("train pooled", RUNS["train pooled"].words),
    )
}


def fail_each_write(
    command: WritingCommand, materials: Materials, work: Path, table: FaultTable, every: int = 1
) -> None:
    """Let each write of a command fail once, and add what came of it to the table.

    Args:
        command: Which.
        materials: It works on them.
        work: Folder for its results, made anew each time.
        table: Has a row for each kind of failure.
        every: Only every such write.

    Raises:
        RuntimeError: The command fails by itself.
    """
    output = _empty(work)
    words = command.words(materials, output)
    disk = FailingDisk(output)
    ended = run_failing(words, work, disk)
    if ended.status:
        raise RuntimeError(f"{command.name} ends with status {ended.status} by itself: {ended.said[-2000:]}")
    wanted = results_of(output)
    counted = {kind: len(names) for kind, names in ended.written.items()}
    say(f"{command.name}: {', '.join(f'{count} x {kind}' for kind, count in counted.items())}")
    for kind in KINDS:
        for number in range(0, counted[kind], every):
            row = table.row(f"{command.name}: {IN_WORDS[kind]}")
            wrong = write_failure(words, output, work, FailingDisk(_empty(work), kind, number), wanted)
            row.add(f"{ended.written[kind][number]}: {wrong}" if wrong else "")


def write_failure(words: list[str], output: Path, work: Path, disk: FailingDisk, wanted: dict[str, str]) -> str:
    """Return what is wrong with a run one of whose writes fails, or with the same call after it; empty: nothing."""
    ended = run_failing(words, work, disk)
    wrong = one_line(ended) or _half_written(output, wanted)
    if wrong:
        return wrong
    again = run_failing(words, work)
    if again.status:
        return f"the same call afterwards: status {again.status}, {again.said[-400:]}"
    return (wrong := difference(wanted, results_of(output))) and f"the same call afterwards {wrong}"


def _half_written(output: Path, wanted: dict[str, str]) -> str:
    """Return what is in the folder that should not be: temporary files, files that are not whole."""
    got = results_of(output)
    if temporary := [name for name in got if re.fullmatch(r"(.*/)?\.[^/]*", name)]:
        return f"left {temporary[0]}"
    for name in got:
        if name.endswith(".safetensors"):
            read_array_description(output / name)
        elif name in wanted and got[name] != wanted[name] and not _GROWING.fullmatch(name):
            return f"left {name} half-written"
    return ""


def _empty(work: Path) -> Path:
    """Return the folder for results, empty."""
    shutil.rmtree(work, ignore_errors=True)
    (work / "results").mkdir(parents=True)
    return work / "results"


def main() -> int:
    """Parse, let writes fail, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = [*COMMANDS, *SURROUNDINGS]
    parser.add_argument("--only", nargs="+", choices=known, metavar="NAME", default=known, help=", ".join(known))
    parser.add_argument("--of", nargs="+", choices=[*RUNS], metavar="COMMAND", default=[*RUNS], help="in surroundings")
    parser.add_argument("--every", type=int, default=1, help="of the writes")
    parser.add_argument(
        "--quick", action="store_true", help="a few writes of detect, photographs that change under propose"
    )
    given = parser.parse_args()
    if given.quick:
        given.only, given.of, given.every = _QUICK, _QUICK_OF, _QUICK_EVERY
    table = FaultTable()
    torch.set_num_threads(1)  # a copy of a process whose threads have computed would wait for these for ever
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has it ignored by what it starts with &
    with tempfile.TemporaryDirectory(prefix="writes-") as root:
        for names, val in ((COMMANDS, 2), (SURROUNDINGS, 8)):  # each write of few, and time to disturb the others
            if not set(given.only) & set(names):
                continue
            materials = make_materials(Path(root, f"materials-{val}"), train=3, val=val)
            for name in filter(given.only.__contains__, names):
                say(name)
                if name in COMMANDS:
                    fail_each_write(COMMANDS[name], materials, Path(root, "run"), table, given.every)
                else:
                    SURROUNDINGS[name](materials, Path(root, "run"), table, given.of)
    print(machine_line("inception-rcnn", "torch"))
    return table.show()


if __name__ == "__main__":
    sys.exit(main())
