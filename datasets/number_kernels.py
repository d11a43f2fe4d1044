"""Compiled reading of lines of words and numbers."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from inception_rcnn.structures.kernels import kernel

_NEWLINE, _SPACE = 10, 32
_ZERO, _NINE, _DOT, _MINUS, _PLUS, _SMALL_E, _LARGE_E = 48, 57, 46, 45, 43, 101, 69
_EXACT = 9_007_199_254_740_992  # 2**53: whole numbers up to here are float64 without rounding
_MOST_DIGITS = 18  # what int64 holds for certain
_EXACT_POWER, _LARGEST_POWER = 22, 60

POWERS: Final = np.array([[float(10**k), float(10**k - int(float(10**k)))] for k in range(_LARGEST_POWER + 1)])
"""Powers of ten (61, 2), each as the sum of two float64."""


@kernel
def count_lines(text: NDArray[np.uint8]) -> int:
    """Return the number of line ends."""
    lines = 0
    for byte in text:
        lines += byte == _NEWLINE
    return lines


@kernel
def product_error(a: float, b: float, product: float) -> float:
    """Return ``a * b - product`` without rounding, where `product` is the rounded one.

    Source: Dekker 1971, "A floating-point technique for extending the available precision".
    """
    big_a, big_b = 134217729.0 * a, 134217729.0 * b  # 2**27 + 1 cuts 53 bits into halves
    high_a, high_b = big_a - (big_a - a), big_b - (big_b - b)
    low_a, low_b = a - high_a, b - high_b
    return ((high_a * high_b - product) + high_a * low_b + low_a * high_b) + low_a * low_b


@kernel
def scaled(digits: np.int64, power: np.int64, powers: NDArray[np.float64]) -> float:
    """Return the float64 nearest to digits * 10**power, or NaN where that takes more than this arithmetic.

    The quotient or product is computed to about 100 bits; it is trusted if moving it by more than its error, up or
    down, rounds to the same float64.
    """
    if digits < _EXACT and -_EXACT_POWER <= power <= _EXACT_POWER:
        return float(digits / powers[-power, 0] if power < 0 else digits * powers[power, 0])
    if abs(power) > _LARGEST_POWER:
        return np.nan
    high = np.float64(digits)
    low = np.float64(digits - np.int64(high))
    ten, rest = powers[abs(power), 0], powers[abs(power), 1]
    if power < 0:
        first = high / ten
        product = first * ten
        remainder = (high - product) - product_error(first, ten, product)
        second = (remainder + low - first * rest) / ten
    else:
        first = high * ten
        second = product_error(high, ten, first) + high * rest + low * ten
    error = abs(first) * 2.0**-96
    up, down = first + (second + error), first + (second - error)
    return up if up == down else np.nan


@kernel
def read_number(text: NDArray[np.uint8], start: int, end: int, powers: NDArray[np.float64]) -> float:
    """Return the float64 nearest to the decimal number in ``text[start:end]``; NaN if this cannot tell."""
    at = start
    negative = text[at] == _MINUS
    if negative or text[at] == _PLUS:
        at += 1
    digits, count, decimals, dotted, seen = np.int64(0), 0, 0, False, False
    while at < end:
        byte = text[at]
        if _ZERO <= byte <= _NINE:
            seen = True
            if count > 0 or byte > _ZERO:
                count += 1
            if count <= _MOST_DIGITS:
                digits = 10 * digits + np.int64(byte - _ZERO)
            if dotted:
                decimals += 1
        elif byte == _DOT and not dotted:
            dotted = True
        else:
            break
        at += 1
    if not seen or count > _MOST_DIGITS:
        return np.nan
    exponent = np.int64(0)
    if at < end:
        if (text[at] != _SMALL_E and text[at] != _LARGE_E) or at + 1 == end or end - at > 6:
            return np.nan
        at += 1
        downwards = text[at] == _MINUS
        if (downwards or text[at] == _PLUS) and at + 1 < end:
            at += 1
        while at < end:
            if not _ZERO <= text[at] <= _NINE:
                return np.nan
            exponent = 10 * exponent + np.int64(text[at] - _ZERO)
            at += 1
        if downwards:
            exponent = -exponent
    value = 0.0 if digits == 0 else scaled(digits, exponent - decimals, powers)
    return -value if negative else value


@kernel
def read_lines(
    text: NDArray[np.uint8],
    words: int,
    row: int,
    offset: int,
    named: bool,
    powers: NDArray[np.float64],
    values: NDArray[np.float64],
    spans: NDArray[np.int64],
    state: NDArray[np.int64],
) -> int:
    """Read lines of `words` words into `values`, from `row` on; return the next row.

    Args:
        text: Whole lines.
        words: How many on each line; blank lines are passed over.
        row: Where in `values` the next line goes.
        offset: Where `text` begins in the file, for `spans`.
        named: The first word is a name and no number: its place goes into `spans`.
        powers: `POWERS`.
        values: (lines, words) is written.
        spans: (lines, 2) is written: begin and end of the first word. Unused (0, 2) if not `named`.
        state: (2,) where to go on in `text`; then 0 if all is read, 1 if the line that begins there is not understood.
    """
    at = state[0]
    state[1] = 0
    while at < len(text):
        line, word = at, 0
        understood = True
        while True:
            while at < len(text) and text[at] <= _SPACE and text[at] != _NEWLINE:
                at += 1
            if at == len(text) or text[at] == _NEWLINE:
                break
            start = at
            while at < len(text) and text[at] > _SPACE:
                at += 1
            if word == words:
                understood = False
                break
            if named and word == 0:
                spans[row, 0], spans[row, 1] = offset + start, offset + at
            else:
                values[row, word] = read_number(text, start, at, powers)
                understood = understood and values[row, word] == values[row, word]
            word += 1
        at += 1
        if word == 0:
            continue
        if word != words or not understood:
            state[0], state[1] = line, 1
            return row
        row += 1
    return row
