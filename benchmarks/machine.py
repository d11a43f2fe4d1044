"""The line that every result begins with: machine and versions, without which a figure means nothing."""

from __future__ import annotations

import os
import platform
import resource
from collections.abc import Collection
from importlib.metadata import version
from pathlib import Path


def machine_line(*packages: str) -> str:
    """Processor, cores, Python and the named packages with their versions."""
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"{_processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}"


def instructions() -> str:
    """What the processor multiplies matrices with, as far as Linux tells."""
    info = Path("/proc/cpuinfo")
    return instructions_of(info.read_text(encoding="utf-8").split() if info.is_file() else [])


def instructions_of(flags: Collection[str]) -> str:
    """AMX, AVX512-BF16, both, AVX512, AVX2 or less, from the flags of a processor as Linux names them."""
    if "avx512f" not in flags:
        return "AVX2 alone" if "avx2" in flags else "neither AVX512 nor AVX2 known"
    known = {"amx_bf16": "AMX", "avx512_bf16": "AVX512-BF16"}
    return " and ".join(name for flag, name in known.items() if flag in flags) or "AVX512 without bfloat16"


def peak_memory() -> float:
    """The largest memory of this process so far, in MB.

    From Linux's own count where there is one: what getrusage says begins with the memory of the process that started
    this one.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
