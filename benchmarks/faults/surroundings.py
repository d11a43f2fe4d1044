"""What may be wrong around a run: a small or read-only disk, input that cannot be read or changes, memory, Ctrl-C.

Each takes the materials, a folder to work in, the table for what comes of it, and the commands that are asked for.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from faults.failing import Ended, one_line, run_failing
from faults.processes import start
from faults.results import difference, results_of
from faults.small_runs import RUNS, Materials, SmallRun
from faults.table import FaultTable

_DISK, _ROOMY = "4m", "1g"
_LEFT = 20_000  # bytes that are left on the full disk
_SECONDS = 600.0
_HERE = Path(__file__).resolve().parent
Surrounding = Callable[[Materials, Path, FaultTable, Collection[str]], None]


def full_disk(materials: Materials, work: Path, table: FaultTable, of: Collection[str]) -> None:
    """Run on a file system of 4 MB that is nearly full, and again when there is room."""
    for name in _asked(of, "detect", "propose", "eval_map", "train pooled"):
        row = f"{name}, a disk of 4 MB that is full"
        wanted = _undisturbed(RUNS[name], materials, work)
        try:
            with _mounted(work / "results", f"size={_DISK}"):
                _fill(work / "results" / "filler", leave=_LEFT)
                words = RUNS[name].words(materials, work / "results")
                wrong = one_line(run_failing(_quiet(words), work, seconds=_SECONDS))
                (work / "results" / "filler").unlink()
                subprocess.run(["mount", "-o", f"remount,size={_ROOMY}", work / "results"], check=True)
                table.row(row).add(wrong or _again(_quiet(words), work, wanted))
        except OSError as error:
            table.skip(row, str(error))


def read_only(materials: Materials, work: Path, table: FaultTable, of: Collection[str]) -> None:
    """Run where nothing can be written, and where a file is in the place of a folder."""
    for name in _asked(of, "detect", "propose", "eval_map", "train pooled"):
        words = _quiet(RUNS[name].words(materials, work / "results"))
        _emptied(work)
        try:
            with _mounted(work / "results", "size=4m,ro"):
                wrong = one_line(run_failing(words, work, seconds=_SECONDS))
            table.row(f"{name}, a read-only disk").add(wrong)
        except OSError as error:
            table.skip(f"{name}, a read-only disk", str(error))
        _emptied(work)
        shutil.rmtree(work / "results")
        (work / "results").write_text("in the way")
        wrong = one_line(run_failing(words, work, seconds=_SECONDS))
        table.row(f"{name}, a file in the place of the folder").add(wrong)


def unreadable(materials: Materials, work: Path, table: FaultTable, of: Collection[str]) -> None:
    """Give photographs that are a folder, a dangling link, a pipe that nobody writes to, an empty file."""
    for kind, put in _UNREADABLE.items():
        for name in _asked(of, "detect", "propose", "eval_map", "train pooled"):
            changed = _changed_copy(materials, work)
            part = "train" if name == "train pooled" else "val"
            photograph = sorted((changed.coco / part).iterdir())[0]
            photograph.unlink()
            put(photograph)
            words = _quiet(RUNS[name].words(changed, work / "results"))
            if name == "detect":  # of a folder, what is no file is passed over
                words[1:2] = [str(path) for path in sorted(changed.photographs.iterdir())]
            ended = run_failing(words, work, seconds=_SECONDS)
            if name == "detect" and kind == "a folder":  # one that is named may be meant
                noted = "is called as an image, and is a folder without any" in ended.said and ended.status == 0
                table.row(f"{name}, a photograph is {kind}").add("" if noted else f"said {ended.said!r}")
                continue
            table.row(f"{name}, a photograph is {kind}").add(one_line(ended))
        for option in ("--weights", "--proposals") if "eval_map" in of else ():
            changed = _changed_copy(materials, work)
            bad = changed.root / "bad.safetensors"
            put(bad)
            words = _quiet(RUNS["eval_map"].words(changed, work / "results"))
            ended = run_failing(_with_option(words, option, str(bad)), work, seconds=_SECONDS)
            table.row(f"eval_map, {option} is {kind}").add(one_line(ended))
        if "propose" not in of:
            continue
        changed = _changed_copy(materials, work)
        changed.annotations("val").unlink()
        put(changed.annotations("val"))
        ended = run_failing(_quiet(RUNS["propose"].words(changed, work / "results")), work, seconds=_SECONDS)
        table.row(f"propose, the annotations are {kind}").add(one_line(ended))


def changing(materials: Materials, work: Path, table: FaultTable, of: Collection[str]) -> None:
    """Take away or replace the last photograph once the first one is done; then put it back, and run again."""
    for name in _asked(of, "detect", "propose", "eval_map"):
        for what in ("goes away", "is cut off", "is replaced by another"):
            changed = _changed_copy(materials, work)
            words = _quiet(RUNS[name].words(changed, work / "results"))
            last = sorted(changed.photographs.iterdir())[-1]
            whole = last.read_bytes()
            ended = _changed_meanwhile(RUNS[name], words, changed, last, what, work)
            if what == "is replaced by another":
                wrong = _not_of_what_is_there(ended, words, work)
            else:
                wrong = one_line(ended) if ended.status else "is not noticed: it came too late, or was read before"
            last.write_bytes(whole)
            if not wrong and name == "eval_map" and not ended.status:
                wrong = one_line(run_failing(words, work, seconds=_SECONDS))  # a finished file is not overwritten
            else:
                wrong = wrong or _again(words, work, _wanted_for(words, work))
            table.row(f"{name}, a photograph {what} meanwhile").add(wrong)


def killed_member(materials: Materials, work: Path, table: FaultTable, of: Collection[str]) -> None:
    """Kill what a command started, as the system does when memory runs out."""
    if "train_ensemble" not in of:
        return
    run = RUNS["train_ensemble"]
    wanted = _undisturbed(run, materials, work)
    output = _emptied(work)
    if run.prepare is not None:
        run.prepare(materials, output)
    words = run.words(materials, output)
    started = start(run, words, work / "journal.txt", work / "logs")
    while not started.wait(0.05):
        if "step\t" in _text(work / "journal.txt"):
            started.kill("rank")
            break
    started.wait(_SECONDS)
    wrong = one_line(Ended(started.status, started.said(), "", {}))
    if not wrong and "killed" not in started.said():
        wrong = f"does not say that it was killed: {started.said()}"
    table.row("train_ensemble, a member killed for memory").add(wrong or _again(words, work, wanted))
    why = "all work is done by threads of one process; there is no worker to kill"
    table.skip("propose, detect, eval_map, train: a worker killed for memory", why)


def interrupted(materials: Materials, work: Path, table: FaultTable, of: Collection[str]) -> None:
    """Press Ctrl-C once, and twice, while a run works; call it again."""
    for name in _asked(of, "propose", "detect", "eval_map", "train pooled", "train_ensemble"):
        run = RUNS[name]
        wanted = _undisturbed(run, materials, work)
        for gaps in ((), (0.05,), (0.4,)):
            output = _emptied(work)
            if run.prepare is not None:
                run.prepare(materials, output)
            words = _quiet(run.words(materials, output))
            ended = _called(words, work, interrupt=(0.0, *gaps))
            wrong = one_line(ended, status=130, begins="interrupted")
            row = f"{name}, Ctrl-C {'twice' if gaps else 'once'}"
            table.row(row).add(wrong or _again(words, work, wanted))


SURROUNDINGS: dict[str, Surrounding] = {
    "full disk": full_disk,
    "read-only": read_only,
    "unreadable": unreadable,
    "changing": changing,
    "killed member": killed_member,
    "Ctrl-C": interrupted,
}


def _asked(of: Collection[str], *names: str) -> list[str]:
    return [name for name in names if name in of]


def _quiet(words: list[str]) -> list[str]:
    return words if "--quiet" in words else [*words, "--quiet"]


def _with_option(words: list[str], option: str, value: str) -> list[str]:
    """Return a command line in which an option has another value."""
    if option not in words:
        return [*words, option, value]
    place = words.index(option)
    return [*words[: place + 1], value, *words[place + 2 :]]


def _undisturbed(run: SmallRun, materials: Materials, work: Path) -> dict[str, str]:
    """Return what a run leaves."""
    output = _emptied(work)
    if run.prepare is not None:
        run.prepare(materials, output)
    ended = run_failing(_quiet(run.words(materials, output)), work, seconds=_SECONDS)
    if ended.status:
        raise RuntimeError(f"{run.name} ends with status {ended.status} by itself: {ended.said[-1000:]}")
    found = results_of(output)
    _emptied(work)
    return found


def _again(words: list[str], work: Path, wanted: dict[str, str]) -> str:
    """Call once more; return what is wrong with the end, an empty text if it is that of an undisturbed run."""
    again = run_failing(words, work, seconds=_SECONDS)
    if again.status:
        return f"called again: status {again.status}, {again.said[-400:]}"
    return (wrong := difference(wanted, results_of(work / "results"))) and f"called again {wrong}"


def _wanted_for(words: list[str], work: Path) -> dict[str, str]:
    """Return what a run on the materials as they are now leaves, without touching what is there."""
    aside = work.with_name(work.name + ".aside")
    shutil.rmtree(aside, ignore_errors=True)
    (work / "results").rename(aside)
    (work / "results").mkdir()
    ended = run_failing(words, work, seconds=_SECONDS)
    found = results_of(work / "results")
    shutil.rmtree(work / "results")
    aside.rename(work / "results")
    return found if not ended.status else {"": ended.said}


def _not_of_what_is_there(ended: Ended, words: list[str], work: Path) -> str:
    """Return what is wrong after a photograph was replaced; found has to be what is in the other."""
    if ended.status:
        return f"status {ended.status}, {ended.said[-400:]}"
    wrong = difference(_wanted_for(words, work), results_of(work / "results"))
    return wrong and f"is not of the photograph that is there now, or that was replaced too late: {wrong}"


def _changed_copy(materials: Materials, work: Path) -> Materials:
    _emptied(work)
    return materials.copy(work / "materials")


def _emptied(work: Path) -> Path:
    shutil.rmtree(work, ignore_errors=True)
    (work / "results").mkdir(parents=True)
    return work / "results"


@contextmanager
def _mounted(folder: Path, options: str) -> Iterator[None]:
    """Mount a file system in memory on a folder for the time of a `with` statement.

    Raises:
        OSError: It may not be mounted here.
    """
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise OSError(f"a file system cannot be mounted here ({done.stderr.strip()})")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def _fill(path: Path, leave: int) -> None:
    """Write a file that leaves so many bytes on its disk."""
    free = os.statvfs(path.parent)
    path.write_bytes(bytes(free.f_bavail * free.f_frsize - leave))


def _changed_meanwhile(
    run: SmallRun, words: list[str], materials: Materials, last: Path, what: str, work: Path
) -> Ended:
    """Begin a run, change a photograph as soon as the journal has a line, and return how the run ended."""
    started = start(run, words, work / "journal.txt", work / "logs")
    while not _text(work / "journal.txt") and not started.wait(0.002):
        pass
    if what == "goes away":
        last.unlink()
    elif what == "is cut off":
        os.truncate(last, last.stat().st_size // 2)
    else:
        materials.replace_photograph("val", -1)
    if not started.wait(_SECONDS):
        started.kill("all")
    return Ended(started.status, started.said(), "", {})


def _called(words: list[str], work: Path, interrupt: tuple[float, ...]) -> Ended:
    """Run a command in a new Python, which gets Ctrl-C when it has begun to work, and after each of these seconds."""
    journal = work / "journal.txt"
    command = [sys.executable, str(_HERE / "small_command.py"), str(journal), *words]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        while process.poll() is None and not _text(journal):
            time.sleep(0.005)
        for gap in interrupt:
            time.sleep(gap)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)
        try:
            printed, said = process.communicate(timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return Ended(None, "", "", {})
    # A shell says 130 of both: a second Ctrl-C may come when Python has left its handlers behind.
    return Ended(130 if process.returncode == -signal.SIGINT else process.returncode, said, printed, {})


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


_UNREADABLE: dict[str, Callable[[Path], object]] = {
    "a folder": Path.mkdir,
    "a dangling link": lambda path: path.symlink_to(path.with_name("nowhere")),
    "a pipe that nobody writes to": os.mkfifo,
    "empty": Path.touch,
}
