"""`serve` as a process of its own on the loopback, watched: its memory, what it says, how it ends. Linux only."""

from __future__ import annotations

import io
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import skimage
from PIL import Image

from faults.memory import memory_of, processor_seconds_of
from faults.small_runs import OBJECTS

_TOOL = Path(__file__).resolve().parent.parent.parent / "tools" / "serve.py"
_SECONDS_TO_START = 600.0  # kernels may have to be compiled
_SECONDS_TO_END = 60.0
_LONG_SIDE = 160


@dataclass
class Served:
    """A server that answers.

    Args:
        process: Its process.
        host: And port, as in an address.
        errors: File of what it says.
    """

    process: subprocess.Popen[bytes]
    host: str
    errors: Path

    @property
    def detect(self) -> str:
        """The address that photographs are sent to."""
        return f"http://{self.host}/detect"

    def memory(self) -> float:
        """Return how much memory it has, in KB."""
        return memory_of(self.process.pid)

    def processor_seconds(self) -> float:
        """Return how long processors have worked for it so far."""
        return processor_seconds_of(self.process.pid)

    def said(self) -> str:
        """Return what it said on both streams."""
        return self.errors.read_text(errors="replace")

    def end(self) -> str:
        """Press Ctrl-C; return what is wrong with the end, an empty text if nothing is."""
        self.process.send_signal(signal.SIGINT)
        try:
            status = self.process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return f"does not end within {_SECONDS_TO_END:.0f} s"
        if "Traceback" in self.said():
            return f"a traceback: {self.said()[-300:]}"
        return "" if status in (0, 130, -signal.SIGINT) else f"status {status}: {self.said()[-300:]}"


@contextmanager
def serving(folder: Path, words: Sequence[str] = ()) -> Iterator[Served]:
    """Give a server that has warmed up, and end it with the `with` statement.

    Args:
        folder: For what it says.
        words: Options beside the port.

    Raises:
        RuntimeError: It does not start.
    """
    errors = folder / "served.txt"
    command = [sys.executable, str(_TOOL), "--port", "0", *words]
    with open(errors, "wb") as said:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield _await_answers(process, errors)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _await_answers(process: subprocess.Popen[bytes], said: Path) -> Served:
    """Wait until the server has said where it is, answers there, and has looked at its first photograph."""
    until = time.monotonic() + _SECONDS_TO_START
    while time.monotonic() < until and process.poll() is None:
        time.sleep(0.2)
        if (address := re.search(r"^http://(127\.0\.0\.1:\d+)/$", said.read_text(), re.MULTILINE)) is None:
            continue
        try:
            if httpx.get(f"{address[0]}health", timeout=60.0, trust_env=False).json()["waiting"] == 0:
                return Served(process, address[1], said)
        except httpx.TransportError:
            continue
    raise RuntimeError(f"the server does not start: {said.read_text()[-2000:]}")


def small_photographs() -> list[bytes]:
    """Return five photographs that come with scikit-image, reduced, as JPEG files."""
    files = []
    for name in OBJECTS:
        with Image.open(Path(skimage.__file__).parent / "data" / name) as image:
            small = image.convert("RGB")
        small.thumbnail((_LONG_SIDE, _LONG_SIDE))
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=90)
        files.append(buffer.getvalue())
    return files
