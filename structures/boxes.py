"""Arithmetic of boxes: float32 (N, 4), x1 y1 x2 y2 in pixels, x2 and y2 exclusive, so that width = x2 - x1.

All functions are pure: they return new arrays and leave their arguments as they were.
Sums and products are taken in float64, in which products of float32 numbers are exact, and rounded once at the end.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inception_rcnn.structures.errors import InputError

# What offsets are divided by, so that all are about 1: shares of a box's sides, and logarithms. Source: Fast R-CNN.
OFFSET_DEVIATIONS: Final = np.array([0.1, 0.1, 0.2, 0.2])
MOST_GROWTH: Final = 2.0  # of a side, as a logarithm
_FAR_OUTSIDE: Final = np.float32(1e6)  # of an image, in pixels


def as_boxes(boxes: ArrayLike, name: str = "boxes") -> NDArray[np.float32]:
    """Return `boxes` as a checked float32 array (N, 4).

    Nothing is said about the order of the corners: evaluators must be able to carry inverted boxes.

    Args:
        boxes: Anything array-like of shape (N, 4); an empty list counts as (0, 4).
        name: What to call the boxes in an error.

    Returns:
        float32 (N, 4); the very same array when nothing had to change.

    Raises:
        InputError: The shape is not (N, 4), or a number is not finite.

    >>> as_boxes([[0, 0, 10, 20]])
    array([[ 0.,  0., 10., 20.]], dtype=float32)
    """
    try:
        with np.errstate(over="ignore"):  # a float64 beyond float32 becomes inf, and is refused below
            array = np.asarray(boxes, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} should be numbers of shape (N, 4), got {type(boxes).__name__}: {error}") from error
    if array.ndim == 1 and array.size == 0:
        return np.zeros((0, 4), np.float32)
    if array.ndim != 2 or array.shape[1] != 4:
        hint = "; put a single box into a list: [[x1, y1, x2, y2]]" if array.shape == (4,) else ""
        raise InputError(f"{name} should have shape (N, 4), got {array.shape}{hint}")
    finite = np.isfinite(array).all(axis=1)
    if not finite.all():
        row = int(np.argmin(finite))
        raise InputError(f"{name} should be finite, but row {row} is {array[row].tolist()}")
    return array


def check_area(boxes: NDArray[np.float32], name: str = "boxes") -> None:
    """Raise if a box has no area.

    Raises:
        InputError: One has none; the message gives the row.
    """
    empty = (boxes[:, 2] <= boxes[:, 0]) | (boxes[:, 3] <= boxes[:, 1])
    if empty.any():
        row = int(np.argmax(empty))
        raise InputError(f"{name} has {int(empty.sum())} without area; first is row {row}: {boxes[row].tolist()}")


def check_near(boxes: NDArray[np.float32], width: int, height: int, name: str = "boxes") -> None:
    """Raise if a box reaches far outside the image that it is of: more than a million pixels.

    Regions may reach outside, and are filled there. But the work of cutting one out, and its memory, grow with it, to
    terabytes for a corner at 1e12; no image has such corners, so a file or a program is wrong that asks for them. They
    are refused, not clipped: what is wrong by so much should be seen.

    Args:
        boxes: (N, 4), finite.
        width: Of the image, in pixels.
        height: Of the image, in pixels.
        name: What to call the boxes in an error.

    Raises:
        InputError: One does; the message gives the row.
    """
    low, high = -_FAR_OUTSIDE, np.array([width, height], np.float32) + _FAR_OUTSIDE
    far = (boxes[:, :2] < low).any(axis=1) | (boxes[:, 2:] > high).any(axis=1)
    if far.any():
        row = int(np.argmax(far))
        corners = " ".join(f"{side:g}" for side in boxes[row])
        raise InputError(
            f"{name} should be of the image of {width} x {height} px, but row {row} reaches more than "
            f"{_FAR_OUTSIDE:.0f} px outside it: {corners}; are they of this image, and in pixels?"
        )


def box_area(boxes: ArrayLike) -> NDArray[np.float32]:
    """Return the areas (N,) in square pixels; 0 for boxes whose corners touch or are inverted.

    >>> box_area([[0, 0, 10, 20], [5, 5, 5, 9]])
    array([200.,   0.], dtype=float32)
    """
    return _areas(as_boxes(boxes).astype(np.float64)).astype(np.float32)


def pairwise_iou(a: ArrayLike, b: ArrayLike) -> NDArray[np.float32]:
    """Return the intersection over union (N, M) of each box of `a` with each of `b`, in [0, 1].

    Args:
        a: (N, 4) boxes.
        b: (M, 4) boxes.

    Returns:
        float32 (N, M); 0 wherever one of the two boxes has no area.

    Raises:
        InputError: See `as_boxes`.

    >>> pairwise_iou([[0, 0, 10, 10]], [[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30]]).round(3)
    array([[1.   , 0.333, 0.   ]], dtype=float32)
    """
    first = as_boxes(a, "a").astype(np.float64)[:, None, :]  # [N, 1, 4]
    second = as_boxes(b, "b").astype(np.float64)[None, :, :]  # [1, M, 4]
    return overlap_ratio(first, second).astype(np.float32)


def overlap_ratio(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the intersection over union of float64 boxes that broadcast against each other: (..., 4) -> (...).

    It checks nothing.
    """
    width = np.minimum(a[..., 2], b[..., 2]) - np.maximum(a[..., 0], b[..., 0])
    height = np.minimum(a[..., 3], b[..., 3]) - np.maximum(a[..., 1], b[..., 1])
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    union = _areas(a) + _areas(b) - shared
    # A box without area shares nothing with any box, so 0 / max(union, tiny) is the 0 that is promised.
    ratio: NDArray[np.float64] = shared / np.maximum(union, np.finfo(np.float64).tiny)
    return np.minimum(ratio, 1.0)


