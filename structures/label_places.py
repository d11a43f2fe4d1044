"""Where labels stand beside their boxes in a picture: never over each other, never outside. Arithmetic only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Size = tuple[int, int]
Rectangle = tuple[int, int, int, int]


class LabelPlaces:
    """The labels of one picture, placed one after the other, the most important first.

    A label touches its box or lies over it. It stands above the box, flush left; where that is taken or outside, inside
    at the top, below, inside at the bottom; and where these are, at the nearest free place to the first that still
    touches the box. Such a place is found whenever there is one.

    Args:
        size: Width and height of the picture in pixels.
    """

    def __init__(self, size: Size) -> None:
        self.size = size
        self._taken: list[Rectangle] = []

    def place(self, box: Rectangle, sizes: Sequence[Size]) -> tuple[int, int, int] | None:
        """Return which of its sizes a label gets, with its left and top pixel, and keep the place for it.

        Args:
            box: x1 y1 x2 y2 in whole pixels, in the picture, x2 and y2 exclusive.
            sizes: Width and height, the most wanted first; the first with a free place is taken.

        Returns:
            None where none of them has a place: the picture is too small, or too full around the box.
        """
        for choice, (width, height) in enumerate(sizes):
            corner = self._free_corner(box, width, height)
            if corner is not None:
                left, top = corner
                self._taken.append((left, top, left + width, top + height))
                return choice, left, top
        return None

    def _free_corner(self, box: Rectangle, width: int, height: int) -> tuple[int, int] | None:
        """Return the left and top pixel of the best free place of one size."""
        most_left, most_top = self.size[0] - width, self.size[1] - height
        if most_left < 0 or most_top < 0:
            return None
        left = min(box[0], most_left)
        near = self._taken_near(box, width, height)
        for top in (box[1] - height, box[1], box[3], box[3] - height):
            if 0 <= top <= most_top and self._free(near, np.array([left]), np.array([top]), width, height)[0, 0]:
                return left, top
        # A free place can be slid left and up until it meets the border of the picture, of the box's surroundings, or
        # a label; or right and down likewise. So of the free places, one has its edges at one of these.
        across = [box[0], box[0] - width, box[2] - width, box[2], *near[:, 0] - width, *near[:, 2]]
        down = [box[1] - height, box[1], box[3] - height, box[3], *near[:, 1] - height, *near[:, 3]]
        lefts = np.unique(np.clip(across, max(box[0] - width, 0), min(box[2], most_left)))
        tops = np.unique(np.clip(down, max(box[1] - height, 0), min(box[3], most_top)))
        distance = np.abs(lefts - left)[:, None] + np.abs(tops - (box[1] - height))[None, :]
        distance = np.where(self._free(near, lefts, tops, width, height), distance, np.inf)
        column, row = np.unravel_index(np.argmin(distance), distance.shape)
        return (int(lefts[column]), int(tops[row])) if np.isfinite(distance[column, row]) else None

    def _taken_near(self, box: Rectangle, width: int, height: int) -> NDArray[np.int64]:
        """Return the labels (K, 4) that a label of this size could meet where it touches the box."""
        taken = np.array(self._taken, np.int64).reshape(-1, 4)
        beyond = (taken[:, 2] <= box[0] - width) | (taken[:, 0] >= box[2] + width)
        beyond |= (taken[:, 3] <= box[1] - height) | (taken[:, 1] >= box[3] + height)
        return taken[~beyond]

    @staticmethod
    def _free(
        taken: NDArray[np.int64], lefts: NDArray[np.int64], tops: NDArray[np.int64], width: int, height: int
    ) -> NDArray[np.bool_]:
        """Return which places (lefts, tops) meet no label that is there."""
        across = (lefts[:, None] < taken[:, 2]) & (lefts[:, None] + width > taken[:, 0])
        down = (tops[:, None] < taken[:, 3]) & (tops[:, None] + height > taken[:, 1])
        free: NDArray[np.bool_] = across.astype(np.float32) @ down.astype(np.float32).T == 0
        return free
