"""Work over the images of a set in parts: resumed after a kill, shared by the processes that torchrun starts.

Each part is a file in a folder. A process claims a part, computes it and writes it; the claim is a small file that says
who works on it, and it is touched while they do. A part whose process died is taken over by another, so that nobody
waits for the dead.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import secrets
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from inception_rcnn.structures.errors import InputError
from inception_rcnn.structures.files import is_alive, machine_name, sha256_of

Part = TypeVar("Part")

SECONDS_BETWEEN_TOUCHES: Final = 5.0
SECONDS_UNTIL_TAKEN_OVER: Final = 60.0
SECONDS_BEFORE_NOTICE: Final = 10.0
LAUNCHED_VARIABLE: Final = "INCEPTION_RCNN_LAUNCHED"
"""The environment variable that tells each of several processes when all were started, in seconds since 1970."""
_SECONDS_BETWEEN_LOOKS: Final = 0.2
_SECONDS_BETWEEN_LOOKS_AT_PARENT: Final = 1.0
ENDS_WITH: Final = "INCEPTION_RCNN_ENDS_WITH"
_ROOMS_THAT_COMPUTE: Final = ("structures", "backbones", "proposals", "detector")


def _launch_time() -> float:
    """Return when this process was started, or what started it as one of several; in seconds since 1970.

    That is torchrun, or what says so in `LAUNCHED_VARIABLE`. What is older belongs to an earlier run. The time of the
    import would not do: the first of several processes may have done all before another one has come that far.
    """
    with suppress(ValueError):
        return float(os.environ.get(LAUNCHED_VARIABLE, ""))
    process = os.getppid() if "TORCHELASTIC_RUN_ID" in os.environ else os.getpid()
    with suppress(OSError, ValueError, IndexError, AttributeError):  # only Linux has all of it
        ticks = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19])
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
        return time.time() - max(age, 0.0)
    return time.time()


_LAUNCHED: Final = _launch_time()


def launched_now() -> str:
    """Return the value of `LAUNCHED_VARIABLE` for processes that are started now."""
    return repr(time.time())


def available_processors() -> int:
    """Return how many processors this process may use, at least 1.

    It counts those that the process may run on (affinity), no more than the control group's quota allows, and of these
    its share if torchrun started several processes on this machine.

    >>> available_processors() >= 1
    True
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_quota(Path("/sys/fs/cgroup"))
    if quota is not None:
        allowed = min(allowed, max(1, math.ceil(quota)))
    sharing = os.environ.get("LOCAL_WORLD_SIZE", "1")
    return max(1, allowed // (int(sharing) if sharing.isdecimal() and int(sharing) > 0 else 1))


def _cgroup_quota(root: Path) -> float | None:
    """Return how many processors' time the control group mounted at `root` allows; None without a limit."""
    with suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = (root / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    with suppress(OSError, ValueError, ZeroDivisionError):
        allowed = int((root / "cpu/cpu.cfs_quota_us").read_text())
        return None if allowed < 0 else allowed / int((root / "cpu/cpu.cfs_period_us").read_text())
    return None


def end_with_parent(variables: MutableMapping[str, str]) -> None:
    """End this process soon after the one that it works for, if that is killed: nobody would wait for its results.

    Works for are processes that torchrun started, and those whose environment names the process under `ENDS_WITH`. A
    thread looks now and then whether that is still the parent; an orphan gets another one. What was stored is kept, as
    after any kill. Without effect for other processes, and on Windows, where an orphan keeps its parent's number.

    Args:
        variables: The environment; the name is taken out, since it is not meant for what this process starts.
    """
    named, parent = variables.pop(ENDS_WITH, ""), os.getppid()
    if named.isdecimal():
        parent = int(named)  # it may be dead by now
    elif "TORCHELASTIC_RUN_ID" not in variables:
        return

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(_SECONDS_BETWEEN_LOOKS_AT_PARENT)
        sys.stderr.write("inception-rcnn: the process that started this one was killed, so this one ends too\n")
        os._exit(1)

    threading.Thread(target=look, daemon=True, name="end with parent").start()


def code_fingerprint() -> str:
    """Return a checksum of the source files that decide what is computed, so that older code's parts are not reused."""
    package = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for room in _ROOMS_THAT_COMPUTE:
        for file in sorted((package / room).rglob("*.py")):
            digest.update(str(file.relative_to(package)).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def differing_setting(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> tuple[str, Any, Any] | None:
    """Return name, their value and our value of the first setting that differs, by name; None if none does.

    >>> differing_setting({"side": 224, "seed": 0}, {"side": 224, "seed": 1})
    ('seed', 0, 1)
    """
    for name in sorted(set(theirs) | set(ours)):
        if theirs.get(name) != ours.get(name):
            return name, theirs.get(name), ours.get(name)
    return None


def check_same_settings(path: str | os.PathLike[str], theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Raise if what made a file is not what is asked for now.

    Raises:
        InputError: A setting differs; the text names it, both values and the remedy.
    """
    if (found := differing_setting(theirs, ours)) is not None:
        name, before, now = found
        raise InputError(
            f"{path} was made with {name} = {before!r:.300}, now {now!r:.300} is asked for; use the old setting or "
            "another file"
        )


def as_json(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings as a file will give them back: lists instead of tuples, texts as keys.

    Raises:
        InputError: They are not JSON values.
    """
    try:
        return dict(json.loads(json.dumps(dict(settings), allow_nan=False)))
    except (TypeError, ValueError) as error:
        raise InputError(f"settings should be JSON values: {error}") from error


@dataclass(frozen=True)
class Share:
    """Which of how many processes this is.

    Attributes:
        rank: From 0; 0 puts the results together.
        processes: How many there are, on all machines.
        local_rank: Which of those on this machine.
    """

    rank: int = 0
    processes: int = 1
    local_rank: int = 0

    @classmethod
    def from_environment(cls, variables: Mapping[str, str]) -> Share:
        """Return what torchrun's RANK, WORLD_SIZE and LOCAL_RANK say; one process alone if they are not set.

        Raises:
            InputError: They are no whole numbers, or the rank is none of the processes.

        >>> Share.from_environment({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}).rank
        3
        """
        asked = (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"))
        try:
            rank, processes, local_rank = (int(variables.get(*one)) for one in asked)
        except ValueError as error:
            raise InputError(f"RANK, WORLD_SIZE and LOCAL_RANK should be whole numbers: {error}") from error
        if not 0 <= rank < processes:
            raise InputError(f"RANK should be in 0..{processes - 1} (WORLD_SIZE - 1), got {rank}")
        return cls(rank, processes, local_rank)

    @property
    def leads(self) -> bool:
        """Whether this process puts the results together."""
        return self.rank == 0

    def device(self, asked: str, gpus: int) -> str:
        """Return the device of this process: the GPUs of a machine are dealt out, unless one is asked for by number.

        >>> Share(5, 8, 1).device("auto", gpus=4), Share(5, 8, 1).device("cpu", gpus=4), Share().device("auto", gpus=4)
        ('cuda:1', 'cpu', 'auto')
        """
        if self.processes == 1 or gpus == 0 or asked not in ("auto", "cuda"):
            return asked
        return f"cuda:{self.local_rank % gpus}"


@dataclass(frozen=True, eq=False, kw_only=True)
class PartedJob(Generic[Part]):
    """Work over `items` things in parts that wait in a folder until all are done.

    Attributes:
        folder: Where the parts wait; made if need be. It belongs to this job alone.
        items: How many images.
        per_part: How many of them in a part, the last one excepted; the same for all processes.
        compute: Positions of a part's images -> what there is to write. Called once for each missing part.
        write: Puts a part into a file, whole or not at all.
        read: The part in a file. It raises if the file was made with other settings.
        is_current: Whether a part that an earlier process wrote is still right: the images may have changed since.
        is_ours: Whether a part is of this code and of these images; asked of all at the end, when no image is read.
        advance: Told how many images another process finished; `compute` counts its own.
        skip: Told how many an earlier one finished.
    """

    folder: Path
    items: int
    per_part: int
    compute: Callable[[range], Part]
    write: Callable[[Path, Part], None]
    read: Callable[[Path], Part]
    is_current: Callable[[Part, range], bool]
    is_ours: Callable[[Part, range], bool] = lambda part, rows: True
    advance: Callable[[int], None] = lambda count: None
    skip: Callable[[int], None] = lambda count: None
    _computed: set[int] = field(default_factory=set)

    @property
    def parts(self) -> list[range]:
        """The positions of each part's images."""
        return [range(start, min(start + self.per_part, self.items)) for start in range(0, self.items, self.per_part)]

    def run(self, share: Share | None = None) -> Iterator[Part] | None:
        """Compute what is missing, then return all parts in order, or None in a process that only helps.

        Args:
            share: Which of how many processes this is; all of them run a job with the same folder and parts.

        Raises:
            InputError: While the parts are read: another process wrote one that is not of this job.
        """
        share = share or Share()
        if self._is_finished(share):
            leave_parts(self.folder, share)
            return None
        self.folder.mkdir(parents=True, exist_ok=True)
        if share.leads:
            _drop_finished_marks(self.folder)
            self._drop_outdated()
        parts = self.parts
        first = share.rank * len(parts) // share.processes  # each process begins elsewhere, so that few claims collide
        for rows in parts[first:] + parts[:first]:
            self._compute_unless_claimed(rows, share)
        if not share.leads:
            leave_parts(self.folder, share)
            return None
        self._await_others(share)
        return (self._joined(rows) for rows in parts)

    def forget(self, share: Share | None = None) -> None:
        """Remove the parts; call it when all that was to be made of them is made."""
        forget_parts(self.folder, share)

    def _is_finished(self, share: Share) -> bool:
        """Return whether all was done since this process began, so that a process that only helps has nothing to do."""
        return not share.leads and _is_of_this_run(_finished_mark(self.folder, share.rank))

    def _file(self, rows: range) -> Path:
        return self.folder / f"{rows.start:08d}.safetensors"

    def _drop_outdated(self) -> None:
        """Remove the parts of an earlier process whose images have changed since."""
        for rows in self.parts:
            file = self._file(rows)
            if not file.exists():
                continue
            if self.is_current(self.read(file), rows):
                self.skip(len(rows))
            else:
                file.unlink()

    def _joined(self, rows: range) -> Part:
        """Return a part that is to be joined with the others; a process of an earlier run may still live, and write."""
        file = self._file(rows)
        part = self.read(file)
        if not self.is_ours(part, rows):
            raise InputError(
                f"{file} was written meanwhile by a process with other code or other images; end it and call again"
            )
        return part

    def _compute_unless_claimed(self, rows: range, share: Share) -> None:
        """Compute a part that is neither there nor claimed by a living process."""
        file = self._file(rows)
        if file.exists() or self._is_finished(share):
            return
        try:
            with _claimed(file.with_suffix(".claim"), share.rank) as mine:
                if not mine or file.exists():
                    return
                self._computed.add(rows.start)
                self.write(file, self.compute(rows))
        except (InputError, FileNotFoundError):  # there is no folder to write into
            if not self._is_finished(share):  # else another process took this part over, and all is done
                raise

    def _await_others(self, share: Share) -> None:
        """Wait until every part is there; parts of processes that died are computed here."""
        start, noticed = time.monotonic(), False
        awaited = [rows for rows in self.parts if not self._file(rows).exists()]
        while awaited:
            for rows in awaited:
                self._compute_unless_claimed(rows, share)
                if self._file(rows).exists() and rows.start not in self._computed:
                    self.advance(len(rows))
            still = [rows for rows in awaited if not self._file(rows).exists()]
            if still and not noticed and time.monotonic() - start > SECONDS_BEFORE_NOTICE:
                noticed = True
                sys.stderr.write(
                    f"inception-rcnn: waiting for {len(still)} parts in {self.folder}, the first claimed by "
                    f"{_claimant(self._file(still[0]).with_suffix('.claim'))}; a part is taken over "
                    f"{SECONDS_UNTIL_TAKEN_OVER:.0f} s after its process's last sign of life\n"
                )
            awaited = still
            if awaited:
                time.sleep(_SECONDS_BETWEEN_LOOKS)


def forget_parts(folder: Path, share: Share | None = None) -> None:
    """Remove the folder of a job's parts, and what a kill at this point of an earlier run left of one.

    Of several processes, those that come late, or still compute a part that was taken over, find a mark that all is
    done, and remove it.
    """
    aside = folder.with_name(folder.name + ".old")
    shutil.rmtree(aside, ignore_errors=True)
    if not folder.parent.is_dir():
        return
    _drop_finished_marks(folder)
    helpers = range(1, share.processes if share is not None else 1)
    for rank in helpers:
        _finished_mark(folder, rank).touch()
    with suppress(OSError):
        folder.rename(aside)  # from here on no process can leave a file behind that it has ended, or anything else
    for rank in helpers:
        if _is_of_this_run(_ended_mark(aside, rank)):
            _finished_mark(folder, rank).unlink(missing_ok=True)
    shutil.rmtree(aside, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)  # where it cannot be renamed


def leave_parts(folder: Path, share: Share) -> None:
    """Say that a process that only helps needs no mark, or no longer, to know that all is done; see `forget_parts`."""
    with suppress(OSError):
        _ended_mark(folder, share.rank).touch()
    _finished_mark(folder, share.rank).unlink(missing_ok=True)


def _finished_mark(folder: Path, rank: int) -> Path:
    """Return the file beside the folder that says to one process that all is done."""
    return folder.with_name(f"{folder.name}.finished-{rank}")


def _ended_mark(folder: Path, rank: int) -> Path:
    """Return the file in the folder by which one process says that it has ended."""
    return folder / f"{rank}.ended"


def _drop_finished_marks(folder: Path) -> None:
    for file in list(folder.parent.iterdir()):
        if file.name.startswith(f"{folder.name}.finished-"):
            file.unlink(missing_ok=True)


def _is_of_this_run(mark: Path) -> bool:
    """Return whether there is such a file, made since this run was started."""
    with suppress(OSError):
        return mark.stat().st_mtime >= _LAUNCHED
    return False


@contextmanager
def _claimed(claim: Path, rank: int) -> Iterator[bool]:
    """Give whether this process may work on a part, and hold the claim, touched now and then, while it does."""
    if not _take(claim, rank):
        yield False
        return
    over = threading.Event()

    def keep_touching() -> None:
        while not over.wait(SECONDS_BETWEEN_TOUCHES):
            with suppress(OSError):
                os.utime(claim)

    toucher = threading.Thread(target=keep_touching, daemon=True)
    toucher.start()
    try:
        yield True
    finally:
        over.set()
        toucher.join()
        with suppress(OSError):
            claim.unlink()


def _take(claim: Path, rank: int) -> bool:
    """Return whether the claim is this process's now: nobody had it, or a process that died."""
    text = json.dumps({"rank": rank, "process": os.getpid(), "machine": machine_name()})
    for _ in range(2):
        try:
            _write_new(claim, text)
            return True
        except FileExistsError:
            before = _text(claim)
            if not _is_abandoned(claim) or not _put_aside(claim, before):
                return False
    return False


def _write_new(claim: Path, text: str) -> None:
    """Write a file that is not there yet; one that the disk has no room for is removed again."""
    with claim.open("x") as file:
        try:
            file.write(text)
            file.flush()
        except OSError:
            claim.unlink()
            raise


def _put_aside(claim: Path, text: str | None) -> bool:
    """Remove an abandoned claim, and return whether it still had this text.

    Renaming succeeds for one process only; if that was another one and the claim is its new one, it gets it back.
    """
    aside = claim.with_suffix(f".{secrets.token_hex(4)}.old")
    with suppress(OSError):
        claim.rename(aside)
        if same := _text(aside) == text:
            aside.unlink()
        else:
            aside.rename(claim)
        return same
    return False


def _text(claim: Path) -> str | None:
    """Return what is in a claim; None if it cannot be read."""
    with suppress(OSError, ValueError):
        return claim.read_text()
    return None


def _is_abandoned(claim: Path) -> bool:
    """Return whether whoever has the claim is dead, or has given no sign of life for long."""
    try:
        owner = json.loads(claim.read_text())
        if owner["machine"] == machine_name() and not is_alive(int(owner["process"])):
            return True
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        pass  # just being written, or cut short: its age decides
    probe = claim.with_suffix(f".{secrets.token_hex(4)}.now")
    try:
        probe.touch()  # the clock of the disk, which need not be this machine's
        # A time far ahead is no sign of life either: a clock was put right since.
        return abs(probe.stat().st_mtime - claim.stat().st_mtime) > SECONDS_UNTIL_TAKEN_OVER
    except OSError:
        return False
    finally:
        with suppress(OSError):
            probe.unlink()


def _claimant(claim: Path) -> str:
    """Return who has a claim, for a person to read."""
    try:
        owner = json.loads(claim.read_text())
        return f"rank {owner['rank']}, process {owner['process']} on {str(owner['machine']).split('/')[0]}"
    except (OSError, ValueError, KeyError, TypeError):
        return "nobody"


def images_per_part(count: int, most: int, least_parts: int = 1) -> int:
    """Return how many images a part should have: at most `most`, and few enough for `least_parts` parts.

    >>> images_per_part(1000, most=64), images_per_part(100, most=16, least_parts=50)
    (64, 2)
    """
    return max(1, min(most, count // max(1, least_parts)))


def checksums_of(paths: Sequence[str | os.PathLike[str]], threads: int | None = None) -> tuple[str, ...]:
    """Return the SHA-256 of each file as 64 hexadecimal digits, several files at a time.

    Raises:
        OSError: A file cannot be read.
    """
    with ThreadPoolExecutor(threads or available_processors()) as pool:
        return tuple(pool.map(sha256_of, paths))
