"""Compiled reading of COCO's results: a JSON list of flat objects with four keys."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.datasets.number_kernels import read_number
from inception_rcnn.structures.kernels import kernel

_SPACE, _TAB, _NEWLINE, _RETURN = 32, 9, 10, 13
_COMMA, _COLON, _DOT, _MINUS, _PLUS, _ZERO, _NINE = 44, 58, 46, 45, 43, 48, 57
_OPEN, _CLOSE, _OPEN_LIST, _CLOSE_LIST = 123, 125, 91, 93
_SMALL_E, _LARGE_E = 101, 69
_MOST_DIGITS = 18  # what int64 holds for certain
_IMAGE, _CATEGORY, _SCORE, _ALL = 0, 1, 3, 15
_KEYS: Final = (b'"image_id"', b'"category_id"', b'"bbox"', b'"score"')
KEY_LENGTHS: Final = np.array([len(key) for key in _KEYS], np.int64)
"""Of the four keys with their quotes, (4,)."""
KEYS: Final = np.array([list(key.ljust(max(KEY_LENGTHS))) for key in _KEYS], np.uint8)
"""The four keys with their quotes, (4, longest)."""

_TEXT = "Array(uint8, 1, 'C', readonly=True)"


@kernel
def skip_space(text: NDArray[np.uint8], at: int) -> int:
    """Return where the next byte is that is no JSON space."""
    while at < len(text) and (text[at] == _SPACE or text[at] == _NEWLINE or text[at] == _TAB or text[at] == _RETURN):
        at += 1
    return at


@kernel
def skip_digits(text: NDArray[np.uint8], at: int) -> int:
    """Return where the digits end."""
    while at < len(text) and _ZERO <= text[at] <= _NINE:
        at += 1
    return at


@kernel
def whole_end(text: NDArray[np.uint8], start: int) -> int:
    """Return where the whole number that begins at `start` ends, by JSON's grammar; -1 if there is none."""
    at = start + (start < len(text) and text[start] == _MINUS)
    end = skip_digits(text, at)
    if end == at or (text[at] == _ZERO and end > at + 1):
        return -1
    return end


@kernel
def number_end(text: NDArray[np.uint8], start: int) -> int:
    """Return where the number that begins at `start` ends, by JSON's grammar; -1 if there is none."""
    at = whole_end(text, start)
    if at >= 0 and at < len(text) and text[at] == _DOT:
        end = skip_digits(text, at + 1)
        at = -1 if end == at + 1 else end
    if at >= 0 and at < len(text) and (text[at] == _SMALL_E or text[at] == _LARGE_E):
        at += 1
        at += at < len(text) and (text[at] == _MINUS or text[at] == _PLUS)
        end = skip_digits(text, at)
        at = -1 if end == at else end
    return at


@kernel
def find_key(text: NDArray[np.uint8], start: int, keys: NDArray[np.uint8], lengths: NDArray[np.int64]) -> int:
    """Return which key stands at `start`, -1 if none."""
    for key in range(len(keys)):
        same = 0
        while same < lengths[key] and start + same < len(text) and text[start + same] == keys[key, same]:
            same += 1
        if same == lengths[key]:
            return key
    return -1


@kernel
def read_whole(text: NDArray[np.uint8], start: int, ids: NDArray[np.int64], row: int, column: int) -> int:
    """Read a whole number into `ids`; return where it ends, -1 if there is none or it has too many digits."""
    first = start + (start < len(text) and text[start] == _MINUS)
    end = whole_end(text, start)
    if end < 0 or end - first > _MOST_DIGITS:
        return -1
    value = np.int64(0)
    for at in range(first, end):
        value = 10 * value + np.int64(text[at] - _ZERO)
    ids[row, column] = -value if first > start else value
    return end


@kernel
def read_numbers(
    text: NDArray[np.uint8],
    at: int,
    row: int,
    column: int,
    last: int,
    powers: NDArray[np.float64],
    numbers: NDArray[np.float64],
    unsure: NDArray[np.int64],
    state: NDArray[np.int64],
) -> int:
    """Read numbers apart by commas into the columns to `last`; return where they end, -1 if there are fewer."""
    while True:
        end = number_end(text, at)
        if end < 0:
            return -1
        number = read_number(text, at, end, powers)
        numbers[row, column] = number
        if number != number:
            if state[0] == len(unsure):
                return -1
            unsure[state[0], 0], unsure[state[0], 1], unsure[state[0], 2], unsure[state[0], 3] = row, column, at, end
            state[0] += 1
        if column == last:
            return end
        column += 1
        at = skip_space(text, end)
        if at == len(text) or text[at] != _COMMA:
            return -1
        at = skip_space(text, at + 1)


@kernel
def read_box(
    text: NDArray[np.uint8],
    at: int,
    row: int,
    powers: NDArray[np.float64],
    numbers: NDArray[np.float64],
    unsure: NDArray[np.int64],
    state: NDArray[np.int64],
) -> int:
    """Read a list of four numbers; return where it ends, -1 if there is none."""
    if at == len(text) or text[at] != _OPEN_LIST:
        return -1
    at = read_numbers(text, skip_space(text, at + 1), row, 0, 3, powers, numbers, unsure, state)
    if at < 0:
        return -1
    at = skip_space(text, at)
    return -1 if at == len(text) or text[at] != _CLOSE_LIST else at + 1


@kernel
def read_records(
    text: NDArray[np.uint8],
    row: int,
    keys: NDArray[np.uint8],
    lengths: NDArray[np.int64],
    powers: NDArray[np.float64],
    ids: NDArray[np.int64],
    numbers: NDArray[np.float64],
    unsure: NDArray[np.int64],
    state: NDArray[np.int64],
) -> int:
    """Read objects apart by commas into the rows from `row` on; return the next row, or -1 if anything is unusual.

    Args:
        text: One or more objects, and nothing else but spaces.
        row: Where the first goes.
        keys: `KEYS`.
        lengths: `KEY_LENGTHS`.
        powers: `POWERS` of number_kernels.
        ids: (rows, 2) is written: image and category.
        numbers: (rows, 5) is written: x, y, width, height, score.
        unsure: (K, 4) is written: row, column, begin and end of numbers that take more than this arithmetic.
        state: (1,) is written: how many those are.
    """
    at = skip_space(text, 0)
    while at < len(text) and text[at] == _OPEN:
        seen = 0
        while seen != _ALL:  # at an opening brace or a comma
            at = skip_space(text, at + 1)
            key = find_key(text, at, keys, lengths)
            if key < 0 or (seen >> key) & 1:
                return -1
            seen |= 1 << key
            at = skip_space(text, at + lengths[key])
            if at == len(text) or text[at] != _COLON:
                return -1
            at = skip_space(text, at + 1)
            if key in (_IMAGE, _CATEGORY):
                at = read_whole(text, at, ids, row, key)
            elif key == _SCORE:
                at = read_numbers(text, at, row, 4, 4, powers, numbers, unsure, state)
            else:
                at = read_box(text, at, row, powers, numbers, unsure, state)
            if at < 0:
                return -1
            at = skip_space(text, at)
            if at == len(text) or text[at] != (_CLOSE if seen == _ALL else _COMMA):
                return -1
        row += 1
        at = skip_space(text, at + 1)
        if at == len(text):
            return row
        if text[at] != _COMMA:
            return -1
        at = skip_space(text, at + 1)
    return -1
