"""Making the evaluators ready before they are needed."""

from __future__ import annotations

import time
from importlib import import_module
from typing import Final

_KERNELS: Final = (
    "bootstrap_kernels",
    "coco_matching",
    "error_kinds",
    "matching_kernels",
    "ranking_kernels",
)


def warm_up_evaluation() -> float:
    """Return the seconds it took to compile every kernel of evaluation, or to load what was compiled before.

    >>> warm_up_evaluation() > 0
    True
    """
    start = time.perf_counter()
    for name in _KERNELS:
        import_module(f"inception_rcnn.evaluation.{name}")  # compiles as it is imported
    return time.perf_counter() - start
