"""The one rule by which the boxes of all formats are checked against their photographs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from inception_rcnn.datasets.reading.headers import Box
from inception_rcnn.structures import DataFormatError
from inception_rcnn.structures.ground_truth import ImageSize

_ODD_SHARE = 0.05  # of boxes at an edge that the format does not have; fewer are slips
_SLACK = 1.0  # pixels: tools that counted from 0 where the format counts from 1, or the other way round, are common


class AnnotatedObject(NamedTuple):
    """One object as a reader hands it on and a writer takes it.

    Args:
        name: Its class.
        box: x1 y1 x2 y2 in pixels, x2 and y2 exclusive.
        ignore: Neither rewarded nor punished: VOC's difficult objects, COCO's crowds.
        area: In square pixels, where the format has one.
        place: Where it stands in its file, for errors.
        numbers: The four of its box as they stand in the file.
    """

    name: str
    box: Box
    ignore: bool = False
    area: float = float("nan")
    place: str | None = None
    numbers: Sequence[float] = ()


class BoxRules:
    """Checks boxes, and counts what is odd in them: a pixel is let pass, more is clipped, all of it is an error.

    Args:
        words: What the format calls the four numbers of a box, such as "xmin ymin xmax ymax".
        first_pixel: What the format calls the first column and row.
        given: Whether the caller said so.
        strict: Refuse what leaves the photograph instead of clipping it.
        shares: The numbers are shares of the photograph, x and y those of its centre.
    """

    def __init__(self, words: str, first_pixel: int, *, given: bool, strict: bool, shares: bool = False) -> None:
        self.words = words
        self.first_pixel = first_pixel
        self._shares = shares
        self._given = given
        self._strict = strict
        self._as_corners = words == "x y width height"
        self._checked = 0
        self._clipped = 0
        self._first_clipped = ""
        self._corner_like = 0
        self._odd_origin = 0
        self._first_odd = ""

    def check(self, one: AnnotatedObject, size: ImageSize, path: str | os.PathLike[str]) -> Box:
        """Return the box of an object, clipped to its photograph where it leaves that by more than a pixel.

        Args:
            one: The object.
            size: Width and height of the photograph, None where unknown.
            path: The file that the box is from, for errors.

        Raises:
            DataFormatError: It has no area once its corners are float32, as boxes are in this project; or none of it is
                in the photograph; or it was given as shares of the photograph, 0 to 1.
        """
        x1, y1, x2, y2 = one.box
        self._checked += 1
        if not (np.float32(x2) > np.float32(x1) and np.float32(y2) > np.float32(y1)):
            raise self._error(one, f"its box has no area: {self._told(one)}{self._swapped(one, size)}", path)
        if not self._shares and _is_share(one.numbers) and (size[0] or 9) > 2 and (size[1] or 9) > 2:
            raise self._error(
                one,
                f"its box is given in shares of the photograph, 0 to 1, where pixels belong: {self._told(one)}; "
                "multiply by its width and height, or convert the data set with the tool that wrote it",
                path,
            )
        width, height = (float("inf") if side is None else side for side in size)
        if x1 >= 0 and y1 >= 0 and x2 <= width and y2 <= height:
            return one.box
        if x1 < -_SLACK or y1 < -_SLACK or x2 > width + _SLACK or y2 > height + _SLACK:
            return self._outside(one, size, path)
        if (x1 < 0 or y1 < 0) if self.first_pixel else (x2 > width or y2 > height):
            self._odd_origin += 1
            self._first_odd = self._first_odd or _where(one, path)
        return one.box

    def notes(self, path: str | os.PathLike[str]) -> list[str]:
        """Return what was odd, a line for each kind.

        Raises:
            DataFormatError: The boxes were given by their corners where the format has x y width height.
        """
        found = []
        if self._corner_like > 1 and self._corner_like == self._clipped and 2 * self._clipped >= self._checked:
            centre = "x = (x1 + x2) / 2, y = (y1 + y2) / 2, " if self._shares else "subtract, "
            raise DataFormatError(
                f"{self._clipped} of {self._checked} boxes leave their photographs as {self.words}, and fit them "
                f"as the corners x1 y1 x2 y2: {centre}width = x2 - x1, height = y2 - y1; "
                f"the first: {self._first_clipped}",
                path=path,
            )
        if self._clipped:
            found.append(
                f"{self._clipped} of {self._checked} boxes leave their photographs and were clipped, the first: "
                f"{self._first_clipped} (--strict or strict=True refuses them)"
            )
        if self._odd_origin >= max(1, _ODD_SHARE * self._checked) and not self._given:
            other = 1 - self.first_pixel
            found.append(
                f"{self._odd_origin} of {self._checked} boxes look as if pixels were counted from {other}, the first: "
                f"{self._first_odd}; read by the format's rule, from {self.first_pixel} "
                f"(--origin {other} or origin={other} if the tool counted from {other})"
            )
        return found

    def _outside(self, one: AnnotatedObject, size: ImageSize, path: str | os.PathLike[str]) -> Box:
        x1, y1, x2, y2 = one.box
        width, height = (float("inf") if side is None else float(side) for side in size)
        inside = (max(x1, 0.0), max(y1, 0.0), min(x2, width), min(y2, height))
        told = f"({_in_words(size)}, pixels counted from {self.first_pixel}): {self._told(one)}"
        if not (inside[2] > inside[0] and inside[3] > inside[1]):
            raise self._error(one, f"its box lies outside the photograph {told}", path)
        if self._strict:
            raise self._error(one, f"its box leaves the photograph {told}", path)
        self._clipped += 1
        self._first_clipped = self._first_clipped or _where(one, path)
        self._corner_like += self._as_corners and _fits(one.numbers, (1, 1) if self._shares else size)
        return inside

    def _swapped(self, one: AnnotatedObject, size: ImageSize) -> str:
        """Return what to think of a box whose second corner is before its first, but could be width and height."""
        if self._as_corners or len(one.numbers) != 4 or None in size:
            return ""
        x, y, width, height = one.numbers
        fits = width > 0 and height > 0 and x + width <= (size[0] or 0) + 1 and y + height <= (size[1] or 0) + 1
        return f"; as x y width height it would lie in the photograph, but {self.words} are wanted" if fits else ""

    def _told(self, one: AnnotatedObject) -> str:
        words = self.words.split()
        numbers = [f"{number:.15g}" for number in one.numbers or one.box]
        if len(words) != len(numbers) or words[0] == "x":
            return f"{self.words} are {' '.join(numbers)}"
        return " ".join(f"{word} {number}" for word, number in zip(words, numbers, strict=True))

    def _error(self, one: AnnotatedObject, message: str, path: str | os.PathLike[str]) -> DataFormatError:
        return DataFormatError(message, path=path, place=one.place)


def _where(one: AnnotatedObject, path: str | os.PathLike[str]) -> str:
    return os.fspath(path) if one.place is None else f"{os.fspath(path)}, {one.place}"


def _in_words(size: ImageSize) -> str:
    return " x ".join(str(side or "?") for side in size)


def _is_share(numbers: Sequence[float]) -> bool:
    """Return whether all numbers are in 0..1 and one is no whole number."""
    return (
        len(numbers) == 4
        and all(0 <= number <= 1 for number in numbers)
        and any(number != int(number) for number in numbers)
    )


def _fits(numbers: Sequence[float], size: ImageSize) -> bool:
    """Return whether numbers are the corners of a box in the photograph."""
    x1, y1, x2, y2 = numbers
    width, height = (side if side == 1 else (side or 0) + _SLACK for side in size)
    return 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height