def share_inside(boxes: NDArray[np.float64], regions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what share of each box's area lies inside each region: (N, 4), (M, 4) -> (N, M), in [0, 1].

    A box without area lies inside nothing. It checks nothing.

    >>> share_inside(np.array([[0.0, 0, 10, 10]]), np.array([[5.0, 0, 50, 50], [20.0, 0, 30, 9]])).tolist()
    [[0.5, 0.0]]
    """
    low = np.maximum(boxes[:, None, :2], regions[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], regions[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    share: NDArray[np.float64] = shared / np.maximum(_areas(boxes), 1e-12)[:, None]
    return share


def clip_boxes(boxes: ArrayLike, width: float, height: float) -> NDArray[np.float32]:
    """Return the boxes (N, 4) cut to an image of `width` x `height` pixels; boxes outside it keep no area.

    >>> clip_boxes([[-5, 2, 40, 90]], width=30, height=50)
    array([[ 0.,  2., 30., 50.]], dtype=float32)
    """
    if not (width >= 0 and height >= 0):
        raise InputError(f"width and height should be 0 or more, got {width} and {height}")
    limits = np.array([width, height, width, height], np.float32)
    return np.clip(as_boxes(boxes), np.float32(0), limits)


def encode_boxes(boxes: ArrayLike, targets: ArrayLike) -> NDArray[np.float32]:
    """Return the offsets (N, 4) that lead from each box to the target beside it, in the units a regressor learns.

    Shift of the centre as a share of the box's sides, then logarithm of the sides' ratio, each divided by its usual
    size, `OFFSET_DEVIATIONS`. Boxes and targets must have area.

    Source: R-CNN technical report v5, appendix C; the deviations are Fast R-CNN's.

    >>> encode_boxes([[0, 0, 10, 10]], [[1, 0, 11, 10]]).tolist()
    [[1.0, 0.0, 0.0, 0.0]]
    """
    start, end = as_boxes(boxes, "boxes").astype(np.float64), as_boxes(targets, "targets").astype(np.float64)
    size, wanted = start[:, 2:] - start[:, :2], end[:, 2:] - end[:, :2]
    if not ((size > 0).all() and (wanted > 0).all()):
        raise InputError("boxes and targets should have area; one has none")
    shift = ((end[:, :2] + end[:, 2:]) - (start[:, :2] + start[:, 2:])) / 2 / size
    offsets: NDArray[np.float32] = np.hstack([shift, np.log(wanted / size)]) / OFFSET_DEVIATIONS
    return offsets.astype(np.float32)


def decode_boxes(boxes: ArrayLike, offsets: ArrayLike) -> NDArray[np.float32]:
    """Return the boxes (N, 4) moved by offsets (N, 4): the inverse of `encode_boxes`, not clipped.

    No side grows or shrinks by more than a factor of e^2, whatever the offsets are.

    >>> decode_boxes([[0, 0, 10, 10]], [[1, 0, 0, 0]]).tolist()
    [[1.0, 0.0, 11.0, 10.0]]
    """
    start = as_boxes(boxes).astype(np.float64)
    moved = as_boxes(offsets, "offsets").astype(np.float64) * OFFSET_DEVIATIONS
    size = start[:, 2:] - start[:, :2]
    centre = (start[:, :2] + start[:, 2:]) / 2 + moved[:, :2] * size
    half = size * np.exp(np.clip(moved[:, 2:], -MOST_GROWTH, MOST_GROWTH)) / 2
    return np.hstack([centre - half, centre + half]).astype(np.float32)


def undo_sum(total: NDArray[np.float64], part: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Return the numbers that give `total` when `part` is added, as they were before that sum was rounded.

    Adding 1 to an inclusive corner rounds; taking 1 away again may miss the number in the file by its last bit. Of the
    numbers whose sum is `total`, the file had the one with few decimals: if one has nine or fewer, that is it.

    >>> (0.3 + 1) - 1 == 0.3, float(undo_sum(np.array([0.3 + 1]), 1.0)[0]) == 0.3
    (False, True)
    """
    difference = total - part
    short = np.rint(difference * 1e9) / 1e9
    return np.where(short + part == total, short, difference)


def sized_boxes(box: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return x, y, width, height (N, 4) of float64 corners x1 y1 x2 y2, as they were before corners were summed up.

    >>> sized_boxes(np.array([[0.1, 0.2, 0.1 + 0.7, 0.2 + 0.9]])).tolist()
    [[0.1, 0.2, 0.7, 0.9]]
    """
    return np.hstack([box[:, :2], undo_sum(box[:, 2:], box[:, :2])])


def _areas(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the areas (...) of float64 boxes (..., 4), 0 for inverted ones."""
    width = np.maximum(boxes[..., 2] - boxes[..., 0], 0)
    height = np.maximum(boxes[..., 3] - boxes[..., 1], 0)
    areas: NDArray[np.float64] = width * height
    return areas
