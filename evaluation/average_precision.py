"""Outcomes of ranked detections -> precision and recall -> average precision, as the three protocols define it.

Source: Everingham et al. 2010, "The PASCAL Visual Object Classes (VOC) Challenge", section 4.2 (11 points); the VOC2010
and ILSVRC DET development kits (area); Lin et al. 2014, "Microsoft COCO", and COCOeval (101 points).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.structures.errors import InputError

TRUE: Final = 1
FALSE: Final = 0
NEUTRAL: Final = -1
"""A detection that counts neither way: it stays in the curve, as a point with unchanged counts."""
LEFT_OUT: Final = -2
"""A detection beyond COCO's limit for an image and class: it is no point of the curve."""

ELEVEN_RECALLS: Final = {
    # MATLAB's 0:0.1:1 counts upwards to the middle and downwards from the end; NumPy's arange only upwards, and reaches
    # 0.30000000000000004 where MATLAB has it too, but 0.6000000000000001 and 0.7000000000000001 where it has not.
    "matlab": np.array([0.1 * k for k in range(6)] + [1 - 0.1 * (10 - k) for k in range(6, 11)]),
    "numpy": np.arange(0.0, 1.1, 0.1),
}
HUNDRED_AND_ONE_RECALLS: Final = np.linspace(0.0, 1.0, 101)

Curve = NDArray[np.float64]


def precision_recall(outcome: NDArray[np.int8], objects: int) -> tuple[Curve, Curve]:
    """Return recall and precision after each detection.

    Args:
        outcome: (M,) `TRUE`, `FALSE` or `NEUTRAL` of the detections of one class, best first.
        objects: How many there are to find.

    Returns:
        Two float64 (M,). Precision is NaN before the first detection that counts; recall is NaN without objects.

    >>> precision_recall(np.array([1, 0, 1], np.int8), 4)
    (array([0.25, 0.25, 0.5 ]), array([1.        , 0.5       , 0.66666667]))
    """
    true = np.cumsum(outcome == TRUE, dtype=np.float64)
    counted = np.cumsum(outcome >= FALSE, dtype=np.float64)
    # 0 / 0 is meant; numpy 1.26 says "divide" too, of lanes of the processor that hold no number.
    with np.errstate(divide="ignore", invalid="ignore"):
        return true / objects, true / counted


def envelope(precision: Curve) -> Curve:
    """Return for each point the highest precision there or further right; NaN counts as nothing, as in MATLAB."""
    highest: Curve = np.fmax.accumulate(precision[::-1])[::-1]
    return np.nan_to_num(highest)


def area_under(recall: Curve, precision: Curve) -> float:
    """Return the area under the envelope of the curve, in [0, 1]: VOC since 2010, and ILSVRC DET.

    NaN if there are detections and recall is NaN, 0 if there are no detections: as the development kits have it.

    >>> area_under(np.array([0.5, 0.5, 1.0]), np.array([1.0, 0.5, 2 / 3])) == 0.5 + 0.5 * (2 / 3)
    True
    """
    reached = np.concatenate([[0.0], recall, [1.0]])
    height = envelope(np.concatenate([precision, [0.0]]))
    step = np.flatnonzero(reached[1:] != reached[:-1])
    return float(np.sum((reached[step + 1] - reached[step]) * height[step]))


def eleven_points(recall: Curve, precision: Curve, grid: str = "matlab") -> float:
    """Return the mean of the envelope at the recalls 0, 0.1 ... 1, in [0, 1]: VOC until 2009.

    Args:
        recall: (M,) ascending.
        precision: (M,) beside it; NaN counts as 0.
        grid: ``"matlab"`` for the development kit's floating-point 0:0.1:1, ``"numpy"`` for arange(0, 1.1, 0.1). They
            differ where recall is exactly 3/5 or 7/10, by as much as 1/11 of a class's value.

    Raises:
        InputError: The grid is unknown.
    """
    if grid not in ELEVEN_RECALLS:
        raise InputError(f"grid {grid!r} is unknown; known: {', '.join(ELEVEN_RECALLS)}")
    return mean_at(recall, precision, ELEVEN_RECALLS[grid])


def hundred_and_one_points(recall: Curve, precision: Curve) -> float:
    """Return the mean of the envelope at the recalls 0, 0.01 ... 1, in [0, 1]: COCO."""
    return mean_at(recall, precision, HUNDRED_AND_ONE_RECALLS)


def mean_at(recall: Curve, precision: Curve, recalls: Curve) -> float:
    """Return the mean over `recalls` of the highest precision at that recall or more, 0 where it is never reached."""
    height = np.append(envelope(precision), 0.0)
    return float(np.mean(height[np.searchsorted(recall, recalls, side="left")]))
