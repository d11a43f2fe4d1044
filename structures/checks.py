"""Checks for the columns of Proposals, Detections and GroundTruth: arrays with one entry for each box."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inception_rcnn.structures.errors import InputError

Selection = slice | int | Sequence[int] | Sequence[bool] | NDArray[Any]
"""What may stand between the brackets of `detections[...]`."""

Number = TypeVar("Number", bound=np.generic)

_LARGEST = np.iinfo(np.int32).max


def column(values: ArrayLike, name: str, length: int, dtype: type[Number]) -> NDArray[Number]:
    """Return `values` as a finite array (length,) of `dtype`.

    Raises:
        InputError: The shape is another one, or a value is not a finite number.
    """
    try:
        with np.errstate(over="ignore"):
            array = np.asarray(values, dtype=dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{name} should be numbers of shape ({length},): {error}") from error
    if array.shape != (length,):
        raise InputError(f"{name} should have shape ({length},) to match boxes, got {array.shape}")
    if not np.isfinite(array).all():
        row = int(np.argmin(np.isfinite(array)))
        raise InputError(f"{name} should be finite, but entry {row} is {array[row]}")
    return array


def whole_numbers(values: ArrayLike, name: str, limit: int, names: str) -> NDArray[np.int64]:
    """Return `values` as int64 in [0, limit): positions in the tuple called `names`.

    Raises:
        InputError: A value has a fraction, or no name.
    """
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise InputError(f"{name} should be whole numbers of shape (N,): {error}") from error
    if array.size == 0:
        return np.zeros(0, np.int64)
    if array.dtype.kind not in "iu":
        raise InputError(f"{name} should be whole numbers, got an array of {array.dtype}")
    outside = (array < 0) | (array >= limit)
    if outside.any():
        row = int(np.argmax(outside))
        raise InputError(
            f"{name} should be in 0..{limit - 1}, a position in {names} ({limit}), but entry {row} is {array.flat[row]}"
        )
    return array.astype(np.int64, copy=False)


def descending(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the order (N,) that puts higher scores first and keeps equal ones in place."""
    return np.argsort(-scores, kind="stable").astype(np.int64)


def check_descending(scores: NDArray[np.float32], owner: str) -> None:
    """Raise if a score is higher than the one before it.

    Raises:
        InputError: One is; the text names `<owner>.ordered` as the way out.
    """
    rising = scores[1:] > scores[:-1]
    if rising.any():
        row = int(np.argmax(rising)) + 1
        raise InputError(
            f"scores should descend, but entry {row} ({scores[row]:g}) is higher than the one before it "
            f"({scores[row - 1]:g}); use {owner}.ordered(...) to sort"
        )


def rows(keep: Selection, length: int) -> slice | NDArray[Any]:
    """Return `keep` in a form that picks rows and never drops the first dimension.

    Raises:
        InputError: Neither a slice, nor a mask (length,), nor positions in [-length, length).
    """
    if isinstance(keep, slice):
        return keep
    chosen = np.atleast_1d(np.asarray(keep))
    if chosen.dtype == np.bool_:
        if chosen.shape != (length,):
            raise InputError(f"a mask should have shape ({length},), one flag for each box, got {chosen.shape}")
        return chosen
    if chosen.size == 0:
        return np.zeros(0, np.int64)
    if chosen.ndim != 1 or chosen.dtype.kind not in "iu":
        raise InputError(f"select boxes by a slice, a mask or positions, got {chosen.dtype} of shape {chosen.shape}")
    if chosen.min() < -length or chosen.max() >= length:
        raise InputError(f"positions should be in 0..{length - 1}, got {chosen.min()}..{chosen.max()}")
    return chosen


def repeated_positions(images: Sequence[Sized]) -> NDArray[np.int32]:
    """Return the position of each image, once for each of its boxes."""
    return np.repeat(np.arange(len(images), dtype=np.int32), [len(one) for one in images])


def joined(parts: Sequence[NDArray[np.generic]], dtype: type[Number], empty: tuple[int, ...] = (0,)) -> NDArray[Number]:
    """Return the parts one after the other as `dtype`; with no part, an array of shape `empty`."""
    return np.concatenate([np.zeros(empty, dtype), *(part.astype(dtype) for part in parts)])


def corners(values: ArrayLike, name: str) -> NDArray[np.float64]:
    """Return finite float64 (N, 4), C-contiguous."""
    try:
        array = np.ascontiguousarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} should be numbers of shape (N, 4): {error}") from error
    if array.size == 0:
        return np.zeros((0, 4), np.float64)
    if array.ndim != 2 or array.shape[1] != 4:
        raise InputError(f"{name} should have shape (N, 4), got {array.shape}")
    if not np.isfinite(array).all():
        row = int(np.argmin(np.isfinite(array).all(axis=1)))
        raise InputError(f"{name} should be finite, but row {row} is {array[row].tolist()}")
    return array


def positions(values: ArrayLike, name: str, length: int, limit: int = _LARGEST) -> NDArray[np.int32]:
    """Return whole numbers in [0, limit) as int32 (length,)."""
    array = np.asarray(values)
    if array.size == 0 and length == 0:
        return np.zeros(0, np.int32)
    if array.shape != (length,) or array.dtype.kind not in "iu":
        raise InputError(f"{name} should be whole numbers of shape ({length},), got {array.dtype} {array.shape}")
    if array.min() < 0 or array.max() >= limit:
        raise InputError(f"{name} should be in 0..{limit - 1}, got {array.min()}..{array.max()}")
    return np.ascontiguousarray(array, dtype=np.int32)


def share_column(values: ArrayLike | None, name: str, length: int) -> NDArray[np.float32] | None:
    """Return `values` as float32 (length,) in [0, 1]; None stays None.

    Raises:
        InputError: The shape is another one, or a value is outside.
    """
    if values is None:
        return None
    shares = column(values, name, length, np.float32)
    outside = (shares < 0) | (shares > 1)
    if outside.any():
        row = int(np.argmax(outside))
        raise InputError(f"{name} should be in [0, 1], but entry {row} is {shares[row]}")
    return shares


def source_column(source: ArrayLike, length: int, names: tuple[str, ...]) -> NDArray[np.uint8]:
    """Return who proposed each box, uint8 (length,); none given means that the first name proposed all.

    Raises:
        InputError: The shape is another one, a value has no name, or there are no names or too many.
    """
    if len(names) > 256 or (length and not names):
        raise InputError(f"source_names should hold 1 to 256 names, got {len(names)}")
    given = whole_numbers(source, "source", len(names), "source_names")
    if given.size == 0:
        return np.zeros(length, np.uint8)
    return column(given, "source", length, np.uint8)
