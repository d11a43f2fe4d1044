"""A heap with the largest value on top, in two arrays; equal values: the smaller item is above.

numba's cache of a caller does not notice changes made here: after one, delete the folders `__pycache__`.
"""

from __future__ import annotations

from typing import Any

from inception_rcnn.structures.kernels import kernel


@kernel
def push(values: Any, items: Any, count: int, value: Any, item: Any) -> None:
    """Add an entry to a heap of `count` entries; the arrays have room for it. An item larger than all others only."""
    place = count
    while place > 0:
        above = (place - 1) >> 1
        if values[above] >= value:
            break
        values[place] = values[above]
        items[place] = items[above]
        place = above
    values[place] = value
    items[place] = item


@kernel
def replace_top(values: Any, items: Any, count: int, value: Any, item: Any) -> None:
    """Put an entry in the place of the top one, then where it belongs.

    With the last entry of count + 1 as the new one, this takes the top away.
    """
    place = 0
    while True:
        below = 2 * place + 1
        if below >= count:
            break
        right = below + 1
        if right < count and (
            values[right] > values[below] or (values[right] == values[below] and items[right] < items[below])
        ):
            below = right
        if value > values[below] or (value == values[below] and item < items[below]):
            break
        values[place] = values[below]
        items[place] = items[below]
        place = below
    values[place] = value
    items[place] = item
