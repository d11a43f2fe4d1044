"""Making the readers of large files ready before they are needed."""

from __future__ import annotations

import time


def warm_up_readers() -> float:
    """Return the seconds it took to compile every kernel of the readers, or to load what was compiled before.

    >>> warm_up_readers() > 0
    True
    """
    start = time.perf_counter()
    from inception_rcnn.datasets import number_kernels, record_kernels  # noqa: F401 - compiles as it is imported

    return time.perf_counter() - start
