"""The losses of pooled regions, one region after the other, in double precision."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def region_loss(
    logits: NDArray[np.float64],
    offsets: NDArray[np.float64] | None,
    position: NDArray[np.int64],
    labels: NDArray[np.int64],
    targets: NDArray[np.float64],
    unknown: NDArray[np.bool_] | None,
    smoothing: float,
) -> tuple[float, float]:
    """Return the mean losses of classes and of offsets over all regions.

    Args:
        logits: (R, C + 1), background last.
        offsets: (R, 4); None: no such loss.
        position: (R,), the photograph of each region.
        labels: (R,).
        targets: (R, 4).
        unknown: (B, C + 1), which classes nobody looked for on a photograph.
        smoothing: Share of the wanted probability spread over all outputs.
    """
    background = logits.shape[1] - 1
    of_classes, of_offsets = [], []
    for row, label in enumerate(labels):
        powers = [math.exp(one - logits[row].max()) for one in logits[row]]
        chances = [one / sum(powers) for one in powers]
        missing = [] if unknown is None else [k for k in range(background) if unknown[position[row], k]]
        if label == background and missing:
            of_classes.append(-math.log(chances[background] + sum(chances[k] for k in missing)))
        else:
            spread = -sum(math.log(one) for one in chances) / len(chances)
            of_classes.append((1 - smoothing) * -math.log(chances[label]) + smoothing * spread)
        moved = 0.0
        if label != background and offsets is not None:
            for found, wanted in zip(offsets[row], targets[row], strict=True):
                miss = abs(found - wanted)
                moved += miss**2 / 2 if miss < 1 else miss - 0.5
        of_offsets.append(moved)
    return sum(of_classes) / len(labels), sum(of_offsets) / len(labels)
