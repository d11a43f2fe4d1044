"""What a process takes: memory, and time of processors. Linux only."""

from __future__ import annotations

import os
from pathlib import Path


def memory_of(pid: int) -> float:
    """Return how much memory a process has (resident), in KB; 0 once it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((float(line.split()[1]) for line in lines if line.startswith("VmRSS:")), 0.0)


def processor_seconds_of(pid: int) -> float:
    """Return how long processors have worked for a process, in seconds; 0 once it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
