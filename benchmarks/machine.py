"""The line that every result begins with: machine and versions, without which a figure means nothing."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path


def machine_line(*packages: str) -> str:
    """Processor, cores, Python and the named packages with their versions."""
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"{_processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
