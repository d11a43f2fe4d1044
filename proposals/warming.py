"""Making selective search ready before the first picture comes."""

from __future__ import annotations

import time

import numpy as np


def warm_up() -> float:
    """Return the seconds it took to compile every kernel of selective search, or to load what was compiled before.

    >>> warm_up() > 0
    True
    """
    start = time.perf_counter()
    from inception_rcnn.proposals.search.selective_search import selective_search  # compiles as it is imported

    selective_search(np.zeros((32, 32, 3), np.uint8), threads=1)
    return time.perf_counter() - start
