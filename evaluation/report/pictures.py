"""Pieces of photographs with boxes on them, small enough to be part of a page."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inception_rcnn.structures import InceptionError

Photographs = Callable[[int], NDArray[np.uint8]]

LONG_SIDE: Final = 300
"""Pixels of the longer side: 48 such pictures make a page of about one megabyte."""
_MARGIN: Final = 0.35  # of the boxes' longer side, on each side: enough to recognise the scene
_QUALITY: Final = 62


@dataclass(frozen=True)
class DrawnBox:
    """A box in the picture's pixels.

    Args:
        role: What it is; the page's style has a line for each: ``"found"``, ``"true"``, ``"missed"`` or ``"other"``.
        x, y, width, height: In pixels of the picture, cut at its edges.
    """

    role: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Picture:
    """A piece of a photograph.

    Args:
        data: The file as a data URI.
        width, height: In pixels.
        boxes: Later ones are drawn over earlier ones.
    """

    data: str
    width: int
    height: int
    boxes: tuple[DrawnBox, ...]


class Album:
    """Cuts pictures out of photographs, and counts the photographs that cannot be opened.

    Args:
        photographs: Position of an image -> uint8 RGB (H, W, 3); None if there are none.

    Attributes:
        broken: How many pictures are lacking because their photograph could not be opened.
    """

    def __init__(self, photographs: Photographs | None) -> None:
        self.broken = 0
        self._photographs = photographs

    @property
    def is_empty(self) -> bool:
        """Whether there are no photographs at all."""
        return self._photographs is None

    def cut(
        self, image: int, focus: NDArray[np.float64], boxes: Sequence[tuple[str, NDArray[np.float64]]]
    ) -> Picture | None:
        """Return the part of a photograph around some boxes, None if it cannot be had.

        Args:
            image: Position of the photograph.
            focus: (N, 4) boxes to be seen whole; none for the whole photograph.
            boxes: Role and corners of the boxes to draw, in pixels of the photograph.
        """
        if self._photographs is None:
            return None
        try:
            pixels = self._photographs(image)
        except (InceptionError, OSError):
            self.broken += 1
            return None
        left, top, right, bottom = _frame(focus, pixels.shape[1], pixels.shape[0])
        scale = min(LONG_SIDE / max(right - left, bottom - top), 2.0)
        size = max(round((right - left) * scale), 1), max(round((bottom - top) * scale), 1)
        piece = Image.fromarray(np.ascontiguousarray(pixels[top:bottom, left:right])).resize(
            size, Image.Resampling.LANCZOS
        )
        corner = np.array([left, top, left, top])
        drawn = [_drawn(role, (box - corner) * scale, size) for role, box in boxes]
        return Picture(_data_uri(piece), *size, tuple(box for box in drawn if box is not None))


def _frame(focus: NDArray[np.float64], width: int, height: int) -> tuple[int, int, int, int]:
    """Return left, top, right, bottom of the part to show, at least one pixel and inside the photograph."""
    if len(focus) == 0:
        return 0, 0, width, height
    low, high = focus[:, :2].min(axis=0), focus[:, 2:].max(axis=0)
    margin = _MARGIN * max(float((high - low).max()), 48.0)
    left, top = np.clip(low - margin, 0, [width - 1, height - 1]).astype(int).tolist()
    right, bottom = np.clip(np.ceil(high + margin), [left + 1, top + 1], [width, height]).astype(int).tolist()
    return left, top, right, bottom


def _drawn(role: str, box: NDArray[np.float64], size: tuple[int, int]) -> DrawnBox | None:
    """Return the part of the box that is in the picture."""
    x1, y1, x2, y2 = np.clip(box, 0, [*size, *size]).round(1).tolist()
    return DrawnBox(role, x1, y1, round(x2 - x1, 1), round(y2 - y1, 1)) if x2 > x1 and y2 > y1 else None


def _data_uri(picture: Image.Image) -> str:
    buffer = BytesIO()
    picture.save(buffer, "WEBP", quality=_QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
