"""Compiled sorting of detections: by class, by score within a class, by image within that. All of it is stable."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.structures.kernels import kernel

_FEW = 48  # below so many, insertion beats counting digits
_DIGIT = 2048  # 11 bits: six digits make a float64, and the counters stay in the processor's first cache


@kernel
def stable_counting_sort(
    keys: NDArray[np.int32], rows: NDArray[np.int32], starts: NDArray[np.int64], out: NDArray[np.int32]
) -> None:
    """Put `rows` into `out` by ascending ``keys[row]``; ``starts[k]`` becomes where key k begins, the last the end."""
    starts[:] = 0
    for row in rows:
        starts[keys[row] + 1] += 1
    for key in range(1, len(starts)):
        starts[key] += starts[key - 1]
    place = starts.copy()
    for row in rows:
        key = keys[row]
        out[place[key]] = row
        place[key] += 1


@kernel
def sort_by_keys(
    keys: NDArray[np.uint64],
    rows: NDArray[np.int32],
    spare_keys: NDArray[np.uint64],
    spare_rows: NDArray[np.int32],
    digits: int,
) -> None:
    """Sort `rows` in place by ascending `keys`, which move along; only the lowest `digits` digits of 11 bits count."""
    count = len(keys)
    if count < _FEW:
        for i in range(1, count):
            key, row, j = keys[i], rows[i], i
            while j > 0 and keys[j - 1] > key:
                keys[j], rows[j] = keys[j - 1], rows[j - 1]
                j -= 1
            keys[j], rows[j] = key, row
        return
    place = np.empty(_DIGIT, np.int64)
    for digit in range(digits):
        shift = np.uint64(11 * digit)
        place[:] = 0
        for key in keys:
            place[(key >> shift) & np.uint64(_DIGIT - 1)] += 1
        if place[(keys[0] >> shift) & np.uint64(_DIGIT - 1)] == count:
            continue
        total = np.int64(0)
        for value in range(_DIGIT):
            total, place[value] = total + place[value], total
        for i in range(count):
            value = (keys[i] >> shift) & np.uint64(_DIGIT - 1)
            spare_keys[place[value]] = keys[i]
            spare_rows[place[value]] = rows[i]
            place[value] += 1
        keys[:] = spare_keys
        rows[:] = spare_rows


@kernel
def rank_classes(
    first: int,
    last: int,
    score_bits: NDArray[np.uint64],
    image: NDArray[np.int32],
    starts: NDArray[np.int64],
    image_digits: int,
    ranked: NDArray[np.int32],
    grouped: NDArray[np.int32],
) -> None:
    """Sort the rows of the classes first..last-1: `ranked` by score, descending; `grouped` by image, then by score.

    Args:
        first, last: Which classes.
        score_bits: (M,) the scores' float64 as whole numbers.
        image: (M,) which image a row belongs to.
        starts: (C + 1,) where each class begins in `ranked` and `grouped`.
        image_digits: How many digits of 11 bits `image` needs.
        ranked: (M,) holds the rows by class on entry; rows of equal score keep that order.
        grouped: (M,) is written.
    """
    sign = np.uint64(1) << np.uint64(63)
    for label in range(first, last):
        rows = ranked[starts[label] : starts[label + 1]]
        keys, spare_keys = np.empty(len(rows), np.uint64), np.empty(len(rows), np.uint64)
        spare_rows = np.empty(len(rows), np.int32)
        for i in range(len(rows)):
            bits = score_bits[rows[i]]
            keys[i] = bits if bits & sign else ~(bits | sign)  # ascending keys: descending scores
        sort_by_keys(keys, rows, spare_keys, spare_rows, 6)
        by_image = grouped[starts[label] : starts[label + 1]]
        for i in range(len(rows)):
            by_image[i] = rows[i]
            keys[i] = np.uint64(image[rows[i]])
        sort_by_keys(keys, by_image, spare_keys, spare_rows, image_digits)
