"""Local response normalisation as the formula reads, one number at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def slow_lrn(
    x: NDArray[np.float64], size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> NDArray[np.float64]:
    """Return x_c / (k + alpha/size * sum over the `size` channels around c of x^2) ** beta for x (N, C, H, W).

    Channels beyond the first and the last count as zero. Source: Caffe's lrn_layer, across channels.
    """
    out = np.empty_like(x)
    images, channels, height, width = x.shape
    for n, c, row, column in np.ndindex(images, channels, height, width):
        total = 0.0
        for other in range(c - size // 2, c + size // 2 + 1):
            if 0 <= other < channels:
                total += x[n, other, row, column] ** 2
        out[n, c, row, column] = x[n, c, row, column] / (k + alpha / size * total) ** beta
    return out
