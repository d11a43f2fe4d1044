"""Runs as processes: begun, killed, found again when who began them is dead. Linux only."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# What commands import when they are called; a copy of this process has it already.
import inception_rcnn.datasets.detections.annotation_files
import inception_rcnn.datasets.detections.table_files
import inception_rcnn.datasets.video
import inception_rcnn.detector.tiling
import inception_rcnn.evaluation.report.pages
import inception_rcnn.tools.detect
import inception_rcnn.tools.eval_map
import inception_rcnn.tools.propose
import inception_rcnn.tools.train
import inception_rcnn.tools.train_ensemble
import inception_rcnn.tools.train_multibox  # noqa: F401
from faults.small_command import run_small
from faults.small_runs import SmallRun

_MARK = "INCEPTION_RCNN_FAULTS_RUN"  # in the environment of all processes of a run
_LOOK_EVERY = 0.01


@dataclass
class Started:
    """A run that was begun.

    Args:
        pid: Of its first process, which leads a session of its own.
        mark: Found in the environment of processes that it started.
        errors: File of what it says on the error stream.
        since: When it was begun, of `time.monotonic`.
        status: Of its end: an exit status, or minus the signal; None: it has not been waited for.
    """

    pid: int
    mark: str
    errors: Path
    since: float
    status: int | None = None

    def wait(self, seconds: float) -> bool:
        """Return whether the first process ended within so many seconds."""
        until = time.monotonic() + seconds
        while self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > until:
                return False
            else:
                time.sleep(_LOOK_EVERY)
        return True

    def alive(self) -> list[int]:
        """Return the processes of the run that are running, its first one included."""
        return [pid for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))) if self._is_ours(pid)]

    def _is_ours(self, pid: int) -> bool:
        with suppress(OSError, ValueError, IndexError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            if fields[0] == "Z":
                return False
            return int(fields[3]) == self.pid or f"{_MARK}={self.mark}".encode() in _environment(pid)
        return False

    def kill(self, which: str, choice: float = 0.0) -> None:
        """Send SIGKILL to "all" processes, to the "first" alone, or to one "rank" that the first one started.

        Args:
            which: Of them.
            choice: From 0 to 1, says which rank.
        """
        others = [pid for pid in self.alive() if pid != self.pid]
        if which == "rank" and others:
            chosen = [others[min(len(others) - 1, int(choice * len(others)))]]
        else:
            chosen = [self.pid, *(others if which == "all" else [])]
        for pid in chosen:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def outlived(self, seconds: float) -> list[int]:
        """Return the processes that still run so many seconds after now, and end them."""
        until = time.monotonic() + seconds
        while (left := self.alive()) and time.monotonic() < until:
            time.sleep(10 * _LOOK_EVERY)
        self.kill("all")
        return left

    def said(self) -> str:
        """Return what it said on the error stream."""
        return self.errors.read_text(errors="replace")


def start(run: SmallRun, words: Sequence[str], journal: Path, logs: Path) -> Started:
    """Begin a run.

    Args:
        run: Which.
        words: Its command line.
        journal: See small_command.py.
        logs: Folder for what it says, made if need be.
    """
    logs.mkdir(parents=True, exist_ok=True)
    mark, errors = secrets.token_hex(8), logs / "errors.txt"
    begun = time.monotonic()
    if run.processes == 1:
        return Started(_forked(words, journal, mark, logs / "output.txt", errors), mark, errors, begun)
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(run.processes)]
    command = [sys.executable, *torchrun, str(Path(__file__).with_name("small_command.py")), str(journal), *words]
    with open(logs / "output.txt", "wb") as output, open(errors, "wb") as said:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=said,
            start_new_session=True,
            env={**os.environ, _MARK: mark},
        )
    return Started(process.pid, mark, errors, begun)


def _forked(words: Sequence[str], journal: Path, mark: str, output: Path, errors: Path) -> int:
    """Begin a command in a copy of this process, and return its number."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.setsid()
        os.environ[_MARK] = mark
        for number, path, flags in ((0, Path(os.devnull), os.O_RDONLY), (1, output, _NEW), (2, errors, _NEW)):
            os.dup2(os.open(path, flags, 0o666), number)
        status = run_small(words, journal)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
    finally:
        os._exit(status)


_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def _environment(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()
