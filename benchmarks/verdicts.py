"""What a benchmark promises, judged: a line for each promise, and exit status 1 where one was broken."""

from __future__ import annotations

import sys


class Verdicts:
    """Promises, held or broken."""

    def __init__(self) -> None:
        self.broken: list[str] = []

    def judge(self, promise: str, *, holds: bool) -> None:
        """Print a promise, and whether it was held.

        Args:
            promise: In words, with the figure.
            holds: As it was measured.
        """
        print(f"{'holds' if holds else 'BROKEN'}: {promise}", flush=True)
        if not holds:
            self.broken.append(promise)

    def end(self) -> None:
        """End the process with status 1 if a promise was broken.

        Raises:
            SystemExit: One was.
        """
        if self.broken:
            sys.exit(1)
