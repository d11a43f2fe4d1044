"""The table that every script here prints: fault | times injected | times survived | what failed and why."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

_SHOWN = 3  # failures of a row that are told in full


@dataclass
class Row:
    """A fault, as often as it was injected.

    Args:
        fault: In words.
        injected: How often.
        failures: What went wrong, once for each time that it did.
        skipped: Why it could not be tried here; empty: it could.
    """

    fault: str
    injected: int = 0
    failures: list[str] = field(default_factory=list)
    skipped: str = ""

    def add(self, failure: str) -> None:
        """Count one more time; an empty text: survived."""
        self.injected += 1
        if failure:
            self.failures.append(failure)
            say(f"FAILED {self.fault}: {failure}")

    def line(self) -> str:
        """Return the row as a line of Markdown."""
        if self.skipped:
            return f"| {self.fault} | - | - | not tried: {self.skipped} |"
        told = "; ".join(dict.fromkeys(" ".join(one.split())[:300].replace("|", "/") for one in self.failures[:_SHOWN]))
        return f"| {self.fault} | {self.injected} | {self.injected - len(self.failures)} | {told or '-'} |"


@dataclass
class FaultTable:
    """Rows, and whether all of them were survived."""

    rows: list[Row] = field(default_factory=list)

    def row(self, fault: str) -> Row:
        """Return the row of a fault, made if need be."""
        for one in self.rows:
            if one.fault == fault:
                return one
        self.rows.append(Row(fault))
        return self.rows[-1]

    def skip(self, fault: str, why: str) -> None:
        """Add a row that says why something could not be tried."""
        self.rows.append(Row(fault, skipped=why))

    def show(self) -> int:
        """Print the table and return the exit status: 1 if anything failed or nothing was tried."""
        print("| fault | times injected | times survived | what failed and why |\n|---|---|---|---|")
        print("\n".join(one.line() for one in self.rows))
        injected = sum(one.injected for one in self.rows)
        failed = sum(len(one.failures) for one in self.rows)
        print(f"\n{injected} injected, {injected - failed} survived")
        return int(failed > 0 or injected == 0)


def say(line: str) -> None:
    """Say how far it is, on the error stream."""
    print(line, file=sys.stderr, flush=True)
