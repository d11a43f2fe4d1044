"""How many iterations take a given time: found by trying some, once, and then kept in the training's state."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from inception_rcnn.backbones.checkpoints import read_description


def iterations_within(
    seconds: float,
    step: Callable[[int], object],
    wait: Callable[[], None] = lambda: None,
    *,
    kinds: int = 1,
    shapes: int = 1,
    agreed: Callable[[Callable[[], Any]], Any] = lambda ask: ask(),
) -> int:
    """Return how many iterations take so long, at least 1, by taking some for a twenty-fifth of the time.

    Args:
        seconds: The time.
        step: Takes the iteration of a number, from 0 on, on a copy of what is trained.
        wait: Waits until what was begun is done, as on a GPU.
        kinds: After how many iterations all that differ in their work have had their turn.
        shapes: How many shapes tensors come in, each of which takes longer the first time; half of the trial's time at
            most goes by before it is measured.
        agreed: Asks something that depends on the time, and gives the same answer in every process that takes part.
    """
    numbers, kinds = count(), max(2, kinds)

    def taken_until(least: int, moment: float, most: float = math.inf) -> int:
        taken = 0
        while taken < least or (taken < most and agreed(lambda: time.monotonic() < moment)):
            step(next(numbers))
            taken += 1
        wait()
        return taken

    begun = time.monotonic()
    taken_until(kinds, begun + seconds / 50, kinds * shapes)
    begun = time.monotonic()
    taken = taken_until(2 * kinds, begun + seconds / 50)
    found: int = agreed(lambda: max(1, int(seconds * taken / (time.monotonic() - begun))))
    return found


def iterations_in(state: Path) -> int | None:
    """Return for how many iterations a training state was made; None without one."""
    if not state.exists():
        return None
    run = read_description(state).get("run")
    settings = run.get("settings") if isinstance(run, dict) else None
    found: Any = settings.get("iterations") if isinstance(settings, dict) else None
    return found if type(found) is int else None
