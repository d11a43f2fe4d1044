"""A command in a copy of this process, in which one write fails as it would on a full or broken disk.

Python tells of every file that it opens, renames and every folder that it makes (`sys.addaudithook`), whoever asks for
it, so that a write which goes past the project's own writer is seen too. Writing itself is stopped by the kernel: the
file may have no more than one byte more (RLIMIT_FSIZE).
"""

from __future__ import annotations

import errno
import os
import resource
import select
import signal
import stat
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from faults.small_command import run_small

KINDS: Final = ("create", "write", "sync", "rename", "folder")
IN_WORDS: Final = {
    "create": "a file cannot be made",
    "write": "a file cannot be written beyond its first byte",
    "sync": "a file cannot be forced to the disk",
    "rename": "a file cannot be given its name",
    "folder": "a folder cannot be made",
}
_WRITES = os.O_WRONLY | os.O_RDWR
_UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Args:
        status: Exit status, or minus the signal; None: it did not end in time and was killed.
        said: On the error stream.
        printed: On the output.
        written: Of each kind, what was written, in order.
    """

    status: int | None
    said: str
    printed: str
    written: dict[str, list[str]]

    def lines(self) -> list[str]:
        """Return what it said, without warnings and notes."""
        return [
            line for line in self.said.splitlines() if line and not line.startswith(("warning:", "note:", "left out"))
        ]


def one_line(ended: Ended, status: int = 1, begins: str = "error: ") -> str:
    """Return what is wrong with how a command ended that could not go on; an empty text if nothing is."""
    lines = ended.lines()
    if ended.status is None:
        return "did not end"
    if "Traceback" in ended.said:
        return f"a traceback: {ended.said[-300:]}"
    if ended.status != status:
        return f"status {ended.status}, expected {status}; it said {ended.said[-300:]!r}"
    if len(lines) != 1 or not lines[0].startswith(begins):
        return f"{len(lines)} lines: {' / '.join(lines)[-300:]}"
    return ""


class FailingDisk:
    """Counts the writes into a folder, and lets one of them fail.

    Args:
        folder: Only what lies in it counts.
        kind: Of the write that fails, one of `KINDS`; empty: none fails.
        number: Which of them, from 0.
    """

    def __init__(self, folder: Path, kind: str = "", number: int = 0) -> None:
        self.folder, self.kind, self.number = str(folder), kind, number
        self.written: dict[str, list[str]] = {one: [] for one in KINDS}
        self._sync = os.fsync

    def install(self) -> None:
        """Watch this process from now on; that cannot be undone."""
        os.fsync = self._fsync
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[0], (str, os.PathLike)):
            self._lift()
            if isinstance(arguments[2], int) and arguments[2] & _WRITES and self._is_here(arguments[0]):
                self._happens("create", arguments[0])
                self._happens("write", arguments[0])
        elif event == "os.rename" and self._is_here(arguments[1]) and not os.path.isdir(arguments[0]):
            self._happens("rename", arguments[1])
        elif event == "os.mkdir" and self._is_here(arguments[0]) and not os.path.isdir(arguments[0]):
            self._happens("folder", arguments[0])

    def _fsync(self, descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if self._is_here(path) and stat.S_ISREG(os.fstat(descriptor).st_mode):
            self._happens("sync", path)
        self._sync(descriptor)

    def _is_here(self, path: Any) -> bool:
        return os.path.abspath(os.fsdecode(path)).startswith(self.folder)

    def _happens(self, kind: str, path: Any) -> None:
        """Count a write, and let it fail if it is the one."""
        name = os.path.relpath(os.fsdecode(path), self.folder)
        self.written[kind].append(name)
        if kind != self.kind or len(self.written[kind]) != self.number + 1:
            return
        if kind != "write":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fsdecode(path))
        size = os.path.getsize(path) if os.path.exists(path) else 0
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 1, resource.RLIM_INFINITY))

    def _lift(self) -> None:
        """Let files grow again: the one that could not has been seen to."""
        if self.kind == "write":
            resource.setrlimit(resource.RLIMIT_FSIZE, _UNLIMITED)


def run_failing(words: Sequence[str], work: Path, disk: FailingDisk | None = None, *, seconds: float = 600.0) -> Ended:
    """Run a command in a copy of this process, and return how it ended.

    Args:
        words: The command line.
        work: Folder for its journal.
        disk: What it writes to; None: a sound one.
        seconds: After which it is killed.
    """
    pipes = [os.pipe() for _ in range(3)]  # output, errors, and what was written
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _be_copy(words, work, disk, [write for _, write in pipes])
    for _, write in pipes:
        os.close(write)
    texts, in_time = _read_all([read for read, _ in pipes], seconds)
    if not in_time:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    written: dict[str, list[str]] = {one: [] for one in KINDS}
    for line in texts[2].splitlines():
        kind, _, name = line.partition("\t")
        written[kind].append(name)
    return Ended(os.waitstatus_to_exitcode(status) if in_time else None, texts[1], texts[0], written)


def _be_copy(words: Sequence[str], work: Path, disk: FailingDisk | None, pipes: list[int]) -> None:
    """Run the command in the copy, tell what it wrote, and end."""
    status = 1
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(pipes[0], 1)
        os.dup2(pipes[1], 2)
        if disk is not None:
            disk.install()
        status = run_small(words, work / "journal.txt")
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        sys.stderr.flush()
    finally:
        if disk is not None:
            told = "".join(f"{kind}\t{name}\n" for kind, names in disk.written.items() for name in names)
            os.write(pipes[2], told.encode())
        os._exit(status)


def _read_all(pipes: list[int], seconds: float) -> tuple[list[str], bool]:
    """Return all that comes out of pipes until they are closed, and whether that was in time."""
    until, found = time.monotonic() + seconds, {pipe: b"" for pipe in pipes}
    left = list(pipes)
    while left and (rest := until - time.monotonic()) > 0:
        for pipe in select.select(left, [], [], rest)[0]:
            if block := os.read(pipe, 65536):
                found[pipe] += block
            else:
                left.remove(pipe)
    for pipe in pipes:
        os.close(pipe)
    return [found[pipe].decode(errors="replace") for pipe in pipes], not left
